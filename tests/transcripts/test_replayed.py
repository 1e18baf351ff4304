"""Every dialogue script as a recording: what is replayed ends as it was recorded.

Two ways: the script itself read as a session, and the session that was played from it
in memory, put into a flow, saved, read again and replayed.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from mitmproxy import io as flowio
from mitmproxy import tcp

from smtpguard.errors import ReplayError
from smtpguard.options import GuardOptions
from smtpguard.proxy.record import Recorder
from smtpguard.replay.mitmfile import read_flow
from smtpguard.replay.recorded import replay
from smtpguard.replay.script import Script, parse_script
from smtpguard.replay.scriptfile import read_script
from tests.dialogue.peers import TRANSCRIPTS, script_rules, script_session
from tests.dialogue.test_transcripts import Lockstep
from tests.replay.deciders import new_flow


if TYPE_CHECKING:
    from collections.abc import Mapping

    from smtpguard.replay.recorded import Result


NAMES = sorted(path.stem for path in TRANSCRIPTS.glob("*.smtp"))


def load(name: str) -> Script:
    path = TRANSCRIPTS / f"{name}.smtp"
    return parse_script(path.read_text("utf-8"), path.name)


def recorded(script: Script) -> tuple[tcp.TCPFlow, list[dict[str, Any]]]:
    """Play a script in memory; return its flow, as saved, and its records."""
    memory = script_session(script)
    memory.dialogue.record_limit = 1 << 20
    flow = new_flow(memory.session.client, memory.session.destination)
    recorder = Recorder(flow, GuardOptions(rules=Path()), clock=lambda: 1.7e9)
    run = Lockstep(script, memory, lambda octets: (octets,))
    memory.start()
    while run.at < len(script.steps):
        run.next_step()
    run.finish()
    for record in memory.records:
        recorder.transaction(record)
    recorder.finish(memory.dialogue)
    file = io.BytesIO()
    flowio.FlowWriter(file).add(flow)
    file.seek(0)
    (read,) = flowio.FlowReader(file).stream()
    assert isinstance(read, tcp.TCPFlow)
    return read, [record.to_json() for record in memory.records]


def results(name: str, script: Script) -> tuple[list[Result], list[dict[str, Any]]]:
    flow, records = recorded(script)
    return list(replay(read_flow(flow, name), script_rules(script))), records


NOT_KNOWN = {
    "row-bdat-disk-full": "what could not be stored was not recorded",
    "row-data-disk-full": "DATA was refused: the client never sent the message",
    "row-data-disk-full-later": "what could not be stored was not recorded",
}
"""Recordings that lack what the rules would have to judge."""
TOLD_OTHERWISE = {
    "row-limits-chunks-over-the-limit": "what came over the limit was not recorded",
    "row-limits-message-on-and-on": "what came over the limit was not recorded",
    "row-stop-message-coming-in": "nobody stops a replay",
}
"""Recordings whose last reply is a 421 for a reason that is in no recording."""
NO_DIALOGUE = {
    "row-anomalies-bare-cr": "what the client means by it nobody can tell",
    "row-anomalies-bare-lf": "likewise",
    "row-anomalies-nul": "likewise",
    "row-bdat-size-unreadable": "nobody can tell where the chunk ends",
    "row-starttls-by-command": "binary noise",
}
"""Scripts that cannot be read as a session by themselves."""
BETTER_DISK = {"row-bdat-disk-full", "row-data-disk-full-later"}
"""Scripts whose messages are known, and could be stored this time."""


@pytest.mark.parametrize("name", NAMES)
def test_a_recorded_script_ends_as_it_did(name: str) -> None:
    script = load(name)
    again, records = results(name, script)
    if name in NOT_KNOWN:
        assert [r["disposition"] for r in again] == [None]
        assert all(r["disposition"] == "deferred" for r in records)
        return
    if name in TOLD_OTHERWISE:
        assert [(r["disposition"], r["reply"][:4]) for r in again] == [
            (r["disposition"], "421 ") for r in records
        ]
        return
    assert len(again) == len(records)
    for now, was in zip(again, records, strict=True):
        keys = comparable(was)
        assert ending(now, keys) == ending(was, keys)
    assert [r["recorded"]["disposition"] for r in again] == [
        r["disposition"] for r in records
    ]


@pytest.mark.parametrize("name", NAMES)
def test_a_script_is_a_recording_of_what_it_describes(name: str) -> None:
    script = load(name)
    if name in NO_DIALOGUE:
        with pytest.raises(ReplayError, match="no dialogue to replay"):
            read_script(script)
        return
    again = list(replay(read_script(script), script_rules(script)))
    said = [str(r["disposition"]) for r in again]
    if name in BETTER_DISK:
        assert (script.headers["outcome"], said) == (["deferred"], ["relayed"])
    else:
        assert said == script.headers.get("outcome", said)


def test_the_tables_name_scripts_that_exist() -> None:
    named = NOT_KNOWN.keys() | TOLD_OTHERWISE.keys() | NO_DIALOGUE.keys()
    assert named | BETTER_DISK <= set(NAMES)


def comparable(record: Mapping[str, Any]) -> list[str]:
    """Return what a recording tells of a transaction's end.

    Half a message is not recorded. A client that is gone is not seen to go at the same
    moment: before its message goes up it goes within it, afterwards it hears the reply.
    """
    keys = ["disposition", "reply", "rule", "action"]
    if record["reply"] and not record["reason"].startswith("no end of data"):
        keys += ["size", "sha256"]
    if not record["in_doubt"].startswith("client gone"):
        keys += ["in_doubt"]
    return keys


def ending(record: Mapping[str, Any], keys: list[str]) -> dict[str, Any]:
    """Return what must be the same."""
    # In lockstep nobody is asked for after a MAIL that is refused.
    asked = [r for r in record["envelope"]["rcpt_to"] if r["reply"]]
    return {"asked": asked, **{key: record[key] for key in keys}}
