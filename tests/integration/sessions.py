"""Recorded sessions, found by the mails that went through them.

Reads what a guard has written with ``-w`` the way a user would: each flow's metadata
holds the whole record of its session.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from smtpguard.proxy.sessionrecord import read_record
from tests.integration.bed.process import wait_until
from tests.integration.bed.told import pair


if TYPE_CHECKING:
    from mitmproxy.tcp import TCPFlow

    from smtpguard.proxy.sessionrecord import SessionRecord
    from tests.integration.bed.guard import Guard
    from tests.integration.bed.mails import Mail


@dataclass(frozen=True, slots=True)
class Session:
    """One session that has ended."""

    flow: TCPFlow
    record: SessionRecord

    @property
    def client(self) -> str:
        """The real client's address."""
        return str(self.record.session["client"][0])

    @property
    def outcomes(self) -> list[str]:
        """What became of each transaction, in order."""
        return [each["disposition"] for each in self.record.transactions]

    @property
    def versions(self) -> dict[str, str]:
        """TLS of each leg, "" where it was in clear."""
        legs = self.record.legs
        return {
            name: (leg["tls"] or {}).get("version", "") for name, leg in legs.items()
        }

    def leg(self, name: str) -> Any:
        """Return what is recorded of a leg: ``tls`` and ``history``."""
        return self.record.legs[name]

    def said(self, directions: str) -> list[tuple[str, str]]:
        """Return the lines of a leg, commands as "C" and replies as "S", in order.

        ``directions`` are the letters of commands and replies: "Cc" is the client's
        leg, "sS" the upstream's.
        """
        command = directions[0]
        return [
            ("C" if entry.direction == command else "S", line.decode("latin-1"))
            for entry in self.record.entries
            if entry.kind == "line" and entry.direction in directions
            for line in entry.octets.split(b"\r\n")[:-1]
        ]

    @property
    def dialogue(self) -> list[tuple[str, str]]:
        """The client's commands with their replies, in order."""
        return pair(self.said("Cc"))

    def recipients(self) -> list[tuple[str, str]]:
        """Return each RCPT of the client with the reply that stands in its place."""
        return [
            (command[len("RCPT TO:<") :].partition(">")[0], reply)
            for command, reply in self.dialogue
            if command.upper().startswith("RCPT ")
        ]


def sessions_of(guard: Guard, *mails: Mail, seconds: float = 15.0) -> list[Session]:
    """Wait until every mail's session has ended; return them in order, each once.

    A mail that was sent twice has more than one. Raises ``BedError`` in vain.
    """
    tokens = [mail.token.encode() for mail in mails]
    found: list[TCPFlow] = []

    def complete() -> bool:
        found[:] = [flow for flow in guard.flows if _holds_any(flow, tokens)]
        return all(any(_holds_any(flow, [token]) for flow in found) for token in tokens)

    wait_until(complete, f"the sessions of {len(mails)} mails", seconds)
    found.sort(key=lambda flow: flow.timestamp_start)
    return [read_session(flow) for flow in found]


def read_session(flow: TCPFlow) -> Session:
    """Return a flow's session."""
    record = read_record(flow)
    assert record is not None, "a flow without a record"
    return Session(flow, record)


def log_lines(guard: Guard, token: str) -> list[str]:
    """Return the mail log's lines of the transactions of ``token``'s sessions."""
    return [line for line in guard.log.splitlines() if f"tx={token}" in line]


def _holds_any(flow: TCPFlow, tokens: list[bytes]) -> bool:
    content = b"".join(message.content for message in flow.messages)
    return any(re.search(re.escape(token) + rb"\b", content) for token in tokens)
