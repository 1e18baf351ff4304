from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest

from smtpguard.model.decision import Action, Decision
from smtpguard.policy import PartFacts, policies
from smtpguard.policy.conditions import PathCondition
from smtpguard.policy.engine import evaluate
from smtpguard.policy.facts import FieldFacts
from tests.policy.rulefiles import envelope, message, path, policy, session


MONDAY = datetime(2024, 1, 1, 12, 0)  # noqa: DTZ001
SUNDAY = datetime(2024, 1, 7, 12, 0)  # noqa: DTZ001
OWN = "domains: [own.example]\n"
NOT_FROM_THERE = "550 5.7.1 Sender address rejected"
REFUSED = "550 5.7.1 Message refused by policy"
LATER = "451 4.7.1 Try again later"
UNDECIDED = "451 4.3.0 Not decided, try again later"
DENY_ALL = '{match: "*", action: deny}'
ALLOW_ALL = '{match: "*", action: allow}'


def brief(decision: Decision) -> tuple[str, str, str]:
    return str(decision.action), decision.rule, str(decision.reply or "")


def test_a_list_that_is_not_there_has_nothing_to_say() -> None:
    found = policy()
    part = PartFacts("application/x-msdownload", ("a.exe",))
    silent = [
        found.helo(session()),
        found.mail(session(), path("a@a.example")),
        found.part(part, message()),
    ]
    assert [brief(one) for one in silent] == [("allow", "", "")] * 3


# ------------------------------------------------------------------------------ HELO


@pytest.mark.parametrize(
    ("rule", "helo", "wanted"),
    [
        ("{match: localhost, action: deny}", "LocalHost.", "550 HELO name rejected"),
        ('{match: "[*", action: deny}', "[192.0.2.1]", "550 HELO name rejected"),
        (
            "{match: x.example, action: tempfail}",
            "x.example",
            "450 HELO name not accepted now, try again later",
        ),
        (
            '{match: "@own", action: deny, reply: "550 5.7.1 Not you"}',
            "own.example",
            None,
        ),
        ("{match: x.example, action: drop}", "x.example", ""),
        ("{match: x.example, action: deny}", "y.example", ""),
        (
            "{match: x.example, action: deny, when: {time: mon}}",
            "x.example",
            "450 HELO name not accepted now, try again later",
        ),
    ],
)
def test_helo_is_judged_by_its_name(rule: str, helo: str, wanted: str | None) -> None:
    found = policy(f"helo: [{rule}, {ALLOW_ALL}]", top=OWN)
    decision = found.helo(session(helo=helo))
    assert str(decision.reply or "") == (
        "550 5.7.1 Not you" if wanted is None else wanted
    )


@pytest.mark.parametrize("text", [UNDECIDED, "450 HELO name not accepted now"])
def test_a_helo_rules_own_reply_stays_as_it_is_written(text: str) -> None:
    rule = f'{{match: "x*", action: tempfail, reply: "{text}"}}'
    found = policy(f"helo: [{rule}, {ALLOW_ALL}]")
    assert str(found.helo(session(helo="x.example")).reply) == text


def test_helo_knows_the_time_if_it_is_told() -> None:
    rule = "{match: x.example, action: deny, when: {time: mon}}"
    found = policy(f"helo: [{rule}, {ALLOW_ALL}]")
    asked = session(helo="x.example")
    assert found.helo(asked, MONDAY).action is Action.DENY
    assert found.helo(asked, SUNDAY).action is Action.ALLOW


# ------------------------------------------------------------------------------ MAIL


MAIL = policy(
    "mail_from:",
    '  - {match: "form@own.example", action: allow}',
    '  - {match: "*@own", action: deny, unless: {authenticated: true}}',
    '  - {match: "*@old.example", action: rewrite, to: "*@new.example"}',
    '  - {match: "*@big.example", action: tempfail, when: {size: {over: 1MiB}}}',
    '  - {match: "*@night.example", action: allow, when: {time: "22:00-06:00"}}',
    '  - {match: "<>", action: allow, when: {source: 192.0.2.0/24}}',
    "  - {match: x@drop.example, action: drop}",
    '  - {match: "*", action: deny, reply: "553 5.7.1 Unknown"}',
    top=OWN,
)


