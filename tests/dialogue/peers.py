"""Who decides and who speaks in the tests of the dialogue.

``Rules`` is a small scripted ``Decider``: it allows everything but what it is told.
``connected``, ``greeted`` and the others take a ``MemorySession`` to where a test
begins. ``script_session`` makes both from the header lines of a dialogue script:

``row: pipelining``
    The row of contract 3 that it shows, ``tls`` for the settings of 4.
``setting: limits.errors=3``
    A field of ``model.settings.Settings``, named with dots.
``session: destination=192.0.2.9:465``
    A field of ``SessionFacts`` (``loop=true`` ...).
``name: mx.example``
    The host of the reverse target (``reverse_name``).
``option: record_limit=100``
    An option of ``Dialogue``.
``trusted: xclient``
    The client speaks for others, by this protocol.
``connect: refuse REPLY``, ``connect: raises``
    Instead of a policy.
``policy: ADDRESS SETTING=VALUE``
    Another setting for the client of that address.
``helo: NAME ACTION ...``, ``mail: ADDRESS ACTION ...``, ``rcpt: ADDRESS ACTION ...``
    A rule. ACTION is ``deny REPLY``, ``tempfail REPLY``, ``rewrite ADDRESS``, ``drop``,
    ``raises`` or ``none``; ``*`` is any name, ``<>`` the null sender.
``command: VERB REPLY``
    What another addon says to a command (``option: ask_commands=true``).
``verdict: OUTCOME [REPLY]``
    What becomes of a message: ``relayed``, ``discarded`` ...; ``modified``: its last
    line becomes "edited"; ``undecided``, ``raises``; ``silent``: no answer.
``disk: full``, ``disk: full N``
    The spool cannot be made, or takes only N octets.
``outcome: relayed``
    What must be on record, transaction by transaction.
``in_doubt: TEXT``
    The record says so; without this line none may.
``log: TEXT``, ``nolog: TEXT``
    Must be, must not be part of a log line.
``only: memory: REASON``
    Cannot be played over sockets.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path as FilePath
from typing import Any

from smtpguard.dialogue import Transaction
from smtpguard.model.content import Edited, MemorySpool, Spool
from smtpguard.model.decider import Judge
from smtpguard.model.decision import Action, Decision
from smtpguard.model.disposition import Disposition, Outcome
from smtpguard.model.envelope import Envelope
from smtpguard.model.mailbox import Path
from smtpguard.model.reply import Reply
from smtpguard.model.session import SessionFacts
from smtpguard.model.settings import Refusal, Settings, TrustedClient
from smtpguard.replay.memory import MemorySession, judge_now
from smtpguard.replay.script import Script
from smtpguard.wire import parse_mailbox


TRANSCRIPTS = FilePath(__file__).resolve().parent.parent / "transcripts"
ALLOW = Decision(Action.ALLOW)

type Verdict = Callable[[Envelope, Spool], Disposition | None]
type Answer = Decision | Exception | None


def relayed(_envelope: Envelope, _content: Spool) -> Disposition:
    return Disposition(Outcome.RELAYED)


def edited(_envelope: Envelope, content: Spool) -> Disposition:
    """Replace the last line of the message."""
    octets = bytes(content.view())
    cut = octets.rstrip(b"\r\n").rfind(b"\r\n") + 2
    pieces = ((0, cut), b"edited\r\n")
    return Disposition(Outcome.MODIFIED, content=Edited(octets, pieces))


@dataclass(eq=False)
class Rules:
    """Allows everything but what it is told; keyed by text."""

    settings: Settings = field(default_factory=Settings)
    protocol: str = ""
    """The client is trusted with this protocol."""
    refusal: Refusal | Exception | None = None
    by_client: dict[str, Settings] = field(default_factory=dict)
    helo_names: dict[str, Answer] = field(default_factory=dict)
    senders: dict[str, Answer] = field(default_factory=dict)
    recipients: dict[str, Answer] = field(default_factory=dict)
    verdict: Verdict = relayed
    judged: int = 0
    """How many messages were judged."""
    blocked: list[tuple[str, str, str]] = field(default_factory=list)
    """Address, rule and transaction of each client that was to be blocked."""
    anomalies: list[tuple[str, str]] = field(default_factory=list)
    """Address and transaction of each client that broke SMTP."""

    def trusted(self, client: tuple[str, int]) -> TrustedClient | None:
        return TrustedClient(self.protocol) if self.protocol else None  # type: ignore[arg-type]

    def connect(self, session: SessionFacts) -> Settings | Refusal:
        if isinstance(self.refusal, Exception):
            raise self.refusal
        if self.refusal is not None:
            return self.refusal
        return self.by_client.get(session.client[0], self.settings)

    def block(self, session: SessionFacts, rule: str, identifier: str) -> str:
        self.blocked.append((session.client[0], rule, identifier))
        return f"client {session.client[0]} is blocked"

    def anomaly(self, session: SessionFacts, identifier: str) -> str:
        self.anomalies.append((session.client[0], identifier))
        return ""

    def helo(self, session: SessionFacts) -> Decision:
        return said(self.helo_names, session.helo)

    def begin(self, session: SessionFacts) -> Judge:
        return self

    def mail(self, session: SessionFacts, reverse_path: Path) -> Decision:
        return said(self.senders, str(reverse_path.mailbox or "<>"))

    def rcpt(
        self, session: SessionFacts, envelope: Envelope, forward_path: Path
    ) -> Decision:
        return said(self.recipients, str(forward_path.mailbox))

    def message(
        self, session: SessionFacts, envelope: Envelope, content: Spool
    ) -> Disposition:
        self.judged += 1
        return self.verdict(envelope, content)  # type: ignore[return-value]


def said(answers: dict[str, Answer], key: str) -> Decision:
    """Return what a rule says about a key; raise where it is told to."""
    answer = answers.get(key, answers.get("*", ALLOW))
    if isinstance(answer, Exception):
        raise answer
    return answer  # type: ignore[return-value]


class FullDisk(MemorySpool):
    """A spool that takes only so many octets."""

    def __init__(self, room: int) -> None:
        super().__init__()
        self._room = room

    def write(self, data: bytes) -> None:
        if self.size + len(data) > self._room:
            raise OSError(28, "No space left on device")
        super().write(data)


def no_spool() -> Spool:
    raise OSError(28, "No space left on device")


# -- sessions taken to where a test begins -------------------------------------------


def session(rules: Rules | None = None, **options: Any) -> MemorySession:
    """Return a session that has not started."""
    judge = options.pop("judge", judge_now)
    facts = options.pop("facts", None) or new_facts()
    kind = options.pop("kind", MemorySession)
    memory = kind(rules or Rules(), facts, judge, options)
    assert isinstance(memory, MemorySession)
    return memory


def new_facts(**fields: Any) -> SessionFacts:
    """Return the facts of a client in a network of documentation."""
    return SessionFacts(
        **{
            "id": "s1",
            "client": ("192.0.2.1", 50000),
            "destination": ("192.0.2.9", 25),
            **fields,
        }
    )


EHLO_REPLY = (
    b"250-mx.example\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 SIZE 10000000\r\n"
)


def connected(memory: MemorySession) -> MemorySession:
    """Take a session behind its greeting."""
    memory.start()
    memory.opened()
    memory.from_upstream(b"220 mx.example ESMTP\r\n")
    return memory


def greeted(memory: MemorySession, reply: bytes = EHLO_REPLY) -> MemorySession:
    """Take a session behind EHLO, in clear."""
    connected(memory)
    memory.from_client(b"EHLO c.example\r\n")
    memory.from_upstream(reply)
    return forget_heard(memory)


def secured(memory: MemorySession, reply: bytes = EHLO_REPLY) -> MemorySession:
    """Take a session behind STARTTLS on both legs and EHLO within TLS."""
    connected(memory)
    memory.from_client(b"STARTTLS\r\n")
    memory.from_upstream(b"250-mx.example\r\n250 STARTTLS\r\n")
    memory.from_upstream(b"220 go\r\n")
    memory.client_tls("mx.example")
    memory.upstream_tls()
    memory.from_client(b"EHLO c.example\r\n")
    memory.from_upstream(reply)
    return forget_heard(memory)


def enveloped(memory: MemorySession, recipients: int = 1) -> MemorySession:
    """Take a greeted session behind its last RCPT."""
    memory.from_client(b"MAIL FROM:<a@b.example>\r\n")
    memory.from_upstream(b"250 ok\r\n")
    for number in range(recipients):
        memory.from_client(b"RCPT TO:<r%d@d.example>\r\n" % number)
        memory.from_upstream(b"250 ok\r\n")
    return forget_heard(memory)


def with_data(memory: MemorySession) -> MemorySession:
    """Take a session with an envelope behind our 354."""
    memory.from_client(b"DATA\r\n")
    assert lines(memory.client_heard) == ["354 End data with <CR><LF>.<CR><LF>"]
    return memory


def tls_rules(server: str, client: str = "allowed") -> Rules:
    """Return rules with values of ``tls.server.starttls``, ``tls.client.starttls``."""
    settings = with_setting(Settings(), "server_tls.starttls", server)
    return Rules(with_setting(settings, "client_tls.starttls", client))


def forget_heard(memory: MemorySession) -> MemorySession:
    """Begin anew to note what the peers hear."""
    memory.client_heard.clear()
    memory.upstream_heard.clear()
    return memory


def lines(heard: bytearray) -> list[str]:
    """Return what a peer heard since the last time, line by line, and forget it."""
    text = heard.decode("latin-1").removesuffix("\r\n")
    heard.clear()
    return text.split("\r\n") if text else []


# -- sessions of scripts -------------------------------------------------------------


def script_session(script: Script) -> MemorySession:
    """Return the session that a script's header lines describe, not started."""
    judge: Callable[[SessionFacts, Transaction], Disposition | None] | None = judge_now
    if script.header("verdict") == "silent":
        judge = None
    facts = new_facts(reverse_name=script.header("name"))
    for header in script.headers.get("session", []):
        name, _, value = header.partition("=")
        setattr(facts, name, fact(getattr(facts, name), value))
    options: dict[str, Any] = {}
    for header in script.headers.get("option", []):
        name, _, value = header.partition("=")
        options[name] = int(value) if value.isdecimal() else value == "true"
    options |= disk_options(script.header("disk"))
    return MemorySession(script_rules(script), facts, judge, options)


