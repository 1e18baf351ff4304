"""Paths and mailboxes of the envelope (RFC 5321 4.1.2, 4.1.3, RFC 6531 3.3).

Owns the grammar of ``MAIL FROM:<...>`` and ``RCPT TO:<...>`` up to the split into
parameters; that of domains and their normal form is in ``domain``. What does not parse
is refused here, so a rule never sees an address that the next server reads otherwise.
``%`` and ``!`` are ordinary characters of a local part. Knows no capabilities: what a
parameter may hold is told by ``parameters``.

Every expression below is deterministic (no two ways to match the same octets), so the
time is linear.
"""

from __future__ import annotations

import re
import unicodedata
from typing import TYPE_CHECKING, Final, NamedTuple, NoReturn

from smtpguard.errors import ProtocolError
from smtpguard.model.mailbox import Mailbox, Parameter, Path
from smtpguard.wire import replies
from smtpguard.wire.command import printable
from smtpguard.wire.domain import LITERAL, NAME, normalise_domain


if TYPE_CHECKING:
    from smtpguard.model.reply import Reply


MAX_PATH: Final = 256
"""Octets with brackets and source route (RFC 5321 4.5.3.1.3)."""
MAX_LOCAL_PART: Final = 64
"""Octets as written, quotes included (RFC 5321 4.5.3.1.1)."""

# RFC 5321 atext; RFC 6531 3.3 adds UTF8-non-ascii to it, qtextSMTP and esmtp-value.
_ATOM: Final = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~\x80-\U0010ffff-]+"
_DOT_STRING: Final = re.compile(rf"{_ATOM}(?:\.{_ATOM})*")
_QUOTED: Final = re.compile(r'"(?:[ !#-\[\]-~\x80-\U0010ffff]|\\[ -~])*"', re.DOTALL)
_QUOTED_PAIR: Final = re.compile(r"\\(.)", re.DOTALL)
_ROUTE: Final = re.compile(rf"@{NAME}(?:,@{NAME})*:")
_DOMAIN: Final = re.compile(rf"{LITERAL}|{NAME}")
_PARAMETER: Final = re.compile(
    r"([A-Za-z0-9][A-Za-z0-9-]*)(?:=([!-<>-~\x80-\U0010ffff]+))?\Z"
)
# RFC 5198 2 keeps these out of text on the wire; surrogates stand for invalid UTF-8.
_NOT_TEXT: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


class _Unparsable(Exception):  # noqa: N818  never leaves this module
    """The text is no path; its message says where it stops being one."""

    def __init__(self, text: str, discreet: str = "") -> None:
        super().__init__(text)
        self.discreet = discreet or text
        """The same without a letter of the address, which logs may have to hide."""


class _Parsed(NamedTuple):
    mailbox: Mailbox | None
    end: int


def parse_mail(argument: bytes) -> Path:
    """Return the reverse-path and parameters of MAIL, ``FROM:`` included.

    Raises ``ProtocolError``: ``501 5.1.7`` for the path, ``501 5.5.4`` for the rest,
    ``553 5.6.7`` for octets outside ASCII without a SMTPUTF8 parameter.
    """
    path = _parse_path(argument, b"FROM:", replies.BAD_SENDER)
    if not argument.isascii() and path.parameter("SMTPUTF8") is None:
        raise ProtocolError("not ASCII without SMTPUTF8", replies.SMTPUTF8_NEEDED)
    return path


def parse_rcpt(argument: bytes, *, smtputf8: bool) -> Path:
    """Return the forward-path and parameters of RCPT, ``TO:`` included.

    ``smtputf8`` says whether MAIL asked for it. ``<Postmaster>`` needs no domain.
    Raises ``ProtocolError``: ``501 5.1.3`` for the path, ``501 5.5.4`` for the rest,
    ``553 5.6.7`` for octets outside ASCII without SMTPUTF8.
    """
    path = _parse_path(argument, b"TO:", replies.BAD_RECIPIENT)
    if not smtputf8 and not argument.isascii():
        raise ProtocolError("not ASCII without SMTPUTF8", replies.SMTPUTF8_NEEDED)
    return path


