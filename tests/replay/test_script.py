from __future__ import annotations

import pytest

from smtpguard.errors import ReplayError
from smtpguard.replay.script import Step, parse_script, unescape


def only_step(line: str) -> Step:
    (step,) = parse_script(line).steps
    return step


def test_lines_are_steps_with_their_numbers() -> None:
    script = parse_script("# comment\n\nC> EHLO x\ns< EHLO x\n", "x.smtp")
    assert script.name == "x.smtp"
    assert script.steps == (
        Step("C", b"EHLO x\r\n", 3),
        Step("s", b"EHLO x\r\n", 4),
    )


@pytest.mark.parametrize(
    ("line", "octets"),
    [
        pytest.param("C> NOOP", b"NOOP\r\n", id="line"),
        pytest.param("C>", b"\r\n", id="empty"),
        pytest.param("C>  two spaces", b" two spaces\r\n", id="leading-space"),
        pytest.param("C> half\\", b"half", id="no-end"),
        pytest.param("C> bare\\n\\", b"bare\n", id="bare-lf"),
        pytest.param("C> \\\\", b"\\\r\n", id="backslash"),
        pytest.param("C> \\x00\\xfF\\t", b"\0\xff\t\r\n", id="octets"),
        pytest.param("C> jörg", "jörg\r\n".encode(), id="utf-8"),
        pytest.param("C> ...", b"...\r\n", id="dots-of-a-client"),
    ],
)
def test_octets_of_a_line(line: str, octets: bytes) -> None:
    assert only_step(line).octets == octets


def test_an_expectation_may_leave_its_end_open() -> None:
    step = only_step("c< 250 2.0.0 ...")
    assert (step.octets, step.open_ended) == (b"250 2.0.0 ", True)


def test_events_have_words() -> None:
    step = only_step("C> [tls mx.example]")
    assert step.event
    assert step.words == ["tls", "mx.example"]
    assert only_step("== [wait 31]").words == ["wait", "31"]


def test_headers_may_stand_anywhere_and_repeat() -> None:
    script = parse_script(
        "rules: a.yaml\nC> NOOP\noutcome: relayed\noutcome: rejected\n"
    )
    assert script.header("rules") == "a.yaml"
    assert script.headers["outcome"] == ["relayed", "rejected"]
    assert script.header("outcome") == "rejected"
    assert script.header("none", "default") == "default"


@pytest.mark.parametrize(
    "line",
    [
        pytest.param("C< NOOP", id="arrow"),
        pytest.param("X> NOOP", id="direction"),
        pytest.param("nonsense", id="nonsense"),
        pytest.param("== wait 31", id="no-event"),
    ],
)
def test_what_is_no_line_is_named_with_its_place(line: str) -> None:
    with pytest.raises(ReplayError, match=r"^x\.smtp:2: "):
        parse_script(f"# comment\n{line}", "x.smtp")


def test_unescape_keeps_what_is_no_escape() -> None:
    assert unescape(rb"a\qb\r") == b"aqb\r"
