from __future__ import annotations

import pytest

from smtpguard.model.decision import NO_SIDE, SideActions, all_sides
from tests.policy.rulefiles import policy, problems, rules, slugs
from tests.quarantine.making import boxes


TOP = """\
quarantine: {folder: q}
delivery: {host: mx.example, from: guard@own.example}
"""
ANNA, BERT = boxes("anna@own.example", "bert@own.example")


def test_they_stand_beside_an_action() -> None:
    rule = '{match: "*", action: allow, add_header: "X-A: b  c", '
    rule += "bcc: [anna@own.example, anna@own.example], notify: bert@own.example}"
    found = policy(f"filenames: [{rule}]", top=TOP).filenames[0].side
    assert found == SideActions((("X-A", "b  c"),), (ANNA,), (BERT,))


def test_they_stand_beside_what_a_finding_or_a_verdict_is_answered_with() -> None:
    notify = "notify: anna@own.example"
    tables = (
        f"ambiguous: {{action: deny, {notify}}}",
        f"antivirus: {{scanner: v, infected: {{action: strip, {notify}}}}}",
        f"spam: {{scanner: s, bulk: {{at: 5, action: tag, {notify}}}}}",
    )
    scanners = "scanners: {v: {type: yara}, s: {type: rspamd, url: 'http://[::1]:1'}}"
    for table in tables:
        found = policy(table, top=f"{TOP}{scanners}\n")
        assert found.sides == SideActions(notify=(ANNA,)), table


def test_a_policy_has_those_that_are_for_all_its_messages() -> None:
    found = policy("bcc: anna@own.example", 'add_header: ["X-A: 1", "X-B: 2"]', top=TOP)
    assert found.handling.side == SideActions((("X-A", "1"), ("X-B", "2")), (ANNA,))
    assert "key-not-allowed-here" in slugs(rules("notify: a@own.example", top=TOP))


def test_all_of_them_are_done_each_once() -> None:
    first = SideActions((("X-A", "1"),), (ANNA,))
    second = SideActions((("X-A", "1"), ("X-A", "2")), (BERT, ANNA), (ANNA,))
    found = all_sides([NO_SIDE, first, second, NO_SIDE])
    assert found == SideActions((("X-A", "1"), ("X-A", "2")), (ANNA, BERT), (ANNA,))
    assert all_sides([]) is NO_SIDE
    assert all_sides([NO_SIDE, first]) is first


@pytest.mark.parametrize(
    ("field", "slug"),
    [
        ("X-A", "bad-value"),
        ("X A: 1", "bad-value"),
        ("X-A:", "bad-value"),
        ("X-A: ä", "bad-value"),
        ("X-A: " + "x" * 900, "bad-value"),
        ("Subject: hello", "field-not-allowed"),
        ("from: a@b.test", "field-not-allowed"),
        ("Content-Type: text/html", "field-not-allowed"),
        ("MIME-Version: 1.0", "field-not-allowed"),
        ("X-SmtpGuard-Spam: clean", "field-not-allowed"),
        ("DKIM-Signature: v=1", "field-not-allowed"),
        ("Authentication-Results: mx.test; spf=pass", "field-not-allowed"),
        ("ARC-Seal: i=1", "field-not-allowed"),
        ("Received: from us", "field-not-allowed"),
    ],
)
def test_a_field_that_would_be_read_otherwise_is_refused(field: str, slug: str) -> None:
    assert slugs(rules(f'add_header: "{field}"', top=TOP)) == [slug]


def test_a_line_break_makes_no_second_field() -> None:
    text = rules('add_header: "X-A: 1\\r\\nX-B: 2"', top=TOP)
    assert slugs(text) == ["bad-value"]


@pytest.mark.parametrize(
    "address", ["anna", "ä@own.example", "<>", "a@b@c", "@own", "a@own"]
)
def test_what_is_no_address_is_refused(address: str) -> None:
    assert slugs(rules(f'bcc: "{address}"', top=TOP)) == ["bad-address"]


def test_there_are_not_too_many() -> None:
    many = ", ".join(f'"X-{number}: 1"' for number in range(11))
    assert slugs(rules(f"add_header: [{many}]", top=TOP)) == ["bad-value"]


def test_what_they_need_must_be_there() -> None:
    bcc = rules("bcc: anna@own.example")
    assert problems(bcc) == [
        f'3:5: error: policy "p": bcc needs the top-level key "{key}" [missing-key]'
        for key in ("delivery", "quarantine")
    ]
    rule = '{match: "*", action: allow, notify: anna@own.example}'
    notify = rules(f"filenames: [{rule}]", top="delivery: {host: mx.example}\n")
    assert [one.partition("needs")[2] for one in problems(notify)] == [
        ' the top-level key "delivery.from" [missing-key]'
    ]
    alarm = rules(top="alarm: {notify: anna@own.example}\n")
    assert [one.partition("error: ")[2] for one in problems(alarm)] == [
        'alarm needs the top-level key "delivery.from" [missing-key]'
    ]


def test_a_bad_delivery_is_one_problem() -> None:
    top = "quarantine: {folder: q}\ndelivery: {host: -}\n"
    rule = '{match: "*", action: allow, notify: anna@own.example}'
    text = rules("bcc: anna@own.example", f"filenames: [{rule}]", top=top)
    assert slugs(text) == ["bad-domain"]


def test_they_are_no_actions_and_have_no_place_before_the_message() -> None:
    text = rules('filenames: [{match: "*", action: notify}]', top=TOP)
    [told] = problems(text)
    assert '"notify" is a key of its own beside "action"' in told
    assert told.endswith(" [action-not-allowed-here]")
    rule = '{match: "*", action: deny, notify: anna@own.example}'
    assert slugs(rules(top=TOP, rcpt_to=rule)) == ["key-not-allowed-here"]
    assert slugs(rules(f"helo: [{rule}]", top=TOP)) == ["key-not-allowed-here"]
