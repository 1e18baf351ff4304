from __future__ import annotations

import gc
import io
import json
import time
import tracemalloc
from typing import Any

import pytest
from mitmproxy import flowfilter, tcp
from mitmproxy import io as flowio
from mitmproxy.utils import emoji

from smtpguard.dialogue.record import TransactionRecord
from smtpguard.dialogue.transcript import Entry
from smtpguard.model.content import Edited
from smtpguard.model.decision import Action
from smtpguard.model.disposition import Disposition, Outcome
from smtpguard.model.settings import ServerTls, Settings
from smtpguard.proxy import sessionrecord
from smtpguard.proxy.record import (
    COALESCED_OCTETS,
    DIALOGUE_OCTETS,
    DIALOGUE_ROWS,
    DISTINCT,
    MARKERS,
    REFRESH_SECONDS,
    REPORT_OCTETS,
    REPORTED_OCTETS,
    ROW_OCTETS,
    ROWS_A_SECOND,
)
from smtpguard.proxy.spool import Budget
from smtpguard.wire import replies
from tests.replay.deciders import Recorded, Rules


MAIL = b"Subject: x\r\n\r\nhello\r\n"


def one_mail(**options: Any) -> Recorded:
    session = Recorded(**options)
    session.greet(b"SIZE 1000000")
    session.send((b"c@d.example", b"250 2.1.5 ok"))
    return session


def record_of(flow: tcp.TCPFlow) -> sessionrecord.SessionRecord:
    contents = [message.content for message in flow.messages]
    return sessionrecord.load(flow.metadata[sessionrecord.SESSION_KEY], contents)


def saved(flow: tcp.TCPFlow) -> tcp.TCPFlow:
    file = io.BytesIO()
    flowio.FlowWriter(file).add(flow)
    file.seek(0)
    (read,) = flowio.FlowReader(file).stream()
    assert isinstance(read, tcp.TCPFlow)
    return read


def transaction(number: int = 1, **changes: Any) -> TransactionRecord:
    values: dict[str, Any] = {
        "id": f"s1.{number}",
        "session": "s1",
        "policy": "inbound",
        "outcome": Outcome.RELAYED,
        "reply": "250 ok",
        "mail_from": "a@b.example",
        "rcpt_to": ({"asked": "c@d.example", "address": "", "reply": "250 ok"},),
        "size": 1,
        "sha256": "",
    }
    return TransactionRecord(**{**values, **changes})


# -- messages ------------------------------------------------------------------------


def test_a_flow_is_the_client_leg_in_the_order_in_which_it_was_said() -> None:
    flow = one_mail().quit()
    assert [(m.from_client, m.content) for m in flow.messages] == [
        (False, b"220 mx.example ESMTP\r\n"),
        (True, b"EHLO client.example\r\n"),
        (False, flow.messages[2].content),
        (True, b"MAIL FROM:<a@client.example>\r\n"),
        (False, b"250 2.1.0 ok\r\n"),
        (True, b"RCPT TO:<c@d.example>\r\n"),
        (False, b"250 2.1.5 ok\r\n"),
        (True, b"DATA\r\n"),
        (False, replies.START_MAIL_INPUT.to_octets()),
        (True, MAIL),
        (False, b"250 2.0.0 queued\r\n"),
        (True, b"QUIT\r\n"),
        (False, replies.BYE.to_octets()),
    ]
    assert flow.messages[2].content.startswith(b"250-mx.example\r\n")


def test_a_pipelined_group_is_one_message_and_its_replies_are_another() -> None:
    session = Recorded()
    session.greet(b"PIPELINING")
    before = len(session.flow.messages)
    session.client(
        b"MAIL FROM:<a@b.example>", b"RCPT TO:<c@d.example>", b"RCPT TO:<e@d.example>"
    )
    session.upstream(b"250 ok", b"250 ok", b"550 no")
    assert [message.content for message in session.flow.messages[before:]] == [
        (
            b"MAIL FROM:<a@b.example>\r\n"
            b"RCPT TO:<c@d.example>\r\nRCPT TO:<e@d.example>\r\n"
        ),
        b"250 ok\r\n250 ok\r\n550 no\r\n",
    ]


