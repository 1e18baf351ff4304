"""Restore what smtpguard has locked: ``python3 -I -S unlock.py FILE.clk -o DIR``.

This file needs Python 3.9 or later and nothing else, so that it can be carried to a PC
without a network, Windows too; smtpguard itself reads containers with it. It writes
files and never opens or runs them. A file appears when its digest is right, or not at
all; none is ever replaced. The format stands in docs/clk.md.

Whoever made a container may be hostile: what is wrong with it is a LockError, memory
is bounded, and the time is linear in what is there, not in what is claimed.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import secrets
import sys
import unicodedata
from contextlib import nullcontext
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple


if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from typing import Any

    Reveal = Callable[["Head", Iterator[bytes]], Iterator[bytes]]


MAGIC = b"\x8fCLK\r\n\x1a\x00"
VERSION = 1
MAX_HEAD = 65_536
"""Octets of the JSON head."""
BLOCK = 65_536
"""Octets that are masked with one stretch of the keystream."""
MAX_NAME = 200
"""Octets of a restored file's name; MAX_ENDING of them stay when it is cut."""
MAX_ENDING = 30
MAX_SAME = 10_000
"""Files of one name in one folder."""

_HEXADECIMAL = re.compile(r"[0-9a-f]{64}")
_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z")
_ID = re.compile(r"[A-Za-z0-9._:-]{0,100}")
_KEYS = dict.fromkeys(("version", "size", "payload"), int) | dict.fromkeys(
    ("id", "time", "sha256", "encryption", "mask", "type", "reason", "name"), str
)
_FORBIDDEN = frozenset('<>:"|?*')
_UNSEEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp", "Zs"})
_DEVICE = re.compile(
    r"(?i)(?:CON|PRN|AUX|NUL|(?:CONIN|CONOUT|CLOCK)\$|(?:COM|LPT)[\d\xb9\xb2\xb3])"
    r" *(?:\.|$)"
)


class LockError(Exception):
    """A container does not verify; the text says why, on one line."""


class Head(NamedTuple):
    """What a container says of itself; name, type and reason are hostile."""

    name: str
    type: str
    size: int
    """Octets of the original content, as ``sha256`` is its digest, hexadecimal."""
    sha256: str
    reason: str
    time: str
    """When it was locked: ``2026-11-24T09:36:13Z``."""
    id: str
    """Of the transaction, as in the log: letters, digits and ``._:-``."""
    payload: int
    """Octets that are stored: ``size``, unless they are encrypted."""
    encryption: str = "none"
    """``none`` or ``age``."""


def masked(octets: bytes, key: bytes, number: int) -> bytes:
    """Return block ``number`` of a payload masked, or a masked one as it was."""
    stretch = hashlib.shake_128(key + number.to_bytes(8, "big")).digest(len(octets))
    mixed = int.from_bytes(octets, "big") ^ int.from_bytes(stretch, "big")
    return mixed.to_bytes(len(octets), "big")


def opened(chunks: Iterable[bytes]) -> tuple[Head, Iterator[bytes]]:
    """Return the head of a container, and its payload as it is read.

    Nothing of the payload is to be relied on before its end was reached. Both raise
    LockError.
    """
    source = Source(chunks)
    if source.read(len(MAGIC)) != MAGIC:
        raise LockError("not a file that smtpguard has locked")
    length = int.from_bytes(source.take(4), "big")
    if length > MAX_HEAD:
        raise LockError(f"its head is too long: {length} octets")
    head, key = _parsed(source.take(length))
    return head, _payload(source, head, key)


def check(head: Head) -> None:
    """Raise LockError where a head cannot be that of a container."""
    if not (0 <= head.size < 1 << 63 and 0 <= head.payload < 1 << 63):
        raise LockError("its head tells an impossible size")
    if not _HEXADECIMAL.fullmatch(head.sha256):
        raise LockError("its head has no SHA-256")
    if not _TIME.fullmatch(head.time) or not _ID.fullmatch(head.id):
        raise LockError("its head has a time or an id that is none")
    if head.encryption not in {"none", "age"}:
        raise LockError("it is encrypted in a way that is not known here")
    if head.encryption == "none" and head.payload != head.size:
        raise LockError("its head tells two sizes")


