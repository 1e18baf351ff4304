from __future__ import annotations

import gc
import json
import time
import weakref
from dataclasses import replace
from typing import Any

import pytest
from mitmproxy import contentviews, tcp
from mitmproxy.contentviews import Metadata
from mitmproxy.test import taddons, tflow

from smtpguard.contentview import (
    MAX_FILES,
    MAX_LINE,
    MAX_SYMBOLS,
    MAX_TEXT,
    MAX_TRANSACTIONS,
    MAX_TRANSCRIPT,
    SmtpContentview,
    escape,
    register,
)
from smtpguard.dialogue.transcript import Entry
from smtpguard.mime import outline, parse
from smtpguard.model.content import Edited
from smtpguard.model.decision import Action, TraceStep
from smtpguard.model.disposition import Disposition, Outcome
from smtpguard.model.session import TlsFacts
from smtpguard.model.settings import ServerTls, Settings
from smtpguard.proxy import sessionrecord
from smtpguard.wire import replies
from tests.replay.deciders import Recorded, Rules


MIXED = (
    b"From: a@b.example\r\nSubject: hello\r\n"
    b'Content-Type: multipart/mixed; boundary="b"\r\n\r\n'
    b"--b\r\nContent-Type: text/plain\r\n\r\ntext\r\n"
    b'--b\r\nContent-Type: application/zip; name="a.zip"\r\n\r\nPK\r\n--b--'
)


def session(
    rules: Rules | None = None,
    *,
    body: bytes = b"Subject: x\r\n\r\nhello",
    **options: Any,
) -> Recorded:
    recorded = Recorded(rules, **options)
    recorded.greet(b"SIZE 1000000", b"CHUNKING", b"8BITMIME")
    recorded.send((b"c@d.example", b"250 2.1.5 ok"), body=body)
    return recorded


def texts(flow: tcp.TCPFlow) -> list[str]:
    view = SmtpContentview()
    return [
        view.prettify(message.content, Metadata(flow=flow, tcp_message=message))
        for message in flow.messages
    ]


def mail_text(flow: tcp.TCPFlow) -> str:
    (found,) = [text for text in texts(flow)[1:] if text.startswith("mail of")]
    return found


# -- which flows ---------------------------------------------------------------------


def test_it_is_the_choice_for_flows_of_ours_alone() -> None:
    view = SmtpContentview()
    assert view.name == "SMTP"
    ours = Metadata(flow=Recorded().flow)
    assert view.render_priority(b"", ours) > 1
    assert view.render_priority(b"", Metadata(flow=tflow.ttcpflow())) < 0
    assert view.render_priority(b"", Metadata()) < 0


def test_mitmproxy_chooses_it_once_it_is_registered() -> None:
    register()
    first = contentviews.registry["smtp"]
    register()
    assert contentviews.registry["smtp"] is first
    flow = session().quit()
    with taddons.context():
        result = contentviews.prettify_message(flow.messages[0], flow)
        other = tflow.ttcpflow()
        plain = contentviews.prettify_message(other.messages[0], other)
    assert result.view_name == "SMTP"
    assert result.text.startswith("SMTP session s1")
    assert plain.view_name != "SMTP"


# -- the session ---------------------------------------------------------------------


def test_the_first_message_tells_of_the_session_and_then_of_itself() -> None:
    first, *others = texts(session().quit())
    assert first.splitlines()[0] == (
        "SMTP session s1  192.0.2.1:40000 -> 192.0.2.9:25  policy default"
    )
    assert first.endswith("220 mx.example ESMTP")
    assert not any("SMTP session" in text for text in others)
    assert others[0] == "EHLO client.example"


def test_the_session_shows_tls_of_both_legs_and_why_one_is_clear() -> None:
    recorded = session(Rules(Settings(server_tls=ServerTls("none"))))
    legs = recorded.memory.session
    legs.client_leg.tls = TlsFacts("TLSv1.3", "AES", "mx.example", "")
    legs.client_leg.history = ["starttls"]
    first = texts(recorded.quit())[0]
    assert "client    TLSv1.3 AES, name mx.example  (starttls)" in first
    assert "upstream  in clear  (clear: " in first


