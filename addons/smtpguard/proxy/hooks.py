"""Hooks for other mitmproxy addons: what they can see and decide of an SMTP session.

An addon takes part by defining ``smtp_start``, ``smtp_command``, ``smtp_message`` or
``smtp_end`` (plain or ``async``); each gets one data object. Every decision begins
undecided, and undecided is refused for now (4yz): mitmproxy logs and swallows an
exception in a hook, so a crash must never mean "relay".

None of these hooks stops the session: deadlines run and the peers are watched while a
handler works. An answer that comes too late is dropped.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from mitmproxy.proxy import commands


if TYPE_CHECKING:
    from mitmproxy import tcp
    from mitmproxy.proxy import context

    from smtpguard.dialogue.record import TransactionRecord
    from smtpguard.dialogue.transaction import Transaction
    from smtpguard.model.content import Spool
    from smtpguard.model.decider import Decider
    from smtpguard.model.disposition import Disposition
    from smtpguard.model.envelope import Envelope
    from smtpguard.model.reply import Reply
    from smtpguard.model.session import SessionFacts
    from smtpguard.wire.command import Command


@dataclass(slots=True)
class SmtpStartData:
    """What ``smtp_start`` gets."""

    session: SessionFacts
    """Who connects to what; nothing has been said yet."""
    context: context.Context
    """mitmproxy's context, with both connection objects."""
    decider: Decider | None = None
    """Who answers for the rules in this session. None greets with 421 4.3.2."""


@dataclass(slots=True)
class SmtpCommandData:
    """What ``smtp_command`` gets."""

    session: SessionFacts
    command: Command
    """The client's command; AUTH's secrets are in it, so never log it as it is."""
    answer: Reply | Literal["pass"] | None = None
    """``"pass"`` lets the command go on, a reply answers it instead, None is 451."""


@dataclass(slots=True)
class SmtpMessageData:
    """What ``smtp_message`` gets."""

    session: SessionFacts
    transaction: Transaction
    """With ``id`` for the log and ``judge``, the rules this transaction began under."""
    envelope: Envelope
    content: Spool
    """The whole message as it came, dot-stuffing undone. Must not be written to."""
    disposition: Disposition | None = None
    """What is to become of the message. None is 451 4.3.0. A handler that finds a
    disposition here leaves it as it is, or has a reason to overrule it."""


@dataclass(slots=True)
class SmtpEndData:
    """What ``smtp_end`` gets."""

    session: SessionFacts
    records: list[TransactionRecord]
    """One for each transaction, in order."""
    flow: tcp.TCPFlow
    """The session as mitmproxy shows and saves it; its metadata may be added to."""


@dataclass
class SmtpStartHook(commands.StartHook):
    """
    A client has connected to an SMTP service and nothing has been said yet.

    An addon is expected to set data.decider (by default, this is done by smtpguard).
    """

    data: SmtpStartData


@dataclass
class SmtpCommandHook(commands.StartHook):
    """
    An SMTP client has sent a command. Raised only if an addon defines smtp_command.

    An addon is expected to set data.answer to "pass" or to a reply.
    """

    data: SmtpCommandData


@dataclass
class SmtpMessageHook(commands.StartHook):
    """
    An SMTP client has sent a whole message, which waits for its verdict.

    An addon is expected to set data.disposition (by default, smtpguard does).
    """

    data: SmtpMessageData


@dataclass
class SmtpEndHook(commands.StartHook):
    """An SMTP session has ended. Nothing can be changed any more."""

    data: SmtpEndData