def parse_mailbox(text: str) -> Mailbox:
    """Return ``local-part@domain`` of a rule file as a mailbox, with the same grammar.

    Where the domain is not ASCII, its A-labels are what would be sent. Raises
    ValueError.
    """
    try:
        _check_text(text)
        mailbox, end = _parse_mailbox(text, 0)
        if end != len(text):
            _stop(text, end)
    except _Unparsable as error:
        raise ValueError(str(error)) from None
    written = text.rpartition("@")
    if written[2].isascii():
        return mailbox
    octets = f"{written[0]}@{mailbox.domain}".encode()
    return Mailbox(octets, mailbox.local_part, mailbox.domain)


def _parse_path(argument: bytes, prefix: bytes, bad_path: Reply) -> Path:
    if argument[: len(prefix)].upper() != prefix:
        raise ProtocolError(f"no {prefix.decode('ascii')}", replies.SYNTAX)
    # One space after the colon is against RFC 5321 3.3 but common and unambiguous.
    written = argument[len(prefix) :].removeprefix(b" ")
    text = written.decode("utf-8", "surrogateescape")
    try:
        _check_text(text)
        parsed = _parse_bracketed(text, nullable=prefix == b"FROM:")
        rest = text[parsed.end :]
        if rest and not rest.startswith(" "):
            _stop(text, parsed.end)
    except _Unparsable as error:
        raise ProtocolError(f"unparsable path: {error.discreet}", bad_path) from None
    return Path(parsed.mailbox, _parse_parameters(rest))


def _parse_bracketed(text: str, *, nullable: bool) -> _Parsed:
    if nullable and text.startswith("<>"):
        return _Parsed(None, end=2)
    if not text.startswith("<"):
        _stop(text, 0)
    # A source route is dropped, as RFC 5321 appendix C asks.
    route = _ROUTE.match(text, 1)
    start = route.end() if route else 1
    mailbox, end = _parse_mailbox(text, start, postmaster=not nullable)
    if text[end : end + 1] != ">":
        _stop(text, end)
    if len(text[: end + 1].encode()) > MAX_PATH:
        raise _Unparsable(f"path over {MAX_PATH} octets")
    return _Parsed(mailbox, end + 1)


def _parse_mailbox(
    text: str, start: int, *, postmaster: bool = False
) -> tuple[Mailbox, int]:
    """Return the mailbox that begins at ``start``, and the offset behind it."""
    local = _DOT_STRING.match(text, start) or _QUOTED.match(text, start)
    if local is None:
        _stop(text, start)
    if len(local[0].encode()) > MAX_LOCAL_PART:
        raise _Unparsable(f"local part over {MAX_LOCAL_PART} octets")
    end = local.end()
    if text[end : end + 1] != "@":
        if postmaster and local[0].lower() == "postmaster":
            return Mailbox(local[0].encode(), local[0], ""), end
        _stop(text, end)
    domain = _DOMAIN.match(text, end + 1)
    if domain is None:
        _stop(text, end + 1)
    try:
        normal = normalise_domain(domain[0])
    except ValueError as error:
        raise _Unparsable(str(error), "bad domain") from None
    octets = f"{local[0]}@{domain[0]}".encode()
    return Mailbox(octets, _unquote(local[0]), normal), domain.end()


def _unquote(written: str) -> str:
    """Return what a local part means: quoting undone, in Unicode's form NFC."""
    if written.startswith('"'):
        written = _QUOTED_PAIR.sub(r"\1", written[1:-1])
    return unicodedata.normalize("NFC", written)


def _parse_parameters(rest: str) -> tuple[Parameter, ...]:
    parameters = []
    for written in rest.split(" "):
        if not written:
            continue
        found = _PARAMETER.match(written)
        if found is None:
            # Its value may be an address (ORCPT, AUTH).
            raise ProtocolError("bad parameter", replies.SYNTAX)
        parameters.append(Parameter(found[1].upper(), found[2]))
    return tuple(parameters)


def _check_text(text: str) -> None:
    bad = _NOT_TEXT.search(text)
    if bad:
        _stop(text, bad.start())


def _stop(text: str, offset: int) -> NoReturn:
    shown = printable(text[offset : offset + 16].encode("utf-8", "surrogateescape"))
    what = f'"{shown}"' if shown else "end"
    text = f"unexpected {what} at {offset}"
    raise _Unparsable(text, f"nothing that fits at {offset}")