@pytest.mark.parametrize(
    ("address", "size", "wanted"),
    [
        ("form@own.example", None, ("allow", "mail_from:1", "")),
        ("a@own.example", None, ("deny", "mail_from:2", NOT_FROM_THERE)),
        ("a@old.example", None, ("rewrite", "mail_from:3", "")),
        ("a@big.example", 2**21, ("tempfail", "mail_from:4", LATER)),
        ("a@big.example", 2**20, ("deny", "mail_from:8", "553 5.7.1 Unknown")),
        ("a@big.example", None, ("tempfail", "mail_from:4", UNDECIDED)),
        ("a@night.example", None, ("tempfail", "mail_from:5", UNDECIDED)),
        ("", None, ("allow", "mail_from:6", "")),
        ("x@drop.example", None, ("drop", "mail_from:7", "")),
        ("a@a.example", None, ("deny", "mail_from:8", "553 5.7.1 Unknown")),
    ],
)
def test_mail_is_judged(
    address: str, size: int | None, wanted: tuple[str, str, str]
) -> None:
    assert brief(MAIL.mail(session(), path(address, size))) == wanted


def test_an_authenticated_client_may_use_our_domain() -> None:
    decision = MAIL.mail(session(authenticated=True), path("a@own.example"))
    assert brief(decision) == ("deny", "mail_from:8", "553 5.7.1 Unknown")


def test_mail_knows_the_time_if_it_is_told() -> None:
    decision = MAIL.mail(session(), path("a@night.example"), MONDAY)
    assert decision.rule == "mail_from:8"


def test_a_rewritten_sender_has_its_new_mailbox() -> None:
    decision = MAIL.mail(session(), path("Anna+x@old.example"))
    assert decision.rewrite_to is not None
    assert decision.rewrite_to.octets == b"Anna+x@new.example"


def test_the_null_path_is_never_rewritten() -> None:
    found = policy('mail_from: [{match: "*", action: rewrite, to: a@own.example}]')
    decision = found.mail(session(), path(""))
    assert decision.action is Action.ALLOW
    assert decision.rewrite_to is None
    assert decision.reason == '<> is "*"; <> is never rewritten'
    assert found.mail(session(), path("b@b.example")).action is Action.REWRITE


@pytest.mark.parametrize("value", ["", "x", "٣", "-1"])
def test_a_declared_size_that_is_no_number_is_not_known(value: str) -> None:
    from smtpguard.model.mailbox import Parameter, Path

    known = path("a@big.example")
    odd = Path(known.mailbox, (Parameter("SIZE", value or None),))
    assert MAIL.mail(session(), odd).reply is not None
    assert str(MAIL.mail(session(), odd).reply).startswith("451 4.3.0")


def test_every_decision_has_its_trace() -> None:
    decision = MAIL.mail(session(), path("a@own.example"))
    assert [
        (one.rule, one.matched, one.reason, one.place) for one in decision.trace
    ] == [
        (
            "mail_from:1",
            False,
            'match: <a@own.example> is not "form@own.example"',
            "rules.yaml:7",
        ),
        ("mail_from:2", True, '<a@own.example> is "*@own"', "rules.yaml:8"),
    ]
    assert decision.reason == '<a@own.example> is "*@own"'


# ------------------------------------------------------------------------------ RCPT


RCPT = policy(
    rcpt_to="{match: anna@own.example, action: allow}, "
    '{match: "*@bank.example", action: tempfail, unless: {tls: true}, '
    'reply: "450 4.7.10 Encryption needed"}, '
    '{match: "*@bank.example", action: allow}, '
    '{match: old@own.example, action: rewrite, to: "new@own.example"}, '
    '{match: "*@own", action: allow, when: {from: "*@partner.example"}}, '
    "{match: postmaster@own.example, action: allow}, "
    '{match: "*", action: deny}',
    top=OWN,
)


