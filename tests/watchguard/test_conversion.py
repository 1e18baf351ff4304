"""The import as a whole: a file that ``check`` accepts, and the same decisions."""

from __future__ import annotations

from xml.sax.saxutils import escape

import pytest

from smtpguard import policy
from smtpguard.model.decision import Decision
from smtpguard.policy import Ruleset
from smtpguard.policy.facts import FieldFacts, PartFacts
from smtpguard.watchguard import converted, read_actions
from smtpguard.watchguard.fireware import FirewareError
from tests.conftest import ROOT
from tests.policy.rulefiles import envelope, message, path, session
from tests.watchguard.sample import RECIPIENTS, configuration, names, one, senders


def load(octets: bytes, *chosen: str) -> tuple[Ruleset, list[str]]:
    """Return the rules that a configuration becomes, and remarks."""
    text, remarks = converted(read_actions(octets), chosen)
    return policy.load("r.yaml", {"r.yaml": text}.__getitem__), [*map(str, remarks)]


@pytest.fixture(scope="module")
def rules() -> Ruleset:
    return load(configuration())[0]


def brief(decision: Decision) -> str:
    if decision.rewrite_to is not None:
        return f"rewrite {decision.rewrite_to}"
    return str(decision.action)


def test_it_loads_without_an_error_and_warns_of_what_is_to_be_decided() -> None:
    text, _ = converted(read_actions(configuration()))
    found = policy.check("r.yaml", {"r.yaml": text}.__getitem__)
    assert {one.severity for one in found} == {"warning"}
    assert {one.slug for one in found} == {"no-identity", "drop-retries"}


def test_policies_are_chosen_by_direction(rules: Ruleset) -> None:
    assert [one.name for one in rules.policies] == [
        "SMTP-Outgoing.1",
        "SMTP-Incoming.1-own",
    ]
    assert rules.choose(session("10.1.2.3")).name == "SMTP-Outgoing.1"
    assert rules.choose(session("192.0.2.1")).name == "SMTP-Incoming.1-own"
    assert rules.domains == ("own.example", "old.example")


@pytest.mark.parametrize(
    ("address", "action"),
    [
        ("user0@own.example", "allow"),
        (f"user{RECIPIENTS - 1}@own.example", "allow"),
        ("USER7@OWN.EXAMPLE", "allow"),
        (f"user{RECIPIENTS}@own.example", "deny"),
        ("ben@own.example", "deny"),
        ("postmaster@own.example", "rewrite anna@own.example"),
        ("carl@old.example", "rewrite carl@own.example"),
        ("a@elsewhere.example", "deny"),
    ],
)
def test_recipients_are_decided_as_before(
    rules: Ruleset, address: str, action: str
) -> None:
    inbound = rules.policies[1]
    assert brief(inbound.rcpt(session(), envelope(), path(address))) == action


@pytest.mark.parametrize(
    ("address", "action"),
    [
        ("", "allow"),
        ("a@b.spam.example", "block"),
        ("winner@casino.example", "deny"),
        ("old@x.example", "allow"),
        ("a@x.example", "allow"),
    ],
)
def test_senders_are_decided_as_before(
    rules: Ruleset, address: str, action: str
) -> None:
    assert brief(rules.policies[1].mail(session(), path(address))) == action


@pytest.mark.parametrize(
    ("name", "action"),
    [
        ("host.dynamic.example", "deny"),
        ("mx.example", "allow"),
        ("bad_name!", "drop"),
    ],
)
def test_greetings_are_decided_as_before(
    rules: Ruleset, name: str, action: str
) -> None:
    assert brief(rules.policies[1].helo(session(helo=name))) == action


@pytest.mark.parametrize(
    ("kind", "name", "action"),
    [
        ("application/octet-stream", "a.EXE", "lock"),
        ("application/x-msdownload", "a.bin", "strip"),
        ("text/plain", "", "scan"),
        ("application/pdf", "a.pdf", "scan"),
        ("application/octet-stream", "x.{0815}", "deny"),
        ("application/octet-stream", "@home", "scan"),
    ],
)
def test_parts_are_decided_as_before(
    rules: Ruleset, kind: str, name: str, action: str
) -> None:
    part = PartFacts(kind, (name,) if name else ())
    assert brief(rules.policies[1].part(part, message())) == action


@pytest.mark.parametrize(
    ("name", "value", "action"),
    [("X-Mailer", "any", "strip"), ("Subject", "X-Mailer: a", "allow")],
)
def test_header_fields_are_decided_as_before(
    rules: Ruleset, name: str, value: str, action: str
) -> None:
    field = FieldFacts(name, (value,))
    assert brief(rules.policies[1].field(field, message())) == action