def test_the_session_shows_envelope_outcome_rule_and_trace() -> None:
    verdict = Disposition(
        Outcome.REJECTED,
        replies.policy_refused("s1.1"),
        rule="filenames:3",
        action=Action.DENY,
        reason="a reason",
        trace=(
            TraceStep("filenames:1", matched=False, reason="no match", place="r:7"),
            TraceStep("filenames:3", matched=True, reason="*.exe", place="r:9"),
        ),
    )
    first = texts(session(Rules(verdict=verdict)).quit())[0]
    for line in (
        "transaction s1.1: rejected by filenames:3 (deny)",
        "  from   <a@client.example>",
        "  to     <c@d.example>  250 2.1.5 ok  (allow by rcpt_to:2)",
        "  reply  550 5.7.1 Message refused by policy (id s1.1)",
        "  reason: a reason",
        "    no  filenames:1  no match  (r:7)",
        "    yes filenames:3  *.exe  (r:9)",
    ):
        assert line in first.splitlines()


def test_the_session_shows_the_dialogue_of_both_legs() -> None:
    lines = texts(session().quit())[0].splitlines()
    assert "    0.000 C> MAIL FROM:<a@client.example>" in lines
    assert "    0.000 s< MAIL FROM:<a@client.example>" in lines
    assert "    0.000 S> 250 2.1.0 ok" in lines
    assert "    0.000 c< 250 2.1.0 ok" in lines
    assert "    0.000 C> [mail of 21 octets]" in lines


def test_a_flow_whose_session_goes_on_shows_what_is_known() -> None:
    recorded = session()
    first = texts(recorded.flow)[0]
    assert "smtpguard_outcome: relayed" in first
    recorded.memory.pass_time(3)
    recorded.client(b"NOOP")
    assert "still open" in texts(recorded.flow)[0]


def test_a_damaged_record_hides_no_octets() -> None:
    flow = session().quit()
    flow.metadata[sessionrecord.SESSION_KEY] = "{"
    first, second = texts(flow)[:2]
    assert first.endswith("220 mx.example ESMTP")
    assert second == "EHLO client.example"


def test_a_record_of_another_shape_shows_what_fits() -> None:
    flow = session().quit()
    head = {
        "mode": "full",
        "cut": True,
        "ended": "end",
        "session": {"client": 7},
        "legs": {"client": [], "upstream": {"tls": 3, "history": 4}},
        "transactions": [
            {"envelope": 1, "trace": [1, {}], "parts": [1]},
            {"envelope": {"rcpt_to": [7, {}]}},
        ],
    }
    flow.metadata[sessionrecord.SESSION_KEY] = sessionrecord.dump(head, [])
    first = texts(flow)[0]
    assert "client    -" in first
    assert "upstream  in clear" in first
    assert "the rest was not recorded" in first


# -- a mail --------------------------------------------------------------------------


def test_a_mail_shows_header_parts_and_text() -> None:
    text = mail_text(session(body=MIXED).quit())
    lines = text.splitlines()
    assert lines[0] == f"mail of {len(MIXED) + 2} octets"
    assert lines[1] == "sent upstream as it came"
    parts = lines[lines.index("parts:") + 1 : lines.index("header:") - 1]
    assert parts[0].startswith("  1  multipart/mixed")
    assert parts[1].startswith("  1.1  text/plain  4 octets")
    assert parts[2] == '  1.2  application/zip  2 octets  "a.zip"'
    assert "Subject: hello" in lines
    assert lines.index("text:") < lines.index("--b")


def test_a_mail_shows_what_the_rules_decided_about_its_parts() -> None:
    parts = outline(parse(MIXED + b"\r\n"))
    for part in parts:
        decided = part["path"] == "1.2"
        part["rule"] = "filenames:3" if decided else ""
        part["action"] = "strip" if decided else ""
    verdict = Disposition(Outcome.RELAYED, report={"parts": parts})
    text = mail_text(session(Rules(verdict=verdict), body=MIXED).quit())
    assert '"a.zip"  -> strip by filenames:3' in text
    assert text.count("->") == 1


def judged_text(*others: str, **known: Any) -> str:
    """Return the view of MIXED where this is known of its zip, or of ``others``."""
    parts = outline(parse(MIXED + b"\r\n"))
    for part in parts:
        if part["path"] in (others or ("1.2",)):
            part.update(rule="filenames:3", action="lock", **known)
    verdict = Disposition(Outcome.RELAYED, report={"parts": parts})
    return mail_text(session(Rules(verdict=verdict), body=MIXED).quit())


