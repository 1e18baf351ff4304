"""What the peers of a dialogue script mean to do, apart from what came of it there.

A script says what both peers said once. Where something goes wrong on the way, both
must still act sensibly: the client sends no message without a 354, the upstream answers
what it hears. So a script becomes a ``Plan``: the client's items in blocks that it
sends without waiting, and the upstream's answers by question.
"""

from __future__ import annotations

import copy
from collections import defaultdict, deque
from dataclasses import dataclass, field

from smtpguard.replay.script import Script, Step


SILENT = b"(silent)"
CLOSED = b"(closed)"
"""Instead of an answer, and of all that would follow."""


@dataclass(frozen=True)
class Item:
    """One thing that the client does."""

    kind: str
    """``command``, ``data``, ``body``, ``chunk``, ``last``, ``starttls``, ``tls``,
    ``close``, ``reset``."""
    octets: bytes = b""
    message: int = 0
    """Number of the message that a body or a last chunk ends, from 1."""


@dataclass
class Answers:
    """What the upstream says, by question; the last answer is repeated."""

    known: dict[str, deque[bytes]] = field(default_factory=lambda: defaultdict(deque))
    unasked: dict[int, list[bytes | None]] = field(
        default_factory=lambda: defaultdict(list)
    )
    """After so many answers: octets, or None to close."""

    def copy(self) -> Answers:
        """Return answers of which none has been given."""
        return copy.deepcopy(self)

    def to(self, question: str) -> bytes | None:
        """Return the answer to a question, None where the script has none."""
        answers = self.known.get(question)
        if not answers:
            return None
        return answers.popleft() if len(answers) > 1 else answers[0]


@dataclass
class Plan:
    """A script as intentions."""

    script: Script
    blocks: list[list[Item]]
    answers: Answers

    @property
    def messages(self) -> int:
        """How many messages the client means to send."""
        return sum(item.message > 0 for block in self.blocks for item in block)


def token(message: int) -> bytes:
    """Return the line that tells one message from another."""
    return b"X-Token: %d.\r\n" % message


def plan(script: Script) -> Plan:
    """Return what the peers of a script mean to do."""
    return Plan(script, _Client(script.steps).blocks, _Upstream(script.steps).answers)


class _Client:
    """Reads the client's lines into items."""

    def __init__(self, steps: tuple[Step, ...]) -> None:
        self.blocks: list[list[Item]] = []
        self._messages = 0
        self._invited = False
        self._body = b""
        self._chunk: tuple[int, bool] | None = None
        before = ""
        for step in steps:
            if step.direction == "C":
                if before != "C":
                    self.blocks.append([])
                self._take(step)
            elif step.direction == "c" and step.octets.startswith(b"354"):
                self._invited = True
            before = step.direction

    def _take(self, step: Step) -> None:
        if step.event:
            word, *rest = step.words
            self._add(word, "".join(rest).encode())
        elif self._invited:
            self._read_body(step.octets)
        elif self._chunk is not None:
            self._read_chunk(step.octets)
        else:
            self._read_command(step.octets)

    def _add(self, kind: str, octets: bytes, message: int = 0) -> None:
        self.blocks[-1].append(Item(kind, octets, message))

    def _read_body(self, octets: bytes) -> None:
        if not self._body:
            self._messages += 1
            self._body = token(self._messages)
        self._body += octets
        if octets == b".\r\n":
            self._add("body", self._body, self._messages)
            self._body, self._invited = b"", False

    def _read_command(self, octets: bytes) -> None:
        verb, _, rest = octets.upper().partition(b" ")
        match verb.strip():
            case b"BDAT":
                size, _, last = rest.strip().partition(b" ")
                self._chunk = int(size), last == b"LAST"
                self._read_chunk(b"")
            case b"DATA":
                self._add("data", octets)
            case b"STARTTLS":
                self._add("starttls", octets)
            case _:
                self._add("command", octets)

    def _read_chunk(self, octets: bytes) -> None:
        assert self._chunk is not None
        self._body += octets
        size, last = self._chunk
        if len(self._body) < size:
            return
        assert len(self._body) == size
        body, self._body, self._chunk = self._body, b"", None
        if not last:
            self._add("chunk", b"BDAT %d\r\n%b" % (size, body))
            return
        self._messages += 1
        body += token(self._messages)
        header = b"BDAT %d LAST\r\n" % len(body)
        self._add("last", header + body, self._messages)


class _Upstream:
    """Gives each answer of the upstream to the question it answers."""

    def __init__(self, steps: tuple[Step, ...]) -> None:
        self.answers = Answers()
        self._asked: deque[str] = deque(["open"])
        self._answered = 0
        self._reply = b""
        self._in_data = False
        self._chunk = 0
        for step in steps:
            if step.direction == "s":
                self._hear(step)
            elif step.direction == "S":
                self._say(step)
        for question in self._asked:
            self.answers.known[question].append(SILENT)

    def _hear(self, step: Step) -> None:
        if step.event:
            if step.words == ["open"]:
                self._asked = deque(["open"])
        elif self._chunk > 0:
            self._chunk -= len(step.octets)
        elif self._in_data:
            if step.octets == b".\r\n":
                self._in_data = False
                self._asked.append(".")
        elif (question := question_of(step.octets)) != "PROXY":
            self._asked.append(question)
            if question == ".":
                self._chunk = int(step.octets.split()[1])

    def _say(self, step: Step) -> None:
        if step.event:
            self._happen(step.words)
            return
        self._reply += step.octets
        if step.octets[3:4] == b"-":
            return
        reply, self._reply = self._reply, b""
        if not self._asked:
            self.answers.unasked[self._answered].append(reply)
            return
        question = self._asked.popleft()
        self.answers.known[question].append(reply)
        self._in_data = question == "DATA" and reply.startswith(b"354")
        self._answered += 1

    def _happen(self, words: list[str]) -> None:
        match words:
            case ["close" | "reset"] if self._asked:
                self.answers.known[self._asked.popleft()].append(CLOSED)
            case ["close" | "reset"]:
                self.answers.unasked[self._answered].append(None)
            case ["tls"]:
                self.answers.known["tls"].append(b"")
            case ["tls-fails", *_]:
                self.answers.known["tls"].append(b"failed")
            case ["refused", *_]:
                self._asked.clear()
                self.answers.known["open"].append(b"")


def question_of(line: bytes) -> str:
    """Return what a command of ours asks: the command without its parameters."""
    words = line.decode("latin-1").split()
    if words[0] in {"MAIL", "RCPT"}:
        return f"{words[0]} {words[1]}"
    return "." if words[0] == "BDAT" else words[0]
