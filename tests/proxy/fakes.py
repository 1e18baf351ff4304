"""Stand-ins for what the layers work with: dialogue, pacing, recorder, rules."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, cast

from smtpguard.dialogue import Dialogue, TransactionRecord, effects
from smtpguard.dialogue import events as happenings
from smtpguard.dialogue.client import ClientLeg
from smtpguard.dialogue.transcript import Transcript
from smtpguard.model.decision import Action, Decision
from smtpguard.model.disposition import Disposition, Outcome
from smtpguard.model.session import SessionFacts
from smtpguard.model.settings import Refusal, Settings, TrustedClient
from smtpguard.options import GuardOptions
from smtpguard.proxy.registry import Registry
from smtpguard.proxy.services import Drain, Services
from tests.proxy.playbook import Clock


if TYPE_CHECKING:
    from pathlib import Path as FilePath

    from mitmproxy import tcp
    from mitmproxy.connection import Connection

    from smtpguard.model.content import Spool
    from smtpguard.model.envelope import Envelope
    from smtpguard.model.mailbox import Path


HEARD = ("smtp_message", "smtp_start", "tcp_end", "tcp_start")
"""What another addon and a recording listen to."""

type Script = Callable[[happenings.Event], Iterable[effects.Effect]]


def new_session(session_id: str = "5f3a") -> SessionFacts:
    return SessionFacts(
        id=session_id, client=("192.0.2.1", 50000), destination=("198.51.100.1", 25)
    )


class FakeDialogue:
    """Does what a function says; keeps what it was told."""

    def __init__(self, script: Script) -> None:
        self.session = new_session()
        self.script = script
        self.settings = Settings()
        self.client = ClientLeg()
        self.transcript = Transcript()
        self.deadline: float | None = None
        self.transaction: Any = None
        self.ended = False
        self.seen: list[happenings.Event] = []
        self.times: list[float] = []

    def handle(self, event: happenings.Event, now: float) -> list[effects.Effect]:
        self.seen.append(event)
        self.times.append(now)
        return list(self.script(event))

    def abandon(self) -> list[effects.Effect]:
        self.ended = True
        return []

    def of(self, kind: type) -> list[Any]:
        return [event for event in self.seen if isinstance(event, kind)]

    def as_dialogue(self) -> Dialogue:
        return cast("Dialogue", self)


class FakePacing:
    """Transports that are told from outside whether they were reset."""

    def __init__(self) -> None:
        self.reset: set[str] = set()
        self.calls: list[tuple[str, str]] = []
        self.drains: list[Drain] = []

    def tune(self, connection: Connection) -> None:
        self.calls.append(("tune", connection.id))

    def pause(self, connection: Connection) -> None:
        self.calls.append(("pause", connection.id))

    def resume(self, connection: Connection) -> None:
        self.calls.append(("resume", connection.id))

    def was_reset(self, connection: Connection) -> bool:
        return connection.id in self.reset

    def drain(self, command: Drain) -> None:
        self.calls.append(("drain", command.connection.id))
        self.drains.append(command)

    def count(self, call: str) -> int:
        return sum(name == call for name, _ in self.calls)


class FakeRecorder:
    """Counts; breaks if it is told to."""

    def __init__(self, flow: tcp.TCPFlow, options: GuardOptions) -> None:
        self.flow = flow
        self.broken = False
        self.told: list[str] = []

    def update(self, dialogue: Dialogue) -> bool:
        self._tell("update")
        dialogue.transcript.entries.clear()
        return True

    def transaction(self, record: TransactionRecord) -> None:
        self._tell(f"transaction {record.id}")

    def finish(self, dialogue: Dialogue, error: str | None = None) -> None:
        self._tell(f"finish {error}")

    def _tell(self, what: str) -> None:
        if self.broken:
            raise RuntimeError("recorder is broken")
        self.told.append(what)


class AllowAll:
    """Rules that let everything through, with the settings they are given."""

    def __init__(self, settings: Settings | Refusal | None = None) -> None:
        self.settings = settings or Settings()
        self.trusts: TrustedClient | None = None
        self.verdict: Callable[[], Disposition] = lambda: Disposition(Outcome.RELAYED)
        self.judged: list[bytes] = []

    def trusted(self, client: tuple[str, int]) -> TrustedClient | None:
        return self.trusts

    def connect(self, session: SessionFacts) -> Settings | Refusal:
        return self.settings

    def block(self, session: SessionFacts, rule: str, identifier: str) -> str:
        return f"{identifier}: blocked by {rule}"

    def anomaly(self, session: SessionFacts, identifier: str) -> str:
        return f"{identifier}: counted"

    def helo(self, session: SessionFacts) -> Decision:
        return Decision(Action.ALLOW)

    def begin(self, session: SessionFacts) -> AllowAll:
        return self

    def mail(self, session: SessionFacts, reverse_path: Path) -> Decision:
        return Decision(Action.ALLOW)

    def rcpt(
        self, session: SessionFacts, envelope: Envelope, forward_path: Path
    ) -> Decision:
        return Decision(Action.ALLOW)

    def message(
        self, session: SessionFacts, envelope: Envelope, content: Spool
    ) -> Disposition:
        self.judged.append(bytes(content.view()))
        return self.verdict()


def guard_options(tmp: FilePath, **changes: Any) -> GuardOptions:
    return GuardOptions(**{"rules": tmp / "rules.yaml", "own_name": "guard", **changes})


def new_services(
    tmp: FilePath,
    clock: Clock,
    *,
    heard: Iterable[str] = HEARD,
    recorders: list[FakeRecorder] | None = None,
) -> Services:
    """Return services whose recorders are kept in ``recorders``."""
    kept = [] if recorders is None else recorders

    def make(flow: tcp.TCPFlow, options: GuardOptions) -> FakeRecorder:
        kept.append(FakeRecorder(flow, options))
        return kept[-1]

    return Services(
        registry=Registry(),
        options=guard_options(tmp),
        pacing=FakePacing(),
        make_recorder=make,
        heard=frozenset(heard),
        clock=clock,
    )


def ended_record(transaction_id: str = "5f3a.1") -> TransactionRecord:
    return TransactionRecord(
        id=transaction_id,
        session="5f3a",
        policy="inbound",
        outcome=Outcome.RELAYED,
        reply="250 2.0.0 OK",
        mail_from="a@client.example",
        rcpt_to=({"address": "b@example.org", "reply": "250 OK"},),
        size=10,
        sha256="",
    )
