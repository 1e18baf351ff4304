"""What is written into a message about its score: a word in the subject, a field.

A prefix in the subject leaves what stands there as it is: encoded words (RFC 2047) stay
words of their own. A field alone breaks no DKIM signature.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from smtpguard.mime import Edit, Span, remove_field
from smtpguard.model.verdict import VerdictKind
from smtpguard.scanning import RAW, SPAM


if TYPE_CHECKING:
    from smtpguard.examining import Examined
    from smtpguard.mime import Field
    from smtpguard.policy.spam import Category


FIELD = "X-SmtpGuard-Spam"
_MAX_LINE = 998


def tagged(said: Examined) -> tuple[list[Edit], list[tuple[str, str]]]:
    """Plan the tag of a message that is to have one.

    Returns what changes fields that are there, and names and values of those to add.
    """
    spam, decision = said.policy.spam, said.tag()
    if spam is None or decision is None:
        return [], []
    message, category = said.message, _category(said)
    forged = [one for one in message.fields if one.is_named(FIELD)]
    edits = [remove_field(message, one) for one in forged]
    added = [(FIELD, _value(said))]
    is_signed = any(one.is_named("dkim-signature") for one in message.fields)
    keeps_dkim = is_signed and said.policy.handling.on_dkim == "deny"
    if spam.in_subject and not keeps_dkim:
        prefix = category.subject if category else "***SPAM***"
        subjects = [one for one in message.fields if one.is_named("subject")]
        edits += [_prefixed(one, prefix.encode("ascii")) for one in subjects]
        if not subjects:
            added.append(("Subject", prefix))
    return edits, added


def verdict_fields(said: Examined) -> dict[str, str]:
    """Return fields of ours (their names without ``X-SmtpGuard-``) about verdicts."""
    told: dict[str, str] = {}
    parts = {
        path: one for path, one in said.verdicts.items() if path not in (RAW, SPAM)
    }
    if parts:
        kinds = {str(one[-1].kind): None for one in parts.values()}
        actions = {str(said.parts[path].action): None for path in parts}
        words = "part" if len(parts) == 1 else "parts"
        told["Virus"] = (
            f"{len(parts)} {words} scanned. {', '.join(kinds)} "
            f"action={', '.join(actions)}"
        )
    # With a tag the field is there already.
    if SPAM in said.verdicts and said.tag() is None:
        told["Spam"] = _value(said)
    return told


def _category(said: Examined) -> Category | None:
    verdicts = said.verdicts.get(SPAM, ())
    score = verdicts[-1].score if verdicts else None
    spam = said.policy.spam
    return None if spam is None or score is None else spam.category(score)


def _value(said: Examined) -> str:
    verdicts = said.verdicts.get(SPAM, ())
    if not verdicts:
        return "exception"
    last = verdicts[-1]
    if last.kind is not VerdictKind.SCORED or last.score is None:
        return f"unscored; {last.scanner}={last.kind}"
    category = _category(said)
    name = category.name if category else "clean"
    return f"{name}; {last.scanner}={last.score:g}"


def _prefixed(field: Field, prefix: bytes) -> Edit:
    at = field.value_span.start
    value = field.value_span.of(field.buffer)
    first = value.partition(b"\n")[0]
    lead = b" " + prefix
    if not first.startswith((b" ", b"\t", b"\r")) and first:
        lead += b" "
    length = (at - field.span.start) + len(lead) + len(first)
    if length > _MAX_LINE:
        lead = b" " + prefix + b"\r\n "
    return Edit(Span(at, at), lead)
