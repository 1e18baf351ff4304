from __future__ import annotations

import base64
import subprocess
from pathlib import Path

import pytest

from smtpguard.inspection.cms import CMS, CMS_SIGNATURE, look_at_cms
from smtpguard.model.contents import Contents, Fact, Finding
from tests.integration.bed.need import need


UNREAD = (Finding("not-inspectable", "content of S/MIME"),)
SIGNED = Contents(CMS, frozenset({Fact.SIGNED, Fact.LIMIT}), findings=UNREAD)
PLAIN = Contents(CMS, frozenset({Fact.LIMIT}), findings=UNREAD)
DETACHED = Contents(CMS_SIGNATURE, frozenset({Fact.SIGNED}))
ENCRYPTED = Contents(CMS, frozenset({Fact.ENCRYPTED}))
PKCS7 = "2a864886f70d0107"


def tlv(tag: int, content: bytes) -> bytes:
    if len(content) < 0x80:
        return bytes([tag, len(content)]) + content
    return bytes([tag, 0x82]) + len(content).to_bytes(2) + content


def info(object_id: str, content: bytes = b"\x02\x01\x00") -> bytes:
    inner = tlv(0x06, bytes.fromhex(object_id)) + tlv(0xA0, tlv(0x30, content))
    return tlv(0x30, inner)


def signed(inner: bytes, after: bytes = b"") -> bytes:
    what = tlv(0x30, tlv(0x06, bytes.fromhex(f"{PKCS7}01")) + inner)
    return info(f"{PKCS7}02", tlv(0x02, b"\x01") + tlv(0x31, b"") + what + after)


@pytest.mark.parametrize(
    ("object_id", "found"),
    [
        (f"{PKCS7}03", ENCRYPTED),
        (f"{PKCS7}06", ENCRYPTED),
        ("2a864886f70d0109100117", ENCRYPTED),
        (f"{PKCS7}01", PLAIN),
        (f"{PKCS7}05", PLAIN),
        ("2a864886f70d0109100109", PLAIN),
        (f"{PKCS7}09", None),
        ("2a864886f70d010101", None),
    ],
    ids=[
        "enveloped",
        "encrypted",
        "authenticated",
        "data",
        "digested",
        "compressed",
        "unknown",
        "rsa",
    ],
)
def test_the_object_id_tells(object_id: str, found: Contents | None) -> None:
    assert look_at_cms(info(object_id)) == found
    assert look_at_cms(info(object_id, bytes(3000))) == found


def test_a_signature_is_told_from_what_holds_the_signed() -> None:
    certificates = tlv(0xA0, b"certificates")
    assert look_at_cms(signed(b"", certificates)) == DETACHED
    assert look_at_cms(signed(tlv(0xA0, b"mail"), certificates)) == SIGNED


def test_lengths_that_are_not_told_are_read() -> None:
    """BER, as streaming writers produce it."""
    start = b"\x30\x80\x06\x09" + bytes.fromhex(PKCS7)
    assert look_at_cms(start + b"\x03\xa0\x80\x30\x80\x02\x01\x00") == ENCRYPTED
    inner = b"\xa0\x80\x30\x80\x02\x01\x01\x31\x00\x30\x80\x06\x09"
    inner += bytes.fromhex(f"{PKCS7}01")
    assert look_at_cms(start + b"\x02" + inner + b"\0\0") == DETACHED
    assert look_at_cms(start + b"\x02" + inner + b"\xa0\x80") == SIGNED


def test_lengths_may_be_longer_than_needed() -> None:
    octets = b"\x30\x84\0\0\0\x0b\x06\x81\x09" + bytes.fromhex(f"{PKCS7}03")
    assert look_at_cms(octets) == ENCRYPTED


def test_pem_is_read() -> None:
    body = base64.encodebytes(info(f"{PKCS7}03", bytes(300)))
    pem = b"-----BEGIN PKCS7-----\n" + body + b"-----END PKCS7-----\n"
    assert look_at_cms(pem) == ENCRYPTED
    assert look_at_cms(pem.replace(b"PKCS7", b"CMS")) == ENCRYPTED
    assert look_at_cms(pem.replace(b"PKCS7", b"CERTIFICATE")) is None


def test_what_is_cut_off_is_none() -> None:
    octets = info(f"{PKCS7}03")
    for cut in range(13):
        assert look_at_cms(octets[:cut]) is None
    assert look_at_cms(signed(b"")[:20]) == SIGNED


@pytest.mark.real
@pytest.mark.parametrize("form", ["DER", "PEM"])
@pytest.mark.parametrize(
    ("options", "found"),
    [
        (["-encrypt", "-aes256"], ENCRYPTED),
        (["-encrypt", "-stream", "-aes256"], ENCRYPTED),
        (["-sign"], DETACHED),
        (["-sign", "-nodetach"], SIGNED),
        (["-sign", "-nodetach", "-stream"], SIGNED),
    ],
    ids=["enveloped", "enveloped-ber", "detached", "opaque", "opaque-ber"],
)
def test_what_openssl_writes_is_read(
    tmp_path: Path, form: str, options: list[str], found: Contents
) -> None:
    openssl = need("openssl")
    mail = tmp_path / "mail"
    mail.write_bytes(b"Hello\r\n" * 100)
    certificate, key = tmp_path / "c.pem", tmp_path / "k.pem"
    new = [openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=x"]
    new += ["-keyout", str(key), "-out", str(certificate)]
    subprocess.run(new, check=True, capture_output=True)
    who = (
        ["-signer", str(certificate), "-inkey", str(key)] if "-sign" in options else []
    )
    command = [openssl, "cms", *options, "-in", str(mail), "-outform", form, *who]
    command += [str(certificate)] if "-encrypt" in options else []
    written = subprocess.run(command, check=True, capture_output=True).stdout
    assert look_at_cms(written) == found


def test_content_behind_a_sequence_that_ends_too_early_counts() -> None:
    certificates = tlv(0xA0, tlv(0x30, b"\x02\x01\x00"))
    assert look_at_cms(signed(b"", after=certificates)) == DETACHED
    for tag in (0x04, 0x24):
        content = tlv(0xA0, tlv(tag, b"content"))
        assert look_at_cms(signed(b"", after=content)) == SIGNED
