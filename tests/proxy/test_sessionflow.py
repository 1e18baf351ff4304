"""Which hooks tell of a session's flow."""

from __future__ import annotations

import weakref
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from mitmproxy.proxy import commands

from smtpguard.proxy import sessionflow
from smtpguard.proxy.sessionflow import KEPT_ROWS, UNRECORDED, SessionFlow
from tests.proxy.fakes import (
    HEARD,
    FakeDialogue,
    FakeRecorder,
    ended_record,
    new_services,
)
from tests.proxy.playbook import Clock, make_context


class Told:
    """A session's flow and who was told what."""

    def __init__(self, tmp: Path, heard: Iterable[str], **options: Any) -> None:
        self.recorders: list[FakeRecorder] = []
        self.dialogue = FakeDialogue(lambda event: [])
        services = new_services(tmp, Clock(), heard=heard, recorders=self.recorders)
        services = replace(services, options=replace(services.options, **options))
        self.ends = 0
        self.session = SessionFlow(
            make_context(), self.dialogue.as_dialogue(), services, self._end
        )

    def _end(self) -> None:
        self.ends += 1

    @property
    def recorder(self) -> FakeRecorder:
        return self.recorders[0]


def names(*hooks: commands.StartHook | None) -> list[str]:
    return [hook.name if hook else "" for hook in hooks]


def until_the_end(told: Told, error: str | None = None) -> list[str]:
    """Complete one hook after the other; return their names."""
    found = []
    hook = told.session.end(error)
    while hook is not None:
        assert told.ends == 0
        found.append(hook.name)
        hook = told.session.after(hook)
    return found


@pytest.mark.parametrize(
    ("heard", "error", "wanted"),
    [
        (HEARD, None, ["tcp_end"]),
        (HEARD, "broken", ["tcp_error"]),
        ([*HEARD, "smtp_end"], None, ["smtp_end", "tcp_end"]),
        ([*HEARD, "smtp_end"], "broken", ["smtp_end", "tcp_error"]),
        ([], None, []),
        ([], "broken", ["tcp_error"]),
        (["smtp_end"], None, ["smtp_end"]),
    ],
)
def test_the_end_is_told_in_order_and_once(
    tmp_path: Path, heard: list[str], error: str | None, wanted: list[str]
) -> None:
    told = Told(tmp_path, heard)
    flow = told.session.flow

    assert until_the_end(told, error) == wanted
    assert told.ends == 1
    assert not flow.live
    assert (flow.error is not None) is (error is not None)


def test_a_flow_that_has_ended_is_not_held(tmp_path: Path) -> None:
    """Whoever else wants it holds it; layers are garbage for a while before they go."""
    told = Told(tmp_path, HEARD)
    flow = weakref.ref(told.session.flow)
    until_the_end(told)
    told.recorders.clear()

    assert flow() is None


def test_a_start_is_told_to_whom_it_concerns(tmp_path: Path) -> None:
    started = Told(tmp_path, HEARD).session.start(), Told(tmp_path, []).session.start()

    assert names(*started) == ["tcp_start", ""]


def test_views_are_refreshed_after_a_transaction(tmp_path: Path) -> None:
    told = Told(tmp_path, ["tcp_message"])
    first = told.session.transaction(ended_record())

    assert names(first) == ["tcp_message"]
    assert told.recorder.told == ["transaction 5f3a.1", "update"]


@pytest.mark.parametrize(
    ("heard", "kept"), [(HEARD, 0), ([*HEARD, "smtp_end"], 1)], ids=["nobody", "heard"]
)
def test_records_are_kept_only_for_who_hears_of_them(
    tmp_path: Path, heard: list[str], kept: int
) -> None:
    told = Told(tmp_path, heard)
    told.session.transaction(ended_record())

    assert told.session.records == [ended_record()] * kept


def test_records_of_many_parts_are_cut_down(tmp_path: Path) -> None:
    """A mail of a few KiB may have a thousand parts, a session any number of mails."""
    told = Told(tmp_path, ["smtp_end"])
    steps = KEPT_ROWS // 4
    large = replace(
        ended_record(), trace=({"n": 1},) * steps, report={"parts": [{}] * steps}
    )
    for _ in range(5):
        told.session.transaction(large)

    records = told.session.records
    assert len(records) == 5
    assert records[0] == large
    assert records[-1] == replace(large, trace=(), report={})
    assert sum(len(record.trace) for record in records) <= KEPT_ROWS


def test_records_are_not_kept_without_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sessionflow, "KEPT_RECORDS", 3)
    told = Told(tmp_path, ["smtp_end"])
    for number in range(5):
        told.session.transaction(ended_record(f"5f3a.{number}"))

    assert [record.id for record in told.session.records] == [
        "5f3a.0",
        "5f3a.1",
        "5f3a.2",
    ]


def test_the_completion_of_another_hook_changes_nothing(tmp_path: Path) -> None:
    told = Told(tmp_path, HEARD)
    start = told.session.start()
    told.session.end()
    assert start is not None

    assert told.session.after(start) is None
    assert told.ends == 0


def test_the_transcript_waits_until_it_is_worth_it(tmp_path: Path) -> None:
    told = Told(tmp_path, [])
    told.dialogue.transcript.entries.extend([None] * UNRECORDED)  # type: ignore[list-item]
    assert not told.session.update()
    told.dialogue.transcript.entries.append(None)  # type: ignore[arg-type]

    assert told.session.update()


def test_records_of_many_recipients_are_not_kept_without_end(tmp_path: Path) -> None:
    """Recipients are what a record is for: what has no room for them is not kept."""
    told = Told(tmp_path, ["smtp_end"])
    rcpt_to = ({"address": "b@example.org"},) * (KEPT_ROWS // 4 - 20)
    many = replace(ended_record(), rcpt_to=rcpt_to, trace=({"n": 1},) * 25)
    for _ in range(6):
        told.session.transaction(many)
    told.session.transaction(replace(ended_record(), rcpt_to=()))

    records = told.session.records
    assert records == [many] * 3 + [replace(many, trace=(), report={})]


@pytest.mark.parametrize("heard", [HEARD, []], ids=["heard", "unheard"])
def test_a_fault_in_the_record_costs_the_record_alone(
    tmp_path: Path, heard: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    told = Told(tmp_path, heard)
    told.recorder.broken = True
    assert told.session.transaction(ended_record()) is None
    until_the_end(told)

    assert told.ends == 1
    assert "flow not complete" in caplog.text


def test_the_log_of_a_fault_in_the_record_shows_no_address(
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told = Told(tmp_path, HEARD, log_addresses="none")

    def broken(*_: object) -> None:
        raise ValueError("<anna@d.example>")

    monkeypatch.setattr(told.recorder, "transaction", broken)
    told.session.transaction(ended_record())

    assert "ValueError: <hidden>" in caplog.text
    assert "anna" not in caplog.text
