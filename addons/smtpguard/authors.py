"""Who a message says it is from: the addresses of its From fields (RFC 5322 3.6.2).

Senders who want to look like somebody else write a From that readers take apart
differently, so every reading counts, as with file names: each bracket, an address that
stands unquoted before one, each of several fields. What every reader takes for a name
(quoted strings, comments) is left out. What looks like an address and cannot be parsed
is returned all the same: the condition that asks for it then does not know.

Pure and linear in the length of the fields.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from smtpguard.mime.addresslists import QUOTED, ROUTE, TOKEN, entries
from smtpguard.wire import parse_mailbox


if TYPE_CHECKING:
    from collections.abc import Iterator

    from smtpguard.mime import Field, Message
    from smtpguard.mime.addresslists import Place


MAX_AUTHORS = 50
"""Each is compared with each rule for each part; real mail has one, rarely three."""

_WORD = re.compile(rf'(?:{QUOTED}|\\.|[^\s"\\]++|["\\])++', re.DOTALL)
# Pairs too: else each quote behind a backslash would be tried as the first of two.
_QUOTED_STRING = re.compile(rf"{QUOTED}|\\.", re.DOTALL)
# Tried at the first of several blanks only, so that they are walked over once.
_LOOSE = re.compile(r"(?<!\s)\s*+([@.])\s*+")
# What nearly every mail has, and every reader takes for the same.
_ADDRESS = r"([A-Za-z0-9._+-]++@[A-Za-z0-9-]++(?:\.[A-Za-z0-9-]++)++)"
_NAME = r'(?:"[^"\\]*+"|[^"(),:;<>@\\]*+)'
_PLAIN = re.compile(rf"(?:{_NAME}\s*+<{_ADDRESS}>|{_ADDRESS})\Z")


def authors(message: Message) -> tuple[str, ...] | None:
    """Return the distinct addresses of the From fields, as written there.

    None where they cannot be told: the header was not read to its end, or there are
    more than ``MAX_AUTHORS``. () where no From field has an address.
    """
    if not message.is_header_read:
        return None
    found: dict[str, None] = {}
    for field in message.fields:
        if field.is_named("from"):
            for address in _addresses(field):
                found.setdefault(address)
                if len(found) > MAX_AUTHORS:
                    return None
    return tuple(found)


def _addresses(field: Field) -> Iterator[str]:
    """Yield the addresses of one field; encoded words are names, unless all is one."""
    text = field.raw_value.decode("utf-8", "replace")
    if plain := _PLAIN.match(text):
        yield plain[1] or plain[2]
        return
    is_empty = True
    for address in _read(text):
        is_empty = False
        yield address
    if is_empty and "=?" in text:
        yield from _read(field.value)


def _read(text: str) -> Iterator[str]:
    for place, tokens in entries(text):
        for word in _words(place, "".join(token.text for token in tokens)):
            if "@" not in _QUOTED_STRING.sub("", word):
                continue
            address = word.strip("'").rstrip(".")
            if place != "phrase" or _is_address(address):
                yield address


def _words(place: Place, entry: str) -> list[str]:
    if place != "phrase":
        entry = ROUTE.sub("", entry, count=1) if place == "angle" else entry
        # RFC 5322 4.4: blanks around the dots and the @ of an address.
        entry = "".join(
            token if token.startswith('"') else _LOOSE.sub(r"\1", token)
            for token in TOKEN.findall(entry.replace(",", " "))
        )
    return _WORD.findall(entry)


def _is_address(text: str) -> bool:
    try:
        parse_mailbox(text)
    except ValueError:
        return False
    return True
