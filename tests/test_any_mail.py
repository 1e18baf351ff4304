"""The whole way of a message, rules included, for mails that nobody would send.

Whatever it is, it ends in one of the outcomes, and what is relayed or edited can be
read to its end. Time grows with what is sent, counted in steps of all our modules.
"""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from smtpguard.loading import default_rules
from smtpguard.mime import parse
from smtpguard.model.content import MemorySpool
from smtpguard.model.disposition import Disposition, Outcome
from smtpguard.pipeline import PASSED, TransactionJudge
from tests.judging import (
    ALLOW,
    make_envelope,
    make_pipeline,
    make_session,
    mixed,
    names,
    rules,
    types,
)
from tests.mime.test_any_input import changed, noise, real_mails, soup
from tests.mime.test_linear_time import TOOL


INPUTS = 20_000
SECONDS = 200
ENDS = {
    Outcome.RELAYED,
    Outcome.MODIFIED,
    Outcome.REJECTED,
    Outcome.DEFERRED,
    Outcome.DISCARDED,
    Outcome.DROPPED,
}
EVERYTHING = rules(
    f'headers: [{{match: "x-*", action: strip}}, {ALLOW}]',
    types('{match: "*", is: [executable, encrypted, macro], action: lock}'),
    names('{match: "*.{exe,txt}", inside: [message, archives], action: strip}'),
    "ambiguous: allow",
    "malformed: allow",
    "limit: allow",
    "own_fields: add",
)
"""Much is edited and little refused, so that edits are what is tried."""


def judged(judge: TransactionJudge, mail: bytes) -> Disposition:
    spool = MemorySpool()
    spool.write(mail)
    return judge.message(make_session(), make_envelope(), spool)


@pytest.mark.slow
@pytest.mark.timeout(2 * SECONDS)
@pytest.mark.parametrize("text", [EVERYTHING, None], ids=["everything", "default"])
def test_any_mail_ends_in_one_of_the_outcomes(shared: Path, text: str | None) -> None:
    pipeline = make_pipeline(text or default_rules().read_text("utf-8"))
    judge = pipeline.begin(make_session())
    real = real_mails(shared)

    def real_one(chance: random.Random) -> bytes:
        return changed(chance, chance.choice(real))

    kinds: tuple[Callable[[random.Random], bytes], ...] = (
        *(noise, soup, soup, real_one, real_one, real_one, real_one),
    )
    end = time.monotonic() + SECONDS
    seen = dict.fromkeys(ENDS, 0)
    for seed in range(1, INPUTS + 1):
        mail = kinds[seed % len(kinds)](random.Random(seed))
        try:
            said = judged(judge, mail)
            edited = b"".join(said.content.chunks()) if said.content else b""
            parse(edited)
        except Exception as error:  # noqa: BLE001 - the seed is what one needs
            pytest.fail(f"seed {seed}: {error!r}")
        assert said.outcome in ENDS, seed
        assert (said.reply is None) == (said.outcome in {*PASSED, Outcome.DROPPED}), (
            seed
        )
        seen[said.outcome] += 1
        assert time.monotonic() < end, f"only {seed} of {INPUTS} in time"
    assert min(seen[Outcome.RELAYED], seen[Outcome.MODIFIED]) > INPUTS // 50


# ----------------------------------------------------------------- time, in steps

GENERATORS: dict[str, Callable[[int], bytes]] = {
    "parts": lambda n: mixed(*[b"\r\nx"] * n),
    "programs": lambda n: mixed(
        *[b"Content-Disposition: attachment; filename=a.exe\r\n\r\nMZ"] * n
    ),
    "names": lambda n: mixed(
        *(b"Content-Type: a/b; name=%d.txt\r\n\r\nx" % one for one in range(n))
    ),
    "fields": lambda n: b"X-A: b\r\n" * n + b"\r\nx",
    "many-authors": lambda n: b"From: " + b"a@b.test, " * n + b"\r\n\r\nx",
    "comments": lambda n: b"From: " + b"(" * n + b"\r\n\r\nx",
    "text": lambda n: b"A: b\r\n\r\n" + b"<a href='x'>[x]\r\n" * n,
    "files-in-text": lambda n: b"A: b\r\n\r\n" + b"begin 644 a\r\n!!\r\nend\r\n" * n,
    "hidden-parts": lambda n: b"A: b\r\n\r\n" + b"--x\r\nContent-Type: a/b\r\n\r\n" * n,
    "messages": lambda n: b"Content-Type: message/rfc822\r\n\r\n" * n,
    "defects": lambda n: mixed(*[b"Content-Type: multipart/x\r\n\r\n"] * n),
}


def steps(judge: TransactionJudge, mail: bytes) -> int:
    """Count the lines that are run in our modules."""
    events = sys.monitoring.events
    count = 0

    def step(code: object, _line: int) -> object:
        nonlocal count
        if "/smtpguard/" not in code.co_filename:  # type: ignore[attr-defined]
            return sys.monitoring.DISABLE
        count += 1
        return None

    sys.monitoring.use_tool_id(TOOL, "steps")
    try:
        sys.monitoring.register_callback(TOOL, events.LINE, step)
        sys.monitoring.set_events(TOOL, events.LINE)
        judged(judge, mail)
    finally:
        sys.monitoring.set_events(TOOL, 0)
        sys.monitoring.register_callback(TOOL, events.LINE, None)
        sys.monitoring.free_tool_id(TOOL)
    return count


@pytest.mark.parametrize("name", GENERATORS)
def test_twice_the_mail_takes_at_most_two_and_a_half_times_the_steps(name: str) -> None:
    """Up to 400 of each: the limits on parts and readings come behind."""
    judge = make_pipeline(EVERYTHING).begin(make_session())
    once, twice = (steps(judge, GENERATORS[name](n)) for n in (200, 400))
    assert once > 200
    assert twice < 2.5 * once
