from __future__ import annotations

import email
import email.policy

from hypothesis import given
from hypothesis import strategies as st

from smtpguard.quarantine.delivery import Fate
from smtpguard.quarantine.textmail import plain, send_text, text_mail
from tests.quarantine.making import NOW, boxes, to
from tests.quarantine.servers import Server


ANNA, UMLAUT, GUARD = boxes("anna@y.test", "\u00e4@y.test", "guard@y.test")


def test_a_mail_is_read_as_it_was_meant() -> None:
    octets = text_mail(ANNA, GUARD, "hello", ["one", "", ".two", "z\u00fc"], NOW)
    parsed = email.message_from_bytes(octets, policy=email.policy.default)
    assert octets.startswith(b"From: <guard@y.test>\r\nTo: <anna@y.test>\r\n")
    assert parsed["Subject"] == "hello"
    assert parsed["Auto-Submitted"] == "auto-generated"
    assert parsed["Date"] == "Tue, 24 Nov 2026 09:36:13 +0000"
    assert parsed["Message-ID"].endswith("@y.test>")
    assert parsed.get_content().splitlines() == ["one", "", ".two", "z\u00fc"]


def test_an_address_outside_ascii_stands_in_the_envelope_alone() -> None:
    octets = text_mail(UMLAUT, GUARD, "hello", [], NOW)
    assert b"\r\nTo: undisclosed-recipients:;\r\n" in octets
    assert octets.isascii()


@given(st.lists(st.text(max_size=300), max_size=5))
def test_whatever_stands_in_it_is_a_body_of_short_lines(lines: list[str]) -> None:
    shown = [plain(line) for line in lines]
    octets = text_mail(ANNA, GUARD, "hello", shown, NOW)
    assert octets.isascii()
    assert max(map(len, octets.split(b"\r\n"))) <= 78
    assert b"\n" not in octets.replace(b"\r\n", b"")
    parsed = email.message_from_bytes(octets, policy=email.policy.default)
    assert len(parsed.keys()) == 9
    assert parsed.get_content().replace("\r\n", "\n").split("\n")[:-1] == (
        shown or [""]
    )


def test_what_does_not_print_is_a_blank() -> None:
    assert plain("a\r\nb\x1b[1m\u202ec") == "a  b [1m c"
    assert plain("x" * 121) == "x" * 117 + "..."
    assert plain("x" * 120) == "x" * 120
    assert plain("x" * 9, 8) == "xxxxx..."


def test_it_goes_from_nobody() -> None:
    with Server() as server:
        mail = text_mail(ANNA, GUARD, "hello", ["one"], NOW)
        assert send_text(to(server.port), ANNA, mail).fate is Fate.SENT
    assert server.messages == [mail]
    assert any(one.startswith(b"MAIL FROM:<>") for one in server.commands)
