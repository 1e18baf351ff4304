"""Addresses in header fields replaced, where an envelope rule says so (contract 5).

Touches the octets of addr-specs (RFC 5322 3.4.1) and no other: comments, display names
and encoded words stay, whatever they hold, and so do folds. Compares as rules do: local
parts without case, domains in their normal form. Left alone on purpose: addr-specs in
obsolete syntax (4.4), with blanks, folds or comments inside, since those would go with
them; and lines that grow beyond 998 octets are not folded anew.

Pure and linear in the length of the fields.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from smtpguard.mime import Edit, Span
from smtpguard.mime.addresslists import ROUTE, entries
from smtpguard.wire import parse_mailbox


if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from smtpguard.mime import Field, Message
    from smtpguard.mime.addresslists import Token
    from smtpguard.model.mailbox import Mailbox


_BLANKS = " \t\r\n"

type _Key = tuple[str, str]


def rewrite_addresses(
    message: Message, fields: Collection[str], changes: Mapping[Mailbox, Mailbox]
) -> tuple[Edit, ...]:
    """Plan to replace each address that is a key of ``changes`` by its value, in the
    message's own fields of these names (without case).

    () where the header was not read to its end. Raises ValueError unless all mailboxes
    have a domain, and the new ones are ASCII as they are written.
    """
    wanted = {_key(old): _written(new) for old, new in changes.items()}
    if not wanted or not message.is_header_read:
        return ()
    names = {name.lower() for name in fields}
    return tuple(
        Edit(span, wanted[key])
        for field in message.fields
        if field.name.lower() in names
        for span, key in _addresses(field)
        if key in wanted
    )


def _key(mailbox: Mailbox) -> _Key:
    if not mailbox.domain:
        msg = f"a mailbox without a domain: {mailbox}"
        raise ValueError(msg)
    return mailbox.local_part.lower(), mailbox.domain


def _written(mailbox: Mailbox) -> bytes:
    _key(mailbox)
    if not mailbox.octets.isascii():
        msg = f"no address for every mail system: {mailbox}"
        raise ValueError(msg)
    return mailbox.octets


def _addresses(field: Field) -> Iterator[tuple[Span, _Key]]:
    base = field.value_span.start
    # A character for each octet, so that offsets are those of the message.
    text = field.value_span.of(field.buffer).decode("latin-1")
    for place, tokens in entries(text):
        if place == "phrase":
            continue
        start, end = _inside(text, tokens)
        try:
            address = text[start:end].encode("latin-1").decode("utf-8")
            key = _key(parse_mailbox(address))
        except ValueError:
            # A name, an obsolete form, or nothing.
            continue
        yield Span(base + start, base + end), key


def _inside(text: str, tokens: list[Token]) -> tuple[int, int]:
    """Return where the one word of an entry begins and ends, without blanks, comments
    and a source route around it."""
    while tokens and not tokens[-1].text.strip(_BLANKS):
        tokens.pop()
    first = next((token for token in tokens if token.text.strip(_BLANKS)), None)
    if first is None:
        return 0, 0
    start, end = first.start, tokens[-1].start + len(tokens[-1].text)
    if route := ROUTE.match(text[start:end]):
        start += route.end()
    word = text[start:end]
    return start + len(word) - len(word.lstrip(_BLANKS)), start + len(
        word.rstrip(_BLANKS)
    )