def test_a_message_that_has_grown_large_is_followed_by_a_new_one() -> None:
    session = Recorded()
    session.greet()
    noop = b"NOOP " + b"x" * 1000
    for _ in range(100):
        session.memory.dialogue.transcript.entries.append(Entry("C", noop + b"\r\n"))
        session.update()
    sizes = [len(m.content) for m in session.flow.messages if b"NOOP" in m.content]
    assert sum(sizes) == 100 * (len(noop) + 2)
    assert max(sizes) <= COALESCED_OCTETS + len(noop) + 2


def test_messages_have_the_time_at_which_they_were_said() -> None:
    session = Recorded()
    session.greet()
    session.memory.pass_time(7)
    session.client(b"NOOP")
    first, last = session.flow.messages[0], session.flow.messages[-1]
    assert first.timestamp == pytest.approx(1.7e9)
    assert last.timestamp - first.timestamp == pytest.approx(7)


# -- limits --------------------------------------------------------------------------


def test_what_is_recorded_is_taken_out_of_the_transcript() -> None:
    session = one_mail()
    assert session.memory.dialogue.transcript.entries == []


def test_record_envelope_keeps_the_dialogue_and_no_mail() -> None:
    flow = one_mail(mode="envelope").quit()
    assert not any(b"hello" in message.content for message in flow.messages)
    assert b"hello" not in repr(flow.get_state()).encode()
    (mail,) = record_of(flow).mails
    assert flow.messages[mail.index].content == b""
    assert mail.size == len(MAIL)
    assert any(b"RCPT TO:<c@d.example>" in m.content for m in flow.messages)


def test_record_none_keeps_outcome_rule_and_policy_alone() -> None:
    session = Recorded(mode="none")
    session.greet()
    session.send((b"c@d.example", b"250 ok"))
    flow = session.quit()
    assert flow.messages == []
    assert flow.metadata == {
        "smtpguard_outcome": "relayed",
        "smtpguard_policy": "default",
    }
    assert flow.comment == "relayed"
    assert "example" not in repr(flow.comment) + repr(flow.metadata)


def test_a_mail_is_kept_up_to_its_limit_and_its_size_is_told() -> None:
    flow = one_mail(limit=10).quit()
    (mail,) = record_of(flow).mails
    assert flow.messages[mail.index].content == MAIL[:10]
    assert mail.size == len(MAIL)
    assert mail.sent_size == len(MAIL)
    assert mail.edit is None


def test_the_mails_of_a_session_are_kept_up_to_a_limit_together() -> None:
    session = Recorded(mail_octets=len(MAIL) + 5)
    session.greet()
    for _ in range(3):
        session.send((b"c@d.example", b"250 ok"))
    flow = session.quit()
    kept = [len(flow.messages[mail.index].content) for mail in record_of(flow).mails]
    assert kept == [len(MAIL), 5, 0]


