"""EHLO, HELO and STARTTLS, where the scripts of the rows do not show it."""

from __future__ import annotations

import pytest

from smtpguard.dialogue import events
from smtpguard.model.session import Leg
from smtpguard.model.settings import Settings
from tests.dialogue.peers import (
    Rules,
    connected,
    enveloped,
    forget_heard,
    greeted,
    lines,
    new_facts,
    session,
)


@pytest.mark.parametrize("verb", ["EHLO", "HELO"])
@pytest.mark.parametrize("name", ["", "a b", "x" * 256])
def test_what_is_no_name_is_501(verb: str, name: str) -> None:
    memory = forget_heard(connected(session()))
    memory.from_client(f"{verb} {name}\r\n".encode())
    assert lines(memory.client_heard) == ["501 5.5.4 Syntax error in arguments"]
    assert not memory.upstream_heard


@pytest.mark.parametrize(
    "name", ["localhost", "[192.0.2.1]", "[IPv6:::1]", "under_score", "bücher", "a..b"]
)
def test_names_are_taken_as_half_the_world_says_them(name: str) -> None:
    memory = forget_heard(connected(session()))
    memory.from_client(f"EHLO {name}\r\n".encode())
    assert memory.upstream_heard == f"EHLO {name}\r\n".encode()
    assert memory.session.helo == name


def test_a_name_that_is_no_text_goes_up_as_text() -> None:
    memory = forget_heard(connected(session()))
    memory.from_client(b"EHLO \xff\xfe\r\n")
    assert memory.upstream_heard == b"EHLO \\xff\\xfe\r\n"


def test_an_upstream_that_goes_away_at_ehlo_ends_the_session() -> None:
    memory = forget_heard(connected(session()))
    memory.feed(events.Closed(Leg.UPSTREAM))
    memory.from_client(b"EHLO c.example\r\n")
    memory.opened("Connection refused")
    assert lines(memory.client_heard) == ["421 4.3.2 Service not available"]


def test_an_upstream_that_went_away_is_dialled_again_at_ehlo() -> None:
    memory = forget_heard(connected(session()))
    memory.feed(events.Closed(Leg.UPSTREAM))
    memory.from_client(b"EHLO c.example\r\n")
    memory.opened()
    memory.from_upstream(b"220 mx2.example\r\n")
    memory.from_upstream(b"250 mx2.example\r\n")
    assert lines(memory.client_heard)[0] == "250-mx2.example"


def test_an_upstream_that_went_away_is_dialled_again_at_starttls() -> None:
    memory = forget_heard(connected(session()))
    memory.feed(events.Closed(Leg.UPSTREAM))
    memory.from_client(b"STARTTLS\r\n")
    memory.opened()
    memory.from_upstream(b"220 mx2.example\r\n")
    memory.from_upstream(b"250 mx2.example\r\n")
    assert lines(memory.client_heard) == ["220 2.0.0 Ready to start TLS"]


def test_within_a_handshake_not_even_a_last_word_is_said() -> None:
    memory = forget_heard(connected(session()))
    memory.from_client(b"STARTTLS\r\n")
    memory.feed(events.Stopping())
    memory.pass_time(45)
    memory.from_upstream(b"250 mx.example\r\n")
    assert lines(memory.client_heard) == ["220 2.0.0 Ready to start TLS"]
    memory.pass_time(16)
    assert memory.ended
    assert not memory.client_heard


def test_helo_ends_a_transaction_too() -> None:
    memory = enveloped(greeted(session()))
    memory.from_client(b"HELO c.example\r\n")
    assert lines(memory.upstream_heard) == ["RSET"]
    memory.from_upstream(b"250 ok\r\n")
    memory.from_client(b"RCPT TO:<c@d.example>\r\n")
    assert lines(memory.client_heard)[-1] == "503 5.5.1 Bad sequence of commands"


def test_every_keyword_that_is_not_passed_on_is_in_the_log() -> None:
    memory = connected(session())
    memory.from_client(b"EHLO c.example\r\n")
    memory.from_upstream(b"250-mx\r\n250-XFOO\r\n250-VRFY\r\n250 XEXCH50\r\n")
    assert "EHLO keywords not passed on: XFOO VRFY XEXCH50" in memory.log


def test_the_limit_of_recipients_is_told_where_the_upstream_tells_its_own() -> None:
    memory = connected(session(Rules(Settings())))
    memory.from_client(b"EHLO c.example\r\n")
    memory.from_upstream(b"250-mx\r\n250 LIMITS RCPTMAX=5000\r\n")
    assert b"250 LIMITS RCPTMAX=100\r\n" in memory.client_heard


def test_a_handshake_that_fails_before_anything_was_said_ends_the_session() -> None:
    memory = session(facts=new_facts(upstream_implicit_tls=True))
    memory.start()
    memory.opened()
    memory.upstream_tls()
    memory.from_upstream(b"220 mx.example\r\n")
    memory.feed(events.Closed(Leg.UPSTREAM))
    memory.client_heard.clear()
    memory.from_client(b"EHLO c.example\r\n")
    memory.opened()
    memory.upstream_tls("certificate expired")
    assert lines(memory.client_heard) == ["421 4.3.2 Service not available"]


def test_a_remembered_downgrade_leaves_the_client_its_tls() -> None:
    memory = session(downgrades={("192.0.2.9", 25): 1e9})
    forget_heard(connected(memory))
    memory.from_client(b"STARTTLS\r\n")
    memory.from_upstream(b"250-mx.example\r\n250 STARTTLS\r\n")
    assert lines(memory.client_heard) == ["220 2.0.0 Ready to start TLS"]
    assert b"STARTTLS" not in memory.upstream_heard
    history = memory.session.upstream_leg.history
    assert history == ["downgrade: handshake failed lately"]
