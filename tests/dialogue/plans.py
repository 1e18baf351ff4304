"""What the peers of a dialogue script mean to do, apart from what came of it there.

A script says what both peers said once. Where something goes wrong on the way, both
must still act sensibly: the client sends no message without a 354, the upstream answers
what it hears. So a script becomes a ``Plan``: the client's items in blocks that it sends
without waiting, and the upstream's answers by question.
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
    return Plan(script, _Client(script.steps).blocks, _upstream_answers(script.steps))


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


def _upstream_answers(steps: tuple[Step, ...]) -> Answers:
    """Give each answer of the upstream to the question it answers."""
    answers = Answers()
    asked: deque[str] = deque(["open"])
    answered = 0
    reply = b""
    in_data = False
    chunk = 0
    for step in steps:
        if step.direction == "s" and not step.event:
            if chunk > 0:
                chunk -= len(step.octets)
            elif in_data:
                if step.octets == b".\r\n":
                    in_data = False
                    asked.append(".")
            elif (question := question_of(step.octets)) == ".":
                asked.append(question)
                chunk = int(step.octets.split()[1])
            elif question != "PROXY":
                asked.append(question)
        elif step.direction == "s" and step.words == ["open"]:
            asked = deque(["open"])
        elif step.direction == "S" and step.event:
            _take_event(step, answers, asked, answered)
        elif step.direction == "S":
            reply += step.octets
            if step.octets[3:4] == b"-":
                continue
            if asked:
                question = asked.popleft()
                answers.known[question].append(reply)
                in_data = question == "DATA" and reply.startswith(b"354")
                answered += 1
            else:
                answers.unasked[answered].append(reply)
            reply = b""
    for question in asked:
        answers.known[question].append(SILENT)
    return answers


def _take_event(step: Step, answers: Answers, asked: deque[str], answered: int) -> None:
    match step.words:
        case ["close" | "reset"] if asked:
            answers.known[asked.popleft()].append(CLOSED)
        case ["tls"]:
            answers.known["tls"].append(b"")
        case ["tls-fails", *_]:
            answers.known["tls"].append(b"failed")
        case ["refused", *_]:
            asked.clear()
            answers.known["open"].append(b"")
        case ["close" | "reset"]:
            answers.unasked[answered].append(None)


def question_of(line: bytes) -> str:
    """Return what a command of ours asks: the command without its parameters."""
    words = line.decode("latin-1").split()
    if words[0] in {"MAIL", "RCPT"}:
        return f"{words[0]} {words[1]}"
    return "." if words[0] == "BDAT" else words[0]
