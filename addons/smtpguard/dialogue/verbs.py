"""The conversation itself: the table of verbs, and how each command is taken."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

from smtpguard.dialogue import auth, effects, envelope, hello, message, small
from smtpguard.dialogue.asking import ask_others, report_anomaly
from smtpguard.dialogue.ending import abort_transaction, drop_transaction
from smtpguard.dialogue.exchange import ask, leave, settled
from smtpguard.dialogue.fairness import count_command
from smtpguard.dialogue.lines import next_line
from smtpguard.dialogue.opening import open_session
from smtpguard.dialogue.waits import (
    Anomaly,
    ClientGone,
    Expired,
    Hangup,
    Interrupt,
    Task,
    UpstreamLost,
)
from smtpguard.errors import ProtocolError
from smtpguard.model.session import Leg
from smtpguard.wire import parse_command, printable, redact, replies, spec


if TYPE_CHECKING:
    from smtpguard.dialogue.engine import Dialogue
    from smtpguard.model.reply import Reply
    from smtpguard.wire import Command


type Handler = Callable[[Dialogue, Command], Task[None]]

HANDLERS: dict[str, Handler] = {
    "AUTH": auth.auth,
    "BDAT": message.bdat,
    "DATA": message.data,
    "EHLO": hello.ehlo,
    "ETRN": small.etrn,
    "HELO": hello.helo,
    "HELP": small.help_,
    "MAIL": envelope.mail,
    "NOOP": small.noop,
    "QUIT": small.quit_,
    "RCPT": envelope.rcpt,
    "RSET": envelope.rset,
    "STARTTLS": hello.starttls,
    "VRFY": small.vrfy,
    "XCLIENT": small.xclient_,
}
IN_STEP = frozenset({"AUTH", "EHLO", "HELO", "STARTTLS"})
"""Verbs that wait until every earlier command is answered. The others do so themselves
where their meaning depends on it, or may be pipelined."""
ENDING = frozenset({"BDAT", "EHLO", "HELO", "RSET"})
"""Verbs whose refusal ends the transaction all the same."""
GOODBYE_SECONDS = 5.0
"""How long the upstream's answer to QUIT is awaited."""
_ERRORS = range(500, 505)
"""Codes of syntax and sequence errors (RFC 5321 4.2.1)."""


def converse(d: Dialogue) -> Task[None]:
    """Lead the session from its greeting to its end."""
    last: Reply | None = None
    try:
        yield from open_session(d)
        while True:
            yield from one_command(d)
    except ClientGone:
        reason = "client gone"
    except Expired:
        last, reason = replies.TIMEOUT, "client silent for too long"
    except UpstreamLost as lost:
        last, reason = replies.UPSTREAM_UNREACHABLE, f"upstream: {lost.reason}"
    except Hangup as hangup:
        last, reason = hangup.reply, hangup.reason
        if isinstance(hangup, Anomaly):
            report_anomaly(d)
    yield from farewell(d, last, reason)


def one_command(d: Dialogue) -> Task[None]:
    """Take one command of the client and answer it."""
    limits = d.settings.limits
    d.flush()
    try:
        line = yield from next_line(d, limits.auth_line)
        if line is None:
            yield from settled(d)
            raise Hangup(None, "client closed")
        command = read_command(d, line)
        count_command(d, command)
        yield from execute(d, command)
    except ProtocolError as error:
        d.answer(error.reply)
        if error.reply.code in _ERRORS:
            d.client.errors += 1
        if error.closes:
            raise Anomaly(None, str(error)) from None
        d.log(f"client: {error}")
        if d.client.errors >= limits.errors:
            raise Anomaly(replies.TOO_MANY_ERRORS, "too many errors") from None


