"""What S/MIME signs and encloses is read as it is shown (RFC 8551 3.5.2)."""

from __future__ import annotations

import base64
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpguard.mime import parse
from smtpguard.mime.cms import MAX_PIECES, Signed, signed_content
from smtpguard.mime.limits import Limits
from tests.integration.bed.need import need


PKCS7 = bytes.fromhex("2a864886f70d0107")
DATA = PKCS7 + b"\x01"
ENTITY = b"Content-Type: text/plain; name=a.txt\r\n\r\nsigned\r\n"


def tlv(tag: int, content: bytes) -> bytes:
    if len(content) < 0x80:
        return bytes([tag, len(content)]) + content
    return bytes([tag, 0x83]) + len(content).to_bytes(3) + content


def streamed(tag: int, content: bytes) -> bytes:
    """Return an element whose length is not told (BER)."""
    return bytes([tag, 0x80]) + content + b"\0\0"


def signing(what: bytes, after: bytes = tlv(0x31, b"")) -> bytes:
    """Return signed data around this; the signature is none."""
    data = tlv(0x30, tlv(0x02, b"\x01") + tlv(0x31, b"") + what + after)
    return tlv(0x30, tlv(0x06, PKCS7 + b"\x02") + tlv(0xA0, data))


def signed(
    content: bytes, kind: bytes = b"\x01", after: bytes = tlv(0x31, b"")
) -> bytes:
    """Return signed data with this as what is signed."""
    return signing(tlv(0x30, tlv(0x06, PKCS7 + kind) + content), after)


def enclosing(content: bytes) -> bytes:
    return signed(tlv(0xA0, tlv(0x04, content)))


def mailed(octets: bytes, header: str = "application/pkcs7-mime") -> bytes:
    head = f"Content-Type: {header}\r\nContent-Transfer-Encoding: base64\r\n\r\n"
    return head.encode() + base64.encodebytes(octets).replace(b"\n", b"\r\n")


@pytest.mark.parametrize("length", [0, 1, 127, 128, 70_000])
def test_the_content_of_signed_data_is_found(length: int) -> None:
    content = ENTITY + (b"0123456789" * 7000)[:length]
    assert signed_content(enclosing(content)) == Signed(content, is_entity=True)


def test_the_content_may_come_in_pieces() -> None:
    pieces = tlv(0x04, ENTITY[:9]) + tlv(0x04, ENTITY[9:])
    for string in (tlv(0x24, pieces), streamed(0x24, pieces)):
        for content in (tlv(0xA0, string), streamed(0xA0, string)):
            assert signed_content(signed(content)) == Signed(ENTITY, is_entity=True)


def test_the_sequence_around_the_content_may_be_streamed() -> None:
    content = streamed(0xA0, streamed(0x24, tlv(0x04, ENTITY)))
    what = streamed(0x30, tlv(0x06, DATA) + content)
    assert signed_content(signing(what)) == Signed(ENTITY, is_entity=True)


@pytest.mark.parametrize(
    "content", [b"", b"\x25PDF-1.7\n", b"<?xml version='1.0'?>\r\n\r\n<a/>", b"PK\3\4"]
)
def test_what_is_no_entity_is_a_file(content: bytes) -> None:
    assert signed_content(enclosing(content)) == Signed(content, is_entity=False)


@pytest.mark.parametrize(
    "content",
    [
        b"junk\r\nContent-Type: text/html\r\n\r\n<script>",
        b"\r\nContent-Type: text/html\r\n\r\n<script>",
        b"\xef\xbb\xbfContent-Type: text/html\r\n\r\n<script>",
        b"Content-Type : text/html\r\n\r\n<script>",
        b"Content-Type: text/html\n\n<script>",
        b"Content-Type: text/html\0\r\n\r\n<script>",
        b"Content-Type: text/html",
        b"Subject: a\r\n \r\nContent-Type: text/html\r\n\r\n<script>",
        b"Content-Type: text/plain\r\n \r\nX: y\r\n\r\n<script>",
        b"x\ncontent-transfer-encoding:base64\n\nPHNjcmlwdD4=",
        b"Hello\r\nbegin 644 a.exe\r\n#36H@\r\n`\r\nend\r\n",
    ],
)
def test_what_only_some_take_for_an_entity_is_not_read(content: bytes) -> None:
    assert signed_content(enclosing(content)) is None


