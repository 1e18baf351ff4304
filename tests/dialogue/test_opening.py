"""The session's beginning, where the scripts of the row do not show it."""

from __future__ import annotations

import pytest

from smtpguard.dialogue import effects, events
from smtpguard.model.session import Leg
from smtpguard.model.settings import ClientTls, Settings
from smtpguard.wire import proxyprotocol
from tests.dialogue.peers import Rules, lines, new_facts, session, tls_rules


AUTO = Rules(Settings(client_tls=ClientTls(implicit="auto")))


def test_not_to_know_whom_to_trust_is_421() -> None:
    rules = Rules()
    rules.trusted = lambda client: 1 / 0  # type: ignore[assignment,method-assign,return-value]
    memory = session(rules)
    memory.start()
    assert lines(memory.client_heard) == ["421 4.3.2 Service not available"]
    assert memory.opens == 0


@pytest.mark.parametrize("version", [1, 2])
def test_a_proxy_header_is_taken_octet_by_octet(version: int) -> None:
    build = proxyprotocol.build_v1 if version == 1 else proxyprotocol.build_v2
    memory = session(Rules(protocol="proxy"))
    memory.start()
    for octet in build(("198.51.100.7", 4711), ("192.0.2.9", 25)):
        assert memory.opens == 0
        memory.from_client(bytes([octet]))
    assert memory.opens == 1
    assert memory.session.client == ("198.51.100.7", 4711)


@pytest.mark.parametrize(
    "octets",
    [b"PROXY TCP4 1.2.3.4\r\n", b"\r\n\r\n\0\r\nQUIT\r", b"GET / HTTP/1.1\r\n", b"\n"],
    ids=repr,
)
def test_what_is_no_proxy_header_closes_without_a_word(octets: bytes) -> None:
    memory = session(Rules(protocol="proxy"))
    memory.start()
    memory.from_client(octets)
    assert memory.ended
    assert not memory.client_heard
    assert memory.opens == 0


def test_a_trusted_client_that_leaves_without_its_header_is_gone() -> None:
    memory = session(Rules(protocol="proxy"))
    memory.start()
    memory.feed(events.Closed(Leg.CLIENT))
    assert memory.ended
    assert memory.opens == 0


def test_auto_does_not_wait_for_a_client_that_leaves() -> None:
    memory = session(AUTO)
    memory.start()
    memory.feed(events.Closed(Leg.CLIENT))
    assert memory.opens == 1


def test_auto_waits_for_a_second_octet() -> None:
    memory = session(AUTO)
    memory.start()
    memory.from_client(b"\x16")
    assert (memory.opens, memory.take(effects.StartTls)) == (0, None)
    memory.from_client(b"\x03\x01")
    asked = memory.take(effects.StartTls)
    assert asked is not None
    assert (asked.leg, asked.data) == (Leg.CLIENT, b"\x16\x03\x01")


def test_a_client_hello_whose_second_octet_never_comes_is_greeted() -> None:
    memory = session(AUTO)
    memory.start()
    memory.from_client(b"\x16")
    memory.pass_time(0.31)
    assert memory.opens == 1


def test_an_implicit_handshake_that_fails_dials_nobody() -> None:
    memory = session(facts=new_facts(destination=("192.0.2.9", 465)))
    memory.start()
    memory.feed(events.TlsFinished(Leg.CLIENT, error="no shared cipher"))
    assert memory.ended
    assert memory.opens == 0
    assert "client's TLS handshake failed: no shared cipher" in memory.log


def test_a_client_hello_that_does_not_come_closes_without_a_word() -> None:
    memory = session(facts=new_facts(destination=("192.0.2.9", 465)))
    memory.start()
    memory.pass_time(31)
    assert memory.ended
    assert not memory.client_heard


@pytest.mark.parametrize("port", [25, 465])
def test_what_ends_before_the_handshake_is_not_told_in_clear(port: int) -> None:
    """On 465 the client takes no reply but one within TLS."""
    facts = new_facts(destination=("192.0.2.9", port), loop=True)
    memory = session(facts=facts)
    memory.start()
    assert memory.ended
    assert bool(memory.client_heard) is (port == 25)


def test_a_client_of_465_without_implicit_tls_is_greeted() -> None:
    facts = new_facts(destination=("192.0.2.9", 465))
    rules = Rules(Settings(client_tls=ClientTls(implicit="false")))
    memory = session(rules, facts=facts)
    memory.start()
    memory.opened()
    memory.from_upstream(b"220 mx.example\r\n")
    assert lines(memory.client_heard) == ["220 mx.example"]


def test_follow_encrypts_the_upstream_before_an_implicit_handshake_goes_on() -> None:
    rules = tls_rules("follow")
    facts = new_facts(destination=("192.0.2.9", 465))
    memory = session(rules, facts=facts)
    memory.start()
    memory.client_tls("mx.example")
    memory.opened()
    memory.from_upstream(b"220 mx.example\r\n")
    memory.from_upstream(b"250-mx.example\r\n250 STARTTLS\r\n")
    memory.from_upstream(b"220 go\r\n")
    before = facts.client_leg.tls
    memory.upstream_tls()
    memory.from_upstream(b"250 mx.example\r\n")
    assert (before, facts.client_leg.tls is None) == (None, False)
    assert facts.upstream_leg.tls is not None


def test_the_upstream_is_up_before_the_clients_handshake_goes_on() -> None:
    """So that the certificate may follow the upstream's."""
    facts = new_facts(destination=("192.0.2.9", 465), upstream_implicit_tls=True)
    memory = session(facts=facts)
    memory.start()
    memory.client_tls("mx.example")
    memory.opened()
    memory.upstream_tls()
    memory.from_upstream(b"220 mx.example\r\n")
    before = facts.client_leg.tls
    memory.from_upstream(b"250 mx.example\r\n")
    assert (before, facts.client_leg.tls is None) == (None, False)
    assert facts.client_leg.history == ["implicit"]
    assert lines(memory.client_heard) == ["220 mx.example"]
