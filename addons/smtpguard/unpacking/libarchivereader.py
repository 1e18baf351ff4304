"""Archives by libarchive: 7z, rar, tar, cab, iso, lzh, cpio, ar, xar, and compressed
files; everything from memory, nothing from or to the disk.

libarchive is C and reads what a stranger wrote: only the isolated process calls this.
Left out on purpose: ``mtree`` (a list that names files of this machine), the filters
that start programs (``lrzip``, ``grzip``, and ``lzop`` where it is not built in), and
``zip``, which zipreader.py reads in all its readings.
"""

from __future__ import annotations

import contextlib
import ctypes
import logging
import os
from typing import TYPE_CHECKING, Any

from smtpguard.inspection.members import Member, Oddity, UnreadableError


if TYPE_CHECKING:
    from collections.abc import Generator, Iterator


_SONAME = "libarchive.so.13"


def _load() -> Any:  # noqa: ANN401 - libarchive-c has no types
    """Return libarchive-c's bindings, None where they or the library are missing."""
    if "LIBARCHIVE" not in os.environ:
        # Asked for by name, libarchive-c starts ldconfig or a compiler to find it.
        with contextlib.suppress(OSError):
            ctypes.CDLL(_SONAME)
            os.environ["LIBARCHIVE"] = _SONAME
    try:
        from libarchive import ffi  # noqa: PLC0415
    except (ImportError, OSError, TypeError, AttributeError):
        return None
    logging.getLogger("libarchive").disabled = True
    pointer, integer, text = ctypes.c_void_p, ctypes.c_int, ctypes.c_char_p
    ffi.ffi("read_append_filter", [pointer, integer], integer, ffi.check_int)
    ffi.ffi("read_set_options", [pointer, text], integer)
    ffi.ffi("entry_is_encrypted", [pointer], integer)
    ffi.ffi("entry_pathname_utf8", [pointer], text)
    return ffi


_FFI = _load()

CONTAINERS = (
    "7zip",
    "ar",
    "cab",
    "cpio",
    "iso9660",
    "lha",
    "rar",
    "rar5",
    "tar",
    "xar",
)
FILTERS = {
    "gzip": 1,
    "bzip2": 2,
    "compress": 3,
    "lzma": 5,
    "xz": 6,
    "rpm": 8,
    "lzip": 9,
    "lzop": 11,
    "lz4": 13,
    "zstd": 14,
}
"""ARCHIVE_FILTER_* of archive.h."""

_CHUNK = 1 << 18
_LHA_NAMES = "CP437"
_FOLDER = 0o040000
_FORMAT_MASK = 0o170000
_UNSUPPORTED = ("nsupported", "not supported", "nrecognized")
_ENCRYPTED = ("ncrypt", "Crypto codec")
_NO_MEMORY = ("allocate", "memory")


def available() -> bool:
    """Say whether libarchive can be used here."""
    return _FFI is not None