@pytest.mark.parametrize(
    ("address", "wanted"),
    [
        ("ANNA@Own.Example", ("allow", "rcpt_to:1", "")),
        ("a@bank.example", ("tempfail", "rcpt_to:2", "450 4.7.10 Encryption needed")),
        ("old@own.example", ("rewrite", "rcpt_to:4", "")),
        ("Postmaster", ("allow", "rcpt_to:6", "")),
        ("bert@own.example", ("deny", "rcpt_to:7", "550 5.1.1 Mailbox unavailable")),
        ("bert@else.example", ("deny", "rcpt_to:7", "550 5.7.1 Relaying denied")),
        ("bert@sub.own.example", ("deny", "rcpt_to:7", "550 5.7.1 Relaying denied")),
    ],
)
def test_rcpt_is_judged(address: str, wanted: tuple[str, str, str]) -> None:
    assert brief(RCPT.rcpt(session(), envelope(), path(address))) == wanted


def test_rcpt_knows_the_sender_and_the_encryption() -> None:
    partner = envelope("x@partner.example")
    assert RCPT.rcpt(session(), partner, path("b@own.example")).action is Action.ALLOW
    encrypted = RCPT.rcpt(session(tls=True), envelope(), path("a@bank.example"))
    assert brief(encrypted) == ("allow", "rcpt_to:3", "")


def test_rcpt_knows_what_mail_declared() -> None:
    rule = '{match: "*", action: deny, when: {size: {over: 10}}}'
    found = policy(rcpt_to=f"{rule}, {ALLOW_ALL}")
    for size, action in (
        (11, Action.DENY),
        (10, Action.ALLOW),
        (None, Action.TEMPFAIL),
    ):
        asked = envelope("a@a.example", size=size)
        assert found.rcpt(session(), asked, path("b@b.example")).action is action


def test_rcpt_knows_the_time_if_it_is_told() -> None:
    found = policy(
        rcpt_to=f'{{match: "*", action: deny, when: {{time: mon}}}}, {ALLOW_ALL}'
    )
    there = path("b@b.example")
    assert found.rcpt(session(), envelope(), there).action is Action.TEMPFAIL
    assert found.rcpt(session(), envelope(), there, MONDAY).action is Action.DENY
    assert found.rcpt(session(), envelope(), there, SUNDAY).action is Action.ALLOW


def test_without_domains_own_recipients_wait() -> None:
    found = policy(rcpt_to=f'{{match: "*@own", action: allow}}, {DENY_ALL}')
    decision = found.rcpt(session(), envelope(), path("b@b.example"))
    assert brief(decision) == (*("tempfail", "rcpt_to:1", UNDECIDED),)


# ----------------------------------------------------------------------------- parts


PARTS = policy(
    "content_types:",
    "  - {match: application/x-msdownload, action: strip}",
    "  - {match: message/partial, action: deny}",
    "  - {match: text/odd, action: tempfail}",
    '  - {match: "*", action: allow}',
    "filenames:",
    '  - {match: "*.exe", action: strip}',
    '  - {match: "*.virus", action: deny, reply: "554 5.7.1 No viruses"}',
    '  - {match: "*.spam", action: discard}',
    '  - {match: "*", action: allow}',
)


@pytest.mark.parametrize(
    ("content_type", "names", "wanted"),
    [
        ("text/plain", (), ("allow", "content_types:4", "")),
        ("Application/X-MSDownload", ("a.txt",), ("strip", "content_types:1", "")),
        ("text/plain", ("a.EXE",), ("strip", "filenames:1", "")),
        ("text/plain", ("a.txt", "b.exe. "), ("strip", "filenames:1", "")),
        ("application/x-msdownload", ("a.exe",), ("strip", "content_types:1", "")),
        ("message/partial", ("a.exe",), ("deny", "content_types:2", REFUSED)),
        (
            "application/x-msdownload",
            ("a.virus",),
            ("deny", "filenames:2", "554 5.7.1 No viruses"),
        ),
        ("application/x-msdownload", ("a.spam",), ("discard", "filenames:3", "")),
        ("text/odd", ("a.spam",), ("tempfail", "content_types:3", LATER)),
    ],
)
def test_a_part_is_judged_by_type_and_name_and_the_worse_wins(
    content_type: str, names: tuple[str, ...], wanted: tuple[str, str, str]
) -> None:
    decision = PARTS.part(PartFacts(content_type, names), message())
    assert brief(decision) == wanted


