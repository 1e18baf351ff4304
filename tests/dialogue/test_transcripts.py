"""Every dialogue script in memory: whole, octet by octet, and in random pieces.

In lockstep: before a peer says something more, everything that smtpguard has said so
far must stand in the script. So a reply that comes too early is found, too.
"""

from __future__ import annotations

import random
from collections.abc import Iterable

import pytest

from smtpguard.dialogue import effects, events
from smtpguard.model.session import Leg
from smtpguard.replay.memory import MemorySession
from smtpguard.replay.script import Script, parse_script
from tests.dialogue.peers import TRANSCRIPTS, reply, script_session
from tests.replay.runscript import Chunking, _Run, octet_by_octet, run_script, whole


ROWS = (
    *("entry", "upstream-ehlo", "starttls", "legs", "pipelining", "data", "bdat"),
    *("extensions", "requiretls", "dsn", "other-verbs", "trusted-client", "auth"),
    *("greeting", "bare-newlines", "anomalies", "limits", "deadlines", "keep-alive"),
    *("upstream-failure", "identity", "trace", "stop"),
)
"""The rows of contract 3, in its order."""
TLS_SETTINGS = (
    *("tls-client-required", "tls-client-allowed", "tls-client-none"),
    *("tls-server-required", "tls-server-preferred", "tls-server-follow"),
    "tls-server-none",
)
"""The values of contract 4 that the dialogue obeys."""

FILES = sorted(TRANSCRIPTS.glob("*.smtp"))
NAMES = [file.stem for file in FILES]


def random_pieces(seed: int) -> Chunking:
    """Send what is said at once in segments of random length."""
    chance = random.Random(seed)

    def cut(octets: bytes) -> Iterable[bytes]:
        at = 0
        while at < len(octets):
            end = at + chance.choice((1, 2, 3, 5, 8, 13, 40))
            yield octets[at:end]
            at = end

    return cut


CHUNKINGS: dict[str, Chunking] = {
    "whole": whole,
    "octets": octet_by_octet,
    **{f"random{seed}": random_pieces(seed) for seed in range(3)},
}


def load(name: str) -> Script:
    file = TRANSCRIPTS / f"{name}.smtp"
    return parse_script(file.read_text("utf-8"), file.name)


class Lockstep(_Run):
    """Runs a script so that nothing may be said before its time."""

    def next_step(self) -> None:
        self._open_upstream()
        self._answer_commands()
        step = self.script.steps[self.at]
        if step.direction in "CS=":
            for leg in ("c", "s"):
                rest = bytes(self._said(leg)[self.heard[leg] :])
                if rest:
                    self._fail(step, f"nothing more on leg {leg} yet", rest)
        super().next_step()

    def finish(self) -> None:
        self._answer_commands()
        super().finish()

    def _open_upstream(self) -> None:
        passed = self.script.steps[: self.at]
        if not any(step.event and step.words == ["silent"] for step in passed):
            super()._open_upstream()

    def _say(self, direction: str) -> None:
        chunking = self.chunking
        self.chunking = lambda octets: self._while_answering(chunking(octets))
        super()._say(direction)
        self.chunking = chunking

    def _while_answering(self, segments: Iterable[bytes]) -> Iterable[bytes]:
        for segment in segments:
            yield segment
            self._answer_commands()

    def _answer_commands(self) -> None:
        """Play another addon that is asked about commands."""
        while (asked := self.session.take(effects.AskCommand)) is not None:
            answers = dict(
                header.split(" ", 1)
                for header in self.script.headers.get("command", [])
            )
            refusal = answers.get(asked.command.verb)
            if refusal != "silent":
                said = reply(refusal) if refusal else None
                self.session.feed(events.CommandJudged(said))


def play(script: Script, chunking: Chunking = whole) -> MemorySession:
    """Run a script; check what its header lines say about its end."""
    memory = script_session(script)
    run = Lockstep(script, memory, chunking)
    memory.start()
    while run.at < len(script.steps):
        run.next_step()
    run.finish()
    check_end(script, memory)
    return memory


def check_end(script: Script, memory: MemorySession) -> None:
    outcomes = [str(record.outcome) for record in memory.records]
    assert outcomes == script.headers.get("outcome", outcomes)
    doubts = [record.in_doubt for record in memory.records if record.in_doubt]
    assert doubts == script.headers.get("in_doubt", [])
    for text in script.headers.get("log", []):
        assert any(text in line for line in memory.log), (text, memory.log)
    for text in script.headers.get("nolog", []):
        assert not any(text in line for line in memory.log), (text, memory.log)


@pytest.mark.parametrize("chunking", CHUNKINGS.values(), ids=CHUNKINGS)
@pytest.mark.parametrize("name", NAMES)
def test_script_is_followed_whatever_the_segments(
    name: str, chunking: Chunking
) -> None:
    play(load(name), chunking)


@pytest.mark.parametrize("name", NAMES)
def test_session_of_a_script_ends_when_both_peers_are_gone(name: str) -> None:
    memory = play(load(name))
    memory.feed(events.Closed(Leg.CLIENT, reset=True))
    memory.feed(events.Closed(Leg.UPSTREAM, reset=True))
    memory.pass_time(1000)
    assert memory.ended
    assert memory.dialogue.deadline is None
    assert Leg.CLIENT in memory.closed


@pytest.mark.parametrize("row", ROWS)
def test_every_row_of_the_dialogue_table_has_a_script(row: str) -> None:
    shown = {load(name).header("row") for name in NAMES}
    named = [name for name in NAMES if name.startswith(f"row-{row}")]
    assert row in shown
    assert named


@pytest.mark.parametrize("setting", TLS_SETTINGS)
def test_every_value_of_starttls_has_a_script(setting: str) -> None:
    assert any(name.startswith(setting) for name in NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_script_says_which_row_or_setting_it_shows(name: str) -> None:
    script = load(name)
    assert script.header("row") in {*ROWS, "tls"}
    prefix = f"row-{script.header('row')}" if script.header("row") != "tls" else "tls-"
    assert name.startswith(prefix)


def test_a_wrong_expectation_fails_the_script() -> None:
    """The scripts can fail: a runner that finds nothing would pass them all."""
    text = (TRANSCRIPTS / "row-data.smtp").read_text("utf-8")
    wrong = text.replace("c< 354", "c< 355", 1)
    assert wrong != text
    with pytest.raises(Exception, match="wanted"):
        run_script(parse_script(wrong), script_session(parse_script(wrong)))
