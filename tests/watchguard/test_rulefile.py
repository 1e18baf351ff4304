from __future__ import annotations

import yaml
from hypothesis import given
from hypothesis import strategies as st

from smtpguard.watchguard.rulefile import Plain, Value, comment, flow, line


def test_values_stand_in_flow_style() -> None:
    value: Value = {"match": ["a", "b"], "action": Plain("deny"), "at": 5, "tag": True}
    assert flow(value) == '{match: ["a", "b"], action: deny, at: 5, tag: true}'


@given(st.text())
def test_any_text_is_one_text_of_yaml(text: str) -> None:
    printable = "".join(c for c in text if c.isprintable())
    assert yaml.safe_load(flow({"a": printable})) == {"a": printable}


@given(st.text())
def test_any_comment_stays_behind_its_line(text: str) -> None:
    made = line(2, "a: 1", text)
    assert "\n" not in made
    assert made.isprintable()
    assert yaml.safe_load(made) == {"a": 1}


def test_a_comment_of_nothing_is_none() -> None:
    assert comment(" \n ") == ""
    assert line(0, "a: 1", "") == "a: 1"
