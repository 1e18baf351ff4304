from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from smtpguard.model.session import TlsFacts
from smtpguard.quarantine.index import Index, Query
from smtpguard.quarantine.record import State
from smtpguard.quarantine.store import Store
from smtpguard.quarantineshown import described, row_json, row_line, state_shown
from tests.quarantine.making import MESSAGE, kept, part


if TYPE_CHECKING:
    from pathlib import Path

    from smtpguard.quarantine.index import Row


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


def row(store: Store) -> Row:
    with Index(store) as index:
        index.refresh()
        (found,) = index.rows(Query())
    return found


def test_a_line_tells_a_message(store: Store) -> None:
    made = kept(store, "b@y.test", "c@y.test", "d@y.test")
    assert row_line(row(store)) == (
        f"{made.id}  2026-11-24 09:36:13  message  held  {len(MESSAGE)}  "
        'a@x.test -> b@y.test and 2 more  filenames:3  "hello"'
    )


def test_a_line_tells_a_part_by_its_names(store: Store) -> None:
    made = store.keep(part(), [b"MZ"])
    assert row_line(row(store)) == (
        f"{made.id}  2026-11-24 09:36:13  part  pending  2  "
        'a@x.test -> b@y.test  filenames:3  "a.exe"'
    )


def test_an_object_tells_what_a_program_needs(store: Store) -> None:
    made = kept(store)
    assert row_json(row(store)) == {
        "id": made.id,
        "kept_at": "2026-11-24T09:36:13+00:00",
        "kind": "message",
        "state": "held",
        "sender": "a@x.test",
        "recipients": ("b@y.test",),
        "size": len(MESSAGE),
        "policy": "inbound",
        "rule": "filenames:3",
        "reason": '"a.exe" is "*.exe"',
        "subject": "hello",
        "header_from": "a@x.test",
        "names": (),
    }


def test_what_nobody_releases_any_more_is_in_doubt(store: Store) -> None:
    item = kept(store).id
    assert state_shown(store, item, State.HELD) is State.HELD
    with store.locked(item):
        assert state_shown(store, item, State.RELEASING) is State.RELEASING
    assert state_shown(store, item, State.RELEASING) is State.IN_DOUBT


def test_all_that_is_known_of_a_message_is_told(store: Store) -> None:
    made = kept(store, "b@y.test", "c@y.test", upstream_tls=TlsFacts("TLSv1.2", "X"))
    one = replace(made.recipients[1], error="450 4.2.0 later")
    assert list(described(store, made.with_recipients({1: one}))) == [
        f"id: {made.id}",
        "kept: 2026-11-24T09:36:13+00:00",
        "kind: message",
        "state: held",
        "transaction: 03fda.1",
        'why: inbound, filenames:3, quarantine: "a.exe" is "*.exe"',
        "findings: clamav:infected:Eicar",
        f"octets: {len(MESSAGE)}, sha256 {made.sha256}",
        "client: [192.0.2.1]:40000, client.test",
        "upstream: mx.y.test:25, starttls",
        "TLS of the client: TLSv1.3, TLS_AES_128_GCM_SHA256, mx.y.test",
        "TLS of the upstream: TLSv1.2, X, ",
        "From: a@x.test",
        "Subject: hello",
        "MAIL FROM:<a@x.test> SIZE=70 SMTPUTF8",
        "RCPT TO:<b@y.test>  held",
        "RCPT TO:<c@y.test>  held  450 4.2.0 later",
    ]


def test_of_a_part_it_is_told_where_it_stood(store: Store) -> None:
    lines = list(described(store, store.keep(part(), [b"MZ"])))
    assert "part: 1.2, application/x-msdownload, a.exe" in lines
    assert "state: pending" in lines
    assert lines[-1] == "RCPT TO:<b@y.test>"
