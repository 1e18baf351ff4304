"""What is done beside an action: which rules' it is, and what becomes of the octets."""

from __future__ import annotations

from dataclasses import replace

from smtpguard.model.content import MemorySpool
from smtpguard.model.disposition import Disposition, Outcome
from smtpguard.model.mailbox import Path
from smtpguard.model.verdict import Verdict, VerdictKind
from tests.judging import (
    PLAIN,
    TEXT_PART,
    PreparedScanners,
    attachment,
    judge_message,
    make_envelope,
    make_pipeline,
    make_session,
    mixed,
    names,
    octets,
    rules,
    types,
)
from tests.quarantine.making import boxes


TOP = """\
domains: [own.test]
quarantine: {folder: q}
delivery: {host: mx.test, from: guard@own.test}
scanners: {v: {type: yara}, s: {type: rspamd, url: "http://127.0.0.1:1"}}"""
ANNA, BERT, CARL = boxes("anna@own.test", "bert@own.test", "carl@own.test")
MAIL = mixed(TEXT_PART, attachment("a.exe"))


def judged(
    *lines: str, mail: bytes = MAIL, scanners: PreparedScanners | None = None
) -> Disposition:
    return judge_message(rules(*lines, top=TOP), mail, scanners)


def test_a_field_is_added_on_top_and_nothing_else_changes() -> None:
    said = judged('add_header: ["X-A: 1", "X-B: 2"]', mail=PLAIN)
    assert said.outcome is Outcome.MODIFIED
    assert octets(said) == b"X-A: 1\r\nX-B: 2\r\n" + PLAIN
    assert said.report["side"] == {"add_header": ["X-A: 1", "X-B: 2"]}


def test_without_one_a_message_goes_on_as_it_came() -> None:
    said = judged("bcc: anna@own.test", mail=PLAIN)
    assert (said.outcome, said.content) == (Outcome.RELAYED, None)
    assert said.side.bcc == (ANNA,)


def test_those_of_all_rules_that_decided_are_done() -> None:
    """The most severe action wins, and nobody's side actions are lost."""
    said = judged(
        types(
            '{match: "application/*", action: allow, add_header: "X-Type: 1", '
            "bcc: anna@own.test}"
        ),
        names(
            '{match: "*.exe", action: strip, add_header: "X-Name: 1", '
            "bcc: bert@own.test, notify: anna@own.test}",
            '{match: "*.exe", action: deny, notify: carl@own.test}',
        ),
        'headers: [{match: "Subject", action: allow, notify: bert@own.test}, '
        '{match: "*", action: allow}]',
    )
    assert (said.outcome, str(said.action)) == (Outcome.MODIFIED, "strip")
    assert set(said.side.bcc) == {ANNA, BERT}
    assert set(said.side.notify) == {ANNA, BERT}
    assert octets(said).startswith(b"X-Type: 1\r\nX-Name: 1\r\nFrom:")


def test_a_message_that_does_not_go_on_is_not_copied() -> None:
    rule = '{match: "*.exe", action: deny, bcc: anna@own.test, notify: bert@own.test, '
    said = judged(names(rule + 'add_header: "X-A: 1"}'), "bcc: carl@own.test")
    assert (said.outcome, said.content) == (Outcome.REJECTED, None)
    assert (said.side.add_header, said.side.bcc) == ((), ())
    assert said.side.notify == (BERT,)
    assert said.report["side"] == {"notify": ["bert@own.test"]}


def test_a_rule_that_is_not_known_to_apply_does_nothing_beside() -> None:
    condition = "when: {size: {over: 1}}, on_unknown: allow"
    rule = f'{{match: "*.exe", action: deny, notify: anna@own.test, {condition}}}'
    said = judged(names(rule))
    assert said.side.notify == (ANNA,)
    unknown = condition.replace("size: {over: 1}", 'header_from: "x@y.test"')
    broken = MAIL.replace(b"From: a@out.test", b"From: a@@out.test")
    said = judged(names(rule.replace(condition, unknown)), mail=broken)
    assert said.outcome is not Outcome.REJECTED
    assert said.side.notify == ()


def test_a_verdict_has_its_own() -> None:
    def answer(*_: object) -> Verdict:
        return Verdict("v", VerdictKind.INFECTED, "Eicar")

    said = judged(
        "antivirus: {scanner: v, infected: {action: strip, notify: anna@own.test}}",
        names('{match: "*.exe", action: scan, notify: bert@own.test}'),
        scanners=PreparedScanners(answer),
    )
    assert (said.outcome, said.rule) == (Outcome.MODIFIED, "antivirus.infected")
    assert set(said.side.notify) == {ANNA, BERT}


