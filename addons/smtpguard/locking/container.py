"""The ``.clk`` container, both ways (contract 6); ``docs/clk.md`` is its format.

Writing is here, reading in ``unlock``: the reader of the isolated PC is the reader of
the gateway. Pure: the key of the mask and the time come from the caller.

The head stands before the payload, with its size and SHA-256: whoever has received a
part knows both, and a reader learns what a file is without reading all of it. A digest
of everything else stands at the end, since only then is it known.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

from smtpguard.locking.unlock import (
    BLOCK,
    MAGIC,
    MAX_HEAD,
    VERSION,
    Head,
    LockError,
    Source,
    check,
    masked,
    opened,
    safe_name,
)


if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator


__all__ = [
    "Head",
    "LockError",
    "is_container",
    "lock",
    "locked_name",
    "read_head",
    "unlock",
]

CONTENT_TYPE = "application/x-smtpguard-locked"
ENDING = ".clk"
KEY_SIZE = 32
"""Octets of the key of the mask."""
MAX_TEXT = 1000
"""Characters of name, type and reason each; a longer one loses its middle."""


def lock(chunks: Iterable[bytes], head: Head, mask_key: bytes) -> Iterator[bytes]:
    """Yield a container of ``chunks``, in pieces of at most 64 KiB.

    ``mask_key`` is 32 octets that the sender could not know: random ones, for each
    container anew. Raises ValueError where they, the head or the chunks are not right
    or do not fit together: a fault of the caller, never of the content.
    """
    if len(mask_key) != KEY_SIZE:
        raise ValueError(f"the key of the mask has {len(mask_key)} octets, not 32")
    octets = _written(head, mask_key)
    beginning = MAGIC + len(octets).to_bytes(4, "big") + octets
    digest = hashlib.sha256(beginning)
    source = Source(chunks)
    yield beginning
    number = 0
    while block := source.read(BLOCK):
        octets = masked(block, mask_key, number)
        digest.update(octets)
        yield octets
        number += 1
    is_content = head.encryption != "none" or source.digest.hexdigest() == head.sha256
    if source.size != head.payload or not is_content:
        raise ValueError("the chunks are not what the head tells")
    yield digest.digest()


def read_head(octets: bytes) -> Head:
    """Return the head of a container that begins with these octets.

    It is what is claimed: only ``unlock`` verifies it. Raises LockError.
    """
    return opened([octets[: len(MAGIC) + 4 + MAX_HEAD]])[0]


def unlock(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the payload of a container: the content, or an age file that has it.

    Nothing of it is to be relied on before the end came: LockError is raised there,
    where a container was changed, or earlier, where it is none.
    """
    yield from opened(chunks)[1]


def locked_name(name: str) -> str:
    """Return the file name of a locked part, harmless and at most 204 octets of UTF-8.

    It is not yet encoded for a header field (RFC 2231).
    """
    return safe_name(name) + ENDING


def is_container(
    content_type: str, names: Collection[str], chunks: Iterable[bytes]
) -> bool:
    """Return whether a part is a container already, so that it is not locked twice.

    Its type (without parameters) must be ours, every reading of its name one that
    ``locked_name`` gives, and its octets right to the end; they are read only where
    the others agree. It says nothing more: anybody can make a container, of what he
    likes and with a key of his choice, so all other rules on the part hold.
    """
    if content_type.lower() != CONTENT_TYPE or not names:
        return False
    if any(locked_name(name.removesuffix(ENDING)) != name for name in names):
        return False
    try:
        for _ in unlock(chunks):
            pass
    except LockError:
        return False
    return True


def _written(head: Head, mask_key: bytes) -> bytes:
    try:
        check(head)
    except LockError as error:
        raise ValueError(str(error)) from None
    fields = {
        "version": VERSION,
        "id": head.id,
        "time": head.time,
        "size": head.size,
        "sha256": head.sha256,
        "encryption": head.encryption,
        "payload": head.payload,
        "mask": mask_key.hex(),
    }
    plain = json.dumps(fields, separators=(",", ":"))
    hostile = {"type": head.type, "reason": head.reason, "name": head.name}
    escaped = (f',"{key}":"{_escaped(text)}"' for key, text in hostile.items())
    return (plain[:-1] + "".join(escaped) + "}").encode("ascii")


def _escaped(text: str) -> str:
    r"""Return ``text`` with every character as ``\uXXXX``.

    In plain letters the sender could write what a sniffer looks for (``%PDF-``).
    """
    if len(text) > MAX_TEXT:
        text = f"{text[: MAX_TEXT // 2]}...{text[3 - MAX_TEXT // 2 :]}"
    octets = text.encode("utf-16-be", "surrogatepass")
    units = (octets[at : at + 2].hex() for at in range(0, len(octets), 2))
    return "".join(f"\\u{unit}" for unit in units)