def warm_up() -> None:
    """Have the C library load its table of a code page, while files can be opened."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).iconv_open(b"UTF-8", _LHA_NAMES.encode())


def is_builtin(filter_name: str) -> bool:
    """Say whether libarchive undoes this compression itself, without a program."""
    if _FFI is None or filter_name not in FILTERS:
        return False
    with _reader() as archive:
        support = _FFI.get_read_filter_function(filter_name)
        return bool(support(archive) == _FFI.ARCHIVE_OK)


def archive_members(
    octets: bytes, start: int = 0, options: str = ""
) -> Iterator[Member | Oddity]:
    """Yield what the archive at ``start`` holds, never raises.

    Each member's content is to be read before the next member is asked for, or never.
    ``options`` are libarchive's, as ``iso9660:!joliet``.
    """
    yield from _members(octets, start, CONTAINERS, options=options)


def compressed_members(octets: bytes, filter_name: str) -> Iterator[Member | Oddity]:
    """Yield the members of a compressed tar or cpio archive."""
    yield from _members(octets, 0, ("tar", "cpio"), filter_name=filter_name)


def expanded(octets: bytes, filter_name: str) -> Iterator[Member | Oddity]:
    """Yield what a compressed file holds as one member, or an oddity."""
    yield from _members(octets, 0, ("raw",), filter_name=filter_name)


def head(octets: bytes, filter_name: str) -> bytes:
    """Return the first octets of what a compressed file holds, as far as they go."""
    with contextlib.suppress(UnreadableError):
        for member in expanded(octets, filter_name):
            if isinstance(member, Member) and member.chunks is not None:
                return next(member.chunks, b"")
    return b""


def expanded_by_zip(packed: bytes) -> Iterator[bytes]:
    """Yield the content of the one member of a zip archive.

    Raises UnreadableError.
    """
    for member in _members(packed, 0, ("zip",)):
        if isinstance(member, Member) and member.chunks is not None:
            yield from member.chunks
            return
        if isinstance(member, Oddity):
            raise UnreadableError(member.kind, member.detail)
    raise UnreadableError("archive-damaged", "no content")


@contextlib.contextmanager
def _reader() -> Generator[int]:
    archive = _FFI.read_new()
    try:
        yield archive
    finally:
        # Not through the wrapper, which raises where closing failed.
        _FFI.libarchive.archive_read_free(ctypes.c_void_p(archive))


def _members(
    octets: bytes,
    start: int,
    formats: tuple[str, ...],
    options: str = "",
    filter_name: str = "",
) -> Iterator[Member | Oddity]:
    if _FFI is None:
        yield Oddity("not-inspectable", "no libarchive", unseen=True, malformed=False)
        return
    from libarchive.exception import ArchiveError  # noqa: PLC0415

    entry = _FFI.entry_new()
    broken: list[int] = []
    try:
        with _reader() as archive:
            try:
                _open(
                    archive,
                    octets,
                    start,
                    formats,
                    options=options,
                    filter_name=filter_name,
                )
                is_empty = True
                while _FFI.read_next_header2(archive, entry) != _FFI.ARCHIVE_EOF:
                    is_empty = False
                    if (member := _member(archive, entry, broken)) is not None:
                        yield member
                    if broken:
                        # Asked for what follows, libarchive dies of some cabinets.
                        return
                if is_empty:
                    # Cut in its first header it is taken for one that has ended.
                    yield Oddity("archive-damaged", "nothing in it", unseen=True)
            except ArchiveError as error:
                yield _oddity(error)
    finally:
        _FFI.entry_free(entry)


def _open(
    archive: int,
    octets: bytes,
    start: int,
    formats: tuple[str, ...],
    *,
    options: str,
    filter_name: str,
) -> None:
    for name in formats:
        _FFI.get_read_format_function(name)(archive)
    if filter_name:
        # This one, once: what lies below is looked at as an archive of its own.
        _FFI.read_append_filter(archive, FILTERS[filter_name])
    if "tar" in formats:
        # GNU tar stops where the first of two tars ends, others do not.
        _FFI.read_set_options(archive, b"tar:read_concatenated_archives")
    if "lha" in formats:
        # libarchive gives up at a name that is not UTF-8. Each octet is something in
        # this code page, so that the octets can be had back.
        _FFI.read_set_options(archive, b"lha:hdrcharset=" + _LHA_NAMES.encode())
    if options:
        _FFI.read_set_options(archive, options.encode())
    # The address of the octets themselves: nothing is copied.
    address = ctypes.cast(ctypes.c_char_p(octets), ctypes.c_void_p).value or 0
    _FFI.read_open_memory(archive, address + start, len(octets) - start)


def _member(archive: int, entry: int, broken: list[int]) -> Member | None:
    """Return the member at hand; None where it is a folder."""
    kind = _FFI.entry_filetype(entry) & _FORMAT_MASK
    if kind == _FOLDER:
        return None
    size = _FFI.entry_size(entry) if _FFI.entry_size_is_set(entry) else 0
    names = _names(archive, entry)
    if _FFI.entry_is_encrypted(entry):
        return Member(names, max(size, 0), encrypted=True)
    return Member(names, max(size, 0), _content(archive, broken))


def _names(archive: int, entry: int) -> tuple[bytes | str, ...]:
    utf8 = _FFI.entry_pathname_utf8(entry)
    if _FFI.format_name(archive) in (b"7-Zip", b"RAR5") and utf8 is not None:
        # Their names are Unicode: no second reading.
        return (utf8.decode("utf-8", "replace"),)
    if _FFI.format_name(archive).startswith(b"lha") and utf8 is not None:
        with contextlib.suppress(UnicodeError):
            return (utf8.decode("utf-8").encode(_LHA_NAMES),)
    octets = _FFI.entry_pathname(entry)
    names = [name for name in (octets, utf8) if name is not None]
    if not names and (wide := _FFI.entry_pathname_w(entry)):
        names.append(wide)
    return tuple(dict.fromkeys(names)) or ("",)


def _content(archive: int, broken: list[int]) -> Iterator[bytes]:
    """Yield the content at hand; ``broken`` is added to where nothing can follow it."""
    from libarchive.exception import ArchiveError  # noqa: PLC0415

    buffer = ctypes.create_string_buffer(_CHUNK)
    try:
        while (count := _FFI.read_data(archive, buffer, _CHUNK)) > 0:
            yield ctypes.string_at(buffer, count)
    except ArchiveError as error:
        if error.retcode == _FFI.ARCHIVE_FATAL:
            broken.append(error.retcode)
        oddity = _oddity(error)
        raise UnreadableError(oddity.kind, oddity.detail) from None
    if count < 0:
        raise UnreadableError("archive-damaged", "content")


def _oddity(error: Any) -> Oddity:  # noqa: ANN401
    message = str(error.msg or "")
    # Not whether some entry is encrypted: another fault behind it would pass for that.
    if any(word in message for word in _ENCRYPTED):
        return Oddity(
            "archive-encrypted", message, unseen=True, malformed=False, encrypted=True
        )
    if any(word in message for word in _NO_MEMORY):
        return Oddity("limit-memory", message, unseen=True, malformed=False)
    if any(word in message for word in _UNSUPPORTED):
        return Oddity("not-inspectable", message, unseen=True, malformed=False)
    return Oddity("archive-damaged", message, unseen=True)
