"""AUTH passed through, where the scripts of the row do not show it."""

from __future__ import annotations

import pytest

from smtpguard.dialogue import events
from smtpguard.model.session import Leg
from smtpguard.model.settings import ServerTls, Settings
from smtpguard.replay.memory import MemorySession
from tests.dialogue.peers import Rules, connected, forget_heard, lines, secured, session


OFFER = b"250-mx.example\r\n250-PIPELINING\r\n250 AUTH PLAIN LOGIN\r\n"


def test_a_client_that_must_name_another_first_cannot_log_in() -> None:
    memory = secured(session(Rules(protocol="xclient")), OFFER)
    memory.from_client(b"AUTH PLAIN AHVzZXIAc2VjcmV0\r\n")
    assert lines(memory.client_heard) == ["550 5.7.0 XCLIENT required first"]


def test_an_upstream_that_cannot_be_reached_is_454() -> None:
    memory = secured(session(), OFFER)
    memory.feed(events.Closed(Leg.UPSTREAM))
    memory.from_client(b"AUTH PLAIN AHVzZXIAc2VjcmV0\r\n")
    memory.opened("Connection refused")
    assert lines(memory.client_heard) == ["454 4.7.0 TLS not available"]
    assert not memory.ended


def test_credentials_go_up_only_where_the_upstream_is_encrypted_again() -> None:
    memory = secured(session(), OFFER)
    memory.feed(events.Closed(Leg.UPSTREAM))
    memory.from_client(b"AUTH PLAIN AHVzZXIAc2VjcmV0\r\n")
    memory.opened()
    memory.from_upstream(b"220 mx.example ESMTP\r\n")
    memory.from_upstream(OFFER)
    assert lines(memory.client_heard) == ["454 4.7.0 TLS not available"]
    assert b"AUTH" not in memory.upstream_heard


@pytest.mark.parametrize("mechanism", ["EXTERNAL", "SCRAM-SHA-256-PLUS", "GSSAPI", "X"])
def test_a_mechanism_that_was_not_offered_is_504(mechanism: str) -> None:
    offer = b"250-mx.example\r\n250 AUTH PLAIN %s\r\n" % mechanism.encode()
    memory = secured(session(), offer if mechanism != "X" else OFFER)
    memory.from_client(f"AUTH {mechanism} =\r\n".encode())
    assert lines(memory.client_heard) == ["504 5.5.4 Mechanism not available"]
    assert not memory.upstream_heard


def test_a_mechanism_is_known_without_case() -> None:
    memory = secured(session(), OFFER)
    memory.from_client(b"auth plain AA==\r\n")
    assert memory.upstream_heard == b"auth plain AA==\r\n"


def test_commands_behind_auth_wait_for_its_end() -> None:
    memory = secured(session(), OFFER)
    memory.from_client(b"AUTH PLAIN AA==\r\nMAIL FROM:<a@b.example>\r\n")
    assert memory.upstream_heard == b"AUTH PLAIN AA==\r\n"
    memory.from_upstream(b"235 ok\r\n")
    assert memory.upstream_heard.endswith(b"MAIL FROM:<a@b.example>\r\n")


@pytest.mark.parametrize("code", [b"250", b"354", b"220"])
def test_an_answer_that_makes_no_sense_is_454_and_no_login(code: bytes) -> None:
    memory = secured(session(), OFFER)
    memory.from_client(b"AUTH PLAIN AA==\r\n")
    memory.from_upstream(code + b" ok\r\n")
    heard = lines(memory.client_heard)
    assert heard == ["454 4.7.0 Authentication not available now"]
    assert not memory.session.authenticated
    assert b"QUIT" not in memory.upstream_heard


def test_an_upstream_that_is_silent_within_auth_is_not_told_quit() -> None:
    """It would take it for credentials, and count a failed login against us."""
    memory = secured(session(), OFFER)
    memory.from_client(b"AUTH LOGIN\r\n")
    memory.pass_time(301)
    assert lines(memory.client_heard) == ["454 4.7.0 Authentication not available now"]
    assert memory.upstream_heard == b"AUTH LOGIN\r\n"
    assert Leg.UPSTREAM in memory.closed


