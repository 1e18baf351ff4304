"""S/MIME: what kind of CMS a content is (RFC 5652), DER, BER or PEM.

Reads 4 KiB: the tags and lengths of what comes first, never what is signed or
encrypted. Readers show what lies in there as the mail: where it is not encrypted it is
``Fact.LIMIT``, also where it could be read (``mime.cms``): others may see other things.
"""

from __future__ import annotations

from smtpguard.mime import cms
from smtpguard.model.contents import Contents, Fact, Finding


CMS = "application/pkcs7-mime"
CMS_SIGNATURE = "application/pkcs7-signature"
"""Signed data without the content that was signed."""
_UNREAD = Finding("not-inspectable", "content of S/MIME")

_HEAD = 4096
_STRINGS = frozenset({b"\x04", b"\x24"})
_ENCRYPTED_IDS = frozenset(
    {
        cms.PKCS7 + b"\x03",  # enveloped
        cms.PKCS7 + b"\x04",  # signed and enveloped
        cms.PKCS7 + b"\x06",  # encrypted
        bytes.fromhex("2a864886f70d0109100117"),  # authenticated and enveloped
    }
)
_OTHER_IDS = frozenset(
    {
        cms.DATA,
        cms.PKCS7 + b"\x05",  # digested
        bytes.fromhex("2a864886f70d0109100109"),  # compressed
    }
)


def look_at_cms(octets: bytes) -> Contents | None:
    """Return whether CMS is encrypted, signed, unread; None if ``octets`` are none."""
    head = cms.without_armor(octets[:_HEAD])
    at, size = cms.content_type(head)
    content_type = head[at : at + size]
    if content_type in _ENCRYPTED_IDS:
        return Contents(CMS, frozenset({Fact.ENCRYPTED}))
    if content_type in _OTHER_IDS:
        return Contents(CMS, frozenset({Fact.LIMIT}), findings=(_UNREAD,))
    if content_type != cms.SIGNED_DATA:
        return None
    if _holds_content(head, at + size):
        facts = frozenset({Fact.SIGNED, Fact.LIMIT})
        return Contents(CMS, facts, findings=(_UNREAD,))
    return Contents(CMS_SIGNATURE, frozenset({Fact.SIGNED}))


def _holds_content(head: bytes, at: int) -> bool:
    """Whether what was signed lies in the signed data that begin at ``at``.

    What cannot be read counts as content: it is the more dangerous of the two.
    """
    at, size, end = cms.signed_type(head, at)
    if end < 0:
        return head[at + size : at + size + 2] != cms.END_OF_CONTENT
    # Certificates, unless the sequence ends too early.
    within, _ = cms.element(head, end, cms.CONTENT)
    return at + size < end or head[within : within + 1] in _STRINGS
