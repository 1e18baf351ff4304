"""Archives by Python's own library, where libarchive cannot be loaded.

tar, gzip, bzip2, xz and lzma; whatever else is ``not-inspectable``. Everything from
memory, nothing is written.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import tarfile
from io import BytesIO
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from smtpguard.inspection.containers import is_tar
from smtpguard.inspection.members import Member, Oddity, UnreadableError


if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import IO


_OPENERS = {"gzip": gzip.open, "bzip2": bz2.open, "xz": lzma.open, "lzma": lzma.open}
_CHUNK = 1 << 18
_PADDING = 1 << 24
"""Octets of zeros that may follow the end of a tar archive."""
_GZIP_NAME, _GZIP_EXTRA = 8, 4
_MISSING = Oddity("not-inspectable", "no libarchive", unseen=True, malformed=False)


def is_builtin(compression: str) -> bool:
    """Say whether this compression can be undone."""
    return compression in _OPENERS


def archive_members(octets: bytes, start: int = 0) -> Iterator[Member | Oddity]:
    """Yield what the tar archive at ``start`` holds, never raises.

    Each member's content is to be read before the next member is asked for, or never.
    """
    yield from _tar(BytesIO(memoryview(octets)[start:]), octets[start : start + 512])


def compressed_members(octets: bytes, compression: str) -> Iterator[Member | Oddity]:
    """Yield the members of a compressed tar archive."""
    with _opened(octets, compression) as stream:
        yield from _tar(stream, head(octets, compression))


def expanded(octets: bytes, compression: str) -> Iterator[Member | Oddity]:
    """Yield what a compressed file holds as one member."""
    name = _gzip_name(octets) if compression == "gzip" else b""
    with _opened(octets, compression) as stream:
        yield Member((name,) if name else (), 0, _chunks(stream))


def head(octets: bytes, compression: str) -> bytes:
    """Return the first octets of what a compressed file holds, as far as they go."""
    with _opened(octets, compression) as stream:
        try:
            return stream.read(512)
        except (OSError, EOFError, ValueError, lzma.LZMAError):
            return b""


def _opened(octets: bytes, compression: str) -> BinaryIO:
    opener: Callable[[BytesIO], Any] = _OPENERS[compression]  # type: ignore[assignment]
    return cast("BinaryIO", opener(BytesIO(octets)))


def _tar(stream: BinaryIO, first: bytes) -> Iterator[Member | Oddity]:
    if not is_tar(first):
        yield _MISSING
        return
    try:
        with tarfile.open(fileobj=stream, mode="r|", errors="surrogateescape") as tar:
            for info in tar:
                if not info.isdir():
                    name = info.name.encode("utf-8", "surrogateescape")
                    content = tar.extractfile(info) if info.isreg() else None
                    chunks = _chunks(content) if content else iter(())
                    yield Member((name,), info.size, chunks)
            if _holds_more(tar.fileobj):
                yield Oddity("archive-damaged", "more behind its end", unseen=True)
    except MemoryError:
        raise
    # Of broken headers tarfile raises whatever comes: OverflowError, KeyError.
    except Exception as error:  # noqa: BLE001
        yield Oddity("archive-damaged", type(error).__name__, unseen=True)


def _holds_more(stream: Any) -> bool:  # noqa: ANN401 - tarfile's own
    """Say whether something follows where tarfile ended, which it does silently."""
    for _ in range(_PADDING // _CHUNK):
        chunk = stream.read(_CHUNK)
        if not chunk:
            return False
        if chunk.strip(b"\0"):
            return True
    return True


def _chunks(stream: IO[bytes]) -> Iterator[bytes]:
    try:
        while chunk := stream.read(_CHUNK):
            yield chunk
    except (OSError, EOFError, ValueError, lzma.LZMAError, tarfile.TarError) as error:
        raise UnreadableError("archive-damaged", type(error).__name__) from None


def _gzip_name(octets: bytes) -> bytes:
    """Return the name that a gzip header has (RFC 1952 2.3); b"" if it has none."""
    flags, at = octets[3:4], 10
    if not flags or not flags[0] & _GZIP_NAME:
        return b""
    if flags[0] & _GZIP_EXTRA:
        at += 2 + int.from_bytes(octets[10:12], "little")
    return octets[at : at + 4096].partition(b"\0")[0]
