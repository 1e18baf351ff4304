"""Whatever a scanner does becomes a verdict, in time."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, cast

import pytest

from smtpguard.errors import (
    ScanError,
    ScannerDiedError,
    ScannerTimeoutError,
    ScannerUnavailableError,
)
from smtpguard.model.verdict import Verdict, VerdictKind
from smtpguard.scanners.base import MAX_REASON, guard, printable


if TYPE_CHECKING:
    from collections.abc import Awaitable


def guarded(verdict: Awaitable[Verdict], seconds: float = 5.0) -> Verdict:
    async def run() -> Verdict:
        return await guard("one", verdict, seconds)

    return asyncio.run(run())


async def raises(error: BaseException) -> Verdict:
    raise error


async def returns(verdict: Verdict) -> Verdict:
    return verdict


def test_a_verdict_is_handed_on_with_the_time_it_took() -> None:
    verdict = Verdict("one", VerdictKind.INFECTED, "Win.Test", "why")
    found = guarded(returns(verdict))
    assert found == verdict
    assert found.seconds > 0


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (ScannerUnavailableError("x"), VerdictKind.UNAVAILABLE),
        (ScannerDiedError("x"), VerdictKind.FAILED),
        (ScannerTimeoutError("x"), VerdictKind.FAILED),
        (ScanError("x"), VerdictKind.FAILED),
        (OSError(5, "x"), VerdictKind.FAILED),
        (TimeoutError("x"), VerdictKind.FAILED),
        (ValueError("x"), VerdictKind.FAILED),
        (RecursionError("x"), VerdictKind.FAILED),
    ],
)
def test_an_error_is_a_verdict(error: Exception, kind: VerdictKind) -> None:
    found = guarded(raises(error))
    assert (found.scanner, found.kind) == ("one", kind)
    assert found.reason


@pytest.mark.parametrize("nothing", [None, "clean", 250])
def test_what_is_no_verdict_is_a_failure(nothing: object) -> None:
    assert guarded(returns(cast("Verdict", nothing))).kind is VerdictKind.FAILED


@pytest.mark.parametrize("seconds", [0.1, 0.0, -1.0])
def test_a_scanner_that_never_answers_is_given_up(seconds: float) -> None:
    async def never() -> Verdict:
        await asyncio.Event().wait()
        raise AssertionError

    began = time.monotonic()
    assert guarded(never(), seconds).kind is VerdictKind.FAILED
    assert time.monotonic() - began < 1


def test_the_end_of_whoever_asks_is_no_verdict() -> None:
    async def run() -> None:
        asked = asyncio.create_task(guard("one", asyncio.Event().wait(), 5))  # type: ignore[arg-type]
        await asyncio.sleep(0)
        asked.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asked

    asyncio.run(run())


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain", "plain"),
        ("a\nb\r\t\0", r"a\nb\r\t\x00"),
        ("\x1b[2J", r"\x1b[2J"),
        ("Virüs", r"Vir\xfcs"),
        ("\u202e", r"\u202e"),
        ("\udc80", r"\udc80"),
        ("it's", "it's"),
        ("x" * 999, "x" * MAX_REASON),
    ],
)
def test_what_is_logged_is_printable_and_short(text: str, shown: str) -> None:
    assert printable(text) == shown


def test_names_and_reasons_of_a_verdict_can_be_logged() -> None:
    found = guarded(returns(Verdict("one", VerdictKind.INFECTED, "A\n", "\x1b" * 999)))
    assert found.name == r"A\n"
    assert found.reason == r"\x1b" * (MAX_REASON // 4)
