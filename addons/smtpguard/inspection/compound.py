"""Compound files (OLE2, MS-CFB): Word, Excel, PowerPoint before 2007, MSI, Outlook.

What a file holds is told by its directory entries, which are found by their shape
wherever they lie: a broken file, which Office repairs, hides none. What a stream holds
is read by olefile, eight streams at most, none longer than the file. Reads all octets;
linear, 0.1 s for 50 MiB.
"""

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING, Protocol

import olefile

from smtpguard.inspection.biff import look_at_biff
from smtpguard.inspection.octets import little
from smtpguard.inspection.signatures import OLE
from smtpguard.model.contents import Contents, Fact, Finding


if TYPE_CHECKING:
    from collections.abc import Iterator


MSI = "application/x-msi"
PROTECTED = "application/encrypted"
"""An encrypted Office document; libmagic and Tika call it so."""

_ENTRY = 128
_MIN_OCTETS = 1536
"""What olefile takes for the name of a file if it is shorter."""
MAX_STREAMS = 8
"""Streams that are read, those of embedded documents included."""
_STREAM, _ROOT = 2, 5
_KINDS = frozenset({1, _STREAM, _ROOT})
"""Storage, stream, root (MS-CFB 2.6.1)."""
_NAME_SIZES = frozenset(range(4, 66, 2))
"""Octets of a name, its two final zeros counted."""
# Windows Installer: transform, package and patch, {000C108x-0000-0000-C000-...46}.
_MSI_CLASS = re.compile(rb"[\x82\x84\x86]\x10\x0c\x00{5}\xc0\x00{6}F")
_MSI_TABLE = "\u4840"
"""How the names of an installer's tables begin."""

_MACRO_NAMES = frozenset({"_vba_project", "_vba_project_cur", "vba", "macros"})
_ENCRYPTED_NAMES = {
    "encryptedpackage": PROTECTED,
    "\x09drmcontent": PROTECTED,
    "encryptedsummary": "",
}
_EMBEDDED_NAMES = frozenset({"\x01ole10native", "objectpool", "package"})
_TYPES = {
    "worddocument": "application/msword",
    "workbook": "application/vnd.ms-excel",
    "book": "application/vnd.ms-excel",
    "powerpoint document": "application/vnd.ms-powerpoint",
    "visiodocument": "application/vnd.visio",
    "__properties_version1.0": "application/vnd.ms-outlook",
}
_READ = ("worddocument", "workbook", "book", "powerpoint document", "current user")

_WORD_MAGICS = frozenset({0xA5EC, 0xA5DC})
_WORD_ENCRYPTED = 0x0100
"""``fEncrypted`` of the FIB (MS-DOC 2.5.2)."""
_POWERPOINT_ENCRYPTED = 0xF3D1C4DF
"""``headerToken`` of an encrypted document (MS-PPT 2.3.2)."""
# VBAInfoContainer with its VBAInfoAtom, fHasMacros not 0 (MS-PPT 2.4.10, 2.4.11).
_POWERPOINT_MACROS = re.compile(
    rb"\x1f\x00\xff\x03\x14\x00\x00\x00\x02\x00\x00\x04\x0c\x00\x00\x00....[^\x00]",
    re.DOTALL,
)

# It reports each defect of a file, to whoever listens.
logging.getLogger("olefile").setLevel(logging.CRITICAL + 1)


class _Stream(Protocol):
    def read(self) -> bytes: ...


class _OleFile(Protocol):
    """What is used of ``olefile.OleFileIO``, which has no type hints."""

    def listdir(self) -> list[list[str]]: ...
    def get_size(self, filename: list[str]) -> int: ...
    def openstream(self, filename: list[str]) -> _Stream: ...
    def close(self) -> None: ...