def test_a_score_has_its_own() -> None:
    def answer(*_: object) -> Verdict:
        return Verdict("s", VerdictKind.SCORED, score=9.0)

    bulk = "bulk: {at: 5, action: tag, bcc: anna@own.test}"
    said = judged(f"spam: {{scanner: s, {bulk}}}", scanners=PreparedScanners(answer))
    assert (said.outcome, said.side.bcc) == (Outcome.MODIFIED, (ANNA,))


def test_a_finding_has_its_own() -> None:
    broken = MAIL.replace(b"\r\n\r\n--", b"\r\nContent-Type: text/plain\r\n\r\n--", 1)
    said = judged("ambiguous: {action: deny, notify: anna@own.test}", mail=broken)
    assert (said.outcome, said.rule) == (Outcome.REJECTED, "ambiguous")
    assert said.side.notify == (ANNA,)


def test_a_signed_name_counts_as_an_edit_of_a_field() -> None:
    signature = b"DKIM-Signature: v=1; h=x-a:x-a; d=a.test; s=b; bh=; b=\r\n"
    said = judged('add_header: "X-A: 1"', "on_dkim: deny", mail=signature + PLAIN)
    assert (said.outcome, said.rule) == (Outcome.REJECTED, "on_dkim")
    said = judged('add_header: "X-B: 1"', "on_dkim: deny", mail=signature + PLAIN)
    assert octets(said) == b"X-B: 1\r\n" + signature + PLAIN


def to(*recipients: str, sender: str = "a@out.test") -> Disposition:
    """Judge a plain mail under a policy with copies and notices for everything."""
    text = rules(
        "bcc: [anna@own.test, bert@own.test]",
        'filenames: [{match: "*", action: allow, notify: carl@own.test}]',
        top=TOP,
    )
    session, spool = make_session(), MemorySpool()
    spool.write(PLAIN)
    envelope = make_envelope(sender or "a@out.test", *recipients)
    if not sender:
        envelope.reverse_path = Path(None)
    return make_pipeline(text).begin(session).message(session, envelope, spool)


def test_who_gets_the_message_needs_no_copy() -> None:
    assert to("b@own.test").side.bcc == (ANNA, BERT)
    assert to("b@own.test", "ANNA@own.test").side.bcc == (BERT,)


def test_a_copy_that_comes_through_again_makes_no_other() -> None:
    """Else each would make the next, for ever."""
    assert to("anna@own.test", sender="").side.bcc == ()
    assert to("anna@own.test", "bert@own.test", sender="").side.bcc == ()


def test_a_notice_that_comes_through_again_makes_no_other() -> None:
    assert to("b@own.test").side.notify == (CARL,)
    assert to("carl@own.test").side.notify == (CARL,)
    assert to("carl@own.test", sender="").side.notify == ()


def test_an_exception_that_has_a_message_scored_has_its_own() -> None:
    exceptions = (
        '[{match: "*", action: scan, bcc: anna@own.test, add_header: "X-A: 1"}]'
    )
    bulk = "bulk: {at: 5, action: tag}"
    said = judged(f"spam: {{scanner: s, {bulk}, exceptions: {exceptions}}}", mail=PLAIN)
    assert said.side.bcc == (ANNA,)
    assert octets(said) == b"X-A: 1\r\n" + PLAIN


def test_what_was_released_is_copied_now_and_nobody_is_told_again() -> None:
    rule = '{match: "Subject", action: quarantine, bcc: anna@own.test, '
    rule += 'add_header: "X-A: 1", notify: bert@own.test}'
    text = rules(f'headers: [{rule}, {{match: "*", action: allow}}]', top=TOP)
    session, spool = make_session(), MemorySpool()
    spool.write(PLAIN)
    first = make_pipeline(text).begin(session).message(session, make_envelope(), spool)
    assert (first.outcome, first.side.bcc) == (Outcome.QUARANTINED, ())
    assert first.side.notify == (BERT,)
    pipeline = replace(make_pipeline(text), keeper=Remembers())  # type: ignore[arg-type]
    again = pipeline.begin(session).message(session, make_envelope(), spool)
    assert again.outcome is Outcome.MODIFIED
    assert (again.side.bcc, again.side.notify) == ((ANNA,), ())


class Remembers:
    """A keeper that has released everything."""

    def was_released(self, *_: object) -> bool:
        return True
