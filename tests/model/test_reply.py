from __future__ import annotations

import pytest

from smtpguard.model.reply import Reply


def test_one_line_is_sent_with_a_space_after_its_code() -> None:
    assert Reply.make(550, "5.1.1", "Mailbox unavailable").to_octets() == (
        b"550 5.1.1 Mailbox unavailable\r\n"
    )


def test_all_lines_but_the_last_have_a_hyphen() -> None:
    reply = Reply(250, (b"mx.example", b"SIZE 1", b"PIPELINING"))
    assert reply.to_octets() == b"250-mx.example\r\n250-SIZE 1\r\n250 PIPELINING\r\n"


def test_reply_without_enhanced_code_has_no_space_for_it() -> None:
    assert Reply.make(354, "", "Go on").to_octets() == b"354 Go on\r\n"


@pytest.mark.parametrize(
    ("line", "enhanced"),
    [
        (b"5.7.1 Refused", "5.7.1"),
        (b"2.1.5", "2.1.5"),
        (b"4.123.999 x", "4.123.999"),
        (b"", ""),
        (b"3.1.1 no such class", ""),
        (b"5.7 short", ""),
        (b"5.7.1x glued", ""),
        (b"see 5.7.1", ""),
    ],
)
def test_enhanced_code_is_read_from_the_beginning_of_the_first_line(
    line: bytes, enhanced: str
) -> None:
    assert Reply(550, (line,)).enhanced == enhanced


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (200, "is_positive"),
        (299, "is_positive"),
        (300, ""),
        (399, ""),
        (400, "is_transient"),
        (499, "is_transient"),
        (500, "is_permanent"),
        (599, "is_permanent"),
    ],
)
def test_a_code_is_of_one_kind_at_most(code: int, kind: str) -> None:
    kinds = ("is_positive", "is_transient", "is_permanent")
    reply = Reply(code)
    assert "".join(name for name in kinds if getattr(reply, name)) == kind


def test_text_for_logs_is_one_line_of_printable_ascii() -> None:
    shown = str(Reply(250, (b"a\x1b[31m\r", b"b\xff")))
    assert shown == "250 a\\x1b[31m\\r / b\\xff"


def test_only_ascii_can_be_said_by_us() -> None:
    with pytest.raises(UnicodeEncodeError):
        Reply.make(250, "2.0.0", "grün")
