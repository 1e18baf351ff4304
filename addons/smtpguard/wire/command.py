"""Command lines: verb and argument, and what of them may be logged (RFC 5321 4.1.1).

Owns the split of a line and the masking of secrets. What an argument means is read by
``path``, ``parameters``, ``chunking`` and ``xclient``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from smtpguard.errors import ProtocolError
from smtpguard.wire import replies
from smtpguard.wire.commandspec import COMMANDS, spec


_VERB: Final = re.compile(rb"[A-Za-z][!-~]*\Z")
_CONTROL: Final = re.compile(rb"[\x00-\x1f\x7f]")
# A verb or a SASL mechanism (RFC 4422 3.1). All of one case, so that base64 sent out of
# step is not taken for one.
_PLAUSIBLE: Final = re.compile(rb"(?:[A-Z][A-Z0-9_-]{0,19}|[a-z][a-z0-9_-]{0,19})\Z")
_ESCAPES: Final = {
    **{code: f"\\x{code:02x}" for code in (*range(32), *range(127, 256))},
    9: "\\t",
    10: "\\n",
    13: "\\r",
}


@dataclass(frozen=True, slots=True)
class Command:
    """One command line of a client."""

    verb: str
    """Upper case, printable ASCII, never empty."""
    argument: bytes
    """What follows the spaces after the verb, without trailing spaces."""
    line: bytes
    """As received, without CRLF."""


def parse_command(line: bytes) -> Command:
    """Split a line without its CRLF into verb and argument.

    Raises ``ProtocolError``: 500 where there is no verb, with ``closes`` if what stands
    in its place is binary noise; 501 for control characters, TAB too, after it
    (RFC 5321 4.1.1 knows SP as the only separator).
    """
    verb, _, argument = line.partition(b" ")
    if not _VERB.match(verb):
        # A TAB is the one control that people type; it separates nothing.
        noise = _CONTROL.search(verb.replace(b"\t", b"")) or not verb.isascii()
        # The line itself stays out of the text: it may be a password out of step.
        raise ProtocolError(
            f"no verb in a line of {len(line)} octets",
            replies.SYNTAX if b"\t" in verb else replies.COMMAND_UNRECOGNISED,
            closes=bool(noise),
        )
    if _CONTROL.search(argument):
        raise ProtocolError("control character in an argument", replies.SYNTAX)
    return Command(verb.decode("ascii").upper(), argument.strip(b" "), line)


def redact(command: Command) -> bytes:
    """Return the line as it may be logged: printable ASCII, without secrets.

    Of AUTH the mechanism is kept. Of a verb that is not known nothing but the verb is,
    and that only if it looks like one: it may be a password sent out of step.
    """
    known = COMMANDS.get(command.verb)
    if known is None:
        return _redact_unknown(command)
    if not known.secret or not command.argument:
        # Controls are not in it: ``parse_command`` refuses them.
        ascii_line = command.line.isascii()
        return command.line if ascii_line else printable(command.line).encode("ascii")
    mechanism, _, response = command.argument.partition(b" ")
    if not _PLAUSIBLE.match(mechanism):
        return b"%s *" % command.verb.encode("ascii")
    shown = b"%s %s" % (command.verb.encode("ascii"), mechanism)
    return shown + b" *" if response else shown


def _redact_unknown(command: Command) -> bytes:
    written = command.line[: len(command.verb)]
    if spec(command.verb).hostile or _PLAUSIBLE.match(written):
        return written + b" *" if command.argument else written
    return b"*"


def printable(octets: bytes) -> str:
    """Return octets as text for logs: printable ASCII as it is, the rest escaped."""
    return octets.decode("latin-1").translate(_ESCAPES)
