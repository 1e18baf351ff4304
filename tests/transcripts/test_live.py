"""Every dialogue script through a real mitmdump, and the flow it saved replayed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from smtpguard.proxy.sessionrecord import read_record
from smtpguard.replay.mitmfile import read_flow
from smtpguard.replay.recorded import replay
from smtpguard.replay.script import parse_script
from tests.dialogue.peers import script_rules
from tests.transcripts.live import LiveError, Mitmdump, play, why_not
from tests.transcripts.scripted import FILES, read
from tests.transcripts.test_replayed import (
    NOT_KNOWN,
    TOLD_OTHERWISE,
    comparable,
    ending,
)


if TYPE_CHECKING:
    from collections.abc import Iterator


LIVE = [number for number, path in enumerate(FILES) if not why_not(read(path))]

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def mitmdump(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mitmdump]:
    running = Mitmdump(tmp_path_factory.mktemp("live"))
    yield running
    running.stop()


@pytest.mark.parametrize("number", LIVE, ids=[FILES[n].stem for n in LIVE])
def test_script_is_followed_by_a_real_mitmdump(number: int, mitmdump: Mitmdump) -> None:
    path = FILES[number]
    script = read(path)
    play(script, number, mitmdump)
    flow = mitmdump.flow(path.stem)
    record = read_record(flow)
    assert record is not None
    outcomes = [str(each["disposition"]) for each in record.transactions]
    assert outcomes == script.headers.get("outcome", outcomes)
    for text in script.headers.get("nolog", []):
        assert text not in mitmdump.log()
        assert text not in repr(flow.get_state())

    again = list(replay(read_flow(flow, path.name), script_rules(script)))
    if path.stem in NOT_KNOWN or path.stem in TOLD_OTHERWISE:
        return
    assert len(again) == len(record.transactions)
    for now, was in zip(again, record.transactions, strict=True):
        keys = comparable(was)
        assert ending(now, keys) == ending(was, keys)


def test_most_scripts_are_played_live() -> None:
    reasons = [why_not(read(path)) for path in FILES]
    assert sum(not reason for reason in reasons) > len(FILES) // 2


def test_a_script_that_wants_something_else_fails(mitmdump: Mitmdump) -> None:
    number = [path.stem for path in FILES].index("row-data")
    text = FILES[number].read_text("utf-8")
    wrong = parse_script(text.replace("c< 354", "c< 355", 1), "wrong.smtp")
    with pytest.raises(LiveError, match=r"wrong\.smtp:\d+: wanted b'355"):
        play(wrong, number, mitmdump)