def test_a_dialogue_without_end_is_cut_and_says_so() -> None:
    session = Recorded()
    session.greet()
    entries = session.memory.dialogue.transcript.entries
    line = b"NOOP " + b"x" * 1000 + b"\r\n"
    for _ in range(DIALOGUE_OCTETS // 1000 + 10):
        entries.append(Entry("C", line))
    session.update()
    session.send((b"c@d.example", b"250 ok"))
    flow = session.quit()
    record = record_of(flow)
    assert record.cut
    assert sum(len(entry.octets) for entry in record.entries) <= DIALOGUE_OCTETS
    assert sum(len(message.content) for message in flow.messages) <= DIALOGUE_OCTETS
    assert session.recorder.record_limit == 0
    assert flow.metadata["smtpguard_outcome"] == "relayed"


def test_a_dialogue_of_single_octets_is_cut_by_its_rows() -> None:
    """Each takes far more than its octets: 2 MiB of them were 160 MiB."""
    session = Recorded()
    session.greet()
    entries = session.memory.dialogue.transcript.entries
    for _ in range(DIALOGUE_ROWS):
        entries += [Entry("C", b"\r\n"), Entry("c", b"1"), Entry("S", b"x", "mark")]
    session.update()
    record = record_of(session.quit())
    assert record.cut
    assert len(record.entries) == DIALOGUE_ROWS


def test_a_row_takes_no_more_than_is_counted_for_it() -> None:
    session = Recorded()
    session.greet()
    session.recorder._write = lambda *_: None  # type: ignore[method-assign]
    tracemalloc.start()
    try:
        for number in range(1000):
            entries = session.memory.dialogue.transcript.entries
            entries += [Entry("C", b"N%d\r\n" % number), Entry("c", b"%d" % number)]
            session.update()
        taken, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert 200 < taken / 2000 < ROW_OCTETS


def flooded(budget: Budget) -> Recorded:
    session = Recorded(budget=budget)
    session.greet()
    session.memory.dialogue.transcript.entries += [Entry("C", b"NOOP\r\n")] * 300
    session.update()
    return session


def test_all_recordings_together_have_a_bound(caplog: pytest.LogCaptureFixture) -> None:
    budget = Budget(200 * ROW_OCTETS)
    sessions = [flooded(budget), flooded(budget)]
    assert budget.left < 2 * ROW_OCTETS
    records = [record_of(session.quit()) for session in sessions]
    assert [record.cut for record in records] == [True, True]
    assert 150 < sum(len(record.entries) for record in records) <= 200
    said = [one.message for one in caplog.records]
    assert said == ["192.0.2.1: not recorded whole: all recordings hold 256 MiB"] * 2
    sessions.clear()
    gc.collect()
    assert budget.left == 200 * ROW_OCTETS


def test_where_memory_is_used_up_mails_are_not_kept_and_their_outcome_is() -> None:
    session = Recorded(budget=Budget(0))
    session.greet()
    assert session.recorder.record_limit == 0
    session.send((b"c@d.example", b"250 2.1.5 ok"))
    flow = session.quit()
    record = record_of(flow)
    assert record.cut
    assert (record.entries, record.transactions, flow.messages) == ((), (), [])
    assert flow.metadata["smtpguard_outcome"] == "relayed"
    assert flow.comment.startswith("relayed")


def test_mails_and_reports_count_for_all_recordings() -> None:
    budget = Budget(10**6)
    session = Recorded(budget=budget)
    session.greet()
    before = budget.left
    session.send((b"c@d.example", b"250 2.1.5 ok"), body=b"x" * 500_000)
    assert before - budget.left > 500_000
    before = budget.left
    report = {"parts": [{"path": str(number)} for number in range(20)]}
    second = transaction(2, report=report)
    session.recorder.transaction(second)
    assert before - budget.left == charged(second, 20)
    report = {"parts": [{"path": str(number)} for number in range(1000)]}
    session.recorder.transaction(transaction(3, report=report))
    record = record_of(session.quit())
    assert record.reports_cut
    assert [len(each.get("parts", ())) for each in record.transactions[1:]] == [20, 0]


def charged(record: TransactionRecord, rows: int) -> int:
    return REPORT_OCTETS * (1 + rows) + 2 * len(json.dumps(record.to_json()))


@pytest.mark.parametrize("name", ["n" * 255, "\u00e9" * 255, "\U0001f4ce" * 255])
def test_a_report_takes_no_more_than_is_charged_for_it(name: str) -> None:
    """Each name is of its own, as in a mail; kept, and again in the flow's record."""
    budget = Budget(10**9)
    session = Recorded(budget=budget)
    session.greet()
    session.update()
    tracemalloc.start()
    try:
        parts = [
            {
                "path": f"1.{number}",
                "type": "application/octet-stream",
                "names": [f"{number}.{each}{name}" for each in range(10)],
                "size": 10**6 + number,
                "sha256": f"{number:064}",
                "facts": ["archive"],
                "entries": [],
            }
            for number in range(500)
        ]
        before = budget.left
        session.recorder.transaction(transaction(2, report={"parts": parts}))
        session.finish()
        del parts
        taken, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert not record_of(session.flow).reports_cut
    assert 0.4 * (before - budget.left) < taken < before - budget.left


def test_reports_of_more_octets_than_anybody_reads_are_left_out() -> None:
    session = Recorded()
    session.greet()
    report = {"parts": [{"names": ["n" * (REPORTED_OCTETS // 3)]}]}
    for number in range(3):
        session.recorder.transaction(transaction(number, report=report))
    record = record_of(session.quit())
    assert record.reports_cut
    assert not record.cut
    assert [len(each["parts"]) for each in record.transactions] == [1, 1, 0]


def test_what_a_transaction_tells_beside_its_report_is_charged_too() -> None:
    budget = Budget(10**6)
    session = Recorded(budget=budget)
    session.greet()
    before = budget.left
    session.recorder.transaction(
        transaction(
            2, reason="r" * 100_000, report={"parts": [{"names": ["x" * 10**6]}]}
        )
    )
    assert 200_000 < before - budget.left < 210_000
    record = record_of(session.quit())
    assert (record.reports_cut, record.cut) == (True, False)


def test_a_report_that_is_no_json_costs_its_record_alone() -> None:
    session = Recorded()
    session.greet()
    with pytest.raises(TypeError):
        session.recorder.transaction(transaction(2, report={"parts": [b"octets"]}))
    flow = session.quit()
    assert record_of(flow).transactions == ()
    assert flow.comment.startswith("relayed")
    assert flow.metadata["smtpguard_outcome"] == "relayed"


def test_entries_of_archives_count_as_parts_do() -> None:
    budget = Budget(10**6)
    session = Recorded(budget=budget)
    session.greet()
    before = budget.left
    entries = [{"name": str(number)} for number in range(20)]
    report = {"parts": [{"path": "1", "entries": entries}]}
    second = transaction(2, report=report)
    session.recorder.transaction(second)
    assert before - budget.left == charged(second, 21)
    session.recorder.transaction(transaction(3, report={"parts": 7}))
    session.recorder.transaction(transaction(4, report={"parts": [{"entries": 7}]}))
    assert len(record_of(session.quit()).transactions) == 3


def test_reports_of_more_parts_than_anybody_reads_are_left_out() -> None:
    """Nothing else is: the transactions, the dialogue and the mails are all there."""
    session = Recorded()
    session.greet()
    steps = tuple({"rule": "a:1", "matched": False} for _ in range(500))
    parts = [{"path": str(index)} for index in range(1500)]
    for number in range(60):
        session.recorder.transaction(
            transaction(number, report={"parts": parts}, trace=steps)
        )
    session.recorder.transaction(transaction(60))
    session.send((b"c@d.example", b"250 2.1.5 ok"), body=b"Subject: last\r\n\r\nx")
    record = record_of(session.quit())
    assert record.reports_cut
    assert not record.cut
    reported = record.transactions[:60]
    kept = [(len(each["parts"]), len(each["trace"])) for each in reported]
    assert kept == [(1500, 500)] * 10 + [(0, 0)] * 50
    assert record.transactions[60] == transaction(60).to_json()
    assert [each["transaction"] for each in record.transactions[:61]] == [
        f"s1.{number}" for number in range(61)
    ]
    assert len(record.transactions) == 62
    assert b"QUIT\r\n" in [entry.octets for entry in record.entries]
    assert [entry.octets[:13] for entry in record.entries if entry.kind == "message"]


def test_the_cost_of_a_mail_does_not_grow_with_the_session() -> None:
    def seconds(mails: int) -> float:
        session = Recorded()
        session.greet(b"PIPELINING")
        began = time.process_time()
        for number in range(mails):
            entries = session.memory.dialogue.transcript.entries
            entries += [
                Entry("C", b"MAIL FROM:<a@b.example>\r\n", time=float(number)),
                Entry("c", b"250 ok\r\n", time=float(number)),
                Entry("C", MAIL, "message", float(number), len(MAIL)),
                Entry("s", MAIL, "message", float(number), len(MAIL)),
                Entry("c", b"250 ok\r\n", time=float(number)),
            ]
            session.recorder.transaction(transaction(number))
            session.recorder.update(session.memory.dialogue)
        session.finish()
        return time.process_time() - began

    few = min(seconds(1000) for _ in range(3))
    many = min(seconds(4000) for _ in range(3))
    assert many < 4 * few * 2.5


# -- the record ----------------------------------------------------------------------


def test_the_record_holds_both_legs_and_their_tls() -> None:
    session = Recorded(Rules(Settings(server_tls=ServerTls("preferred"))))
    session.memory.start()
    session.memory.opened()
    session.upstream(b"220 mx.example")
    session.client(b"EHLO client.example")
    session.upstream(b"250-mx.example", b"250 STARTTLS")
    session.client(b"STARTTLS")
    session.upstream(b"220 go")
    session.memory.client_tls("mx.example")
    session.memory.upstream_tls()
    record = record_of(session.finish())
    assert record.legs["client"]["tls"]["name"] == "mx.example"
    assert record.legs["client"]["history"] == ["starttls"]
    assert record.legs["upstream"]["tls"]["version"] == "TLSv1.3"
    said = [(e.direction, e.octets) for e in record.entries if e.direction in "sS"]
    assert ("s", b"STARTTLS\r\n") in said
    assert ("S", b"tls TLSv1.3") in said


def test_the_record_tells_peer_client_and_destination() -> None:
    session = Recorded()
    session.greet()
    session.memory.session.client = ("198.51.100.7", 25)  # as after XCLIENT
    record = record_of(session.finish())
    assert record.session["peer"] == ["192.0.2.1", 40000]
    assert record.session["client"] == ["198.51.100.7", 25]
    assert record.session["destination"] == ["192.0.2.9", 25]
    assert record.session["id"] == "s1"
    assert record.session["began"] == pytest.approx(1.7e9)


def test_transactions_are_in_the_record_as_they_are_printed() -> None:
    session = one_mail()
    flow = session.quit()
    (record,) = session.memory.records
    assert record_of(flow).transactions == (json.loads(json.dumps(record.to_json())),)


def test_an_edited_mail_is_recorded_as_it_came_and_as_it_went() -> None:
    content = Edited(MAIL, ((0, 14), b"[part removed]\r\n"))
    verdict = Disposition(Outcome.MODIFIED, content=content, action=Action.STRIP)
    session = Recorded(Rules(verdict=verdict))
    session.greet()
    session.send((b"c@d.example", b"250 ok"))
    flow = session.quit()
    sent = next(
        e for e in record_of(flow).entries if e.direction == "s" and e.kind == "message"
    )
    assert sent.octets == MAIL[:14] + b"[part removed]\r\n"
    (mail,) = record_of(flow).mails
    assert flow.messages[mail.index].content == MAIL


def test_a_session_that_goes_on_has_no_end_in_its_record() -> None:
    session = one_mail()
    session.memory.pass_time(REFRESH_SECONDS)
    session.client(b"NOOP")
    assert record_of(session.flow).ended == ""
    assert record_of(session.quit()).ended == "end"


def test_an_error_is_the_end_in_the_record_and_the_comment() -> None:
    flow = one_mail().finish("smtpguard failed: KeyError")
    assert record_of(flow).ended == "smtpguard failed: KeyError"
    empty = Recorded().finish("smtpguard failed: KeyError")
    assert empty.comment == "smtpguard failed: KeyError"


# -- views ---------------------------------------------------------------------------


def test_views_are_refreshed_once_in_a_while_and_only_for_news() -> None:
    session = Recorded()
    session.greet()
    assert session.update() is False
    session.memory.pass_time(REFRESH_SECONDS)
    assert session.update() is True
    session.memory.pass_time(REFRESH_SECONDS)
    assert session.update() is False
    session.memory.from_client(b"NOOP\r\n")
    assert session.update() is True


def test_a_long_session_is_refreshed_more_rarely() -> None:
    """Each time its whole record is written anew."""
    session = Recorded()
    session.greet()
    rows = 10 * ROWS_A_SECOND
    session.memory.dialogue.transcript.entries += [Entry("C", b"NOOP\r\n")] * rows
    assert session.update() is False
    session.memory.pass_time(9.9)
    assert session.update() is False
    session.memory.pass_time(0.3)
    assert session.update() is True


def test_a_flow_of_ours_is_known_from_its_first_moment() -> None:
    assert Recorded().flow.metadata == {"smtpguard_outcome": ""}


@pytest.mark.parametrize("outcome", list(Outcome), ids=str)
def test_every_outcome_has_a_marker_that_mitmproxy_can_draw(outcome: Outcome) -> None:
    session = Recorded()
    session.recorder.transaction(transaction(outcome=outcome))
    assert session.flow.marked == MARKERS[outcome]
    assert session.flow.marked in emoji.emoji


def test_the_gravest_outcome_marks_the_flow() -> None:
    session = Recorded()
    session.recorder.transaction(transaction(1, outcome=Outcome.REJECTED))
    session.recorder.transaction(transaction(2, outcome=Outcome.RELAYED))
    assert session.flow.marked == MARKERS[Outcome.REJECTED]


def test_doubt_marks_the_flow_whatever_else_happened() -> None:
    session = Recorded()
    session.recorder.transaction(transaction(1, in_doubt="upstream silent"))
    session.recorder.transaction(transaction(2, outcome=Outcome.DROPPED))
    assert session.flow.marked == ":question:"
    assert session.flow.marked in emoji.emoji
    assert session.flow.metadata["smtpguard_in_doubt"] == "upstream silent"


@pytest.mark.parametrize(
    ("changes", "comment"),
    [
        pytest.param({}, "relayed <a@b.example> -> 1 rcpt", id="relayed"),
        pytest.param(
            {
                "outcome": Outcome.MODIFIED,
                "rule": "filenames:3",
                "rcpt_to": ({"reply": "250 ok"}, {"reply": "250 ok"}),
            },
            "modified filenames:3 <a@b.example> -> 2 rcpts",
            id="modified",
        ),
        pytest.param(
            {
                "outcome": Outcome.REJECTED,
                "mail_from": "",
                "rcpt_to": ({"reply": "550 no"}, {"reply": "250 ok"}),
            },
            "rejected <> -> 1 of 2 rcpts",
            id="null-sender",
        ),
        pytest.param(
            {"in_doubt": "x"}, "relayed <a@b.example> -> 1 rcpt (in doubt)", id="doubt"
        ),
    ],
)
def test_comment(changes: dict[str, Any], comment: str) -> None:
    session = Recorded()
    session.recorder.transaction(transaction(**changes))
    assert session.finish().comment == comment


def test_the_comment_of_several_transactions_counts_them() -> None:
    session = Recorded()
    session.recorder.transaction(transaction(1))
    session.recorder.transaction(transaction(2, outcome=Outcome.REJECTED))
    session.recorder.transaction(transaction(3))
    assert session.flow.comment == (
        "3 messages (2 relayed, 1 rejected), last: relayed <a@b.example> -> 1 rcpt"
    )


def test_a_session_without_a_transaction_says_so() -> None:
    session = Recorded()
    session.greet()
    assert session.quit().comment == "no message"


def test_filters_find_flows_by_comment_and_flat_keys() -> None:
    session = Recorded()
    session.recorder.transaction(
        transaction(outcome=Outcome.REJECTED, rule="rcpt_to:3", action="deny")
    )
    flow = session.finish()
    for text in (
        "~comment rejected",
        "~meta 'smtpguard_outcome: rejected'",
        "~meta 'smtpguard_rule: rcpt_to:3'",
        "~meta 'smtpguard_policy: .*inbound'",
        "~meta 'smtpguard_from: a@b.example'",
        "~meta 'smtpguard_client: 192.0.2.1'",
    ):
        assert flowfilter.match(text, flow), text
    assert not flowfilter.match("~meta 'smtpguard_outcome: .*relayed'", flow)


def test_a_flat_key_lists_what_was_seen_once_each_and_not_without_end() -> None:
    session = Recorded()
    for number in range(DISTINCT + 50):
        sender = f"{number}@b.example"
        session.recorder.transaction(transaction(number, mail_from=sender))
        session.recorder.transaction(transaction(number, mail_from=sender))
    listed = session.flow.metadata["smtpguard_from"].split(" ")
    assert listed[:2] == ["0@b.example", "1@b.example"]
    assert len(listed) == DISTINCT + 1
    assert listed[-1] == "..."


# -- saving --------------------------------------------------------------------------


def test_a_flow_survives_saving() -> None:
    flow = one_mail().quit()
    read = saved(flow)
    assert read.metadata == flow.metadata
    assert read.comment == flow.comment
    assert read.marked == flow.marked
    assert [m.get_state() for m in read.messages] == [
        m.get_state() for m in flow.messages
    ]
    assert record_of(read) == record_of(flow)


def test_hostile_octets_survive_saving_and_reach_no_terminal() -> None:
    """attacks P1."""
    session = Recorded()
    session.greet(b"SMTPUTF8")
    name = "\u202egnp.exe\x9b\ud800"
    session.client(b"EHLO " + "\u202eevil\x85".encode())
    session.recorder.transaction(
        transaction(mail_from=name, policy=name, rule=name, in_doubt=name)
    )
    flow = session.finish(f"failed {name}")
    read = saved(flow)
    assert read.metadata == flow.metadata
    for value in (*flow.metadata.values(), flow.comment):
        assert value.isprintable()


def test_secrets_of_auth_are_in_no_part_of_the_flow() -> None:
    session = Recorded(Rules(Settings()))
    session.memory.start()
    session.memory.opened()
    session.upstream(b"220 mx.example")
    session.client(b"EHLO client.example")
    session.upstream(b"250-mx.example", b"250-STARTTLS", b"250 AUTH PLAIN LOGIN")
    session.client(b"STARTTLS")
    session.upstream(b"220 go")
    session.memory.client_tls("mx.example")
    session.memory.upstream_tls()
    session.client(b"EHLO client.example")
    session.upstream(b"250-mx.example", b"250 AUTH PLAIN LOGIN")
    session.client(b"AUTH LOGIN")
    session.upstream(b"334 VXNlcm5hbWU6")
    session.client(b"c2VjcmV0LXVzZXI=")
    session.upstream(b"334 UGFzc3dvcmQ6")
    session.client(b"c2VjcmV0LXBhc3M=")
    session.upstream(b"535 5.7.8 no")
    session.client(b"AUTH PLAIN c2VjcmV0LXBsYWlu")
    session.upstream(b"235 2.7.0 yes")
    assert b"c2VjcmV0LXBsYWlu" in session.memory.upstream_heard
    state = repr(session.quit().get_state())
    assert "c2VjcmV0" not in state
    assert "AUTH PLAIN *" in state