def entry(name: str, **known: Any) -> dict[str, Any]:
    return {"name": name, "type": None, "size": 5, "facts": [], **known}


def test_a_part_shows_its_type_by_content_where_it_is_another_one() -> None:
    text = judged_text("1.1", "1.2", detected="application/zip")
    assert "  1.1  text/plain  4 octets  -> lock by filenames:3  (content: a" in text
    assert '  1.2  application/zip  2 octets  "a.zip"  -> lock by filenames:3\n' in text
    assert "(content" not in judged_text(detected=None)


def test_a_part_shows_its_facts_and_what_became_of_it() -> None:
    text = judged_text(facts=["archive", "encrypted"])
    assert '  "a.zip"  archive  encrypted  -> lock by filenames:3\n' in text


def test_an_archive_shows_the_files_in_it_each_on_its_line() -> None:
    entries = [
        entry("in.zip!x.exe", type="application/x-dosexec", facts=["executable"]),
        entry("a\nb\u202e.txt"),
    ]
    lines = judged_text(entries=entries).splitlines()
    at = next(n for n, line in enumerate(lines) if line.startswith("  1.2"))
    assert lines[at + 1 : at + 4] == [
        '      "in.zip!x.exe"  application/x-dosexec  5 octets  executable',
        '      "a\\nb\\u202e.txt"  unknown type  5 octets',
        "",
    ]


@pytest.mark.parametrize("more", [0, 1, 490])
def test_of_many_files_the_first_are_shown_and_the_others_counted(more: int) -> None:
    entries = [entry(f"{n}.txt") for n in range(MAX_FILES + more)]
    text = judged_text(entries=entries)
    assert text.count('      "') == MAX_FILES
    assert f'"{MAX_FILES - 1}.txt"' in text
    assert (f"    ... {more} more\n" in text) == bool(more)


def test_files_of_which_something_is_known_come_first() -> None:
    entries = [entry(f"{n}.txt") for n in range(MAX_FILES)]
    entries.append(entry("x.exe", facts=["executable"]))
    text = judged_text(entries=entries)
    lines = text.splitlines()
    at = next(n for n, line in enumerate(lines) if line.startswith("  1.2"))
    assert lines[at + 1] == '      "x.exe"  unknown type  5 octets  executable'
    assert lines[at + 2] == '      "0.txt"  unknown type  5 octets'
    assert lines[at + 1 + MAX_FILES] == "    ... 1 more"


def test_the_session_shows_the_parts_of_each_transaction() -> None:
    """Also where the mail itself is not recorded."""
    parts = outline(parse(MIXED))
    for part in parts:
        part.update(rule="filenames:3", action="lock", facts=["archive"], entries=[{}])
    damaged: list[Any] = [7, {"names": 3, "facts": 4}]
    verdict = Disposition(Outcome.RELAYED, report={"parts": [*parts, *damaged]})
    recorded = session(Rules(verdict=verdict), body=MIXED, mode="envelope")
    lines = texts(recorded.quit())[0].splitlines()
    at = lines.index("  parts")
    assert lines[at + 3 : at + 6] == [
        '    1.2  application/zip  2 octets  "a.zip"  archive  -> lock by filenames:3',
        "    ?",
        "    None  None  None octets",
    ]


def test_a_part_shows_what_scanners_said_of_it() -> None:
    verdicts = [
        {"scanner": "first", "kind": "failed", "name": "", "reason": "no answer"},
        {"scanner": "second", "kind": "infected", "name": "Eicar", "reason": ""},
        {"scanner": "third", "kind": "clean", "name": "", "reason": ""},
        7,
    ]
    wanted = (
        '"a.zip"  [first: failed, no answer]  [second: infected, Eicar]  '
        "[third: clean]  [?]  -> lock by filenames:3"
    )
    assert wanted in judged_text(verdicts=verdicts)


def session_text(**report: Any) -> list[str]:
    verdict = Disposition(Outcome.RELAYED, report=report)
    return texts(session(Rules(verdict=verdict), body=MIXED).quit())[0].splitlines()


