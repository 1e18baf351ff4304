"""Running a dialogue script in memory, both peers played from its lines.

Strict: whatever smtpguard says must stand in the script, in that order on each leg, and
nothing may be left over at the end.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from smtpguard.dialogue import effects, events
from smtpguard.errors import ReplayError
from smtpguard.model.session import Leg


if TYPE_CHECKING:
    from smtpguard.replay.memory import MemorySession
    from smtpguard.replay.script import Script, Step


type Chunking = Callable[[bytes], Iterable[bytes]]


def whole(octets: bytes) -> Iterable[bytes]:
    """Send what a peer says at once in one segment."""
    return (octets,)


def octet_by_octet(octets: bytes) -> Iterable[bytes]:
    """Send every octet in a segment of its own."""
    return (bytes([octet]) for octet in octets)


def random_pieces(seed: int) -> Chunking:
    """Return a chunking into segments of random lengths, the same for the same seed."""
    chance = random.Random(seed)

    def cut(octets: bytes) -> Iterable[bytes]:
        at = 0
        while at < len(octets):
            end = at + chance.choice((1, 2, 3, 5, 8, 13, 40))
            yield octets[at:end]
            at = end

    return cut


def run_script(
    script: Script, session: MemorySession, *, chunking: Chunking = whole
) -> None:
    """Run the script against a session that has not started.

    Raises ReplayError, with the line, where smtpguard says something else.
    """
    run = _Run(script, session, chunking)
    session.start()
    while run.at < len(script.steps):
        run.next_step()
    run.finish()


class _Run:
    def __init__(
        self, script: Script, session: MemorySession, chunking: Chunking
    ) -> None:
        self.script = script
        self.session = session
        self.chunking = chunking
        self.at = 0
        self.heard = {"c": 0, "s": 0}

    def next_step(self) -> None:
        self._open_upstream()
        step = self.script.steps[self.at]
        if step.direction in "CS" and not step.event:
            self._say(step.direction)
            return
        self.at += 1
        match step.direction:
            case "C" | "S" | "=":
                self._happen(step)
            case _:
                self._expect(step)

    def finish(self) -> None:
        self._open_upstream()
        for leg in ("c", "s"):
            rest = bytes(self._said(leg)[self.heard[leg] :])
            if rest:
                self._fail(None, f"nothing more on leg {leg}", rest)

    def _open_upstream(self) -> None:
        """Make a connection at once, unless the script says that it is not."""
        if not any(isinstance(e, effects.OpenUpstream) for e in self.session.pending):
            return
        ahead = self.script.steps[self.at :]
        answer = next((s for s in ahead if s.direction == "S"), None)
        if answer is not None and answer.event and answer.words[0] == "refused":
            return
        if answer is not None and answer.event and answer.words[0] == "silent":
            return
        self.session.opened()

    def _say(self, direction: str) -> None:
        said = b""
        while self.at < len(self.script.steps):
            step = self.script.steps[self.at]
            if step.direction != direction or step.event:
                break
            said += step.octets
            self.at += 1
        leg = Leg.CLIENT if direction == "C" else Leg.UPSTREAM
        for segment in self.chunking(said):
            self.session.feed(events.Received(leg, segment))

    def _happen(self, step: Step) -> None:
        leg = Leg.CLIENT if step.direction == "C" else Leg.UPSTREAM
        match step.direction, step.words:
            case "C", ["tls", *name]:
                self.session.client_tls("".join(name))
            case "C", ["tls-fails", *reason]:
                self.session.client_tls(error=" ".join(reason) or "failed")
            case "S", ["tls"]:
                self.session.upstream_tls()
            case "S", ["tls-fails", *reason]:
                self.session.upstream_tls(error=" ".join(reason) or "failed")
            case "S", ["refused", *reason]:
                self.session.opened(" ".join(reason) or "Connection refused")
            case "S", ["silent"]:
                pass
            case _, ["close"]:
                self.session.feed(events.Closed(leg))
            case _, ["reset"]:
                self.session.feed(events.Closed(leg, reset=True))
            case "=", ["wait", seconds]:
                self.session.pass_time(float(seconds))
            case "=", ["stop"]:
                self.session.feed(events.Stopping())
            case _:
                self._fail(step, "an event that exists", step.octets)

    def _expect(self, step: Step) -> None:
        leg = step.direction
        if step.event:
            self._expect_event(step)
            return
        said = self._said(leg)
        start = self.heard[leg]
        if step.open_ended:
            end = said.find(b"\n", start) + 1
            if not end or not said.startswith(step.octets, start):
                self._fail(step, step.octets, bytes(said[start:]))
        else:
            end = start + len(step.octets)
            if not said.startswith(step.octets, start):
                self._fail(step, step.octets, bytes(said[start:]))
        self.heard[leg] = end

    def _expect_event(self, step: Step) -> None:
        leg = Leg.CLIENT if step.direction == "c" else Leg.UPSTREAM
        match step.words:
            case ["close"] if leg in self.session.closed:
                return
            case ["open"] if leg is Leg.UPSTREAM and self.session.opens:
                self.session.opens -= 1
                return
        self._fail(step, step.octets, bytes(self._said(step.direction)[-200:]))

    def _said(self, leg: str) -> bytearray:
        session = self.session
        return session.client_heard if leg == "c" else session.upstream_heard

    def _fail(self, step: Step | None, wanted: object, found: bytes) -> None:
        number = step.number if step else self.script.steps[-1].number
        log = "".join(f"\n  log: {line}" for line in self.session.log)
        msg = (
            f"{self.script.name}:{number}: wanted {wanted!r}, "
            f"found {found[:400]!r}{log}"
        )
        raise ReplayError(msg)