def fact(current: object, text: str) -> object:
    if isinstance(current, tuple):
        host, _, port = text.rpartition(":")
        return host, int(port)
    return text == "true" if isinstance(current, bool) else text


def disk_options(header: str) -> dict[str, Any]:
    match header.split():
        case ["full"]:
            return {"new_spool": no_spool}
        case ["full", room]:
            return {"new_spool": lambda: FullDisk(int(room))}
    return {}


def script_rules(script: Script) -> Rules:
    """Return the rules that a script's header lines describe."""
    settings = Settings()
    for header in script.headers.get("setting", []):
        settings = with_setting(settings, *header.split("=", 1))
    rules = Rules(settings, script.header("trusted"), refusal(script.header("connect")))
    for header in script.headers.get("policy", []):
        client, _, setting = header.partition(" ")
        before = rules.by_client.get(client, settings)
        rules.by_client[client] = with_setting(before, *setting.split("=", 1))
    tables = {
        "helo": rules.helo_names,
        "mail": rules.senders,
        "rcpt": rules.recipients,
    }
    for name, table in tables.items():
        for header in script.headers.get(name, []):
            key, action, *rest = header.split(" ", 2)
            table[key] = answer(action, "".join(rest))
    rules.verdict = verdict(script.header("verdict", "relayed"))
    return rules


