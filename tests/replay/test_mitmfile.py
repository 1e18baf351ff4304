from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mitmproxy import flow, tcp
from mitmproxy import io as flowio
from mitmproxy.io import tnetstring
from mitmproxy.test import tflow

from smtpguard.errors import ReplayError
from smtpguard.proxy import sessionrecord
from smtpguard.replay.mitmfile import read_flow, read_flows
from smtpguard.replay.recording import Recording, Say
from tests.replay.deciders import Recorded


def one_mail(**options: Any) -> tcp.TCPFlow:
    session = Recorded(**options)
    session.greet()
    session.send((b"c@d.example", b"250 ok"))
    return session.quit()


type Save = Callable[..., Path]


@pytest.fixture
def save(tmp_path: Path) -> Save:
    def write(*flows: flow.Flow) -> Path:
        path = tmp_path / "out.mitm"
        with path.open("wb") as opened:
            writer = flowio.FlowWriter(opened)
            for each in flows:
                writer.add(each)
        return path

    return write


def sessions(path: Path) -> list[Recording]:
    return [read for read in read_flows(path) if isinstance(read, Recording)]


def verbs(recording: Recording) -> list[str]:
    return [step.verb for step in recording.steps if isinstance(step, Say)]


def test_every_session_of_a_file_is_read_and_other_flows_are_not(save: Save) -> None:
    path = save(one_mail(), tflow.tflow(), tflow.ttcpflow(), one_mail())
    recordings = sessions(path)
    assert [recording.name for recording in recordings] == [str(path)] * 2
    assert recordings[0].transactions[0]["disposition"] == "relayed"
    assert verbs(recordings[0])[-1] == "QUIT"


def test_one_session_that_cannot_be_replayed_does_not_hide_the_others(
    save: Save,
) -> None:
    damaged = one_mail()
    damaged.metadata[sessionrecord.SESSION_KEY] = "{}"
    path = save(one_mail(mode="none"), damaged, one_mail())
    first, second, third = list(read_flows(path))
    assert str(first) == (
        f"{path}: flow 1: recorded without its dialogue (record: none)"
    )
    assert str(second) == (
        f"{path}: flow 2: the record is damaged: format None is not known"
    )
    assert isinstance(third, Recording)


@pytest.mark.parametrize(
    ("octets", "told"),
    [
        pytest.param(b"", "no session recorded by smtpguard", id="empty"),
        pytest.param(b"12:not a flow", "flow 1: ", id="no-flows"),
        pytest.param(b"\xff\xfe\0", "flow 1: ", id="binary"),
        pytest.param(tnetstring.dumps({}), "flow 1: ", id="no-version"),
        pytest.param(
            b"999999999999:x,",
            "flow 1: MemoryError: it is too large, or damaged",
            id="too-long",
        ),
        pytest.param(b"5:\xff\xff\xff\xff\xff;", "flow 1: ", id="not-utf-8"),
        pytest.param(b"12:4:a\x1b\nb;1:b,}", "flow 1: ", id="controls"),
    ],
)
def test_a_file_that_is_none_is_one_line_with_its_name(
    tmp_path: Path, octets: bytes, told: str
) -> None:
    path = tmp_path / "bad.mitm"
    path.write_bytes(octets)
    with pytest.raises(ReplayError) as caught:
        list(read_flows(path))
    assert str(caught.value).startswith(f"{path}: {told}")
    assert "\n" not in str(caught.value)


def test_a_file_that_breaks_off_says_where(save: Save) -> None:
    path = save(one_mail(), one_mail())
    path.write_bytes(path.read_bytes()[:-100])
    flows = read_flows(path)
    assert isinstance(next(flows), Recording)
    with pytest.raises(ReplayError, match=f"{path}: flow 2: "):
        next(flows)


def test_the_flow_of_another_file_format_has_its_place_named_too(save: Save) -> None:
    """What mitmproxy does not expect in a file is no fault of ours, and no crash."""
    path = save(one_mail())
    path.write_bytes(path.read_bytes() + tnetstring.dumps({"version": 21}))
    flows = read_flows(path)
    assert isinstance(next(flows), Recording)
    with pytest.raises(ReplayError, match=f"{path}: flow 2: KeyError"):
        next(flows)


def test_a_file_of_other_flows_alone_says_so(save: Save) -> None:
    path = save(tflow.tflow())
    with pytest.raises(ReplayError, match="no session recorded by smtpguard"):
        list(read_flows(path))


def test_a_record_that_is_no_text_is_damaged() -> None:
    made = one_mail()
    made.metadata[sessionrecord.SESSION_KEY] = 7
    with pytest.raises(ReplayError, match="damaged"):
        read_flow(made, "x")


def test_a_recording_that_was_cut_ends_with_its_last_whole_transaction() -> None:
    session = Recorded()
    session.greet()
    session.send((b"c@d.example", b"250 ok"))
    session.client(b"MAIL FROM:<cut@b.example>")
    session.upstream(b"250 ok")
    made = session.finish()
    text = made.metadata[sessionrecord.SESSION_KEY]
    made.metadata[sessionrecord.SESSION_KEY] = text.replace('"cut":false', '"cut":true')
    recording = read_flow(made, "x", 7)
    assert verbs(recording) == ["EHLO", "MAIL", "RCPT", "DATA"]
    assert recording.cut == "flow 7"
