from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mitmproxy import tcp
from mitmproxy.test import tflow

from smtpguard.dialogue.transcript import Entry
from smtpguard.proxy import sessionrecord
from smtpguard.proxy.sessionrecord import (
    SESSION_KEY,
    Edit,
    RecordedMail,
    SessionRecord,
    common_edges,
    dump,
    edited_row,
    inserted,
    line_row,
    load,
    mark_row,
    message_row,
    read_record,
)


MAIL = b"Subject: x\r\n\r\nhello\r\n"
HEAD: dict[str, Any] = {
    "mode": "full",
    "cut": False,
    "ended": "end",
    "session": {"id": "s1"},
    "legs": {"client": {}},
    "transactions": [{"transaction": "s1.1"}],
}


def read(
    rows: list[list[Any]], contents: Sequence[bytes] = (), **changes: Any
) -> SessionRecord:
    return load(dump({**HEAD, **changes}, rows), contents)


def test_a_record_comes_back_as_it_was_written() -> None:
    record = read(
        [line_row("C", 0.25, b"EHLO x\r\n"), mark_row("S", 1.5, "tls TLSv1.3")]
    )
    assert record.entries == (
        Entry("C", b"EHLO x\r\n", "line", 0.25),
        Entry("S", b"tls TLSv1.3", "mark", 1.5),
    )
    assert record.session == {"id": "s1"}
    assert record.transactions == ({"transaction": "s1.1"},)
    assert (record.mode, record.cut, record.ended) == ("full", False, "end")


def test_a_record_says_what_it_has_no_room_for() -> None:
    assert not read([]).reports_cut
    assert read([], reports_cut=True).reports_cut
    with pytest.raises(ValueError, match="reports_cut is no bool"):
        read([], reports_cut=1)


@given(st.binary())
def test_every_octet_of_a_line_comes_back(octets: bytes) -> None:
    text = dump(HEAD, [line_row("S", 0, octets)])
    assert text.isascii()
    assert load(text, ()).entries[0].octets == octets


def test_a_record_is_one_line_of_ascii_with_sorted_keys() -> None:
    text = dump({**HEAD, "session": {"z": "\u202e\ud800", "a": "ü"}}, [])
    assert text.isascii()
    assert "\n" not in text
    assert json.dumps(json.loads(text), sort_keys=True, separators=(",", ":")) == text


def test_a_mail_is_the_flow_message_of_its_index() -> None:
    record = read([message_row("C", 1, 1, 9)], [b"220 hi\r\n", b"the mail\n"])
    assert record.entries == (Entry("C", b"the mail\n", "message", 1, 9),)
    assert record.mails == (RecordedMail(index=1, size=9),)


def test_a_mail_that_was_relayed_as_it_came_is_held_once() -> None:
    mail = b"x" * 100_000
    row = edited_row(message_row("s", 2, 0, len(mail)), mail, mail)
    text = dump(HEAD, [message_row("C", 1, 0, len(mail)), row])
    assert len(text) < 500
    record = load(text, [mail])
    assert record.entries[1] == Entry("s", mail, "message", 2, len(mail))
    assert record.mails == (RecordedMail(0, len(mail), sent_size=len(mail)),)


def test_of_an_edited_mail_only_what_differs_is_held() -> None:
    mail = b"a" * 1000 + b"OLD PART" + b"z" * 1000
    sent = b"a" * 1000 + b"new" + b"z" * 1000
    row = edited_row(message_row("s", 2, 0, len(sent)), mail, sent)
    assert row[2]["edit"] == [1000, 1000, "new"]
    record = read([message_row("C", 1, 0, len(mail)), row], [mail])
    assert record.entries[1].octets == sent
    assert record.mails[0].edit == Edit(1000, 1000, b"new")
    assert inserted(row) == 3


def test_an_edit_is_as_long_as_the_record_has_it() -> None:
    """Each octet that is no ASCII is six characters there, and a quote is two."""
    row = edited_row(message_row("s", 0, 0, 5), b"<>", b'<"\x00\xff>')
    assert inserted(row) == 2 + 6 + 6
    letter = edited_row(message_row("s", 0, 0, 5), b"<>", b"<a>")
    assert len(dump(HEAD, [row])) - len(dump(HEAD, [letter])) == inserted(row) - 1
    assert inserted(message_row("s", 0, 0, 5)) == 0


@given(st.binary(max_size=40), st.binary(max_size=40), st.binary(max_size=40))
def test_any_edit_comes_back(start: bytes, middle: bytes, end: bytes) -> None:
    original = start + b"the original" + end
    sent = start + middle + end
    row = edited_row(message_row("s", 0, 0, len(sent)), original, sent)
    record = read([row], [original])
    assert record.entries[0].octets == sent