def test_armor_is_not_read_through() -> None:
    octets = base64.encodebytes(enclosing(ENTITY))
    text = b"-----BEGIN PKCS7-----\n" + octets + b"-----END PKCS7-----\n"
    assert signed_content(text) is None


STRING = tlv(0x04, ENTITY)


@pytest.mark.parametrize(
    "octets",
    [
        b"",
        b"text",
        signed(b""),  # beside what it signs
        signed(tlv(0xA0, STRING), b"\x03"),  # of another type
        signed(tlv(0xA0, tlv(0x05, ENTITY))),
        # Lengths that say different things.
        signed(tlv(0xA0, STRING + STRING)),
        signed(tlv(0xA0, STRING) + STRING),
        signed(streamed(0xA0, streamed(0x24, STRING)) + STRING),
        signed(tlv(0xA0, b"\x04\x7f" + ENTITY)),
        signed(tlv(0xA0, tlv(0x24, STRING) + b"\0\0")),
        signed(tlv(0xA0, tlv(0x24, b"\x04\x7f" + ENTITY))),
        signed(tlv(0xA0, tlv(0x24, tlv(0x24, STRING)))),
        signed(tlv(0xA0, tlv(0x24, STRING + tlv(0x04, b"")))),
        signed(tlv(0xA0, b"\x24\x80" + STRING)),
        signed(streamed(0xA0, STRING)),
        signed(tlv(0xA0, b"\x04\x80" + ENTITY + b"\0\0")),
        signed(tlv(0xA0, STRING), after=b""),
        signed(tlv(0xA0, STRING), after=STRING),
    ],
)
def test_what_readers_could_read_differently_is_not_read(octets: bytes) -> None:
    assert signed_content(octets) is None


@given(st.binary(max_size=60), st.integers(0, 200), st.integers(0, 255))
def test_nothing_raises_or_goes_on_for_ever(tail: bytes, at: int, octet: int) -> None:
    octets = bytearray(signed(streamed(0xA0, streamed(0x24, tlv(0x04, ENTITY)))))
    octets[at % len(octets)] = octet
    for changed in (bytes(octets), bytes(octets[:at]) + tail):
        found = signed_content(changed)
        assert found is None or found.octets in changed


def test_pieces_without_number_are_not_read() -> None:
    pieces = tlv(0x04, b"Content-Type: a/b\r\n\r\n")
    for more, is_read in ((MAX_PIECES - 2, True), (MAX_PIECES + 1, False)):
        string = streamed(0x24, pieces + tlv(0x04, b"x") * more)
        assert (signed_content(signed(streamed(0xA0, string))) is not None) == is_read


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
    [inner] = message.root.decoded_parts
    assert inner.path == "1.1"
    assert (inner.content_type, inner.names) == ("text/plain", ("a.txt",))
    assert inner.content() == b"signed\r\n"
    assert inner.is_enclosed
    assert message.root.encloses
    assert message.defects == ()


def test_a_file_that_was_signed_has_its_name_without_the_ending() -> None:
    header = 'application/pkcs7-mime; name="invoice.js.p7m"'
    message = parse(mailed(enclosing(b"var a = 1"), header))
    [inner] = message.root.decoded_parts
    assert (inner.names, inner.content()) == (("invoice.js",), b"var a = 1")
    assert message.root.encloses


def test_encrypted_mail_is_not_decoded_for_what_it_might_sign() -> None:
    enveloped = tlv(0x30, tlv(0x06, PKCS7 + b"\x03") + tlv(0xA0, bytes(9000)))
    message = parse(mailed(enveloped), Limits(decoded=1000))
    assert message.defects == ()


def test_what_is_signed_twice_is_read_through() -> None:
    message = parse(mailed(enclosing(mailed(enclosing(ENTITY)))))
    assert [part.path for part in message.parts()] == ["1", "1.1", "1.1.1"]
    assert [part.encloses for part in message.parts()] == [True, True, False]


def test_signatures_in_signatures_end_in_a_limit() -> None:
    octets = ENTITY
    for _ in range(12):
        octets = mailed(enclosing(octets))
    message = parse(octets, Limits(depth=8))
    assert any(defect.is_limit for defect in message.defects)


def test_a_signature_beside_what_it_signs_has_no_part_below() -> None:
    message = parse(mailed(signed(b"")))
    assert message.root.decoded_parts == ()
    assert not message.root.encloses


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
    assert signed_content(done.stdout) == Signed(mail, is_entity=True)