def test_the_session_shows_scores_with_what_weighs_most_and_what_is_kept() -> None:
    symbols = {"A": 1.5, "B": -7, "C": 2.25, "odd": "x"}
    spam = {"score": 12.5, "category": "confirmed", "scanner": "r", "symbols": symbols}
    lines = session_text(spam=spam, quarantine=["01AB"])
    assert "  spam   12.5 confirmed by r: B -7, C 2.25, A 1.5" in lines
    assert "  kept   01AB" in lines
    many = {f"S{number}": number for number in range(1, MAX_SYMBOLS + 4)}
    [line] = [
        one for one in session_text(spam={**spam, "symbols": many}) if "S23" in one
    ]
    assert line.endswith("S5 5, S4 4 and 3 more")


@pytest.mark.parametrize("spam", [None, 7, [], {}, {"symbols": 3}], ids=str)
def test_a_damaged_score_hides_nothing(spam: object) -> None:
    assert "  trace" not in session_text(spam=spam)
    assert any(line.startswith("  reply  250") for line in session_text(spam=spam))


@pytest.mark.parametrize("entries", [None, {}, [None, []], "text", [{}]], ids=str)
def test_damaged_files_in_a_record_hide_no_part(entries: object) -> None:
    text = judged_text(entries=entries, detected=[entries], facts=entries)
    assert "  1.2  application/zip  " in text
    assert "-> lock by filenames:3" in text


def test_a_mail_shows_what_was_sent_instead() -> None:
    mail = b"Subject: x\r\n\r\nhello\r\n"
    content = Edited(mail, ((0, 14), b"[removed]\r\n"))
    text = mail_text(
        session(Rules(verdict=Disposition(Outcome.MODIFIED, content=content))).quit()
    )
    lines = text.splitlines()
    assert lines[1] == "sent upstream with 25 octets, edited"
    at = lines.index("sent instead of octets 14 to 19:")
    assert lines[at + 1 : at + 3] == ["  | [removed]", ""]
    # Many octets of a container must not push the parts out of sight.
    assert lines.index("parts:") < at < lines.index("header:")


def test_a_mail_that_was_refused_was_not_sent() -> None:
    verdict = Disposition(Outcome.REJECTED, replies.policy_refused("x"))
    assert "not sent upstream" in mail_text(session(Rules(verdict=verdict)).quit())


@pytest.mark.parametrize(
    ("options", "told"),
    [
        pytest.param(
            {"mode": "envelope"}, "mail of 21 octets, not recorded", id="envelope"
        ),
        pytest.param(
            {"limit": 12}, "mail of 21 octets, the first 12 recorded", id="cut"
        ),
    ],
)
def test_what_was_not_recorded_is_said(options: dict[str, Any], told: str) -> None:
    assert mail_text(session(**options).quit()).startswith(told)


def test_defects_are_listed() -> None:
    body = b'Content-Type: multipart/mixed; boundary="b"\r\n\r\n--b\r\n\r\nx'
    assert "missing-close-boundary in part 1" in mail_text(session(body=body).quit())


# -- hostile octets, and many --------------------------------------------------------


def test_no_control_or_bidi_character_reaches_the_screen() -> None:
    """attacks P1."""
    name = "\u202egnp.exe\x1b[2J\x9b".encode()
    body = b"Subject: " + name + b"\r\nContent-Type: x/y; name=" + name
    body += b"\r\n\r\n\x1b[31m" + name + b"\tbare\rcr\nlf\xff"
    recorded = session(body=body, rules=Rules())
    recorded.client(b"NOOP \xe2\x80\xae", b"EHLO " + name)
    recorded.upstream(b"250 " + name)
    for text in texts(recorded.quit()):
        for line in text.split("\n"):
            assert line.isprintable(), line


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        pytest.param("plain", "plain", id="plain"),
        pytest.param("\x1b\u202e", "\\x1b\\u202e", id="escaped"),
        pytest.param("x" * (MAX_LINE + 7), "x" * MAX_LINE + " ... (7 more)", id="long"),
    ],
)
def test_escape(text: str, shown: str) -> None:
    assert escape(text) == shown


def test_a_large_mail_is_shown_to_a_limit() -> None:
    flow = session(body=b"Subject: x\r\n\r\n" + b"line\r\n" * 100_000).quit()
    text = mail_text(flow)
    assert len(text) < 3 * MAX_TEXT
    assert "more octets" in text


