"""What octets are, whatever is claimed of them.

Looks at the beginning, and where files are hidden behind another: a PDF within the
first KiB; rar, 7z, cab and arj within 4 MiB, as self-extracting archives are;
zip by its end. Each look takes linear time and what its module says of memory; none
raises. What could not be looked at is a finding and ``Fact.LIMIT``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from smtpguard.inspection.biff import is_biff, look_at_biff
from smtpguard.inspection.cms import look_at_cms
from smtpguard.inspection.compound import look_at_compound
from smtpguard.inspection.containers import Container, Way, containers
from smtpguard.inspection.documents import (
    has_pdf_header,
    look_at_onenote,
    look_at_pdf,
    look_at_rtf,
)
from smtpguard.inspection.executables import program_type
from smtpguard.inspection.packages import look_at_zip
from smtpguard.inspection.pgp import look_at_armor, look_at_packets
from smtpguard.inspection.rar import look_at_rar
from smtpguard.inspection.scripts import type_by_claim, type_by_content, type_by_name
from smtpguard.inspection.sevenzip import look_at_seven_zip
from smtpguard.inspection.signatures import (
    OLE,
    ONENOTE,
    PDF,
    RAR,
    RTF,
    SEVEN_ZIP,
    ZIP,
    at_start,
)
from smtpguard.inspection.text import (
    SAMPLE_OCTETS,
    is_text,
    is_wide_text,
    markup_type,
    read_text,
)
from smtpguard.inspection.zipdirectory import has_end
from smtpguard.mime import cms
from smtpguard.model.contents import Contents, Fact, Finding


if TYPE_CHECKING:
    from collections.abc import Iterator


_READERS = {
    ZIP: look_at_zip,
    OLE: look_at_compound,
    PDF: look_at_pdf,
    RTF: look_at_rtf,
    ONENOTE: look_at_onenote,
    SEVEN_ZIP: look_at_seven_zip,
    RAR: look_at_rar,
}

_NOTHING = Contents()
_ENCRYPTED_CLAIMS = frozenset({"multipart/encrypted", "application/pgp-encrypted"})
_SIGNED_CLAIMS = frozenset(
    {
        "multipart/signed",
        "application/pgp-signature",
        "application/pkcs7-signature",
        "application/x-pkcs7-signature",
    }
)


def detect(
    octets: bytes,
    names: tuple[str, ...] = (),
    claimed: str = "",
    found: tuple[Container, ...] | None = None,
) -> Contents:
    """Return type, facts and findings of some content; never entries.

    ``names`` and ``claimed`` (``type/subtype``) tell scripts, signatures and encrypted
    contents that have no sign of their own; nothing else is believed of them. ``found``
    is what ``containers`` says of the octets, from who asks it anyway.
    """
    found = containers(octets) if found is None else found
    claimed = claimed.partition(";")[0].strip().lower()
    looks = list(_looks(octets, found))
    known = any(look.detected for look in looks)
    looks.append(_by_name(names, claimed, is_known=known))
    if not any(look.detected for look in looks):
        looks.append(Contents(_plain_type(octets[:SAMPLE_OCTETS])))
    looks.append(_by_claim(claimed, names, looks))
    detected = list(dict.fromkeys(look.detected for look in looks if look.detected))
    findings = [finding for look in looks for finding in look.findings]
    if len(detected) > 1:
        findings.append(Finding("polyglot", ", ".join(detected)))
    return Contents(
        detected[0] if detected else "",
        frozenset().union(*(look.facts for look in looks)),
        findings=tuple(dict.fromkeys(findings)),
        others=tuple(detected[1:]),
    )


def _looks(octets: bytes, found: tuple[Container, ...]) -> Iterator[Contents]:
    """Yield what the octets are, likeliest first, whatever lies behind last."""
    start = _from_start(octets)
    kinds = {look.detected for look in start}
    for look in start:
        reader = _READERS.get(look.detected)
        yield reader(octets) if reader else look
    if PDF not in kinds and has_pdf_header(octets):
        yield look_at_pdf(octets)
    if not start:
        yield from _without_signature(octets)
    # What another file holds as it is is not what that one is.
    if ZIP not in kinds and Container(Way.ZIP) in found and has_end(octets):
        yield look_at_zip(octets)
    for one in found:
        if one.start and not one.inlaid:
            yield _look_behind(octets, one)


def _from_start(octets: bytes) -> list[Contents]:
    """Return what is told by the first octets, not yet looked into."""
    found = at_start(octets)
    if program := program_type(octets):
        found.insert(0, Contents(program, frozenset({Fact.EXECUTABLE})))
    return found


def _without_signature(octets: bytes) -> Iterator[Contents]:
    """Yield what is told by how something is written.

    Octets that no text has do not help a script: shells and browsers skip them.
    """
    if is_biff(octets):
        yield look_at_biff(octets)
    elif opaque := look_at_cms(octets) or look_at_packets(octets):
        yield opaque
    text = read_text(octets)
    if script := type_by_content(text):
        yield Contents(script, frozenset({Fact.EXECUTABLE}))
    elif markup := markup_type(text):
        yield Contents(markup)
    yield look_at_armor(octets)


def _by_name(names: tuple[str, ...], claimed: str, *, is_known: bool) -> Contents:
    """Return what a name or, without one, a claim makes of the content."""
    kind = type_by_name(names)
    if not kind and not is_known:
        kind = type_by_claim(claimed)
    if not kind:
        return _NOTHING
    return Contents("" if is_known else kind, frozenset({Fact.EXECUTABLE}))


def _plain_type(sample: bytes) -> str:
    return "text/plain" if is_text(sample) or is_wide_text(sample) else ""


def _look_behind(octets: bytes, container: Container) -> Contents:
    """Return what an archive is that begins somewhere behind."""
    if container.name == RAR:
        return look_at_rar(octets, container.start)
    if container.name == SEVEN_ZIP:
        return look_at_seven_zip(octets, container.start)
    return Contents(container.name, frozenset({Fact.ARCHIVE}))


def _by_claim(claimed: str, names: tuple[str, ...], looks: list[Contents]) -> Contents:
    facts: set[Fact] = set()
    findings = []
    if claimed in _SIGNED_CLAIMS:
        facts.add(Fact.SIGNED)
    if claimed in _ENCRYPTED_CLAIMS:
        facts.add(Fact.ENCRYPTED)
    known = any(look.detected.startswith("application/pkcs7-") for look in looks)
    if cms.is_claimed(claimed, names) and not known:
        # A mail reader will try to read it, and we cannot say what comes out.
        facts |= {Fact.ENCRYPTED, Fact.LIMIT}
        findings.append(Finding("not-inspectable", "claims to be S/MIME and is none"))
    return Contents(facts=frozenset(facts), findings=tuple(findings))
