"""Zip archives that are something else: documents, programs of Java and Android.

Office documents are zips with macros or without (ECMA-376 part 2: what a part is says
``[Content_Types].xml``, not its name), OpenDocument files too (ODF 1.3 part 2). Reads
the headers of ``MAX_FILES`` files and 1 MiB at most of each of ``MAX_MANIFESTS`` files.
"""

from __future__ import annotations

import codecs
import html
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from smtpguard.inspection.members import Oddity
from smtpguard.inspection.signatures import ZIP
from smtpguard.inspection.zipdirectory import listed
from smtpguard.inspection.zipheader import inflated
from smtpguard.model.contents import Contents, Fact, Finding


if TYPE_CHECKING:
    from smtpguard.inspection.zipheader import Header


MAX_FILES = 10_000
"""Of all readings together; an archive of more is not entered to its end either."""
MAX_MANIFESTS = 8
"""Files that say what the others are; an honest document has one or two."""
MAX_MANIFEST = 1024 * 1024
"""Octets that are read of one."""

JAR = "application/java-archive"
_OFFICE_MANIFEST = b"[content_types].xml"
_ODF_MANIFEST = b"meta-inf/manifest.xml"
_MANIFESTS = frozenset({_OFFICE_MANIFEST, _ODF_MANIFEST, b"mimetype"})

_PROGRAMS = {
    b"androidmanifest.xml": "application/vnd.android.package-archive",
    b"appxmanifest.xml": "application/msix",
    b"appxmetadata/appxbundlemanifest.xml": "application/msix",
    b"meta-inf/manifest.mf": JAR,
}
_OFFICE_FOLDERS = {
    b"word": "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    b"xl": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    b"ppt": "application/vnd.openxmlformats-officedocument.presentationml.presentation",
    b"visio": "application/vnd.ms-visio.drawing",
}
_OFFICE_MACROS = re.compile(
    rb"(?:.*/)?(?:vbaproject[^/]*\.bin|vbadata[^/]*\.xml)|xl/macrosheets/.+", re.DOTALL
)
_ODF_MACROS = re.compile(rb"(?:basic|scripts)/.*[^/]", re.DOTALL)

_MAIN_TYPE = re.compile(r"[\"'](application/vnd\.[a-z.\-]{1,100})\.main(?:\+xml)?[\"']")
# Every binary workbook calls itself "macroenabled".
_MACRO_TYPE = re.compile(
    r"(?<!binary\.)macroenabled|vnd\.ms-office\.vbaproject|macrosheet(?:\+xml)?[\"']"
)
_ODF_TYPE = re.compile(rb"application/[a-zA-Z0-9.+\-]{1,100}")


@dataclass(slots=True)
class _Seen:
    """What the headers have told so far."""

    known: dict[bytes | str, bytes] = field(default_factory=dict)
    """Names as they are written, and as they are compared."""
    names: set[bytes] = field(default_factory=set)
    """Of the entries that make a zip something else."""
    folders: set[bytes] = field(default_factory=set)
    manifests: list[tuple[bytes, Header]] = field(default_factory=list)
    """Name and local header of those that say what the others are."""
    encrypted: bool = False
    office_macros: bool = False
    odf_macros: bool = False
    files: int = 0
    complete: bool = True

    def add(self, header: Header, *, is_local: bool) -> None:
        """Take one header into account."""
        self.encrypted |= header.is_encrypted
        for name in header.names:
            # Most names are those of two headers.
            if name not in self.known:
                self.known[name] = _plain(name)
                self._add_name(self.known[name])
            if is_local and self.known[name] in _MANIFESTS:
                self.manifests.append((self.known[name], header))

    def _add_name(self, name: bytes) -> None:
        if name in _PROGRAMS or name in _MANIFESTS:
            self.names.add(name)
        folder = name.partition(b"/")[0]
        if folder in _OFFICE_FOLDERS:
            self.folders.add(folder)
        self.office_macros |= _OFFICE_MACROS.fullmatch(name) is not None
        self.odf_macros |= _ODF_MACROS.fullmatch(name) is not None


