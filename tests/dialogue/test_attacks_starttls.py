"""Attacks on the TLS upgrade: rows T1, T2, T3 and T5 of the attack list.

What the TLS layers themselves must withstand stands in ``tests/proxy``.
"""

from __future__ import annotations

import pytest

from smtpguard.dialogue import effects
from smtpguard.model.session import Leg
from smtpguard.replay.memory import MemorySession
from tests.dialogue.peers import (
    Rules,
    connected,
    enveloped,
    forget_heard,
    greeted,
    lines,
    new_facts,
    secured,
    session,
    tls_rules,
)


HELLO = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(range(256))
WITH_TLS = b"250-mx.example\r\n250 STARTTLS\r\n"
EVIL = b"NOOP x\r\nMAIL FROM:<evil@b.example>\r\nRCPT TO:<v@d.example>\r\n"


def named(rules: Rules) -> MemorySession:
    """Return a session whose upstream's name is known without the client."""
    return session(rules, facts=new_facts(reverse_name="mx.example"))


def finish_tls(memory: MemorySession) -> None:
    """Take both handshakes to their end, from the client's STARTTLS on."""
    memory.from_upstream(WITH_TLS)
    memory.from_upstream(b"220 go\r\n")
    memory.client_tls("mx.example")
    memory.upstream_tls()


# -- T1, T2: what the client says behind STARTTLS -------------------------------------


def after_injection(memory: MemorySession) -> None:
    """Check that nothing of what was injected has had any effect."""
    assert lines(memory.client_heard) == ["220 2.0.0 Ready to start TLS"]
    assert b"evil" not in memory.upstream_heard
    assert b"NOOP" not in memory.upstream_heard
    memory.from_client(b"NOOP\r\n")
    assert lines(memory.client_heard) == ["250 2.0.0 OK"]
    memory.from_client(b"MAIL FROM:<a@b.example>\r\n")
    assert lines(memory.client_heard) == ["503 5.5.1 Bad sequence of commands"]


@pytest.mark.parametrize("cut", range(1, len(b"STARTTLS\r\n" + EVIL)))
def test_T1_clear_octets_behind_starttls_are_discarded_wherever_cut(cut: int) -> None:
    memory = forget_heard(connected(session()))
    octets = b"STARTTLS\r\n" + EVIL
    memory.from_client(octets[:cut])
    memory.from_client(octets[cut:])
    finish_tls(memory)
    after_injection(memory)
    assert f"{len(EVIL)} octets in clear behind STARTTLS discarded" in memory.log


@pytest.mark.parametrize("cut", range(len(EVIL) + 1))
def test_T1_clear_octets_that_come_before_our_220_are_discarded(cut: int) -> None:
    """The upstream's answers take time in which the client may say more."""
    memory = forget_heard(connected(session()))
    memory.from_client(b"STARTTLS\r\n" + EVIL[:cut])
    memory.from_upstream(WITH_TLS)
    memory.from_client(EVIL[cut:])
    memory.from_upstream(b"220 go\r\n")
    memory.client_tls("mx.example")
    memory.upstream_tls()
    after_injection(memory)


@pytest.mark.parametrize("cut", range(1, len(b"STARTTLS\r\n" + HELLO), 7))
def test_T2_a_client_hello_behind_starttls_is_discarded_too(cut: int) -> None:
    memory = forget_heard(connected(session()))
    octets = b"STARTTLS\r\n" + HELLO
    memory.from_client(octets[:cut])
    memory.from_client(octets[cut:])
    finish_tls(memory)
    after_injection(memory)


@pytest.mark.parametrize(
    ("octets", "answer"),
    [
        (b"STARTTLS\t\r\n", "501"),
        (b"STARTTLS now\r\n", "501"),
        (b"\x00STARTTLS\r\n", "500"),
        (b"STARTTLS\n", "500"),
        (b"STARTTLS\r", None),
        (b"XSTARTTLS\r\n", "502"),
        (b"START TLS\r\n", "502"),
    ],
    ids=repr,
)
def test_T2_what_is_not_quite_starttls_begins_no_handshake(
    octets: bytes, answer: str | None
) -> None:
    memory = forget_heard(connected(session()))
    memory.from_client(octets + HELLO)
    heard = [line[:3] for line in lines(memory.client_heard)]
    assert answer is None or heard[:1] == [answer]
    assert "220" not in heard
    assert memory.take(effects.StartTls) is None
    assert HELLO[:5] not in memory.upstream_heard
    assert memory.closed == {Leg.CLIENT, Leg.UPSTREAM}


@pytest.mark.parametrize(
    "word", [b"starttls", b"StartTLS", b"STARTTLS ", b"starttls  "]
)
def test_T2_starttls_is_known_by_its_word_alone(word: bytes) -> None:
    memory = forget_heard(connected(session()))
    memory.from_client(word + b"\r\n" + EVIL)
    finish_tls(memory)
    after_injection(memory)