def read_command(d: Dialogue, line: bytes) -> Command:
    """Read a line as a command and put it on record, secrets masked.

    Raises ProtocolError for what is none. Where AUTH was tried such a line may be a
    password sent out of step, so it is not quoted then.
    """
    try:
        command = parse_command(line)
    except ProtocolError as error:
        d.client.auth_seen |= b"auth" in line.lower()
        hidden = d.client.auth_seen and not d.record_auth
        d.record("C", b"*\r\n" if hidden else printable(line).encode() + b"\r\n")
        text = "no command" if d.client.auth_seen else str(error)
        closes = error.closes or d.session.authenticated
        raise ProtocolError(text, error.reply, closes=closes) from None
    d.record("C", recorded(d, command) + b"\r\n")
    if (
        command.verb != "AUTH"
        and len(command.line) + 2 > d.settings.limits.command_line
    ):
        raise ProtocolError("line too long", replies.LINE_TOO_LONG, closes=True)
    return command


def execute(d: Dialogue, command: Command) -> Task[None]:
    """Check where a command may stand, ask who wants to be asked, and do it."""
    known = spec(command.verb)
    d.client.auth_seen |= command.verb == "AUTH"
    if known.hostile:
        text = f"not SMTP: {shown(command)}"
        raise ProtocolError(text, replies.NOT_IMPLEMENTED, closes=True)
    required = d.settings.client_tls.starttls == "required"
    introducing = command.verb == "XCLIENT" and d.client.identity_awaited
    before_tls = known.before_tls or introducing
    if required and not d.client.secure and not before_tls:
        yield from refuse(d, command, replies.MUST_STARTTLS)
        return
    handler = HANDLERS.get(command.verb) if known.handled else None
    if handler is None:
        # Once AUTH was tried it may be a password that came out of step.
        text = "unknown command" if d.client.auth_seen else f"unknown: {shown(command)}"
        raise ProtocolError(text, replies.NOT_IMPLEMENTED)
    if d.ask_commands:
        refusal = yield from ask_others(d, command)
        if refusal is not None:
            yield from refuse(d, command, refusal)
            return
    if command.verb in IN_STEP:
        yield from settled(d)
    check_argument(command)
    yield from handler(d, command)


def check_argument(command: Command) -> None:
    """Raise ProtocolError where an argument lacks, or is there and must not be."""
    match spec(command.verb).argument:
        case "required" if not command.argument:
            raise ProtocolError(f"{command.verb} without argument", replies.SYNTAX)
        case "none" if command.argument:
            raise ProtocolError(f"{command.verb} takes no argument", replies.SYNTAX)


def recorded(d: Dialogue, command: Command) -> bytes:
    """Return a command as the transcript shows it."""
    if d.record_auth:
        return command.line
    if d.client.auth_seen and not spec(command.verb).handled:
        return b"*"
    return redact(command)


def shown(command: Command) -> str:
    """Return a command as it may be logged."""
    return redact(command).decode("ascii")


def refuse(d: Dialogue, command: Command, reply: Reply) -> Task[None]:
    """Refuse a command whoever handles it; what belongs to it is consumed."""
    if command.verb == "BDAT":
        yield from message.skip_chunk(d, command)
    if command.verb in ENDING:
        # A message without one of its chunks is another message, and whoever wanted
        # the transaction gone must not find it again.
        yield from settled(d)
        d.client.mail_refused |= d.transaction is not None
        abort_transaction(d, f"{command.verb} refused")
    d.answer(reply)


def farewell(d: Dialogue, last: Reply | None, reason: str) -> Task[None]:
    """Say the last word to the client, leave the upstream clean, close both."""
    if reason:
        d.log(f"session ends: {reason}", logging.INFO)
    d.client.parting = True
    upstream = d.upstream
    goodbye = last is replies.BYE and upstream is not None and upstream.settled
    if not goodbye:
        # Answers what the client still waits for, in its order, before the last word.
        leave(d, reason or "session ended")
    drop_transaction(d, reason or "session ended", last)
    if last is not None:
        d.answer(last)
    d.flush()
    if goodbye:
        yield from say_quit(d)
    leave(d, "session ended")
    d.mark("c", "closed")
    d.emit(effects.Close(Leg.CLIENT))


def say_quit(d: Dialogue) -> Task[None]:
    """Say QUIT upstream and wait for its answer, not for long."""
    assert d.upstream is not None
    d.upstream.said_quit = True
    try:
        yield from ask(
            d,
            b"QUIT\r\n",
            positive=frozenset({221, 250}),
            seconds=GOODBYE_SECONDS,
            shielded=True,
        )
    except Interrupt:
        return
