from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from mitmproxy import io as flowio

from smtpguard.errors import ReplayError
from smtpguard.options import Record
from smtpguard.policy import files
from smtpguard.proxy.sessionrecord import SESSION_KEY
from smtpguard.replay.run import Replayed, read_recordings, replay_files
from tests.replay.deciders import Recorded, Rules
from tests.replay.test_scriptfile import RELAYED


@pytest.fixture
def flows(tmp_path: Path) -> Path:
    path = tmp_path / "out.mitm"
    with path.open("wb") as opened:
        modes: tuple[Record, ...] = ("full", "none")
        for mode in modes:
            session = Recorded(mode=mode)
            session.greet()
            session.send((b"c@d.example", b"250 ok"))
            flowio.FlowWriter(opened).add(session.quit())
    return path


@pytest.fixture
def script(tmp_path: Path) -> Path:
    path = tmp_path / "relayed.smtp"
    path.write_text(RELAYED)
    return path


def test_files_of_every_kind_are_replayed_in_order(flows: Path, script: Path) -> None:
    results = list(replay_files([script, flows], Rules()))
    assert [(r.record["file"], r.record["disposition"]) for r in results] == [
        (str(script), "relayed"),
        (str(flows), "relayed"),
        (str(flows), None),
    ]
    assert [r.passed for r in results] == [True, True, False]
    assert results[2].record["error"].startswith("flow 2: recorded without")


def cut_flow(path: Path, number: int) -> Path:
    """Write a session of so many mails that was recorded up to the next one."""
    session = Recorded()
    session.greet()
    for _ in range(number):
        session.send((b"c@d.example", b"250 ok"))
    session.client(b"MAIL FROM:<cut@b.example>")
    session.upstream(b"250 ok")
    flow = session.finish()
    text = flow.metadata[SESSION_KEY]
    flow.metadata[SESSION_KEY] = text.replace('"cut":false', '"cut":true')
    with path.open("wb") as opened:
        flowio.FlowWriter(opened).add(flow)
    return path


@pytest.mark.parametrize(
    ("number", "told"),
    [
        (0, "flow 1: cut after 0 transactions"),
        (1, "flow 1: cut after 1 transaction"),
        (2, "flow 1: cut after 2 transactions"),
    ],
)
def test_a_recording_that_was_cut_says_so_behind_what_it_has(
    tmp_path: Path, number: int, told: str
) -> None:
    path = cut_flow(tmp_path / "out.mitm", number)
    *results, last = list(replay_files([path], Rules()))
    assert [result.passed for result in results] == [True] * number
    assert not last.passed
    assert last.to_json() == {
        "file": str(path),
        "session": None,
        "disposition": None,
        "error": told,
    }
    assert last.line() == f"{path}  {told}"


def test_a_trace_is_told_to_those_who_ask_for_it() -> None:
    step = {"rule": "rcpt_to:1", "matched": False, "reason": "no", "place": "r.yaml:3"}
    result = Replayed({"disposition": "relayed", "trace": [step]})
    assert result.to_json()["trace"] == []
    assert result.to_json(explain=True)["trace"] == [step]
    assert result.record["trace"] == [step]


def test_a_result_is_the_object_of_the_contract(flows: Path) -> None:
    result = next(iter(replay_files([flows], Rules())))
    record = json.loads(json.dumps(result.to_json()))
    keys = {"file", "session", "envelope", "replies", "policy", "disposition", "reply"}
    assert keys | {"rule", "action", "size", "sha256", "trace"} <= record.keys()


@pytest.mark.parametrize(
    ("record", "line"),
    [
        pytest.param(
            {
                "file": "a.mitm",
                "transaction": "s1.2",
                "disposition": "rejected",
                "rule": "rcpt_to:3",
                "action": "deny",
                "reply": "550 no",
                "recorded": {"disposition": "relayed"},
            },
            "a.mitm  s1.2  rejected  rcpt_to:3 deny  550 no  (recorded: relayed)",
            id="differs",
        ),
        pytest.param(
            {
                "file": "a.mitm",
                "session": {"id": "s1"},
                "disposition": "deferred",
                "recorded": None,
            },
            "a.mitm  s1  deferred",
            id="no-transaction",
        ),
        pytest.param(
            {"file": "a.mitm", "disposition": None, "error": "cannot be replayed: x"},
            "a.mitm  cannot be replayed: x",
            id="error",
        ),
    ],
)
def test_line(record: dict[str, Any], line: str) -> None:
    assert Replayed(record).line() == line


def test_explanation_is_a_line_for_each_rule() -> None:
    step = {"rule": "rcpt_to:1", "matched": False, "reason": "no", "place": "r.yaml:3"}
    steps = [step, {**step, "matched": True}, {**step, "matched": None}]
    assert Replayed({"trace": steps}).explanation() == [
        "    no  rcpt_to:1  no  (r.yaml:3)",
        "    yes rcpt_to:1  no  (r.yaml:3)",
        "    ?   rcpt_to:1  no  (r.yaml:3)",
    ]
    assert Replayed({}).explanation() == []


@pytest.mark.parametrize("suffix", [".pcap", ".pcapng"])
def test_captures_are_refused_not_ignored(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"x{suffix}"
    path.write_bytes(b"")
    with pytest.raises(ReplayError, match="not supported yet"):
        list(read_recordings(path))


def test_a_script_that_is_no_text_says_where(tmp_path: Path) -> None:
    path = tmp_path / "x.smtp"
    path.write_bytes(b"# \xff")
    with pytest.raises(ReplayError, match="not UTF-8 at octet 2"):
        list(read_recordings(path))


def test_a_file_that_is_not_there_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="nothing"):
        list(replay_files([tmp_path / "nothing.mitm"], Rules()))


@pytest.mark.parametrize("name", ["pipe.mitm", "pipe.smtp"])
def test_a_pipe_is_not_waited_for(tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / name)
    with pytest.raises(OSError, match="Not a regular file"):
        list(read_recordings(tmp_path / name))


def test_a_script_without_an_end_does_not_fill_the_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "MAX_OCTETS", 10)
    path = tmp_path / "x.smtp"
    path.write_bytes(b"#" * 11)
    with pytest.raises(OSError, match="larger than 10 octets"):
        list(read_recordings(path))
