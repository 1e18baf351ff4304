"""What S/MIME signs and encloses is read as it is shown (RFC 8551 3.5.2)."""

from __future__ import annotations

import base64
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpguard.mime import parse
from smtpguard.mime.cms import MAX_PIECES, is_claimed, name_within, signed_content
from smtpguard.mime.limits import Limits
from tests.integration.bed.need import need


PKCS7 = bytes.fromhex("2a864886f70d0107")
ENTITY = b"Content-Type: text/plain; name=a.txt\r\n\r\nsigned\r\n"


def tlv(tag: int, content: bytes) -> bytes:
    if len(content) < 0x80:
        return bytes([tag, len(content)]) + content
    return bytes([tag, 0x83]) + len(content).to_bytes(3) + content


def streamed(tag: int, content: bytes) -> bytes:
    """Return an element whose length is not told (BER)."""
    return bytes([tag, 0x80]) + content + b"\0\0"


def signed(content: bytes, kind: bytes = b"\x01") -> bytes:
    """Return signed data with this as what is signed; the signature is none."""
    what = tlv(0x30, tlv(0x06, PKCS7 + kind) + content)
    data = tlv(0x30, tlv(0x02, b"\x01") + tlv(0x31, b"") + what + tlv(0x31, b""))
    return tlv(0x30, tlv(0x06, PKCS7 + b"\x02") + tlv(0xA0, data))


def enclosing(content: bytes) -> bytes:
    return signed(tlv(0xA0, tlv(0x04, content)))


def mailed(octets: bytes, header: str = "application/pkcs7-mime") -> bytes:
    head = f"Content-Type: {header}\r\nContent-Transfer-Encoding: base64\r\n\r\n"
    return head.encode() + base64.encodebytes(octets).replace(b"\n", b"\r\n")


@pytest.mark.parametrize("length", [0, 1, 127, 128, 70_000])
def test_the_content_of_signed_data_is_found(length: int) -> None:
    content = (b"0123456789" * 7000)[:length]
    assert signed_content(enclosing(content)) == content


def test_the_content_may_come_in_pieces() -> None:
    pieces = tlv(0x04, b"one ") + tlv(0x04, b"") + tlv(0x04, b"two")
    for string in (tlv(0x24, pieces), streamed(0x24, pieces)):
        for content in (tlv(0xA0, string), streamed(0xA0, string)):
            assert signed_content(signed(content)) == b"one two"


@pytest.mark.parametrize(
    "octets",
    [
        b"",
        b"text",
        signed(b""),  # beside what it signs
        signed(tlv(0xA0, tlv(0x04, b"x")), b"\x03"),  # of another type
        signed(tlv(0xA0, tlv(0x05, b"x"))),
        signed(tlv(0xA0, b"\x04\x7fx"))[:60],
        signed(tlv(0xA0, tlv(0x24, b"\x04\x7fx"))),
        signed(tlv(0xA0, tlv(0x24, tlv(0x24, tlv(0x04, b"x"))))),
        signed(tlv(0xA0, b"\x24\x80" + tlv(0x04, b"x"))),
        signed(tlv(0xA0, b"\x04\x80x\0\0")),
    ],
)
def test_what_cannot_be_read_has_no_content(octets: bytes) -> None:
    assert signed_content(octets) is None


@given(st.binary(max_size=60), st.integers(0, 200), st.integers(0, 255))
def test_nothing_raises_or_goes_on_for_ever(tail: bytes, at: int, octet: int) -> None:
    octets = bytearray(signed(streamed(0xA0, streamed(0x24, tlv(0x04, ENTITY)))))
    octets[at % len(octets)] = octet
    for changed in (bytes(octets), bytes(octets[:at]) + tail):
        found = signed_content(changed)
        assert found is None or found in changed


def test_pieces_without_number_are_not_read() -> None:
    for more, is_read in ((MAX_PIECES - 1, True), (MAX_PIECES + 1, False)):
        string = streamed(0x24, tlv(0x04, b"x") * more)
        assert (signed_content(signed(streamed(0xA0, string))) is not None) == is_read