class Source:
    """Octets that come in chunks of any lengths, read as a file."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = iter(chunks)
        self._rest = memoryview(b"")
        self.size = 0
        """Octets that were read, as ``digest`` is theirs."""
        self.digest = hashlib.sha256()

    def read(self, count: int = BLOCK) -> bytes:
        """Return ``count`` octets, or what is left."""
        taken = bytearray()
        while len(taken) < count:
            if not self._rest:
                chunk = next(self._chunks, None)
                if chunk is None:
                    break
                self._rest = memoryview(chunk)
            lacking = count - len(taken)
            taken += self._rest[:lacking]
            self._rest = self._rest[lacking:]
        self.digest.update(taken)
        self.size += len(taken)
        return bytes(taken)

    def take(self, count: int) -> bytes:
        """Return ``count`` octets. Raises LockError where there are fewer."""
        taken = self.read(count)
        if len(taken) < count:
            raise LockError("it was cut off")
        return taken


def _parsed(octets: bytes) -> tuple[Head, bytes]:
    """Return what a head says, and the key of the mask."""
    # Within strings neither is written plainly, so nothing can be nested.
    if octets.count(b"{") != 1 or b"[" in octets:
        raise LockError("its head is not a flat JSON object")
    try:
        pairs = json.loads(octets.decode("ascii"), object_pairs_hook=list)
    except ValueError:
        pairs = None
    if not isinstance(pairs, list):
        raise LockError("its head is not a JSON object")
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise LockError("its head has a key twice")
    version = fields.get("version")
    if type(version) is int and version != VERSION:
        raise LockError(f"it has version {str(version)[:20]}, which is not known here")
    if {key: type(value) for key, value in fields.items()} != _KEYS:
        raise LockError("its head has not the keys and types of version 1")
    del fields["version"]
    key = fields.pop("mask")
    if not _HEXADECIMAL.fullmatch(key):
        raise LockError("its head has no key of the mask")
    head = Head(**fields)
    check(head)
    return head, bytes.fromhex(key)


def _payload(source: Source, head: Head, key: bytes) -> Iterator[bytes]:
    content = hashlib.sha256()
    left, number = head.payload, 0
    while left:
        octets = masked(source.take(min(BLOCK, left)), key, number)
        content.update(octets)
        yield octets
        left, number = left - len(octets), number + 1
    digest = source.digest.digest()
    if source.take(len(digest)) != digest:
        raise LockError("it was changed: its digest is another one")
    if source.read(1):
        raise LockError("something follows its end")
    if head.encryption == "none" and content.hexdigest() != head.sha256:
        raise LockError("its content is not the one that its head tells")


def safe_name(name: str) -> str:
    """Return a file name that is harmless on Windows and elsewhere.

    It has no folder, no device, no control or bidi character, no dot or blank at
    either end, and at most MAX_NAME octets of UTF-8.
    """
    base = re.split(r"[/\\]", name)[-1]
    seen = "".join("_" if _is_forbidden(character) else character for character in base)
    # A dash would make it an option of whatever command gets it.
    stem, ending = _split(re.sub(r"^-", "_", seen.strip(". ")))
    if _DEVICE.match(stem + ending):
        stem = "_" + stem
    return _cut(stem, MAX_NAME - len(ending.encode())) + ending or "unnamed"


def numbered(name: str, number: int) -> str:
    """Return a safe name for the second, third ... file of that name."""
    stem, ending = _split(name)
    mark = f"-{number}{ending}" if number > 1 else ending
    return _cut(stem, MAX_NAME - len(mark.encode())) + mark


def _is_forbidden(character: str) -> bool:
    is_unseen = character != " " and unicodedata.category(character) in _UNSEEN
    return is_unseen or character in _FORBIDDEN


def _split(name: str) -> tuple[str, str]:
    """Return what stands before the ending, and the ending with its dot."""
    stem, dot, ending = name.rpartition(".")
    if not stem or len(ending.encode()) > MAX_ENDING:
        return name, ""
    return stem, dot + ending


def _cut(text: str, limit: int) -> str:
    """Return the beginning of ``text`` that takes at most ``limit`` octets."""
    return text.encode()[:limit].decode(errors="ignore").rstrip(". ")


class Result(NamedTuple):
    """What became of one file."""

    file: str
    result: str
    """``restored``, ``verified``, ``refused`` or ``failed``."""
    detail: str
    """Where it went, or why it did not; one line."""
    head: Head | None
    """None where it could not be read."""

    @property
    def status(self) -> int:
        """The exit status."""
        return {"refused": 1, "failed": 2}.get(self.result, 0)

    @property
    def line(self) -> str:
        """All of it on one line for a terminal, what does not print escaped."""
        text = f"{self.result}: {self.file}: {self.detail}"
        return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)

    def record(self) -> dict[str, Any]:
        """Return the object of the audit line; its time is now."""
        now = datetime.now(timezone.utc)  # noqa: UP017 - 3.9 has no other
        head = self.head._asdict() if self.head else {}
        return {
            "time": f"{now:%Y-%m-%dT%H:%M:%SZ}",
            "file": self.file,
            **{key: head.get(key) for key in ("name", "size", "sha256", "id")},
            "result": self.result,
            "detail": self.detail,
        }


def run(
    paths: Iterable[Path],
    folder: Path | None,
    audit: Path | None = None,
    reveal: Reveal | None = None,
) -> Iterator[Result]:
    """Restore containers into ``folder``, or verify them alone where it is None.

    ``paths`` are files, or folders whose ``.clk`` files are meant. ``reveal`` returns
    the original content of an encrypted payload, or raises LockError. Raises OSError
    where the folder or the audit file cannot be used; nothing more is done then.
    """
    with audit.open("a", encoding="ascii") if audit else nullcontext() as journal:
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
        for path in paths:
            for file in _containers(path):
                result = _process(file, folder, reveal)
                if journal is not None:
                    journal.write(json.dumps(result.record()) + "\n")
                    journal.flush()
                yield result


def _containers(path: Path) -> list[Path]:
    try:
        found = [file for file in path.iterdir() if file.suffix.lower() == ".clk"]
    except (OSError, ValueError):
        found = []
    return sorted(found) or [path]


def _process(path: Path, folder: Path | None, reveal: Reveal | None) -> Result:
    """Restore or verify one container; what goes wrong is in the result."""
    head = None
    try:
        path.stat()
        if not path.is_file():
            # Opening a pipe would wait for somebody to write into it.
            raise OSError("no file, nor a folder with .clk files")  # noqa: TRY301
        with path.open("rb") as file:
            head, content = opened(iter(lambda: file.read(BLOCK), b""))
            is_sealed = head.encryption != "none"
            if is_sealed and reveal is not None:
                content, is_sealed = reveal(head, content), False
            if folder is not None and not is_sealed:
                restored = _restored(head, content, folder)
                return Result(str(path), "restored", str(restored), head)
            for _ in content:
                pass
        if folder is not None:
            raise LockError(  # noqa: TRY301
                "it is encrypted: `smtpguard unlock --identity` opens it"
            )
        result = "verified"
        detail = "intact, but encrypted" if is_sealed else head.sha256
    except LockError as error:
        result, detail = "refused", str(error)
    except (OSError, ValueError) as error:
        # ValueError: NUL in the path.
        result, detail = "failed", getattr(error, "strerror", None) or str(error)
    return Result(str(path), result, detail, head)


def _restored(head: Head, content: Iterator[bytes], folder: Path) -> Path:
    """Return the file in ``folder`` that has appeared, once all of it was right."""
    beside = folder / f".unlock-{secrets.token_hex(16)}"
    beside.touch(mode=0o600, exist_ok=False)
    try:
        with beside.open("wb") as file:
            file.writelines(content)
            file.flush()
            os.fsync(file.fileno())
        target = _reserved(folder, safe_name(head.name))
        try:
            return beside.replace(target)
        except BaseException:
            target.unlink()
            raise
    finally:
        beside.unlink(missing_ok=True)


def _reserved(folder: Path, name: str) -> Path:
    """Return a new, empty file: whatever else is there stays."""
    for number in range(1, MAX_SAME + 1):
        path = folder / numbered(name, number)
        try:
            path.touch(mode=0o600, exist_ok=False)
        except FileExistsError:
            continue
        return path
    raise OSError("there are too many files of its name")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return the exit status."""
    parser = argparse.ArgumentParser(
        prog="unlock.py",
        description="Restore what smtpguard has locked. Nothing is opened or run.",
        epilog="exit status: 0 fine; 1 a file does not verify; 2 usage, or something "
        "that cannot be read or written",
    )
    parser.add_argument("files", nargs="+", metavar="FILE.clk", type=Path)
    wanted = parser.add_mutually_exclusive_group(required=True)
    wanted.add_argument("-o", "--output", metavar="DIR", type=Path)
    wanted.add_argument("--verify", action="store_true", help="write nothing")
    parser.add_argument("--audit", metavar="FILE", type=Path, help="append a JSON line")
    chosen = parser.parse_args(argv)
    if chosen.output and chosen.output.resolve() == Path(__file__).resolve().parent:
        # A file that is named like a module would be run by the next start.
        parser.error("not into the folder of unlock.py itself")
    status, encoding = 0, sys.stdout.encoding or "ascii"
    try:
        for result in run(chosen.files, chosen.output, chosen.audit):
            print(result.line.encode(encoding, "backslashreplace").decode(encoding))
            status = max(status, result.status)
    except OSError as error:
        parser.error(ascii(str(error))[1:-1])
    return status


if __name__ == "__main__":
    raise SystemExit(main())
