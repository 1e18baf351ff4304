from __future__ import annotations

import pytest

from smtpguard.policy import load
from smtpguard.policy.quarantinereader import QuarantineSettings
from tests.policy.rulefiles import loaded, problems, reader, rules, slugs


DAY = 24 * 60 * 60


def read(text: str) -> QuarantineSettings | None:
    return loaded(rules(top=f"quarantine: {text}\n")).quarantine


def test_without_the_key_nothing_is_kept() -> None:
    assert loaded(rules()).quarantine is None


def test_defaults_are_those_of_the_contract() -> None:
    wanted = QuarantineSettings("q", 10 * 1024**3, 30 * DAY, 3 * DAY)
    assert read("{folder: q}") == wanted


def test_every_value_is_taken() -> None:
    text = "{folder: q, max_size: 2GiB, keep: 60d, keep_at_least: 12h}"
    assert read(text) == QuarantineSettings("q", 2 * 1024**3, 60 * DAY, DAY / 2)


@pytest.mark.parametrize(
    ("written", "folder"),
    [("q", "conf/q"), ("../q", "conf/../q"), ("/var/q", "/var/q")],
)
def test_the_folder_counts_from_that_of_the_rule_file(
    written: str, folder: str
) -> None:
    text = rules(top=f"quarantine: {{folder: {written}}}\n")
    found = load("conf/r.yaml", reader({"conf/r.yaml": text})).quarantine
    assert found is not None
    assert found.folder == folder


@pytest.mark.parametrize(
    ("text", "slug"),
    [
        ("", "missing-value"),
        ("q", "bad-type"),
        ("{}", "missing-key"),
        ("{folder: }", "missing-value"),
        ("{folder: [q]}", "bad-type"),
        ("{folder: q, max_size: 1B}", "bad-value"),
        ("{folder: q, max_size: big}", "bad-value"),
        ("{folder: q, keep: 30}", "bad-value"),
        ("{folder: q, keep: 1m}", "bad-value"),
        ("{folder: q, keep: 4000d}", "bad-value"),
        ("{folder: q, keep: 9d, keep_at_least: 10d}", "bad-value"),
        ("{folder: q, path: q}", "unknown-key"),
    ],
)
def test_what_cannot_be_meant_is_an_error(text: str, slug: str) -> None:
    assert slugs(rules(top=f"quarantine: {text}\n")) == [slug]


def test_the_error_says_where_and_what() -> None:
    (problem,) = problems(rules(top="quarantine: {folder: q, keep: 1d}\n"))
    assert problem == (
        "2:25: error: quarantine: keep is shorter than keep_at_least, which is 3d by "
        "default [bad-value]"
    )