@pytest.mark.parametrize(
    ("name", "within"),
    [
        ("smime.p7m", "smime"),
        ("a.js.p7m", "a.js"),
        ("a.js.P7M. ", "a.js"),
        ("a.js.p7m:x", "a.js"),
        ("a.js.p7m/", "a.js"),
        ("a.js.p\u200b7m\u200b", "a.js"),
        ("a.js\uff0ep7m", "a.js"),
        ("a.pdf.p7z", "a.pdf"),
        ("a.cms", "a"),
        ("a.p7m.pdf", "a.p7m.pdf"),
        ("a.p7max", "a.p7max"),
        ("p7m", "p7m"),
    ],
)
def test_names_are_read_as_file_systems_have_them(name: str, within: str) -> None:
    assert name_within(name) == within
    assert is_claimed("a/b", (name,)) == (within != name)


@pytest.mark.parametrize(
    "header",
    [
        "application/pkcs7-mime; smime-type=signed-data",
        "application/x-pkcs7-mime",
        "application/octet-stream; name=smime.p7m",
    ],
)
def test_what_was_signed_is_a_part_below(header: str) -> None:
    message = parse(mailed(enclosing(ENTITY), header))
    inner = message.root.decoded_parts[0]
    assert inner.path == "1.1"
    assert (inner.content_type, inner.names) == ("text/plain", ("a.txt",))
    assert inner.content() == b"signed\r\n"
    assert message.defects == ()


def test_a_file_that_was_signed_has_its_name_without_the_ending() -> None:
    header = 'application/pkcs7-mime; name="invoice.js.p7m"'
    message = parse(mailed(enclosing(b"var a = 1"), header))
    [inner] = message.root.decoded_parts
    assert (inner.names, inner.content()) == (("invoice.js",), b"var a = 1")


def test_what_could_be_a_message_and_a_file_is_both() -> None:
    """It runs: a label, a comment around a field, code."""
    content = b"a:/*\r\nContent-Type: text/plain\r\n\r\n*/ run()\r\n"
    message = parse(mailed(enclosing(content), 'a/b; name="x.js.p7m"'))
    entity, file = message.root.decoded_parts
    assert (entity.path, file.path) == ("1.1", "1.2")
    assert entity.content() == b"*/ run()\r\n"
    assert (file.names, file.content()) == (("x.js",), content)


def test_encrypted_mail_is_not_decoded_for_what_it_might_sign() -> None:
    enveloped = tlv(0x30, tlv(0x06, PKCS7 + b"\x03") + tlv(0xA0, bytes(9000)))
    message = parse(mailed(enveloped), Limits(decoded=1000))
    assert message.defects == ()


def test_what_is_signed_twice_is_read_through() -> None:
    message = parse(mailed(enclosing(mailed(enclosing(ENTITY)))))
    assert [part.path for part in message.parts()] == ["1", "1.1", "1.1.1"]


def test_signatures_in_signatures_are_read_as_deep_as_allowed() -> None:
    octets = ENTITY
    for _ in range(12):
        octets = mailed(enclosing(octets))
    message = parse(octets, Limits(depth=8))
    assert len(list(message.parts())) < 12
    # That it is not read is told of every such leaf, by who asks what it is.
    assert message.defects == ()


def test_a_signature_beside_what_it_signs_has_no_part_below() -> None:
    assert parse(mailed(signed(b""))).root.decoded_parts == ()


@pytest.mark.real
@pytest.mark.parametrize(
    "how",
    [
        ("smime", "-sign", "-nodetach", "-outform", "DER"),
        ("cms", "-sign", "-nodetach", "-outform", "DER"),
        ("cms", "-sign", "-nodetach", "-stream", "-outform", "DER"),
        ("cms", "-sign", "-nodetach", "-noattr", "-nocerts", "-outform", "DER"),
    ],
)
def test_what_openssl_signs_is_read(tmp_path: Path, how: tuple[str, ...]) -> None:
    openssl = need("openssl")
    key, certificate = str(tmp_path / "key.pem"), str(tmp_path / "crt.pem")
    make = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=a"]
    made = [openssl, *make, "-keyout", key, "-out", certificate]
    subprocess.run(made, check=True, capture_output=True)
    sign = [openssl, *how, "-binary", "-signer", certificate, "-inkey", key]
    mail = ENTITY * 2000
    done = subprocess.run(sign, input=mail, check=True, capture_output=True)
    assert signed_content(done.stdout) == mail