def test_a_part_has_the_trace_of_both_lists() -> None:
    decision = PARTS.part(PartFacts("text/plain", ("a.exe",)), message())
    assert [step.rule for step in decision.trace] == [
        *(f"content_types:{n}" for n in range(1, 5)),
        "filenames:1",
    ]
    assert decision.reason == decision.trace[-1].reason


def test_one_list_alone_decides() -> None:
    found = policy(f'filenames: [{{match: "*.exe", action: strip}}, {ALLOW_ALL}]')
    decision = found.part(PartFacts("text/plain", ("a.exe",)), message())
    assert brief(decision) == ("strip", "filenames:1", "")


@pytest.mark.parametrize(
    ("condition", "action"),
    [
        ('header_from: "*@own"', Action.ALLOW),
        ('header_from: "*@sender.example"', Action.STRIP),
        ('from: "*@sender.example"', Action.STRIP),
        ("size: {over: 999}", Action.STRIP),
        ("time: mon", Action.STRIP),
        ("time: sun", Action.ALLOW),
    ],
)
def test_rules_on_parts_know_the_message(condition: str, action: Action) -> None:
    rule = f'{{match: "*", action: strip, when: {{{condition}}}}}'
    found = policy(f"filenames: [{rule}, {ALLOW_ALL}]", top=OWN)
    decision = found.part(PartFacts("text/plain"), message(now=MONDAY))
    assert decision.action is action


FOR_ANNA = policy(
    "filenames:",
    '  - {match: "*.key", action: deny, unless: {to: "anna@own.example"}}',
    '  - {match: "*.exe", action: strip, when: {to: "bert@own.example"}}',
    '  - {match: "*", action: allow}',
    top=OWN,
)


@pytest.mark.parametrize(
    ("name", "recipients", "refused", "action"),
    [
        ("a.key", ("anna@own.example",), (), Action.ALLOW),
        ("a.key", ("bert@own.example",), (), Action.DENY),
        ("a.key", ("anna@own.example", "bert@own.example"), (), Action.DENY),
        ("a.key", ("bert@own.example", "anna@own.example"), (), Action.DENY),
        (
            "a.key",
            ("anna@own.example", "bert@own.example"),
            ("bert@own.example",),
            Action.ALLOW,
        ),
        ("a.exe", ("anna@own.example",), (), Action.ALLOW),
        ("a.exe", ("anna@own.example", "bert@own.example"), (), Action.STRIP),
        ("a.exe", ("bert@own.example",), ("bert@own.example",), Action.STRIP),
    ],
)
def test_recipients_who_differ_get_the_strictest(
    name: str, recipients: tuple[str, ...], refused: tuple[str, ...], action: Action
) -> None:
    asked = envelope("a@a.example", *recipients, refused=refused)
    part = PartFacts("text/plain", (name,))
    assert FOR_ANNA.part(part, message(envelope=asked)).action is action


@pytest.mark.parametrize(
    ("others", "recipients", "wanted"),
    [
        ("allow", "anna", ("discard", "filenames:1", "")),
        ("allow", "anna bert", ("tempfail", "differing", LATER)),
        ("allow", "bert anna", ("tempfail", "differing", LATER)),
        ("allow", "bert", ("allow", "filenames:2", "")),
        ("strip", "anna bert", ("tempfail", "differing", LATER)),
        ("discard", "anna bert", ("discard", "filenames:1", "")),
        # Refused, the sender hears of it: nothing is lost.
        ("deny", "anna bert", ("deny", "filenames:2", REFUSED)),
    ],
)
def test_a_mail_is_not_discarded_for_those_who_are_to_get_it(
    others: str, recipients: str, wanted: tuple[str, str, str]
) -> None:
    rule = '{match: "*", action: discard, when: {to: anna@own.example}}'
    found = policy(f'filenames: [{rule}, {{match: "*", action: {others}}}]', top=OWN)
    to = [f"{name}@own.example" for name in recipients.split()]
    asked = message(envelope=envelope("a@a.example", *to))
    decision = found.part(PartFacts("a/b", path="1.2"), asked)
    assert brief(decision) == wanted
    if wanted[1] == "differing":
        assert decision.reason == (
            "filenames:1 would discard the mail of other recipients as well"
        )
        step = decision.trace[-1]
        assert (step.rule, step.reason, step.part) == (
            "differing",
            decision.reason,
            "1.2",
        )


