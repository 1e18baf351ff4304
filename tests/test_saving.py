from __future__ import annotations

import logging
import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import pytest
from mitmproxy import exceptions, tcp
from mitmproxy import io as flowio
from mitmproxy.addons import save
from mitmproxy.test import taddons, tflow

from smtpguard.saving import Saving


ROOM = 100_000


def session(name: str, octets: int = 10) -> tcp.TCPFlow:
    made = tflow.ttcpflow()
    made.comment = name
    made.messages = [tcp.TCPMessage(True, b"x" * octets)]
    return made


def recorded(path: Path) -> list[str]:
    with path.open("rb") as opened:
        return [flow.comment for flow in flowio.FlowReader(opened).stream()]


@contextmanager
def a_disk_that_is_full_at(octets: int) -> Iterator[None]:
    """Let no file become larger than that: a write beyond it comes half way."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (octets, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.fixture
def saving() -> Iterator[Saving]:
    addon = Saving()
    with taddons.context(addon):
        yield addon
        addon.done()


def configure(addon: Saving, path: object) -> None:
    from mitmproxy import ctx

    ctx.options.save_stream_file = str(path)
    save.Save.configure(addon, {"save_stream_file"})


def test_sessions_are_written_as_they_end(saving: Saving, tmp_path: Path) -> None:
    path = tmp_path / "a.mitm"
    configure(saving, path)
    one, two = session("one"), session("two")
    saving.tcp_start(one)
    saving.tcp_start(two)
    saving.tcp_end(two)
    assert recorded(path) == ["two"]
    saving.done()
    assert recorded(path) == ["two", "one"]
    assert saving.lost == 0


def test_a_plus_appends(saving: Saving, tmp_path: Path) -> None:
    path = tmp_path / "a.mitm"
    for name in ("one", "two"):
        configure(saving, f"+{path}")
        saving.tcp_end(session(name))
        saving.done()
    assert recorded(path) == ["one", "two"]


def test_half_a_session_is_taken_out_again_and_what_follows_is_written(
    saving: Saving, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "a.mitm"
    configure(saving, path)
    with a_disk_that_is_full_at(ROOM):
        saving.tcp_end(session("small"))
        size = path.stat().st_size
        for name in ("large", "as large", "larger"):
            saving.tcp_end(session(name, 2 * ROOM))
            assert path.stat().st_size == size
        saving.tcp_end(session("small again"))
        saving.tcp_end(session("and again"))
    assert recorded(path) == ["small", "small again", "and again"]
    assert saving.lost == 3
    assert [record.getMessage() for record in caplog.records] == [
        f"sessions are not recorded, mail goes on: {path}: File too large",
        "sessions are recorded again; 3 were not",
    ]
    assert [record.levelno for record in caplog.records] == [
        logging.ERROR,
        logging.WARNING,
    ]


def test_sessions_that_are_open_at_the_end_are_counted_too(
    saving: Saving, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "a.mitm"
    configure(saving, path)
    sessions = [session(f"{number}", 2 * ROOM) for number in range(3)]
    for each in sessions:
        saving.tcp_start(each)
    with a_disk_that_is_full_at(ROOM):
        saving.done()
    assert saving.lost == 3
    assert caplog.messages[-1] == "sessions that were not recorded: 3"
    assert recorded(path) == []


def test_a_device_without_room_ends_nothing(
    saving: Saving, caplog: pytest.LogCaptureFixture
) -> None:
    configure(saving, "/dev/full")
    for _ in range(3):
        saving.tcp_end(session("x"))
    assert saving.lost == 3
    assert caplog.messages == [
        ("sessions are not recorded, mail goes on: /dev/full: No space left on device")
    ]


def test_a_pipe_is_written_to(saving: Saving, tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        configure(saving, path)
        saving.tcp_end(session("one"))
        assert b"one" in os.read(reader, 65536)
    finally:
        os.close(reader)
    saving.tcp_end(session("nobody reads"))
    assert saving.lost == 1


def test_the_file_of_the_next_day_is_tried_until_it_can_be_opened(
    saving: Saving,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    day = 1

    class Clock:
        @staticmethod
        def today() -> datetime:
            return datetime(2026, 1, day)  # noqa: DTZ001 - as mitmproxy asks

    monkeypatch.setattr(save, "datetime", Clock)
    configure(saving, f"{tmp_path}/%d/a.mitm")
    saving.tcp_end(session("first"))
    day = 2
    (tmp_path / "02").write_text("in the way")
    saving.tcp_end(session("lost"))
    saving.tcp_end(session("lost too"))
    (tmp_path / "02").unlink()
    saving.tcp_end(session("second"))
    assert recorded(tmp_path / "01" / "a.mitm") == ["first"]
    assert recorded(tmp_path / "02" / "a.mitm") == ["second"]
    assert saving.lost == 2
    assert len(caplog.messages) == 2
    assert caplog.messages[0].startswith(
        f"sessions are not recorded, mail goes on: {tmp_path}/%d/a.mitm: "
    )


def test_a_file_that_cannot_be_opened_at_the_start_is_refused(saving: Saving) -> None:
    with pytest.raises(exceptions.OptionsError, match="/proc/none"):
        configure(saving, "/proc/none/a.mitm")


def test_without_a_file_nothing_is_written_and_nothing_lost(saving: Saving) -> None:
    saving.tcp_start(session("one"))
    saving.tcp_end(session("one"))
    saving.done()
    assert saving.lost == 0


def test_what_cannot_be_written_for_any_reason_is_counted_and_told(
    saving: Saving, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A flow is whatever other addons make of it."""
    path = tmp_path / "a.mitm"
    configure(saving, path)
    no_text, no_value = session("secret \udcff"), session("fine")
    no_value.metadata["secret"] = object()
    for each in (session("one"), no_text, no_value, session("two")):
        saving.tcp_end(each)
    assert recorded(path) == ["one", "two"]
    assert saving.lost == 2
    told, again = caplog.messages
    assert told.startswith(
        f"sessions are not recorded, mail goes on: {path}: UnicodeEncodeError ("
    )
    assert "secret" not in told
    assert again == "sessions are recorded again; 2 were not"


def test_an_interrupt_leaves_no_half_of_a_session(
    saving: Saving, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second Ctrl-C may come anywhere."""
    path = tmp_path / "a.mitm"
    configure(saving, path)
    saving.tcp_end(session("one"))
    whole = path.read_bytes()
    assert saving.stream is not None
    opened = saving.stream.fo._file  # type: ignore[attr-defined]

    class Interrupted:
        def __getattr__(self, name: str) -> object:
            return getattr(opened, name)

        def write(self, octets: bytes) -> int:
            if len(octets) < 100:
                raise KeyboardInterrupt
            return int(opened.write(octets[:-50]))

    with monkeypatch.context() as patch:
        patch.setattr(saving.stream.fo, "_file", Interrupted())
        with pytest.raises(KeyboardInterrupt):
            saving.tcp_end(session("two"))
    assert path.read_bytes() == whole


def test_a_name_that_no_file_can_have_is_refused_at_the_start(saving: Saving) -> None:
    with pytest.raises(exceptions.OptionsError, match="surrogates not allowed"):
        configure(saving, "/nowhere/\ud800.mitm")
