"""A DKIM-Signature field, read and checked as far as it can be alone (RFC 6376 3.5)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from smtpguard.dkim.result import NotVerifiedError, Result, broken_syntax
from smtpguard.dkim.tags import BLANKS, decode_base64, words
from smtpguard.wire.domain import normalise_domain


if TYPE_CHECKING:
    from collections.abc import Mapping


CLOCK_SKEW = 300
"""Seconds that a signature is still taken after it has expired."""
_REQUIRED = (b"v", b"a", b"b", b"bh", b"d", b"h", b"s")
_ALGORITHMS = {b"rsa-sha256": "rsa", b"ed25519-sha256": "ed25519"}
"""Key types; rsa-sha1 must not be used any more (RFC 8301 3.1)."""
_CANONICAL = re.compile(rb"(simple|relaxed)(?:/(simple|relaxed))?")
_TIME = re.compile(rb"[0-9]{1,12}")
_LENGTH = re.compile(rb"[0-9]{1,76}")


@dataclass(frozen=True, slots=True)
class Signature:
    """One signature that is fit to be verified."""

    field: bytes
    """The whole field, as it was received."""
    domain: str
    """``d=``, normal form."""
    identity_domain: str
    """Of ``i=``: the same or one below it."""
    selector: str
    key_type: str
    """``rsa`` or ``ed25519``; the hash is SHA-256."""
    relaxed_header: bool
    relaxed_body: bool
    signed_names: tuple[str, ...]
    """``h=``, in lower case; what stands twice speaks of two fields."""
    length: int | None
    """``l=``: octets of the canonical body that are signed; None for all."""
    body_hash: bytes
    octets: bytes
    """The signature itself."""

    @property
    def key_name(self) -> str:
        """The domain name of the key record, without the final dot."""
        return f"{self.selector}._domainkey.{self.domain}"


def read_signature(field: bytes, tags: Mapping[bytes, bytes], now: int) -> Signature:
    """Read a signature from its field and the tags in it.

    ``now`` is in seconds since 1970. Raises NotVerifiedError.
    """
    if any(tag not in tags for tag in _REQUIRED):
        raise broken_syntax("a required tag is missing")
    if tags[b"v"] != b"1":
        raise broken_syntax("unknown version")
    if b"dns/txt" not in words(tags.get(b"q", b"dns/txt")):
        raise broken_syntax("unknown way to the key")
    canonical = _CANONICAL.fullmatch(tags.get(b"c", b"simple"))
    if canonical is None:
        raise broken_syntax("unknown canonicalization")
    _check_times(tags, now)
    names = words(tags[b"h"])
    if b"from" not in names:
        raise broken_syntax("the From field is not signed")
    domain = _domain(tags[b"d"])
    return Signature(
        field,
        domain,
        _identity_domain(tags.get(b"i"), domain),
        _domain(tags[b"s"]),
        _key_type(tags[b"a"].lower()),
        canonical[1] == b"relaxed",
        canonical[2] == b"relaxed",
        tuple(name.decode("ascii", "replace") for name in names),
        _number(tags[b"l"], _LENGTH) if b"l" in tags else None,
        decode_base64(tags[b"bh"]),
        decode_base64(tags[b"b"]),
    )


def _key_type(algorithm: bytes) -> str:
    if algorithm == b"rsa-sha1":
        raise NotVerifiedError(Result.POLICY, "SHA-1 proves nothing any more")
    if algorithm not in _ALGORITHMS:
        raise broken_syntax("unknown algorithm")
    return _ALGORITHMS[algorithm]


def _check_times(tags: Mapping[bytes, bytes], now: int) -> None:
    signed = _number(tags[b"t"], _TIME) if b"t" in tags else 0
    if b"x" not in tags:
        return
    expires = _number(tags[b"x"], _TIME)
    if expires < signed:
        raise broken_syntax("expires before it was made")
    if expires + CLOCK_SKEW < now:
        raise NotVerifiedError(Result.FAIL, "signature expired")


def _number(value: bytes, form: re.Pattern[bytes]) -> int:
    if not form.fullmatch(value):
        raise broken_syntax("not a number")
    return int(value)


def _domain(value: bytes) -> str:
    """Return a domain (or selector) in the form the DNS is asked for (RFC 8616)."""
    try:
        domain = normalise_domain(value.decode("utf-8"))
    except ValueError:
        raise broken_syntax("not a domain") from None
    if domain.startswith("["):
        raise broken_syntax("not a domain")
    return domain


def _identity_domain(identity: bytes | None, domain: str) -> str:
    if identity is None:
        return domain
    found = _domain(identity.rpartition(b"@")[2].strip(BLANKS))
    if found != domain and not found.endswith(f".{domain}"):
        raise broken_syntax("signed for another domain")
    return found
