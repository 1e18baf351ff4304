"""The signatures of a message, verified; which of them an edit breaks (RFC 6376 6)."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from smtpguard.dkim.canonical import CRLF, body_digests, canonical_field
from smtpguard.dkim.publickey import PublicKey, find_key
from smtpguard.dkim.result import NotVerifiedError, Result
from smtpguard.dkim.signature import Signature, read_signature
from smtpguard.dkim.tags import parse_tags, without_signature
from smtpguard.mime import Limits, parse
from smtpguard.model.content import CHUNK_OCTETS
from smtpguard.wire.domain import normalise_domain


if TYPE_CHECKING:
    from smtpguard.mime import Field, Message
    from smtpguard.model.content import Content


MAX_SIGNATURES = 10
"""Of one message that are looked at, from the top, where the last servers put theirs;
each may have the DNS asked (RFC 6376 8.4)."""
FIELD = "dkim-signature"
_SHOWN = re.compile(rb"[A-Za-z0-9+/]{1,12}")
_BLANK = re.compile(rb"[ \t\r\n]+")
_HEADER_END = CRLF + CRLF

type Answers = Mapping[str, tuple[bytes, ...] | None]
"""TXT records by name, the strings of each joined; none where there is no such name,
None where the DNS could not say."""
type Ask = Callable[[Sequence[str]], Answers]
"""Asks the DNS for some names, in a time of its own; never raises."""
type Body = Callable[[], Iterator[bytes]]


@dataclass(frozen=True, slots=True)
class Verified:
    """What is known of one DKIM-Signature field."""

    result: Result
    reason: str
    """Why, or what restricts it; ours, printable ASCII, may be ""."""
    domain: str
    """As claimed, normal form; "" where it is none."""
    selector: str
    algorithm: str
    beginning: str
    """Of ``b=``: tells signatures of one domain apart (RFC 6008)."""
    signature: Signature | None = None
    """None where it cannot be read."""
    key: PublicKey | None = None
    """None where there is none to verify with: then the result stands."""


@dataclass(frozen=True, slots=True)
class _Source:
    """What signatures speak about."""

    fields: Sequence[Field]
    body: Body


def is_signed(message: Message) -> bool:
    """Say whether there is a DKIM-Signature field, valid or not."""
    return any(field.is_named(FIELD) for field in message.fields)


def verify(message: Message, ask: Ask, now: int) -> tuple[Verified, ...]:
    """Verify the first ``MAX_SIGNATURES`` signatures of a message, from the top.

    ``ask`` is called once, with every name that is needed, if any is; ``now`` is in
    seconds since 1970. Never raises.
    """
    found = [field.raw for field in message.fields if field.is_named(FIELD)]
    read = [_read(field, now, message) for field in found[:MAX_SIGNATURES]]
    signatures = [one.signature for one in read if one.signature is not None]
    names = tuple(dict.fromkeys(one.key_name for one in signatures))
    answers = ask(names) if names else {}
    keyed = [_with_key(one, answers) for one in read]
    return tuple(_judged(keyed, _source(message)))


def broken(
    verified: Sequence[Verified], content: Content, limits: Limits
) -> tuple[Verified, ...]:
    """Return those that held and hold no more in the message after its edits."""
    held = [one for one in verified if one.result is Result.PASS]
    if not held:
        return ()
    source = _source_of(content, limits)
    still = {field.raw for field in source.fields if field.is_named(FIELD)}
    after = {
        one.signature
        for one in _judged(held, source)
        if one.result is Result.PASS and one.signature and one.signature.field in still
    }
    return tuple(one for one in held if one.signature not in after)


def _read(field: bytes, now: int, message: Message) -> Verified:
    tags: dict[bytes, bytes] = {}
    try:
        tags = parse_tags(field.partition(b":")[2])
        signature = read_signature(field, tags, now)
        if not message.is_header_read:
            _refuse(Result.POLICY, "the header is larger than what is read")
        froms = sum(field.is_named("from") for field in message.fields)
        if signature.signed_names.count("from") < froms:
            _refuse(Result.POLICY, "another From field is not signed")
    except NotVerifiedError as error:
        return Verified(error.result, error.reason, *_claims(tags))
    return Verified(Result.TEMPERROR, "", *_claims(tags), signature)


def _refuse(result: Result, reason: str) -> None:
    raise NotVerifiedError(result, reason)


def _claims(tags: Mapping[bytes, bytes]) -> tuple[str, str, str, str]:
    """Return domain, selector, algorithm and the beginning of ``b=``, each "" unless
    it is what it should be."""
    algorithm = tags.get(b"a", b"").lower()
    known = {b"rsa-sha256", b"rsa-sha1", b"ed25519-sha256"}
    shown = _SHOWN.match(_BLANK.sub(b"", tags.get(b"b", b"")[:80]))
    return (
        _domain(tags.get(b"d", b"")),
        _domain(tags.get(b"s", b"")),
        algorithm.decode() if algorithm in known else "",
        shown[0].decode() if shown else "",
    )


def _domain(value: bytes) -> str:
    try:
        domain = normalise_domain(value.decode("utf-8"))
    except ValueError:
        return ""
    return "" if domain.startswith("[") else domain


def _with_key(one: Verified, answers: Answers) -> Verified:
    if one.signature is None:
        return one
    records = answers.get(one.signature.key_name)
    if records is None:
        return replace(one, reason="no answer from the DNS")
    try:
        key = find_key(records, one.signature)
    except NotVerifiedError as error:
        return replace(one, result=error.result, reason=error.reason)
    return replace(one, key=key)


def _judged(all_of_them: Sequence[Verified], source: _Source) -> Iterator[Verified]:
    """Yield each with its result; those without a key as they are."""
    bodies: dict[bool, tuple[dict[int, bytes], int]] = {}
    keyed = [one.signature for one in all_of_them if one.key and one.signature]
    for relaxed in {one.relaxed_body for one in keyed}:
        lengths = {one.length for one in keyed if one.relaxed_body is relaxed}
        bodies[relaxed] = body_digests(
            source.body(), [one for one in lengths if one is not None], relaxed=relaxed
        )
    for one in all_of_them:
        if one.signature is None or one.key is None:
            yield one
            continue
        digests, size = bodies[one.signature.relaxed_body]
        reason = _fault(one.signature, one.key, source, digests, size)
        if not reason:
            is_part = one.signature.length not in {None, size}
            told = "a part of the body is not signed" if is_part else ""
            yield replace(one, result=Result.PASS, reason=told)
        elif one.key.is_testing:
            told = f"{reason}, with a key on trial"
            yield replace(one, result=Result.NEUTRAL, reason=told)
        else:
            yield replace(one, result=Result.FAIL, reason=reason)


def _fault(
    signature: Signature,
    key: PublicKey,
    source: _Source,
    digests: Mapping[int, bytes],
    size: int,
) -> str:
    """Return why a signature does not hold, "" where it does."""
    length = size if signature.length is None else signature.length
    if length > size:
        return "the body is shorter than what was signed"
    if digests[length] != signature.body_hash:
        return "the body has changed"
    digest = _header_digest(signature, source.fields)
    return "" if key.has_signed(digest, signature.octets) else "signature does not fit"


def _header_digest(signature: Signature, fields: Sequence[Field]) -> bytes:
    """Hash the signed fields, of each name from the bottom (RFC 6376 5.4.2), and the
    signature's own without what it is to tell."""
    by_name: dict[str, list[bytes]] = {}
    wanted = set(signature.signed_names)
    for field in fields:
        name = field.name.lower()
        if name in wanted and (name != FIELD or field.raw != signature.field):
            by_name.setdefault(name, []).append(field.raw)
    relaxed = signature.relaxed_header
    digest = hashlib.sha256()
    for name in signature.signed_names:
        if of_name := by_name.get(name):
            digest.update(canonical_field(of_name.pop(), relaxed=relaxed))
    own = without_signature(signature.field)
    digest.update(canonical_field(own, relaxed=relaxed).removesuffix(CRLF))
    return digest.digest()


def _source(message: Message) -> _Source:
    def body() -> Iterator[bytes]:
        span = message.root.body
        for start in range(span.start, span.end, CHUNK_OCTETS):
            yield message.buffer[start : min(start + CHUNK_OCTETS, span.end)]

    return _Source(message.fields, body)


def _source_of(content: Content, limits: Limits) -> _Source:
    """Read the header of an edited message again; its body is only passed through."""
    header = b""
    for chunk in content.chunks():
        searched = max(0, len(header) - len(_HEADER_END))
        header += chunk
        end = header.find(_HEADER_END, searched)
        if end >= 0:
            header = header[: end + len(_HEADER_END)]
            break

    def body() -> Iterator[bytes]:
        left = len(header)
        for chunk in content.chunks():
            yield chunk[left:] if left else chunk
            left = max(0, left - len(chunk))

    return _Source(parse(header, limits).fields, body)