def test_a_line_without_end_is_shown_to_a_limit() -> None:
    text = mail_text(session(body=b"x: " + b"y" * 1_000_000).quit())
    assert len(text) < 3 * MAX_TEXT


def test_a_long_session_is_shown_to_a_limit() -> None:
    recorded = session()
    entries = recorded.memory.dialogue.transcript.entries
    entries += [Entry("C", b"NOOP " + b"x" * 500 + b"\r\n")] * 2000
    for _ in range(MAX_TRANSACTIONS + 5):
        recorded.recorder.transaction(recorded.memory.records[0])
    first = texts(recorded.quit())[0]
    lines = first.splitlines()
    shown = lines.index(next(line for line in lines if line.startswith("dialogue")))
    (cut,) = [n for n, line in enumerate(lines[shown:]) if line.endswith(" more")]
    # A reply of several lines is one row of the dialogue.
    assert MAX_TRANSCRIPT <= cut - 1 <= MAX_TRANSCRIPT + 10
    assert "... 6 more transactions" in first.splitlines()
    told = [line for line in lines if line.startswith("transaction ")]
    assert len(told) == MAX_TRANSACTIONS
    assert len(first) < (MAX_TRANSCRIPT + 1000) * 600


def test_a_session_that_has_lost_reports_or_its_end_says_so() -> None:
    flow = session().quit()
    for key, told in (
        ("reports_cut", "... parts and trace of some transactions were not recorded"),
        ("cut", "... the rest was not recorded: too long, or too much in memory"),
    ):
        record = json.loads(flow.metadata[sessionrecord.SESSION_KEY])
        assert told not in texts(flow)[0]
        flow.metadata[sessionrecord.SESSION_KEY] = json.dumps({**record, key: True})
        assert told in texts(flow)[0]


@pytest.mark.parametrize(("mails", "parts"), [(300, 0), (100, 50)], ids=str)
def test_all_messages_of_a_flow_cost_the_record_once(mails: int, parts: int) -> None:
    """mitmweb asks for all of them again at each update."""

    def seconds(mails: int) -> float:
        recorded = session()
        one = recorded.memory.records[0]
        report = {"parts": [{"path": f"1.{number}"} for number in range(parts)]}
        for number in range(mails):
            entries = recorded.memory.dialogue.transcript.entries
            body = b"Subject: x\r\n\r\nhello\r\n"
            entries += [
                Entry("C", b"DATA\r\n", time=float(number)),
                Entry("c", b"354 go\r\n", time=float(number)),
                Entry("C", body, "message", float(number), len(body)),
                Entry("c", b"250 ok\r\n", time=float(number)),
            ]
            if parts:
                recorded.recorder.transaction(replace(one, report=report))
        flow = recorded.quit()
        began = time.process_time()
        texts(flow)
        return time.process_time() - began

    few = min(seconds(mails) for _ in range(3))
    many = min(seconds(4 * mails) for _ in range(3))
    assert many < 4 * few * 2.5


def test_a_flow_of_another_kind_between_changes_nothing() -> None:
    flow = session().quit()
    view = SmtpContentview()

    def shown(flow: tcp.TCPFlow) -> list[str]:
        return [
            view.prettify(message.content, Metadata(flow=flow, tcp_message=message))
            for message in flow.messages
        ]

    first = shown(flow)
    between = tflow.ttcpflow()
    assert not any(text.startswith("mail of") for text in shown(between))
    assert shown(flow) == first


def test_the_view_keeps_no_flow_alive() -> None:
    view = SmtpContentview()
    flow = session().quit()
    message = flow.messages[0]
    view.prettify(message.content, Metadata(flow=flow, tcp_message=message))
    gone = weakref.ref(message)
    del flow, message
    gc.collect()
    assert gone() is None


def test_what_is_no_message_of_a_flow_is_shown_as_text() -> None:
    assert SmtpContentview().prettify(b"a\r\nb\x00", Metadata()) == "a\nb\\x00"


def test_the_record_is_ascii_whatever_is_shown() -> None:
    flow = session().quit()
    assert json.loads(flow.metadata[sessionrecord.SESSION_KEY])["format"] == 1