@pytest.mark.parametrize(
    ("one", "other", "edges"),
    [
        pytest.param(b"", b"", (0, 0), id="empty"),
        pytest.param(b"", b"abc", (0, 0), id="nothing-and-something"),
        pytest.param(b"same", b"same", (4, 0), id="same"),
        pytest.param(b"abcd", b"abXcd", (2, 2), id="inserted"),
        pytest.param(b"aaaa", b"aa", (2, 0), id="never-overlapping"),
        pytest.param(b"abc", b"xbz", (0, 0), id="different-ends"),
        pytest.param(
            b"x" * 70_000 + b"1", b"x" * 70_000 + b"2", (70_000, 0), id="long"
        ),
        pytest.param(
            b"1" + b"x" * 70_000, b"2" + b"x" * 70_000, (0, 70_000), id="tail"
        ),
    ],
)
def test_common_edges(one: bytes, other: bytes, edges: tuple[int, int]) -> None:
    assert common_edges(one, other) == edges


@pytest.mark.parametrize(
    ("text", "told"),
    [
        pytest.param("", "Expecting value", id="empty"),
        pytest.param("[]", "not an object", id="no-object"),
        pytest.param('{"format": 2}', "format 2 is not known", id="later-format"),
        pytest.param("[" * 100_000, "nested too deeply", id="nested"),
        pytest.param("1" * 10_000, "integer string", id="huge-number"),
    ],
)
def test_what_is_no_record_is_a_value_error(text: str, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        load(text, ())


@pytest.mark.parametrize("key", sorted(HEAD))
def test_a_missing_key_is_a_value_error(key: str) -> None:
    head = {**HEAD, "format": 1, "transcript": []}
    del head[key]
    with pytest.raises(ValueError, match=key):
        load(json.dumps(head), ())


@pytest.mark.parametrize(
    "row",
    [
        pytest.param(["C", 1], id="short"),
        pytest.param(["X", 1, "line"], id="direction"),
        pytest.param(["C", "1", "line"], id="time"),
        pytest.param(["C", 1, 7], id="kind"),
        pytest.param(["C", 1, "\u2028"], id="not-octets"),
        pytest.param(["C", 1, {"mark": "\ud800"}], id="surrogate"),
        pytest.param(["C", 1, {"message": 1, "size": 1}], id="no-such-message"),
        pytest.param(["C", 1, {"message": -1, "size": 1}], id="negative"),
        pytest.param(
            ["s", 1, {"message": 0, "size": 1, "edit": [9, 9, ""]}], id="edges"
        ),
        pytest.param(
            ["s", 1, {"message": 0, "size": 1, "edit": [-1, 0, ""]}], id="minus"
        ),
        pytest.param(
            ["s", 1, {"message": 0, "size": 1, "edit": [0, 0, "\u2028"]}], id="text"
        ),
    ],
)
def test_a_row_that_cannot_be_read_is_a_value_error(row: list[Any]) -> None:
    with pytest.raises(ValueError, match=r"cannot be read|no message|does not fit"):
        read([row], [b"mail"])


def test_the_key_is_what_filters_and_readers_rely_on() -> None:
    assert sessionrecord.SESSION_KEY == "smtpguard_session"


# -- in a flow -----------------------------------------------------------------------


def test_a_flow_without_a_record_has_none() -> None:
    assert read_record(tflow.ttcpflow()) is None
    assert read_record(tflow.tflow()) is None


def test_the_record_of_a_flow_has_the_octets_of_its_messages() -> None:
    flow = tflow.ttcpflow()
    flow.messages = [tcp.TCPMessage(True, MAIL)]
    rows = [message_row("C", 0, 0, len(MAIL))]
    flow.metadata[SESSION_KEY] = dump({**HEAD, "reports_cut": False}, rows)
    record = read_record(flow)
    assert record is not None
    assert record.entries[0].octets == MAIL


@pytest.mark.parametrize("value", [7, b"{}", "{}", "[", '{"format": 1}'], ids=repr)
def test_a_damaged_record_is_a_value_error(value: object) -> None:
    flow = tflow.ttcpflow()
    flow.metadata[SESSION_KEY] = value
    with pytest.raises(ValueError, match=r"."):
        read_record(flow)


def test_a_record_in_a_flow_of_another_kind_is_damage() -> None:
    flow = tflow.tflow()
    flow.metadata[SESSION_KEY] = dump(HEAD, [])
    with pytest.raises(ValueError, match="no text"):
        read_record(flow)
