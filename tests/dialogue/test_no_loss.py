"""Nothing is lost, whatever goes wrong and whenever (contract 2.1).

Every event of every script that carries mail is a point at which everything goes wrong
that can, on either leg. The promises are checked over what simulated peers have seen.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import replace

import pytest

from smtpguard.dialogue import Dialogue, Transaction, delivery
from smtpguard.dialogue.upstream import Request
from smtpguard.dialogue.waits import Task
from smtpguard.model.disposition import Outcome
from smtpguard.model.reply import Reply
from smtpguard.model.session import Leg
from smtpguard.replay.script import parse_script
from smtpguard.wire import replies
from tests.dialogue.peers import TRANSCRIPTS
from tests.dialogue.plans import Plan, plan
from tests.dialogue.world import FAULTS, OWN_FAULTS, Fault, World


PLACES = (
    "upstream silent after the final dot",
    "client gone after the upstream's 250",
)
"""Where a duplicate cannot be excluded; the third place is the quarantine's."""


NOT_HERE = ("row: auth", "[stop]", "limits.message", "disk: ", "session: loop")
"""What a plan cannot say: credentials, stops, sizes to the octet, full disks."""


def carries_mail(text: str) -> bool:
    return "\noutcome: " in text and not any(word in text for word in NOT_HERE)


SCRIPTS = {
    file.stem: file.read_text("utf-8")
    for file in sorted(TRANSCRIPTS.glob("*.smtp"))
    if carries_mail(file.read_text("utf-8"))
}
LARGE = 300
"""Lines of a message that goes up in several pieces, with pauses."""
_BEGIN = """
S> 220 mx.example ESMTP
C> EHLO c.example
s< EHLO c.example
S> 250-mx.example
S> 250-CHUNKING
S> 250 PIPELINING
C> MAIL FROM:<a@b.example>
C> RCPT TO:<c@d.example>
"""
SCRIPTS["large-data"] = f"""{_BEGIN}C> DATA
c< 354 go
{LARGE * f"C> {998 * 'x'}\n"}C> .
C> QUIT
outcome: relayed
"""
SCRIPTS["large-chunks"] = f"""{_BEGIN}C> BDAT {LARGE * 1000}
{LARGE * f"C> {998 * 'x'}\n"}C> BDAT 0 LAST
C> QUIT
outcome: relayed
"""
SCRIPTS["large-edited"] = "verdict: modified\n" + SCRIPTS["large-data"].replace(
    "relayed", "modified"
)
SWIFT = ("row-data", "row-bdat", "row-pipelining", "row-keep-alive", "large")
"""What is always played; the other scripts take half a minute."""


def play(name: str, fault: Fault | None = None) -> World:
    planned = intended(name)
    return World(replace(planned, answers=planned.answers.copy()), fault).run()


@functools.cache
def intended(name: str) -> Plan:
    return plan(parse_script(SCRIPTS[name], name))


def every_fault(points: int) -> Iterator[Fault]:
    for point in range(points):
        for kind in FAULTS:
            for leg in Leg:
                yield Fault(point, kind, leg)
        for kind in OWN_FAULTS:
            yield Fault(point, kind)


def broken(world: World) -> list[str]:
    """Return the promises that a session has broken."""
    faults = list(world.faults)
    doubts = [record.in_doubt for record in world.memory.records if record.in_doubt]
    faults += [
        f"in doubt elsewhere: {doubt}" for doubt in doubts if doubt not in PLACES
    ]
    accepted, unanswered = world.upstream.accepted, world.upstream.unanswered
    for message in world.client.sent:
        copies = accepted[message]
        told = world.client.told.get(message)
        positive = told is not None and 200 <= told <= 299
        if copies > 1:
            faults.append(f"message {message}: {copies} copies")
        if positive and copies + (message in world.discarded) != 1:
            faults.append(f"message {message}: told {told}, {copies} copies")
        maybe = unanswered[message]
        if copies and not positive and not doubts:
            faults.append(f"message {message}: accepted, told {told}, no doubt noted")
        if maybe and not copies and not doubts:
            faults.append(f"message {message}: unanswered upstream, no doubt noted")
        if maybe and positive and not copies:
            faults.append(f"message {message}: told {told}, nobody knows")
    unsent = set(+accepted) - world.client.sent
    faults += [f"message {message} accepted before its end" for message in unsent]
    if doubts and not needs_doubt(world):
        faults.append(f"in doubt without need: {doubts}")
    return faults


