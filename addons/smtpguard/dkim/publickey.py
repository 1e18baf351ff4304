"""A key record of the DNS, and whether a signature was made with its key (RFC 6376
3.6.1, RFC 8301, RFC 8463)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_der_public_key

from smtpguard.dkim.result import NotVerifiedError, Result, broken_syntax
from smtpguard.dkim.tags import decode_base64, parse_tags, words


if TYPE_CHECKING:
    from collections.abc import Sequence

    from smtpguard.dkim.signature import Signature


MAX_RECORD = 4096
"""Octets; a key of ``MAX_BITS`` takes 1,500."""
MIN_BITS = 1024
MAX_BITS = 8192
"""Of an RSA key. RFC 8301 3.2 demands 1,024 to 4,096; beyond, time is the sender's to
choose."""
MIN_EXPONENT = 3


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A key that may be used for a signature."""

    key: RSAPublicKey | Ed25519PublicKey
    is_testing: bool
    """``t=y``: the owner only tries (RFC 6376 3.6.1)."""

    def has_signed(self, digest: bytes, signature: bytes) -> bool:
        """Say whether ``signature`` was made with this key over a SHA-256 digest."""
        try:
            if isinstance(self.key, RSAPublicKey):
                self.key.verify(signature, digest, PKCS1v15(), Prehashed(SHA256()))
            else:
                self.key.verify(signature, digest)
        except (InvalidSignature, ValueError):
            return False
        return True


def find_key(records: Sequence[bytes], signature: Signature) -> PublicKey:
    """Return the key of the first record that can be used for a signature.

    Raises NotVerifiedError, with what is wrong with the first record if all are.
    """
    first: NotVerifiedError | None = None
    for record in records:
        try:
            return _read_key(record, signature)
        except NotVerifiedError as error:
            first = first or error
    raise first or broken_syntax("no key in the DNS")


def _read_key(record: bytes, signature: Signature) -> PublicKey:
    if len(record) > MAX_RECORD:
        raise broken_syntax("key record too long")
    tags = parse_tags(record)
    if tags.get(b"v", b"DKIM1") != b"DKIM1":
        raise broken_syntax("not a key record")
    if tags.get(b"k", b"rsa").lower() != signature.key_type.encode():
        raise broken_syntax("key of another algorithm")
    if b"h" in tags and b"sha256" not in words(tags[b"h"]):
        raise broken_syntax("key for other hashes")
    if not {b"*", b"email"}.intersection(words(tags.get(b"s", b"*"))):
        raise broken_syntax("key for other services")
    flags = words(tags.get(b"t", b""))
    if b"s" in flags and signature.identity_domain != signature.domain:
        raise broken_syntax("key for its very domain only")
    if b"p" not in tags:
        raise broken_syntax("no key in the record")
    if not tags[b"p"]:
        raise broken_syntax("key revoked")
    key = _load(decode_base64(tags[b"p"]), signature.key_type)
    return PublicKey(key, b"y" in flags)


def _load(octets: bytes, key_type: str) -> RSAPublicKey | Ed25519PublicKey:
    try:
        if key_type == "ed25519":
            return Ed25519PublicKey.from_public_bytes(octets)
        key = load_der_public_key(octets)
    except (ValueError, UnsupportedAlgorithm):
        raise broken_syntax("broken key") from None
    if not isinstance(key, RSAPublicKey):
        raise broken_syntax("key of another algorithm")
    exponent = key.public_numbers().e
    if exponent < MIN_EXPONENT or exponent % 2 == 0:
        raise broken_syntax("broken key")  # with 1 everybody can sign
    if not MIN_BITS <= key.key_size <= MAX_BITS:
        size = "short" if key.key_size < MIN_BITS else "long"
        raise NotVerifiedError(Result.POLICY, f"key too {size}")
    return key
