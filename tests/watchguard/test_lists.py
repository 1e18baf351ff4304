from __future__ import annotations

import pytest

from smtpguard.watchguard.fireware import read_actions
from smtpguard.watchguard.lists import MANY, ListConverter
from tests.watchguard.sample import names, one, senders


def convert(
    kind: str, xml: str, *, scans: bool = True, autodetect: bool = True
) -> tuple[list[str], ListConverter]:
    """Return the lines of a list without its first, and what was noted."""
    converter = ListConverter("p", outgoing=False, scans=scans, autodetect=autodetect)
    [action] = read_actions(one(xml))
    return [
        each.strip() for each in converter.lines(kind, action.lists[kind])[1:]
    ], converter


def users(count: int, action: str = "allow", *, first: int = 0) -> str:
    return "".join(
        f"<rule><name>u</name><string>u{number}@own.example</string><{action}/></rule>"
        for number in range(first, first + count)
    )


def test_many_addresses_in_a_row_are_a_list_and_the_order_stays() -> None:
    special = "<rule><name>s</name><string>s@own.example</string><deny/></rule>"
    xml = senders(users(MANY) + special + users(MANY, first=50) + users(2, "deny"))
    lines, converter = convert("from", xml)
    assert lines == [
        f'- {{match: "@senders", action: allow}}  # {MANY} addresses',
        '- {match: "s@own.example", action: deny}  # s',
        f'- {{match: "@senders-2", action: allow}}  # {MANY} addresses',
        '- {match: "u0@own.example", action: deny}  # u',
        '- {match: "u1@own.example", action: deny}  # u',
        '- {match: "*", action: allow}',
    ]
    assert [len(rules) for rules in converter.addresses.values()] == [MANY, MANY]
    assert converter.remarks == []


@pytest.mark.parametrize(
    "odd",
    [
        "<string>a*b@own.example</string><allow/>",
        "<pattern>*@own.example</pattern><allow/>",
        "<string>x@own.example</string><allow/><alarm>true</alarm>",
        "<string>x@own.example</string><replace>y@own.example</replace>",
        "<enabled>false</enabled><string>x@own.example</string><allow/>",
    ],
)
def test_what_is_more_than_an_address_is_a_rule_of_its_own(odd: str) -> None:
    xml = senders(users(5) + f"<rule><name>o</name>{odd}</rule>" + users(5, first=9))
    lines, converter = convert("from", xml)
    assert len(lines) == 12
    assert converter.addresses == {}


def test_what_is_off_stays_as_a_comment() -> None:
    off = "<enabled>false</enabled><name>x</name><pattern>*.a</pattern><deny/>"
    lines, converter = convert("file-patterns", names(f"<rule>{off}</rule>"))
    assert lines[0] == "# off: x: pattern '*.a' deny"
    assert converter.remarks == []


@pytest.mark.parametrize(
    ("rule", "why"),
    [
        ("<pattern>*.a</pattern><detonate/>", "the action 'detonate' is not known"),
        ("<pattern>*.a</pattern><replace>x</replace>", "has no place in filenames"),
        ("<string></string><deny/>", "nothing there"),
        ("<regexp>(?=x)</regexp><deny/>", "linear time"),
        ("<geo>x</geo><deny/>", "not known: geo"),
    ],
)
def test_what_cannot_be_imported_is_a_comment_and_lost(rule: str, why: str) -> None:
    xml = names(f"<rule><name>x</name>{rule}</rule>")
    lines, converter = convert("file-patterns", xml)
    assert lines[0].startswith("# not imported: x: ")
    [remark] = converter.remarks
    assert remark.kind == "lost"
    assert remark.where == "p: file-patterns rule 'x'"
    assert why in remark.text


def test_a_fallthrough_that_is_not_known_lets_nothing_pass() -> None:
    lines, converter = convert("file-patterns", names("", "<detonate/>"))
    assert lines == ['- {match: "*", action: tempfail}']
    assert [one.kind for one in converter.remarks] == ["lost"]
    lines, converter = convert("from", senders("", "<replace>a@b.example</replace>"))
    assert lines == ['- {match: "*", action: tempfail}']


def test_without_anti_virus_nothing_is_scanned_which_is_told() -> None:
    lines, converter = convert("file-patterns", names("", "<scan/>"), scans=False)
    assert lines == ['- {match: "*", action: allow}']
    assert [one.kind for one in converter.remarks] == ["changed"]


def test_types_are_compared_as_the_appliance_did() -> None:
    xml = (
        "<message><content-checking><content-types>"
        "<rule><name>none</name><string></string><allow/></rule>"
        "<rule><name>t</name><pattern>text/*</pattern><strip/></rule>"
        "</content-types></content-checking></message>"
    )
    lines, _ = convert("content-types", xml, autodetect=False)
    assert lines == [
        "- {is: untyped, action: allow}  # none",
        '- {match: "text/*", autodetect: false, action: strip}  # t',
        '- {match: "*", action: allow}',
    ]