def needs_doubt(world: World) -> bool:
    """Whether some message may have two fates: had by the upstream, not known of."""
    return bool(world.late or +world.upstream.unanswered)


def swift(name: str) -> bool:
    return name.startswith(SWIFT)


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=() if swift(name) else pytest.mark.slow)
        for name in SCRIPTS
    ],
)
def test_no_message_is_lost_or_doubled_whatever_goes_wrong(name: str) -> None:
    undisturbed = play(name)
    assert broken(undisturbed) == []
    for fault in every_fault(undisturbed.points):
        world = play(name, fault)
        assert broken(world) == [], fault


def test_there_are_enough_scripts_and_points() -> None:
    names = [name for name in SCRIPTS if swift(name)]
    points = sum(len(list(every_fault(play(name).points))) for name in names)
    assert len(names) >= 30
    assert points >= 3000


@pytest.mark.parametrize("name", SCRIPTS)
def test_the_peers_of_a_plan_come_to_the_outcomes_of_their_script(name: str) -> None:
    """The matrix disturbs real sessions: undisturbed they end as in the script."""
    world = play(name)
    outcomes = [str(record.outcome) for record in world.memory.records]
    assert outcomes == world.plan.script.headers["outcome"]


# -- bugs that the matrix must find --------------------------------------------------


def early_250(d: Dialogue, tx: Transaction, request: Request) -> Task[Reply]:
    """Say 250 as soon as the dot has gone up."""
    assert d.upstream is not None
    d.upstream.in_data = d.upstream.mail_open = False
    yield from ()
    return replies.OK


def verdict_after_dot(
    d: Dialogue, tx: Transaction, refusal: Reply | None
) -> Task[None]:
    """Send the message up, then have it judged."""
    tx.dotted_at = d.now
    assert tx.content is not None
    ending = yield from delivery.deliver(d, tx, tx.content, Outcome.RELAYED)
    yield from delivery.judge(d, tx)
    said = tx.disposition
    if said is None:
        ending = delivery.Ending(Outcome.DEFERRED, replies.UNDECIDED)
    elif said.outcome is not Outcome.RELAYED:
        ending = delivery.Ending(said.outcome, said.reply)
    delivery.finish(d, tx, ending)


def no_doubt(d: Dialogue, tx: Transaction, why: str) -> None:
    """Forget that a duplicate is possible."""


def no_reset(d: Dialogue) -> None:
    """Leave the upstream within its transaction."""


PLANTED = {
    "an early 250": ("final_reply", early_250),
    "a verdict after the dot": ("conclude", verdict_after_dot),
    "a doubt that is not noted": ("doubt", no_doubt),
    "an upstream left hanging": ("reset", no_reset),
}


@pytest.mark.parametrize(("name", "bug"), PLANTED.values(), ids=PLANTED)
def test_the_matrix_finds_a_planted_bug(
    monkeypatch: pytest.MonkeyPatch, name: str, bug: object
) -> None:
    monkeypatch.setattr(delivery, name, bug)
    found = [
        fault
        for script in ("row-data", "row-data-denied")
        for fault in every_fault(play(script).points)
        if broken(play(script, fault))
    ]
    assert found


@pytest.mark.parametrize("kind", ["4xx", "5xx", "reset", "stall"])
def test_an_early_250_is_found_by_what_the_upstream_says(
    monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """Told 2xx, and no copy anywhere: not only that it came too soon."""
    monkeypatch.setattr(delivery, "final_reply", early_250)
    faults = every_fault(play("row-data").points)
    worlds = [play("row-data", fault) for fault in faults if fault.kind == kind]
    assert any("told 250, 0 copies" in text for w in worlds for text in broken(w))


def test_a_verdict_after_the_dot_is_found_by_what_the_client_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(delivery, "conclude", verdict_after_dot)
    text = "message 1: accepted, told 550, no doubt noted"
    assert text in broken(play("row-data-denied"))
