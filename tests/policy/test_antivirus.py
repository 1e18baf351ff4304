from __future__ import annotations

import pytest

from smtpguard.model.decision import Action
from smtpguard.model.verdict import VerdictKind
from smtpguard.policy.antivirus import Antivirus, word
from tests.policy.rulefiles import policy, rules, slugs


TOP = "scanners: {a: {type: yara}, b: {type: yara}}\n"


def table(text: str) -> Antivirus:
    found = policy(f"antivirus: {text}", top=TOP).antivirus
    assert found is not None
    return found


def actions(found: Antivirus) -> dict[str, str]:
    others = (VerdictKind.SCORED, VerdictKind.SKIPPED)
    kinds = [one for one in VerdictKind if one not in others]
    return {word(one): str(found.ending(one).action) for one in kinds}


def test_what_the_table_leaves_out_is_safe() -> None:
    assert actions(table("{scanner: a}")) == {
        "clean": "allow",
        "infected": "deny",
        "encrypted": "lock",
        "oversize": "lock",
        "error": "tempfail",
        "unavailable": "tempfail",
    }


def test_each_kind_has_its_action() -> None:
    found = table(
        "{scanner: [a, b], infected: strip, encrypted: allow, oversize: deny, "
        "error: lock, unavailable: drop, raw: true}"
    )
    assert actions(found) == {
        "clean": "allow",
        "infected": "strip",
        "encrypted": "allow",
        "oversize": "deny",
        "error": "lock",
        "unavailable": "drop",
    }
    assert [one.name for one in found.scanners] == ["a", "b"]
    assert found.raw


def test_nobody_there_is_as_an_error_unless_the_table_says_otherwise() -> None:
    assert actions(table("{scanner: a, error: allow}"))["unavailable"] == "allow"


def test_the_most_severe_is_that_of_any_verdict() -> None:
    allowing = "infected: allow, encrypted: allow, oversize: allow, error: allow"
    assert table(f"{{scanner: a, {allowing}}}").worst is Action.ALLOW
    assert table(f"{{scanner: a, {allowing}, unavailable: drop}}").worst is Action.DROP
    assert table("{scanner: a}").worst is Action.DENY


@pytest.mark.parametrize(
    ("text", "slug"),
    [
        ("{}", "missing-key"),
        ("{scanner: []}", "missing-value"),
        ("{scanner: a, infected: tag}", "bad-value"),
        ("{scanner: a, infected: scan}", "bad-value"),
        ("{scanner: a, clean: allow}", "unknown-key"),
        ("{scanner: a, raw: often}", "bad-value"),
    ],
)
def test_a_bad_table_is_one_problem(text: str, slug: str) -> None:
    assert slugs(rules(f"antivirus: {text}", top=TOP)) == [slug]


def test_scan_without_a_table_is_an_error() -> None:
    scan = 'filenames: [{match: "*.doc", action: scan}, {match: "*", action: allow}]'
    assert slugs(rules(scan, top=TOP)) == ["missing-key"]
    assert slugs(rules(scan, "antivirus: {scanner: a}", top=TOP)) == []
