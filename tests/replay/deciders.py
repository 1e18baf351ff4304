"""Deciders of a few lines, and sessions recorded through them."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mitmproxy import connection, tcp

from smtpguard.model.content import Spool
from smtpguard.model.decider import Decider, Judge
from smtpguard.model.decision import Action, Decision
from smtpguard.model.disposition import Disposition, Outcome
from smtpguard.model.envelope import Envelope
from smtpguard.model.mailbox import Path as MailPath
from smtpguard.model.session import SessionFacts
from smtpguard.model.settings import Refusal, Settings, TrustedClient
from smtpguard.options import GuardOptions, Record
from smtpguard.policy.replies import UNKNOWN_RECIPIENT
from smtpguard.proxy.record import Recorder
from smtpguard.proxy.spool import Budget
from smtpguard.replay.memory import MemorySession


CLIENT = ("192.0.2.1", 40000)
UPSTREAM = ("192.0.2.9", 25)


@dataclass
class Rules:
    """Allows everything but what it is told to refuse."""

    settings: Settings = field(default_factory=Settings)
    denied: tuple[str, ...] = ()
    """Recipients."""
    verdict: Disposition = field(
        default_factory=lambda: Disposition(Outcome.RELAYED, action=Action.ALLOW)
    )
    trusted_client: TrustedClient | None = None

    def trusted(self, client: tuple[str, int]) -> TrustedClient | None:
        return self.trusted_client

    def connect(self, session: SessionFacts) -> Settings | Refusal:
        return self.settings

    def block(self, session: SessionFacts, rule: str, identifier: str) -> str:
        return ""

    def anomaly(self, session: SessionFacts, identifier: str) -> str:
        return ""

    def helo(self, session: SessionFacts) -> Decision:
        return Decision(Action.ALLOW)

    def begin(self, session: SessionFacts) -> Judge:
        return self

    def mail(self, session: SessionFacts, reverse_path: MailPath) -> Decision:
        return Decision(Action.ALLOW, "mail_from:1")

    def rcpt(
        self, session: SessionFacts, envelope: Envelope, forward_path: MailPath
    ) -> Decision:
        if str(forward_path.mailbox) in self.denied:
            return Decision(Action.DENY, "rcpt_to:1", UNKNOWN_RECIPIENT)
        return Decision(Action.ALLOW, "rcpt_to:2")

    def message(
        self, session: SessionFacts, envelope: Envelope, content: Spool
    ) -> Disposition:
        return self.verdict


def new_flow(
    client: tuple[str, int] = CLIENT, upstream: tuple[str, int] = UPSTREAM
) -> tcp.TCPFlow:
    return tcp.TCPFlow(
        connection.Client(peername=client, sockname=upstream),
        connection.Server(address=upstream),
        live=True,
    )


class Recorded:
    """A session in memory with its flow."""

    def __init__(
        self,
        rules: Decider | None = None,
        *,
        mode: Record = "full",
        limit: int = 1024 * 1024,
        mail_octets: int = 16 << 20,
        budget: Budget | None = None,
        **facts: Any,
    ) -> None:
        self.flow = new_flow()
        options = GuardOptions(rules=Path(), record=mode, record_limit=limit)
        self.recorder = Recorder(
            self.flow,
            options,
            clock=lambda: 1.7e9,
            mail_octets=mail_octets,
            budget=budget,
        )
        facts = {"client": CLIENT, "destination": UPSTREAM, "id": "s1", **facts}
        self.memory = MemorySession(
            rules or Rules(),
            SessionFacts(**facts),
            options={"record_limit": self.recorder.record_limit},
        )
        self._taken = 0

    def update(self) -> bool:
        for record in self.memory.records[self._taken :]:
            self.recorder.transaction(record)
        self._taken = len(self.memory.records)
        return self.recorder.update(self.memory.dialogue)

    def client(self, *lines: bytes) -> None:
        self.memory.from_client(b"".join(line + b"\r\n" for line in lines))
        self.update()

    def upstream(self, *lines: bytes) -> None:
        self.memory.from_upstream(b"".join(line + b"\r\n" for line in lines))
        self.update()

    def greet(self, *keywords: bytes) -> None:
        """Take the session to where MAIL may come."""
        self.memory.start()
        self.memory.opened()
        self.upstream(b"220 mx.example ESMTP")
        self.client(b"EHLO client.example")
        lines = [b"mx.example", *keywords]
        self.upstream(
            *(b"250-" + line for line in lines[:-1]),
            b"250 " + lines[-1],
        )

    def send(
        self,
        *recipients: tuple[bytes, bytes],
        body: bytes = b"Subject: x\r\n\r\nhello",
        end: bytes = b"250 2.0.0 queued",
    ) -> None:
        """Send one mail in lockstep; each recipient with the upstream's answer."""
        self.client(b"MAIL FROM:<a@client.example>")
        self.upstream(b"250 2.1.0 ok")
        for address, answer in recipients:
            self.client(b"RCPT TO:<" + address + b">")
            if answer:
                self.upstream(answer)
        self.client(b"DATA")
        if not self.memory.client_heard.splitlines()[-1].startswith(b"354"):
            self.client(b"RSET")
            self.upstream(b"250 2.0.0 reset")
            return
        self.client(body, b".")
        if self.memory.upstream_heard.endswith(b"DATA\r\n"):
            self.upstream(b"354 go on")
            self.upstream(end)
        if self.memory.upstream_heard.endswith(b"RSET\r\n"):
            self.upstream(b"250 2.0.0 reset")

    def quit(self) -> tcp.TCPFlow:
        self.client(b"QUIT")
        self.upstream(b"221 2.0.0 bye")
        return self.finish()

    def finish(self, error: str | None = None) -> tcp.TCPFlow:
        self.update()
        self.recorder.finish(self.memory.dialogue, error)
        return self.flow