def look_at_compound(octets: bytes) -> Contents:
    """Return what a compound file is, and what its directory and streams tell."""
    names: set[str] = set()
    detected = ""
    for name, kind, class_id in _entries(octets):
        names.add(name)
        has_class = kind == _ROOT and _MSI_CLASS.fullmatch(class_id)
        if has_class or (kind == _STREAM and name.startswith(_MSI_TABLE)):
            detected = MSI
    facts = set()
    findings = []
    if detected == MSI:
        facts.add(Fact.EXECUTABLE)
    if names & _MACRO_NAMES:
        facts.add(Fact.MACRO)
    for name in names & _ENCRYPTED_NAMES.keys():
        facts.add(Fact.ENCRYPTED)
        detected = detected or _ENCRYPTED_NAMES[name]
    if names & _EMBEDDED_NAMES:
        findings.append(Finding("embedded-object", "OLE object"))
    if not names.isdisjoint(_READ):
        facts |= _look_at_streams(octets, names, findings)
    detected = detected or next((_TYPES[name] for name in _TYPES if name in names), OLE)
    return Contents(detected, frozenset(facts), findings=tuple(findings))


def _entries(octets: bytes) -> Iterator[tuple[str, int, bytes]]:
    """Yield lower-case name, type and class of what looks like a directory entry.

    Sectors, and so entries, begin at multiples of 128 octets (MS-CFB 2.6.1).
    """
    kinds = octets[66::_ENTRY]
    lows, highs = octets[64::_ENTRY], octets[65::_ENTRY]
    for number, (kind, low, high) in enumerate(zip(kinds, lows, highs, strict=False)):
        if kind not in _KINDS or high or low not in _NAME_SIZES:
            continue
        entry = octets[number * _ENTRY : (number + 1) * _ENTRY]
        name = entry[: low - 2]
        if b"\x00\x00" in entry[low - 2 : low] and len(entry) == _ENTRY:
            yield name.decode("utf-16-le", "replace").lower(), kind, entry[80:96]


def _look_at_streams(
    octets: bytes, names: set[str], findings: list[Finding]
) -> set[Fact]:
    """Return what the streams tell; what is not read is a finding.

    Takes names out of ``names`` that only an embedded document has: they are not what
    the file is.
    """
    # Broken files raise whatever comes: struct.error, RecursionError, IndexError.
    try:
        file: _OleFile = olefile.OleFileIO(octets[:].ljust(_MIN_OCTETS, b"\x00"))
        paths = file.listdir()
    except Exception:  # noqa: BLE001
        findings.append(Finding("ole-damaged", "directory not read"))
        return {Fact.MALFORMED, Fact.LIMIT}
    roots = {path[0].lower() for path in paths if len(path) == 1}
    if not roots.isdisjoint(_TYPES):
        names -= _TYPES.keys() - roots
    wanted = [path for path in paths if path[-1].lower() in _READ]
    wanted.sort(key=len)
    facts: set[Fact] = set()
    missed = not wanted or len(wanted) > MAX_STREAMS
    for path in wanted[:MAX_STREAMS]:
        try:
            # A chain that runs in a circle would fill the memory.
            size = file.get_size(path)
            stream = file.openstream(path).read() if size <= len(octets) else b""
        except Exception:  # noqa: BLE001
            stream = b""
        missed |= not stream
        look = _look_at_stream(path[-1].lower(), stream)
        facts |= look.facts
        findings.extend(look.findings)
    file.close()
    if missed:
        findings.append(Finding("ole-damaged", "a stream was not read"))
        facts |= {Fact.MALFORMED, Fact.LIMIT}
    return facts


def _look_at_stream(name: str, stream: bytes) -> Contents:
    if name in ("workbook", "book"):
        return look_at_biff(stream)
    facts = set()
    if name == "worddocument":
        is_word = little(stream, 0, 2) in _WORD_MAGICS
        if is_word and little(stream, 10, 2) & _WORD_ENCRYPTED:
            facts.add(Fact.ENCRYPTED)
    elif name == "current user":
        if little(stream, 12, 4) == _POWERPOINT_ENCRYPTED:
            facts.add(Fact.ENCRYPTED)
    elif _POWERPOINT_MACROS.search(stream):
        facts.add(Fact.MACRO)
    return Contents(facts=frozenset(facts))
