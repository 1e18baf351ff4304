"""Where messages are judged; ``test_addon`` and ``proxy`` judge whole sessions."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any

import pytest

from smtpguard import alarms
from smtpguard import judges as judges_module
from smtpguard.judges import INLINE_OCTETS, JUDGES, Judges
from smtpguard.model.content import MemorySpool
from smtpguard.model.disposition import Disposition, Outcome
from smtpguard.model.scan import Questions, Verdicts
from smtpguard.model.verdict import Verdict, VerdictKind
from tests.judging import make_envelope, make_pipeline, make_session, rules


TOP = "domains: [own.test]\nscanners:\n  v: {type: yara}"
SCANNING = rules(
    'content_types: [{match: "*", action: scan}]', "antivirus: {scanner: v}", top=TOP
)
MAIL = b"Subject: a\r\n\r\nHello\r\n"


class Waiting:
    """Scanners that answer when they are told to."""

    def __init__(self) -> None:
        self.asked: list[tuple[Questions, Future[Verdicts]]] = []
        self.came = threading.Semaphore(0)

    def ask(self, questions: Questions) -> Future[Verdicts]:
        future: Future[Verdicts] = Future()
        self.asked.append((questions, future))
        self.came.release()
        return future

    def health(self) -> list[tuple[str, str, str, str]]:
        return []

    def keep(self, specs: object) -> None:
        """Nothing is known."""

    def stop(self) -> None:
        """Nothing runs."""

    def answer(self, number: int, kind: VerdictKind = VerdictKind.CLEAN) -> None:
        questions, future = self.asked[number]
        future.set_result({key: (Verdict("v", kind),) for key in questions})


@pytest.fixture
def judges() -> Any:
    made = Judges()
    made.start()
    yield made
    made.stop(at_once=True)


def message(scanners: Any, octets: bytes = MAIL, text: str = SCANNING) -> Any:
    spool = MemorySpool()
    spool.write(octets)
    session = make_session()
    pipeline = make_pipeline(text, scanners)
    transaction = SimpleNamespace(id="t", judge=pipeline.begin(session), ended=False)
    return SimpleNamespace(
        session=session,
        transaction=transaction,
        envelope=make_envelope(),
        content=spool,
        disposition=None,
    )


def test_no_judge_waits_for_scanners(judges: Judges) -> None:
    """Four times as many messages as there are judges are at the scanners at once."""
    scanners, count = Waiting(), 4 * JUDGES

    async def scene() -> list[Disposition | None]:
        tasks = [
            asyncio.ensure_future(judges.judge(message(scanners))) for _ in range(count)
        ]
        for _ in range(count):
            await asyncio.to_thread(scanners.came.acquire)
        other = await judges.judge(message(scanners, text=rules()))
        assert other is not None
        assert other.outcome is Outcome.RELAYED
        for number in range(count):
            scanners.answer(number)
        return await asyncio.gather(*tasks)

    found = asyncio.run(scene())
    assert [said.outcome for said in found if said] == [Outcome.RELAYED] * count


def test_only_so_many_messages_are_read_and_wait_for_scanners(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each keeps what was read of it; one without scanners waits for none of them."""
    monkeypatch.setattr(judges_module, "SCANNED", 2)
    judges = Judges()
    judges.start()
    scanners = Waiting()

    async def scene() -> None:
        tasks = [
            asyncio.ensure_future(judges.judge(message(scanners))) for _ in range(3)
        ]
        for _ in range(2):
            await asyncio.to_thread(scanners.came.acquire)
        other = await judges.judge(message(scanners, text=rules()))
        assert other is not None
        assert len(scanners.asked) == 2
        scanners.answer(0)
        await asyncio.to_thread(scanners.came.acquire)
        scanners.answer(1)
        scanners.answer(2)
        await asyncio.gather(*tasks)

    asyncio.run(scene())
    judges.stop(at_once=True)


def test_what_scanners_are_asked_about_is_not_judged_at_once(judges: Judges) -> None:
    scanners = Waiting()
    data = message(scanners)
    assert judges.judge_at_once(data) is False
    assert data.disposition is None
    assert scanners.asked == []
    plain = message(scanners, text=rules())
    assert judges.judge_at_once(plain) is True
    assert plain.disposition.outcome is Outcome.RELAYED
    assert judges.judge_at_once(message(scanners, b"x" * (INLINE_OCTETS + 1))) is False


def test_scanners_that_fail_leave_a_message_undecided(judges: Judges) -> None:
    scanners = Waiting()

    async def scene() -> None:
        task = asyncio.ensure_future(judges.judge(message(scanners)))
        await asyncio.to_thread(scanners.came.acquire)
        scanners.asked[0][1].set_exception(RuntimeError("a bug"))
        with pytest.raises(RuntimeError, match="a bug"):
            await task

    asyncio.run(scene())


def test_a_message_that_nobody_waits_for_is_not_judged(judges: Judges) -> None:
    data = message(Waiting())
    data.transaction.ended = True
    assert asyncio.run(judges.judge(data)) is None


def test_before_it_is_started_all_is_judged_at_once() -> None:
    data = message(None)
    assert Judges().judge_at_once(data) is True
    assert data.disposition.outcome is Outcome.RELAYED


@pytest.mark.parametrize(
    ("kinds", "is_told"),
    [
        ([VerdictKind.CLEAN], False),
        ([VerdictKind.UNAVAILABLE, VerdictKind.CLEAN], True),
        ([VerdictKind.FAILED, VerdictKind.CLEAN], False),
        ([VerdictKind.FAILED, VerdictKind.FAILED], True),
        ([VerdictKind.UNAVAILABLE, VerdictKind.OVERSIZE], True),
        ([VerdictKind.OVERSIZE], False),
        ([], False),
    ],
)
def test_a_scanner_that_is_not_there_is_an_alarm(
    kinds: list[VerdictKind], is_told: bool
) -> None:
    """Also where another one answers: that may know less."""
    judges_module._alarm({"1": tuple(Verdict("v", kind) for kind in kinds)})
    assert alarms.counts() == ({"scanners": 1} if is_told else {})