def test_settings_come_along(rules: Ruleset) -> None:
    inbound = rules.policies[1]
    limits, handling = inbound.settings.limits, inbound.handling
    assert (limits.recipients, limits.message) == (50, 20480 * 1024)
    assert inbound.settings.hide_server
    assert inbound.settings.banner == "mail.own.example ESMTP"
    assert inbound.settings.deadlines.command == 600
    assert handling.deny_message == "Removed: %(filename)s\nReason: %(reason)s"
    assert str(handling.endings["malformed"].action) == "deny"
    assert inbound.antivirus is not None
    assert {str(k): str(v.action) for k, v in inbound.antivirus.endings.items()} == {
        "infected": "strip",
        "failed": "lock",
    }
    assert inbound.spam is not None
    assert [(c.name, c.at, str(c.ending.action)) for c in inbound.spam.categories] == [
        ("confirmed", 15, "deny"),
        ("bulk", 8, "tag"),
        ("suspect", 5, "allow"),
    ]
    assert inbound.spam.categories[1].subject == "***BULK***"
    assert [str(one.action) for one in inbound.spam.exceptions] == [
        *("allow", "allow", "scan"),
    ]


def test_what_has_no_equivalent_is_told_each_by_its_place() -> None:
    _, remarks = load(configuration())
    own = "SMTP-Incoming.1-own"
    lost = [one for one in remarks if one.startswith("lost: ")]
    assert [one.partition(f"{own}: ")[2].partition(":")[0] for one in lost] == [
        "from rule 'look-ahead'",
        "headers rule 'locked'",
        "file-patterns rule 'new in 2031'",
        "auth",
    ]
    changed = "\n".join(one for one in remarks if one.startswith("changed: "))
    for told in (
        "networks: private ones are taken for yours",
        "maximum-size: 20480 is taken as kilobytes",
        "from rule 'spammer': its alarm",
        "spam: scores are ours",
        "envelope/esmtp-options/chunking: false: it is always true here",
        "masquerading/message-id: true: not a setting here",
    ):
        assert told in changed


def test_one_direction_alone_is_the_only_policy() -> None:
    rules, remarks = load(one(senders(""), outgoing=True))
    assert [(p.name, p.when) for p in rules.policies] == [("own", None)]
    assert remarks == ["changed: own: to: has no list: every recipient is allowed"]


def test_a_size_that_is_large_is_in_octets() -> None:
    rules, remarks = load(
        one("", more="<message><maximum-size>20971520</maximum-size></message>")
    )
    assert rules.policies[0].settings.limits.message == 20971520
    assert any("taken as octets" in remark for remark in remarks)


def test_predefined_ones_are_taken_by_name_alone() -> None:
    rules, _ = load(configuration(), "SMTP-Incoming")
    assert [one.name for one in rules.policies] == ["SMTP-Incoming"]


@pytest.mark.parametrize(
    ("octets", "chosen", "why"),
    [
        (configuration(), ("nobody",), "no SMTP proxy action 'nobody'"),
        (configuration(), ("SMTP-Incoming", "SMTP Incoming.1 (own)"), "each direction"),
        (b"<profile/>", (), "none"),
    ],
)
def test_a_choice_that_makes_no_sense_is_refused(
    octets: bytes, chosen: tuple[str, ...], why: str
) -> None:
    with pytest.raises(FirewareError, match=why):
        load(octets, *chosen)


@pytest.mark.parametrize(
    "text",
    [
        '*.a"b',
        "*.a\\b",
        "*: {x}",
        "*.a # b",
        "- [x",
        "*.\u00fc",
        "'*",
        "%YAML",
        "&a *a",
    ],
)
def test_any_text_comes_through_yaml_as_it_is(text: str) -> None:
    xml = escape(text)
    rule = f"<rule><name>{xml}</name><pattern>{xml}</pattern><deny/></rule>"
    rules, remarks = load(one(names(rule)))
    assert not [one for one in remarks if one.startswith("lost")]
    decided = rules.policies[0].part(
        PartFacts("a/b", (text.replace("*", "x"),)), message()
    )
    assert str(decided.action) == "deny"


def test_the_page_shows_what_is_printed() -> None:
    """docs/watchguard.md."""
    page = (ROOT / "docs" / "watchguard.md").read_text("utf-8")
    rule = "<rule><name>look-ahead</name><regexp>(?=x)y</regexp><deny/></rule>"
    xml = one(
        senders(rule), more="<message><maximum-size>20480</maximum-size></message>"
    )
    _, remarks = load(xml.replace(b">own<", b">SMTP-Incoming.1<"))
    told = [one for one in remarks if "has no list" not in one]
    assert told
    for remark in told:
        assert f"\n{remark}\n" in page
