from __future__ import annotations

import base64
import hashlib

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1
from cryptography.hazmat.primitives.asymmetric.ec import generate_private_key as ec_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from smtpguard.dkim.publickey import MAX_BITS, MAX_RECORD, find_key
from smtpguard.dkim.result import NotVerifiedError
from tests.dkim.signing import record, rsa_key
from tests.dkim.test_signature import read


RSA, ED = read(), read(b"a=ed25519-sha256")
BELOW = read(b"i=@mail.signer.test")


def der(tag: int, content: bytes) -> bytes:
    size = len(content)
    length = size.to_bytes(1 if size < 256 else 2, "big")
    if size >= 128:
        length = bytes([0x80 + len(length)]) + length
    return bytes([tag]) + length + content


def rsa_of(bits: int, exponent: int = 65537) -> bytes:
    """Return an RSAPublicKey of that size; nobody has its private key."""
    modulus = (1 << bits - 1) + 1
    numbers = (
        der(2, number.to_bytes(number.bit_length() // 8 + 1, "big"))
        for number in (modulus, exponent)
    )
    return der(0x30, b"".join(numbers))


def p(octets: bytes) -> bytes:
    return b"p=" + base64.b64encode(octets)


@pytest.mark.parametrize("bits", [1024, 2048, 4096])
def test_a_signature_of_the_key_is_known_and_no_other(bits: int) -> None:
    key = find_key([record(rsa_key(bits))], RSA)
    made = rsa_key(bits).sign(b"text", PKCS1v15(), SHA256())
    assert key.has_signed(hashlib.sha256(b"text").digest(), made)
    assert not key.has_signed(hashlib.sha256(b"texts").digest(), made)
    assert not key.has_signed(hashlib.sha256(b"text").digest(), made[:-1])
    assert not key.has_signed(hashlib.sha256(b"text").digest(), b"")


def test_an_ed25519_key_signs_the_digest() -> None:
    """RFC 8463 3."""
    private = Ed25519PrivateKey.generate()
    key = find_key([record(private)], ED)
    assert key.has_signed(b"d" * 32, private.sign(b"d" * 32))
    assert not key.has_signed(b"e" * 32, private.sign(b"d" * 32))
    assert not key.has_signed(b"d" * 32, b"short")


def test_a_key_may_stand_alone_and_without_its_wrapping() -> None:
    """RFC 6376 3.6.1 names RSAPublicKey, everybody writes SubjectPublicKeyInfo."""
    public = rsa_key().public_key()
    bare = p(public.public_bytes(Encoding.DER, PublicFormat.PKCS1))
    whole = find_key([record()], RSA)
    assert find_key([bare], RSA).key == whole.key


@pytest.mark.parametrize(
    ("tags", "is_testing"),
    [
        ("", False),
        ("t=y;", True),
        ("t=s:Y; s=other:email; h=sha1 : sha256; n=note;", True),
    ],
)
def test_flags_of_a_record(tags: str, is_testing: bool) -> None:
    assert find_key([record(tags=tags)], RSA).is_testing is is_testing


@pytest.mark.parametrize(
    ("text", "result", "reason"),
    [
        (b"v=DKIM2; p=YQ==", "permerror", "not a key record"),
        (b"v=spf1 -all", "permerror", "not a key record"),
        (b"hello", "permerror", "not a list of tags"),
        (b"k=rsa", "permerror", "no key in the record"),
        (b"p=", "permerror", "key revoked"),
        (b"p=YWJj", "permerror", "broken key"),
        (b"p=*", "permerror", "broken base64"),
        (b"k=ed25519; p=YWJj", "permerror", "key of another algorithm"),
        (b"h=sha1; p=YWJj", "permerror", "key for other hashes"),
        (b"s=tlsrpt; p=YWJj", "permerror", "key for other services"),
        (b"p=" + b"Y" * MAX_RECORD, "permerror", "key record too long"),
        (p(rsa_of(512)), "policy", "key too short"),
        (p(rsa_of(1023)), "policy", "key too short"),
        (p(rsa_of(MAX_BITS + 8)), "policy", "key too long"),
        (p(rsa_of(16500)), "policy", "key too long"),
        (p(rsa_of(2048, 1)), "permerror", "broken key"),
        (p(rsa_of(2048, 4)), "permerror", "broken key"),
    ],
)
def test_a_key_of_no_use_is_told(text: bytes, result: str, reason: str) -> None:
    with pytest.raises(NotVerifiedError) as caught:
        find_key([text], RSA)
    assert (str(caught.value.result), caught.value.reason) == (result, reason)


def test_a_key_of_another_kind_is_none() -> None:
    public = ec_key(SECP256R1()).public_key()
    octets = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    with pytest.raises(NotVerifiedError, match="key of another algorithm"):
        find_key([p(octets)], RSA)
    with pytest.raises(NotVerifiedError, match="broken key"):
        find_key([b"k=ed25519; " + p(octets)], ED)


def test_a_key_for_its_very_domain_signs_for_no_other() -> None:
    strict = record(tags="t=s;")
    assert not find_key([strict], RSA).is_testing
    with pytest.raises(NotVerifiedError, match="key for its very domain only"):
        find_key([strict], BELOW)


def test_the_first_record_that_can_be_used_counts() -> None:
    found = find_key([b"v=spf1 -all", record()], RSA)
    assert found.key == find_key([record()], RSA).key
    with pytest.raises(NotVerifiedError, match="key revoked"):
        find_key([b"p=", b"hello"], RSA)
    with pytest.raises(NotVerifiedError, match="no key in the DNS"):
        find_key([], RSA)