def with_setting(settings: Any, path: str, text: str) -> Any:
    """Return settings with one field of theirs changed, named with dots."""
    name, _, rest = path.partition(".")
    current = getattr(settings, name)
    value = with_setting(current, rest, text) if rest else converted(current, text)
    return replace(settings, **{name: value})


def converted(current: object, text: str) -> object:
    if text == "none" and isinstance(current, int):
        return None
    match current:
        case bool():
            return text == "true"
        case int() | float():
            return type(current)(text)
        case frozenset():
            return frozenset(text.split())
    return text


def refusal(header: str) -> Refusal | Exception | None:
    word, _, rest = header.partition(" ")
    if word == "raises":
        return RuntimeError("no rules")
    return Refusal(reply(rest), "refused by a rule") if word == "refuse" else None


def answer(action: str, rest: str) -> Answer:
    """Return the answer of a rule, from its words."""
    match action:
        case "raises":
            return RuntimeError("a fault of the rules")
        case "none":
            return None
        case "rewrite":
            return Decision(Action.REWRITE, "r:1", rewrite_to=parse_mailbox(rest))
        case "deny" | "tempfail":
            return Decision(Action(action), "r:1", reply(rest), reason="by a test")
    return Decision(Action(action), "r:1")


def verdict(header: str) -> Verdict:
    """Return the verdict that a header line asks for."""
    word, _, rest = header.partition(" ")
    match word:
        case "raises":
            return raising
        case "undecided" | "silent":
            return lambda _envelope, _content: None
        case "modified":
            return edited
    said = Disposition(Outcome(word), reply(rest) if rest else None, reason="by a test")
    return lambda _envelope, _content: said


def raising(_envelope: Envelope, _content: Spool) -> Disposition:
    raise RuntimeError("a fault of the judge")


def reply(text: str) -> Reply:
    """Return a reply from ``550 5.7.1 Text``."""
    return Reply(int(text[:3]), (text[4:].encode("ascii"),))