@pytest.mark.parametrize("asked", [None, envelope("a@a.example")])
def test_without_recipients_their_conditions_are_not_known(asked: object) -> None:
    part = PartFacts("text/plain", ("a.key",))
    assert FOR_ANNA.part(part, message(envelope=asked)).action is Action.TEMPFAIL


def test_recipients_are_sorted_once_for_all_parts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = envelope("a@a.example", *(f"u{n}@own.example" for n in range(50)))
    calls = 0
    test = PathCondition.test

    def counted(self: PathCondition, *args: object) -> object:
        nonlocal calls
        calls += 1
        return test(self, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(PathCondition, "test", counted)
    one = message(envelope=asked)
    for number in range(100):
        FOR_ANNA.part(PartFacts("text/plain", (f"{number}.txt",)), one)
    assert calls == 2 * 50


def test_recipients_are_told_apart_only_where_a_rule_is_about_the_field(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    names = [f"u{n}@own.example" for n in range(20)]
    strips = "".join(
        f'{{match: "Subject: *{name}*", action: strip, when: {{to: {name}}}}}, '
        for name in names
    )
    found = policy(f"headers: [{strips}{ALLOW_ALL}]", top=OWN)
    one = message(envelope=envelope("a@a.example", *names))
    asked = 0

    def counted(*args: Any, **kwargs: Any) -> Any:
        nonlocal asked
        asked += 1
        return evaluate(*args, **kwargs)

    monkeypatch.setattr(policies, "evaluate", counted)

    def judged(name: str, value: str) -> tuple[str, int]:
        nonlocal asked
        asked = 0
        said = found.field(FieldFacts(name, (value,)), one)
        return said.rule, asked

    assert judged("X-Subject", "u7@own.example") == ("headers:21", 1)
    # Of those whom the rule is about, and of all others.
    assert judged("Subject", "u7@own.example") == ("headers:8", 2)
    assert judged("Subject", f"{names[3]} {names[7]}") == ("headers:4", 3)


def test_every_rule_that_was_tried_is_told_whoever_decides() -> None:
    text = '{match: "X: *", action: deny}, {match: "Y: *", action: strip, when: {to: '
    found = policy(f"headers: [{text}b@own.example}}}}, {ALLOW_ALL}]", top=OWN)
    to = ("a@own.example", "b@own.example", "c@own.example")
    one = message(envelope=envelope("a@a.example", *to))
    said = found.field(FieldFacts("Y", ("z",)), one)
    assert [step.rule for step in said.trace] == ["headers:1", "headers:2"]
    assert said.action is Action.STRIP


@pytest.mark.parametrize(
    ("header", "recipients", "when", "is_quick"),
    [
        (100_009, 50, "", True),
        (100_010, 1, "", False),
        (10_000, 10, "to: x@own.example", True),
        (10_000, 11, "to: x@own.example", False),
        (10_000, 0, "to: x@own.example", True),
        (100_010, 0, "to: x@own.example", False),
        (100_010, 1, "from: x@own.example", False),
    ],
)
def test_header_fields_are_asked_in_the_loop_if_there_are_few_questions(
    header: int, recipients: int, when: str, *, is_quick: bool
) -> None:
    rule = f'{{match: "X: *", action: deny, when: {{{when}}}}}'
    rule = rule if when else '{match: "X: *", action: deny}'
    found = policy(f"headers: [{rule}, {ALLOW_ALL}]", top=OWN)
    assert found.is_quick(header, recipients) is is_quick
    assert policy().is_quick(1 << 30, 1000)