def look_at_zip(octets: bytes) -> Contents:
    """Return what a zip archive is, and what its headers say of its entries."""
    seen = _see(octets)
    facts = {Fact.ARCHIVE}
    findings = []
    if seen.encrypted:
        facts.add(Fact.ENCRYPTED)
    if not seen.complete:
        facts.add(Fact.LIMIT)
        findings.append(Finding("limit-headers", f"more than {MAX_FILES} files"))
    detected = ZIP
    if _OFFICE_MANIFEST in seen.names:
        detected = _office(octets, seen, facts, findings)
    elif b"mimetype" in seen.names:
        detected = _open_document(octets, seen, facts, findings)
    # A document can be a program besides: each reader takes the entries it knows.
    for name, kind in _PROGRAMS.items():
        if name in seen.names:
            facts |= {Fact.EXECUTABLE, Fact.ARCHIVE}
            detected = kind if detected == ZIP else detected
    return Contents(detected, frozenset(facts), findings=tuple(findings))


def _see(octets: bytes) -> _Seen:
    seen = _Seen()
    for one in listed(octets, MAX_FILES):
        if isinstance(one, Oddity):
            seen.complete &= one.kind != "limit-headers"
            continue
        seen.files += 1
        if seen.files > MAX_FILES:
            seen.complete = False
            break
        if one.central is not None:
            seen.add(one.central, is_local=False)
        if one.local is not None:
            seen.add(one.local, is_local=True)
    return seen


def _plain(name: bytes | str) -> bytes:
    """Return a name in lower case, ``/`` between folders, none in front."""
    octets = name.encode("utf-8", "replace") if isinstance(name, str) else name
    return octets.lower().replace(b"\\", b"/").lstrip(b"/")


def _office(
    octets: bytes, seen: _Seen, facts: set[Fact], findings: list[Finding]
) -> str:
    detected = next(
        (kind for folder, kind in _OFFICE_FOLDERS.items() if folder in seen.folders), ""
    )
    text = _manifest_text(octets, seen, _OFFICE_MANIFEST, facts, findings)
    if found := _MAIN_TYPE.search(text):
        detected = found[1]
        if "macroenabled" in detected:
            detected = detected.replace("macroenabled", "macroEnabled") + ".12"
    if seen.office_macros or _MACRO_TYPE.search(text):
        facts.add(Fact.MACRO)
    if detected:
        facts.discard(Fact.ARCHIVE)
    return detected or ZIP


def _open_document(
    octets: bytes, seen: _Seen, facts: set[Fact], findings: list[Finding]
) -> str:
    claimed = b""
    for name, header in seen.manifests[:MAX_MANIFESTS]:
        if name == b"mimetype":
            claimed = inflated(octets, header, MAX_MANIFEST) or claimed
    found = _ODF_TYPE.match(claimed)
    if found is None:
        return ZIP
    facts.discard(Fact.ARCHIVE)
    text = _manifest_text(octets, seen, _ODF_MANIFEST, facts, findings)
    if "encryption-data" in text:
        facts.add(Fact.ENCRYPTED)
    if seen.odf_macros:
        facts.add(Fact.MACRO)
    return found[0].decode("ascii").lower()


def _manifest_text(
    octets: bytes,
    seen: _Seen,
    name: bytes,
    facts: set[Fact],
    findings: list[Finding],
) -> str:
    """Return all entries of that name, lower case; not read is told."""
    wanted = [header for found, header in seen.manifests if found == name]
    read = [inflated(octets, one, MAX_MANIFEST) for one in wanted[:MAX_MANIFESTS]]
    if (
        len(wanted) > MAX_MANIFESTS
        or None in read
        or any(part is not None and len(part) >= MAX_MANIFEST for part in read)
    ):
        facts.add(Fact.LIMIT)
        detail = f"{name.decode('ascii')} could not be read as a whole"
        findings.append(Finding("not-inspectable", detail))
    return "\n".join(_xml_text(part) for part in read if part is not None)


def _xml_text(octets: bytes) -> str:
    if octets.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        text = octets.decode("utf-16", "replace")
    else:
        text = octets.decode("utf-8", "replace")
    return html.unescape(text).lower() if "&" in text else text.lower()