def test_a_client_that_is_silent_within_auth_ends_the_session() -> None:
    memory = secured(session(), OFFER)
    memory.from_client(b"AUTH LOGIN\r\n")
    memory.from_upstream(b"334 VXNlcm5hbWU6\r\n")
    lines(memory.client_heard)
    memory.pass_time(301)
    assert lines(memory.client_heard) == ["421 4.4.2 Timeout, closing connection"]
    assert memory.upstream_heard == b"AUTH LOGIN\r\n"


def logged_in(memory: MemorySession) -> MemorySession:
    secured(memory, OFFER)
    memory.from_client(b"AUTH PLAIN AA==\r\n")
    memory.from_upstream(b"235 ok\r\n")
    return forget_heard(memory)


def test_ehlo_after_login_on_a_lost_upstream_ends_the_session() -> None:
    memory = logged_in(session())
    memory.feed(events.Closed(Leg.UPSTREAM))
    memory.from_client(b"EHLO c.example\r\n")
    heard = lines(memory.client_heard)
    assert heard == ["421 4.4.2 Next server closed the session"]
    assert memory.opens == 1


@pytest.mark.parametrize("octets", [b"17abc\r\n", b"\x80\r\n", b"\r\n"], ids=repr)
def test_what_is_no_command_after_235_closes_the_session(octets: bytes) -> None:
    """It may be a security layer that nobody here can read."""
    memory = logged_in(session())
    memory.from_client(octets)
    assert [line[:3] for line in lines(memory.client_heard)] == ["500"]
    assert memory.ended


def test_a_base64_line_without_auth_before_it_is_masked_all_the_same() -> None:
    memory = connected(session())
    memory.from_client(b"dXNlcg==\r\n")
    shown = b"".join(entry.octets for entry in memory.dialogue.transcript.entries)
    assert b"dXNlcg" not in shown
    assert not any("dxnlcg" in line.lower() for line in memory.log)


def test_auth_is_offered_only_where_both_legs_are_encrypted() -> None:
    memory = secured(session(), OFFER)
    memory.from_client(b"EHLO c.example\r\n")
    assert "250-AUTH PLAIN LOGIN" in lines(memory.client_heard)
    clear = Rules(Settings(server_tls=ServerTls(starttls="none")))
    memory = forget_heard(connected(session(clear)))
    memory.from_client(b"STARTTLS\r\n")
    memory.from_upstream(OFFER)
    memory.client_tls("")
    memory.client_heard.clear()
    memory.from_client(b"EHLO c.example\r\n")
    memory.from_upstream(OFFER)
    assert not any("AUTH" in line for line in lines(memory.client_heard))


SECRET = b"AHVzZXIAc2VjcmV0"


@pytest.mark.parametrize(
    "written",
    [
        b" AUTH PLAIN " + SECRET,
        b"AUTH\tPLAIN " + SECRET,
        b"AUTH PLAIN\t" + SECRET,
        b"AUTH PLAIN " + SECRET + b"\t",
        b"\xef\xbb\xbfAUTH PLAIN " + SECRET,
        b"auth=PLAIN " + SECRET,
    ],
)
def test_a_misspelt_auth_shows_its_secret_nowhere(written: bytes) -> None:
    memory = secured(session(), OFFER)
    memory.from_client(written + b"\r\n")
    said = b"".join(e.octets for e in memory.dialogue.transcript.entries)
    assert SECRET not in said
    assert SECRET.decode() not in "".join(memory.log)


def test_a_password_that_comes_out_of_step_is_not_taken_for_a_verb_to_show() -> None:
    memory = secured(session(), OFFER)
    memory.from_client(b"AUTH LOGIN\r\namdhamdi\r\namdhamdi\r\n")
    memory.from_upstream(b"504 no\r\n")
    said = b"".join(e.octets for e in memory.dialogue.transcript.entries)
    assert b"amdhamdi" not in said
    assert "amdhamdi" not in "".join(memory.log)
