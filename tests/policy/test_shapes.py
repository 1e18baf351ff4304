from __future__ import annotations

from smtpguard.policy.kinds import TEXT, integer
from smtpguard.policy.shapes import Key, Shape, later, shaped
from tests.policy.rulefiles import context, node, told


NUMBER = Key("number", integer(1, 9), "A number.", required=True)
WORD = Key("word", TEXT, "A word.")
SHAPE = Shape((NUMBER, WORD), {**later("scanners"), "to": ("is elsewhere", "bad-type")})


def test_values_come_by_their_key() -> None:
    found = context()
    fields = SHAPE.read(node("{number: 3}"), found)
    assert fields is not None
    assert told(found) == []
    assert fields.get(NUMBER) == 3
    assert fields.get(WORD) is None
    assert fields.get(WORD, "none") == "none"
    assert NUMBER in fields
    assert WORD not in fields
    assert fields.mark_of(NUMBER).column == 2
    assert fields.mark_of(WORD).column == 1


def test_a_bad_value_leaves_its_place_and_no_value() -> None:
    found = context()
    fields = SHAPE.read(node("{number: 33}"), found)
    assert fields is not None
    assert told(found) == ["bad-value"]
    assert NUMBER in fields
    assert fields.get(NUMBER) is None


def test_all_problems_of_a_mapping_are_told() -> None:
    found = context()
    text = "{wort: a, scanners: {}, to: b, zebra: 1}"
    assert SHAPE.read(node(text), found) is not None
    assert [(one.column, one.text, one.slug) for one in found.sink.problems] == [
        (1, 'key "number" is missing', "missing-key"),
        (2, 'unknown key "wort", did you mean "word"?', "unknown-key"),
        (11, 'key "scanners" is not supported yet', "not-supported-yet"),
        (25, 'key "to" is elsewhere', "bad-type"),
        (32, 'unknown key "zebra"', "unknown-key"),
    ]


def test_what_is_no_mapping_is_refused() -> None:
    for text in ("[a]", "a"):
        found = context()
        assert SHAPE.read(node(text), found) is None
        assert told(found) == ["bad-type"]


def texts(shape: Shape, where: str) -> list[str]:
    found = context()
    shape.read(node("{outer: {number: x}}"), found.at(where))
    return [one.text for one in found.sink.problems]


def test_places_are_named_as_deep_as_the_shape_says() -> None:
    said = '"x" is not a whole number from 1 to 9'
    outer = (Key("outer", shaped(SHAPE), "Outer."),)
    assert texts(Shape(outer), "p") == [f"p.outer.number: {said}"]
    assert texts(Shape(outer), "") == [f"outer.number: {said}"]
    assert texts(Shape(outer, nested="fresh"), "p") == [f"outer.number: {said}"]
    assert texts(Shape(outer, nested="same"), "p") == [f"p.number: {said}"]


def test_the_schema_knows_what_the_reader_knows() -> None:
    assert SHAPE.schema() == {
        "type": "object",
        "properties": {
            "number": {
                "description": "A number.",
                "type": "integer",
                "minimum": 1,
                "maximum": 9,
            },
            "word": {"description": "A word.", **TEXT.schema},
        },
        "additionalProperties": False,
        "required": ["number"],
    }
    assert "required" not in Shape((WORD,)).schema()