@pytest.mark.parametrize("failure", ["unknown ca", "not finished in time"])
def test_T2_after_our_220_there_is_a_handshake_or_nothing(failure: str) -> None:
    memory = forget_heard(connected(session()))
    memory.from_client(b"STARTTLS\r\n")
    memory.from_upstream(b"250 mx.example\r\n")
    assert lines(memory.client_heard) == ["220 2.0.0 Ready to start TLS"]
    if failure == "unknown ca":
        memory.client_tls(error=failure)
    else:
        memory.pass_time(31)
    assert not memory.client_heard
    assert memory.ended
    assert memory.closed == {Leg.CLIENT, Leg.UPSTREAM}


# -- T3: what the server says behind its 220 ------------------------------------------


INJECTED = b"220 go\r\n250-injected\r\n250 AUTH PLAIN\r\n"


@pytest.mark.parametrize("cut", range(1, len(INJECTED) + 1))
@pytest.mark.parametrize("server", ["required", "follow"])
def test_T3_clear_octets_behind_the_servers_220_never_answer_within_tls(
    server: str, cut: int
) -> None:
    """CVE-2021-38371. Where the name is known our 220 is still to come: 454."""
    memory = forget_heard(connected(named(tls_rules(server))))
    memory.from_client(b"STARTTLS\r\n")
    memory.from_upstream(WITH_TLS)
    memory.from_upstream(INJECTED[:cut])
    memory.from_upstream(INJECTED[cut:])
    assert lines(memory.client_heard) == ["454 4.7.0 TLS not available"]
    assert Leg.UPSTREAM in memory.closed
    assert b"QUIT" not in memory.upstream_heard


@pytest.mark.parametrize("cut", range(1, len(INJECTED) + 1))
@pytest.mark.parametrize("when", ["before", "after"])
def test_T3_octets_that_wait_for_the_client_hello_close_the_session(
    cut: int, when: str
) -> None:
    """In transparent mode the upstream's handshake begins after the ClientHello."""
    memory = forget_heard(connected(session(tls_rules("required"))))
    memory.from_client(b"STARTTLS\r\n")
    memory.from_upstream(WITH_TLS)
    memory.from_upstream(INJECTED[:cut])
    if when == "before":
        memory.from_upstream(INJECTED[cut:])
    heard = lines(memory.client_heard)
    if heard == ["454 4.7.0 TLS not available"]:
        assert Leg.UPSTREAM in memory.closed
        return
    assert heard == (
        [] if cut < len(b"220 go\r\n") else ["220 2.0.0 Ready to start TLS"]
    )
    if when == "after":
        memory.from_upstream(INJECTED[cut:])
    if not heard:
        assert lines(memory.client_heard) == ["454 4.7.0 TLS not available"]
        return
    memory.client_tls("mx.example")
    assert memory.take(effects.StartTls) is None
    assert memory.closed == {Leg.CLIENT, Leg.UPSTREAM}
    assert not memory.client_heard


def test_T3_nothing_said_in_clear_is_taken_for_the_answer_to_ehlo_within_tls() -> None:
    """Half a reply, whose other half would come from within TLS."""
    memory = forget_heard(connected(session(tls_rules("preferred"))))
    memory.from_client(b"STARTTLS\r\n")
    memory.from_upstream(WITH_TLS)
    memory.from_upstream(b"220 go\r\n250-injected.example\r\n250-AUTH PL")
    assert lines(memory.client_heard) == ["454 4.7.0 TLS not available"]
    assert memory.take(effects.StartTls) is None


# -- T5: STARTTLS out of place, state kept over TLS -----------------------------------


def test_T5_starttls_within_tls_is_503() -> None:
    memory = secured(session())
    memory.from_client(b"STARTTLS\r\n")
    assert lines(memory.client_heard) == ["503 5.5.1 Bad sequence of commands"]
    assert not memory.upstream_heard


def test_T5_starttls_within_a_transaction_is_503() -> None:
    memory = enveloped(greeted(session()))
    memory.from_client(b"STARTTLS\r\n")
    assert lines(memory.client_heard) == ["503 5.5.1 Bad sequence of commands"]


def test_T5_starttls_in_a_message_is_text() -> None:
    memory = enveloped(greeted(session()))
    memory.from_client(b"DATA\r\n")
    memory.from_client(b"STARTTLS\r\n" + HELLO.replace(b"\0", b"") + b"\r\n.\r\n")
    assert memory.take(effects.StartTls) is None
    assert "220" not in memory.client_heard.decode()


def test_T5_nothing_is_remembered_over_the_handshake() -> None:
    memory = connected(session())
    memory.from_client(b"EHLO c.example\r\n")
    memory.from_upstream(WITH_TLS)
    forget_heard(memory)
    memory.from_client(b"STARTTLS\r\n")
    memory.from_upstream(b"220 go\r\n")
    memory.client_tls("mx.example")
    memory.upstream_tls()
    assert (memory.session.helo, memory.session.esmtp) == ("", False)
    memory.from_client(b"MAIL FROM:<a@b.example>\r\n")
    assert lines(memory.client_heard)[-1] == "503 5.5.1 Bad sequence of commands"


def test_T5_the_second_ehlo_is_filtered_again() -> None:
    memory = secured(session(), b"250-mx.example\r\n250-XFOO\r\n250 STARTTLS\r\n")
    memory.from_client(b"EHLO c.example\r\n")
    assert lines(memory.client_heard) == [
        "250-mx.example",
        "250-PIPELINING",
        "250 CHUNKING",
    ]
