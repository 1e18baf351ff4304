"""Mails signed by dkimpy, and by hand where dkimpy refuses; a DNS that is a dict."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from functools import cache

import dkim
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import (
    RSAPrivateKey,
    generate_private_key,
)
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from dkim.canonicalization import CanonicalizationPolicy

from smtpguard.dkim import Answers, Ask, Verified, verify
from smtpguard.mime import parse


NOW = 1_772_452_800
"""2026-03-02 12:00 UTC."""
NAME = "sel._domainkey.signer.test"
MAIL = (
    b"From: Anna  <a@signer.test>\r\nTo: b@own.test\r\n"
    b"Subject: folded\r\n\tand  spaced \r\n\r\n"
    b"First  line\t \r\n\r\nlast line\r\n\r\n\r\n"
)


@cache
def rsa_key_of(bits: int) -> RSAPrivateKey:
    return generate_private_key(65537, bits)


def rsa_key(bits: int = 2048) -> RSAPrivateKey:
    """Return the one key of that size."""
    return rsa_key_of(bits)


def pem() -> bytes:
    return rsa_key().private_bytes(
        Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()
    )


def record(
    key: RSAPrivateKey | Ed25519PrivateKey | None = None, tags: str = ""
) -> bytes:
    """Return a key record with further ``tags`` before the key."""
    key = key or rsa_key()
    public = key.public_key()
    if isinstance(key, RSAPrivateKey):
        octets = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    else:
        octets = public.public_bytes(Encoding.Raw, PublicFormat.Raw)
        tags = f"k=ed25519; {tags}"
    return f"v=DKIM1; {tags} p={base64.b64encode(octets).decode()}".encode()


def zone(**records: bytes | None) -> Ask:
    """Return a DNS with the record of ``NAME``, or with those of other selectors.

    None: no answer. A selector that is not named does not exist.
    """
    known = records or {"sel": record()}

    def ask(names: Sequence[str]) -> Answers:
        found: dict[str, tuple[bytes, ...] | None] = {}
        for name in names:
            selector = name.partition(".")[0]
            one = known.get(selector, b"")
            found[name] = None if one is None else (one,) if one else ()
        return found

    return ask


def sign(
    mail: bytes = MAIL,
    how: bytes = b"relaxed/relaxed",
    *,
    selector: bytes = b"sel",
    domain: bytes = b"signer.test",
    length: bool = False,
    names: Sequence[bytes] | None = None,
) -> bytes:
    """Return a mail signed by dkimpy."""
    header, body = how.split(b"/")
    field: bytes = dkim.sign(
        mail,
        selector,
        domain,
        pem(),
        canonicalize=(header, body),
        include_headers=names,
        length=length,
    )
    return field + mail


def craft(
    *tags: bytes,
    mail: bytes = MAIL,
    names: bytes = b"from:subject",
    key: RSAPrivateKey | Ed25519PrivateKey | None = None,
    drop: bytes = b"",
) -> bytes:
    """Return a mail with a true signature (relaxed/relaxed) over odd tags.

    ``tags`` take the place of the usual ones of their names; ``drop`` leaves one out.
    """
    key = key or rsa_key()
    policy = CanonicalizationPolicy.from_c_value(b"relaxed/relaxed")
    fields, body = dkim.rfc822_parse(mail)
    digest = hashlib.sha256(policy.canonicalize_body(body)).digest()
    algorithm = b"rsa" if isinstance(key, RSAPrivateKey) else b"ed25519"
    usual = {
        b"v": b"1",
        b"a": algorithm + b"-sha256",
        b"c": b"relaxed/relaxed",
        b"d": b"signer.test",
        b"s": b"sel",
        b"h": names,
        b"bh": base64.b64encode(digest),
    }
    usual.update(tag.partition(b"=")[::2] for tag in tags)
    usual.pop(drop, None)
    value = b" " + b"; ".join(b"=".join(one) for one in usual.items()) + b"; b="
    wanted = [name.strip().lower() for name in usual.get(b"h", b"").split(b":")]
    signed = dkim.select_headers(policy.canonicalize_headers(fields), wanted)
    own = policy.canonicalize_headers([(b"DKIM-Signature", value + b"\r\n")])[0]
    octets = b"".join(name + b":" + text for name, text in signed)
    octets += own[0] + b":" + own[1].removesuffix(b"\r\n")
    if isinstance(key, RSAPrivateKey):
        made = key.sign(octets, PKCS1v15(), SHA256())
    else:
        made = key.sign(hashlib.sha256(octets).digest())
    return b"DKIM-Signature:" + value + base64.b64encode(made) + b"\r\n" + mail


def verified(mail: bytes, ask: Ask | None = None, now: int = NOW) -> list[Verified]:
    return list(verify(parse(mail), ask or zone(), now))


def told(mail: bytes, ask: Ask | None = None, now: int = NOW) -> tuple[str, str]:
    """Return result and reason of the one signature of a mail."""
    (one,) = verified(mail, ask, now)
    return str(one.result), one.reason
