"""What the readers of archives hand over: members, and the readings of their names.

A name in an archive is octets whose character set nobody says, or says wrongly: each
way that some reader takes them is a name (contract 6, attack M10).
"""

from __future__ import annotations

import contextlib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING


if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


MAX_NAME = 1024
"""Characters of a name; of a longer one the middle is left out, and this is told."""

_UNSAFE = re.compile(r"[/\\].|[A-Za-z]:|(?:.*[/\\])?\.\.(?:[/\\]|$)", re.DOTALL)
_UNPRINTABLE = re.compile(r"[^ -~]+")
MAX_DETAIL = 200
"""Characters of a finding's detail."""

_COMPRESSED_ENDINGS = {
    ".tgz": ".tar",
    ".tbz": ".tar",
    ".tbz2": ".tar",
    ".txz": ".tar",
    ".tzst": ".tar",
    ".svgz": ".svg",
    ".emz": ".emf",
    ".wmz": ".wmf",
}


class UnreadableError(Exception):
    """The content of a member cannot be read, or not to its end; for archives.py.

    ``kind`` is the kind of finding that it is.
    """

    def __init__(self, kind: str, detail: str = "") -> None:
        super().__init__(detail)
        self.kind = kind
        self.detail = detail


@dataclass(frozen=True, slots=True)
class Member:
    """One file in one archive, as its reader sees it."""

    names: tuple[bytes | str, ...]
    """As written, each place where it is named; octets where no character set is
    known."""
    size: int
    """bytes, expanded, as claimed; 0 where nothing is."""
    chunks: Iterator[bytes] | None = None
    """Its content; raises UnreadableError. None where it cannot be read at all."""
    encrypted: bool = False


@dataclass(frozen=True, slots=True)
class Oddity:
    """Something wrong with an archive as a whole, between its members."""

    kind: str
    detail: str = ""
    unseen: bool = False
    """Something in there may have been overlooked because of it."""
    malformed: bool = True
    encrypted: bool = False


def readings(names: Iterable[bytes | str]) -> tuple[tuple[str, ...], bool]:
    """Return every reading of these names once, and whether one had to be shortened.

    Octets are read as UTF-8, as code page 437 (PKZIP) and as 1252 (Windows); where
    there is a NUL, what is before it is a reading too, for C ends there.
    """
    found: dict[str, None] = {}
    shortened = False
    for name in names:
        for reading in _decoded(name):
            shortened |= len(reading) > MAX_NAME
            found[_short(reading)] = None
            if "\0" in reading:
                found[_short(reading.partition("\0")[0])] = None
    return tuple(found), shortened


def expanded_names(
    own: tuple[bytes | str, ...], outer: tuple[str, ...]
) -> tuple[bytes | str, ...]:
    """Return the names of what a compressed file holds: its own, and the file's less
    the ending.
    """
    # libarchive's word for "none".
    found: list[bytes | str] = [name for name in own if name not in (b"data", "data")]
    for name in outer:
        stem, dot, ending = name.rpartition(".")
        if dot and stem:
            found.append(stem + _COMPRESSED_ENDINGS.get("." + ending.lower(), ""))
    return tuple(found) or ("",)


def is_unsafe(name: str) -> bool:
    """Say whether a name leads out of the folder that an archive is unpacked to."""
    return _UNSAFE.match(name) is not None


def printable(text: str) -> str:
    """Return ``text`` as a finding's detail: short, printable ASCII."""
    return _UNPRINTABLE.sub("?", text[:MAX_DETAIL])


def _decoded(name: bytes | str) -> Iterator[str]:
    if isinstance(name, str):
        yield name.encode("utf-8", "replace").decode("utf-8")
        return
    if name.isascii():
        yield name.decode("ascii")
        return
    with contextlib.suppress(UnicodeDecodeError):
        yield name.decode("utf-8")
    yield name.decode("cp437")
    # 0x81, 0x8d, 0x8f, 0x90 and 0x9d are nothing in 1252; Windows lets them be.
    yield "".join(map(_CP1252.__getitem__, name))


def _short(name: str) -> str:
    if len(name) <= MAX_NAME:
        return name
    return name[: MAX_NAME // 2] + name[-MAX_NAME // 2 :]


def _windows(octet: int) -> str:
    try:
        return bytes([octet]).decode("cp1252")
    except UnicodeDecodeError:
        return chr(octet)


_CP1252 = tuple(map(_windows, range(256)))
