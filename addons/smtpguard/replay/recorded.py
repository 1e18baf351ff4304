"""A recorded session through the dialogue and the rules, without a network.

The client says what it said, one thing at a time, as far as the answers allow: no mail
without 354, nothing more of a transaction whose MAIL is refused now, no handshake
without 220. The upstream answers as recorded (``answers``). Time stands still but where
the dialogue makes somebody wait, so the same recording gives the same results.

A mail of which not every octet is known is never guessed: where the rules would have to
judge it, the transaction is named as one that cannot be replayed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from smtpguard.dialogue.parameters import message_limit
from smtpguard.model.session import Leg
from smtpguard.replay.recording import Leave, Mail, Say, Shake, chunk_size, outcomes
from smtpguard.replay.stage import Stage
from smtpguard.wire import DotStuffer, printable


if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from smtpguard.model.decider import Decider
    from smtpguard.model.reply import Reply
    from smtpguard.replay.recording import Recording, Step


MASKED: Final = b"*"
STAND_IN: Final = b"Kg=="
"""Base64 of the mask: what is said in place of a secret that was not recorded."""

type Result = dict[str, Any]


def replay(recording: Recording, decider: Decider) -> Iterator[Result]:
    """Yield one result for each transaction, as ``smtpguard replay --json`` prints it.

    It is ``TransactionRecord.to_json`` with ``file``, ``session``, ``replies`` and
    ``recorded`` (what the recording itself says, None where it does not). Where a mail
    is not known, ``disposition`` is None and ``error`` says why.
    """
    return _Client(recording, decider).play()


class _Client:
    """Says what the recorded client said, and notes what comes of it."""

    def __init__(self, recording: Recording, decider: Decider) -> None:
        self.recording = recording
        self.recorded = outcomes(recording)
        self.stage = Stage(recording, decider)
        self.steps = recording.steps
        self.at = 0
        """The next step."""
        self.refused = False
        """The rest of this transaction is not said."""
        self.told: Reply | None = None
        """The last reply, None where none came."""
        self.exchanges: list[dict[str, str]] = []
        """Commands and replies of this transaction."""
        self._taken = 0
        """Records that results were made of."""
        self._done: set[int] = set()
        """MAIL commands whose transaction has a result."""
        self._problem = ""
        self._begun = 0
        """Transactions that the dialogue has begun."""
        self._current = 0
        """The MAIL command with which the last of them began."""
        self._lines = 0
        """Lines the recorded client has said so far."""

    def play(self) -> Iterator[Result]:
        """Play the session from its beginning to its end."""
        self.stage.shakes = self._is_next(Shake)
        self.stage.start()
        self._listen()
        while self.at < len(self.steps) and not self.stage.over:
            step = self.steps[self.at]
            self.at += 1
            if isinstance(step, Say):
                yield from self._say(step)
            elif isinstance(step, Leave):
                self.stage.leave(reset=step.reset)
        self.stage.hang_up()
        yield from self._results()
        yield from self._unreached()

    # -- what the client says --------------------------------------------------------

    def _say(self, step: Say) -> Iterator[Result]:
        if step.verb == "MAIL":
            if self.stage.memory.dialogue.transaction and _positive(step.told):
                # What ended the transaction before did not happen this time.
                self._exchange(b"RSET\r\n")
                yield from self._results()
            self.stage.upstream.mail += 1
            self.refused = False
            self.exchanges = []
        self._lines += 1
        if self._is_due(step):
            match step.verb:
                case "DATA":
                    self._say_data(step)
                case "BDAT":
                    self._say_chunks(step)
                case _:
                    self._exchange(unmasked(step.octets))
                    self._lose_upstream()
        if self.stage.memory.dialogue.transactions > self._begun:
            self._begun = self.stage.memory.dialogue.transactions
            self._current = self._mail
        yield from self._results()
        if step.verb == "MAIL" and not _positive(self.told):
            self.refused = self.stage.memory.dialogue.transaction is None
            if self._mail not in self._done and _positive(step.told):
                # Refused now before any rule saw it.
                self._current = self._mail
                yield self._result(_refusal(self.told, "MAIL was refused"))

    def _lose_upstream(self, lines: range | None = None) -> None:
        """Have the upstream go away where it did so of its own accord.

        That is after one of these lines; without any, after the last one said.
        """
        lines = lines or range(self._lines, self._lines + 1)
        if not self.recording.answers.lost_after.isdisjoint(lines):
            self.stage.lose_upstream()

    def _is_due(self, step: Say) -> bool:
        """Say whether the client would say this, as it was answered so far."""
        before = self.steps[self.at - 2] if self.at > 1 else None
        if isinstance(before, Say) and _code(before.told) == 334:
            return _code(self.told) == 334
        if step.verb in {"RCPT", "DATA", "BDAT"}:
            return not self.refused
        return True

    def _say_data(self, step: Say) -> None:
        if self.stage.invites:
            if step.mail is None and not step.invited:
                self._give_up("the recording has no message here")
                return
            if step.mail is not None and not self._is_sayable(step.mail):
                return
        reply = self._exchange(step.octets)
        self._lose_upstream()
        if _code(reply) != 354:
            return
        if step.mail is None or self._was_gone(step):
            self._fall_silent()
            return
        stuffer = DotStuffer()
        octets = stuffer.feed(_octets(step.mail))
        self.stage.send(octets + stuffer.finish())
        self._listen("message")

    def _fall_silent(self) -> None:
        """Begin a message and go away, or say no more until it is too late."""
        if self._is_next(Leave):
            self.stage.leave(reset=self._leaves_by_reset)
        else:
            self._listen("message")

    @property
    def _leaves_by_reset(self) -> bool:
        last = self.steps[-1]
        return isinstance(last, Leave) and last.reset

    def _was_gone(self, step: Say) -> bool:
        """Say whether the client had left before its message was sent upstream."""
        sent = ("FINAL", self._mail) in self.recording.answers.known
        left = self._leaves_by_reset and self._is_next(Leave)
        return left and step.told is None and not sent

    def _say_chunks(self, step: Say) -> None:
        """Say this BDAT and those behind it, up to the one that ends the message."""
        lines = [step]
        while lines[-1].mail is None and (line := self._next_chunk()) is not None:
            lines.append(line)
            self.at += 1
        counted = [
            range(self._lines + n, self._lines + n + 1) for n in range(len(lines))
        ]
        self._lines += len(lines) - 1
        mail = lines[-1].mail
        if self.stage.memory.dialogue.transaction is None:
            return
        if mail is None or self._was_gone(lines[-1]):
            self._break_off(lines)
            return
        if self.stage.stands and not self._is_sayable(mail):
            return
        octets = _octets(mail)
        sizes = [chunk_size(line.octets) for line in lines]
        if sum(sizes) != len(octets):
            # They are the octets after normalisation: their chunks are not known.
            lines, sizes = lines[-1:], [len(octets)]
            counted = [range(counted[0].start, counted[-1].stop)]
        start = 0
        for line, size, numbers in zip(lines, sizes, counted, strict=True):
            self._lose_upstream(numbers)
            last = b" LAST" if line is lines[-1] else b""
            chunk = octets[start : start + size]
            reply = self._exchange(b"BDAT %d%s\r\n" % (size, last), chunk)
            if not _positive(reply) and _positive(line.told):
                return
            start += size

    def _next_chunk(self) -> Say | None:
        step = self.steps[self.at] if self.at < len(self.steps) else None
        return step if isinstance(step, Say) and step.verb == "BDAT" else None

    def _break_off(self, lines: list[Say]) -> None:
        """Say chunks of a message that the client never ended: nobody judges them."""
        if self._is_next(Leave) or self.at == len(self.steps):
            self.stage.send(lines[0].octets)
            self._fall_silent()
            return
        if b"LAST" in lines[-1].octets.upper() and self.stage.stands:
            self._give_up("the recording has no message here")
            return
        sizes = [chunk_size(line.octets) for line in lines]
        if sum(sizes) > 2 * message_limit(self.stage.memory.dialogue):
            self._give_up("its chunks say more than any message may have")
            return
        for size in sizes:
            self._exchange(
                b"BDAT %d\r\n" % size, b"\r\n" * (size // 2) + b" " * (size % 2)
            )

    def _is_sayable(self, mail: Mail) -> bool:
        """Say whether a mail is known well enough; give the transaction up if not."""
        known = len(mail.octets)
        if known == mail.size and not self._is_longer(mail):
            return True
        if known == mail.size >= message_limit(self.stage.memory.dialogue):
            # What is missing only makes it more of what is too much already.
            return True
        more = "more than " if self._is_longer(mail) else ""
        self._give_up(f"{known} of {more}{mail.size} octets of it were recorded")
        return False

    def _is_longer(self, mail: Mail) -> bool:
        """Say whether we refused a mail for its size, and not the upstream."""
        answers = self.recording.answers.known
        return mail.longer and ("FINAL", self._mail) not in answers

    def _give_up(self, problem: str) -> None:
        """Leave a transaction that cannot be replayed."""
        self._problem = f"cannot be replayed: {problem}"
        self.refused = True
        self._exchange(b"RSET\r\n")

    def _exchange(self, line: bytes, chunk: bytes = b"") -> Reply | None:
        """Say a line (and a chunk behind it), return the reply."""
        self.stage.shakes = self._is_next(Shake)
        self.stage.send(line + chunk)
        self._listen(printable(line.removesuffix(b"\r\n")))
        return self.told

    def _listen(self, command: str = "") -> None:
        heard = self.stage.hear()
        self.told = heard[0] if heard else None
        if command:
            reply = str(self.told) if self.told else ""
            self.exchanges.append({"command": command, "reply": reply})

    def _is_next(self, kind: type[Step]) -> bool:
        return self.at < len(self.steps) and isinstance(self.steps[self.at], kind)

    # -- what comes of it ------------------------------------------------------------

    @property
    def _mail(self) -> int:
        return self.stage.upstream.mail

    def _results(self) -> Iterator[Result]:
        records = self.stage.memory.records[self._taken :]
        self._taken += len(records)
        if self._problem:
            yield self._result({"disposition": None, "error": self._problem})
            self._problem = ""
            return
        for record in records:
            yield self._result(record.to_json())

    def _unreached(self) -> Iterator[Result]:
        """Tell of recorded transactions that the session did not come to the end of."""
        for mail in sorted(self.recorded.keys() - self._done):
            self.exchanges = self.exchanges if mail == self._current else []
            self._current = mail
            yield self._result(_refusal(None, "the session ended before"))

    def _result(self, outcome: Mapping[str, Any]) -> Result:
        self._done.add(self._current)
        recorded = self.recorded.get(self._current)
        keys = ("disposition", "reply", "rule")
        return {
            **outcome,
            "file": self.recording.name,
            "session": self._session(),
            "replies": list(self.exchanges),
            "recorded": recorded and {key: recorded.get(key) for key in keys},
        }

    def _session(self) -> dict[str, Any]:
        session = self.stage.session
        return {
            "id": session.id,
            "client": list(session.client),
            "destination": list(session.destination),
            "helo": session.helo,
            "policy": session.policy,
            "tls": {leg.value: session.leg(leg).to_json() for leg in Leg},
        }


def unmasked(octets: bytes) -> bytes:
    """Return a line of AUTH with a stand-in for the secret that was masked."""
    line = octets.removesuffix(b"\r\n")
    if line == MASKED:
        return STAND_IN + b"\r\n"
    if line[:5].upper() == b"AUTH " and line.endswith(b" " + MASKED):
        return line[: -len(MASKED)] + STAND_IN + b"\r\n"
    return octets


def _octets(mail: Mail) -> bytes:
    return mail.octets + b"and more\r\n" if mail.longer else mail.octets


def _refusal(reply: Reply | None, reason: str) -> Result:
    lasting = reply is not None and reply.is_permanent
    return {
        "disposition": "rejected" if lasting else "deferred",
        "reply": str(reply) if reply else "",
        "rule": "",
        "action": "",
        "reason": reason,
    }


def _positive(reply: Reply | None) -> bool:
    return reply is not None and reply.is_positive


def _code(reply: Reply | None) -> int:
    return reply.code if reply else 0
