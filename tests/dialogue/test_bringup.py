"""Bringing the upstream up, step by step."""

from __future__ import annotations

import pytest

from smtpguard.dialogue import effects, events
from smtpguard.model.session import Leg
from smtpguard.model.settings import ServerTls, Settings
from smtpguard.replay.memory import MemorySession
from tests.dialogue.peers import (
    Rules,
    connected,
    forget_heard,
    lines,
    new_facts,
    session,
)


@pytest.mark.parametrize(
    ("said", "lost"),
    [
        (b"554 5.7.1 go away\r\n", "greeted with 554 5.7.1 go away"),
        (b"421 4.3.2 busy\r\n", "upstream says 421 4.3.2 busy"),
        (b"250 hello\r\n", "unexpected reply: 250 hello"),
        (b"SSH-2.0-x\r\n", "garbage from upstream: no reply: SSH-2.0-x"),
    ],
    ids=repr,
)
def test_whoever_does_not_greet_with_220_is_no_upstream(said: bytes, lost: str) -> None:
    memory = session()
    memory.start()
    memory.opened()
    memory.from_upstream(said)
    assert lines(memory.client_heard) == ["421 4.3.2 Service not available"]
    assert f"session ends: {lost}" in memory.log
    assert memory.closed == {Leg.CLIENT, Leg.UPSTREAM}


def test_the_error_of_a_connection_is_logged_and_not_told() -> None:
    memory = session()
    memory.start()
    memory.opened("Connection refused")
    assert lines(memory.client_heard) == ["421 4.3.2 Service not available"]
    assert "session ends: cannot connect: Connection refused" in memory.log


def test_a_connection_that_comes_too_late_is_closed() -> None:
    memory = session()
    memory.start()
    memory.pass_time(31)
    assert Leg.UPSTREAM in memory.closed
    memory.feed(events.Opened())
    assert memory.ended


def test_the_upstream_hears_the_name_of_the_policy_else_the_clients_else_ours() -> None:
    for helo, client, expected in [
        ("gate.example", b"EHLO c.example\r\n", b"EHLO gate.example\r\n"),
        ("", b"EHLO c.example\r\n", b"EHLO c.example\r\n"),
        ("", b"STARTTLS\r\n", b"EHLO guard.example\r\n"),
    ]:
        memory = forget_heard(connected(session(Rules(Settings(helo=helo)))))
        memory.from_client(client)
        assert bytes(memory.upstream_heard) == expected


def test_ehlo_is_not_repeated_for_the_same_name() -> None:
    memory = connected(session())
    memory.from_client(b"EHLO c.example\r\n")
    memory.from_upstream(b"250 mx.example\r\n")
    forget_heard(memory)
    memory.from_client(b"HELO c.example\r\n")
    assert lines(memory.client_heard) == ["250 mx.example"]
    assert not memory.upstream_heard


@pytest.mark.parametrize("reply", [b"550 no\r\n", b"450 later\r\n"])
def test_an_upstream_that_takes_neither_ehlo_nor_helo_is_left(reply: bytes) -> None:
    memory = connected(session())
    memory.from_client(b"EHLO c.example\r\n")
    memory.from_upstream(b"502 what\r\n")
    forget_heard(memory)
    memory.from_upstream(reply)
    assert lines(memory.client_heard) == ["421 4.3.2 Service not available"]
    assert lines(memory.upstream_heard) == ["QUIT"]


def xclient(memory: MemorySession) -> MemorySession:
    connected(memory)
    memory.from_client(b"EHLO c.example\r\n")
    forget_heard(memory)
    memory.from_upstream(b"250-mx.example\r\n250 XCLIENT ADDR PROTO HELO\r\n")
    return memory


def test_a_client_behind_an_smtp_proxy_is_told_of_by_its_own_words() -> None:
    memory = xclient(session(Rules(Settings(identity="xclient"))))
    assert lines(memory.upstream_heard) == [
        "XCLIENT ADDR=192.0.2.1 PROTO=ESMTP HELO=c.example"
    ]
    memory.from_upstream(b"250 ok\r\n")
    assert lines(memory.upstream_heard) == ["EHLO c.example"]
    memory.from_upstream(b"250 mx.example\r\n")
    assert lines(memory.client_heard)[0] == "250-mx.example"


def test_a_client_of_ipv4_on_an_ipv6_socket_is_told_of_as_ipv4() -> None:
    facts = new_facts(client=("::ffff:192.0.2.1", 50000))
    memory = xclient(session(Rules(Settings(identity="xclient")), facts=facts))
    assert lines(memory.upstream_heard) == [
        "XCLIENT ADDR=192.0.2.1 PROTO=ESMTP HELO=c.example"
    ]


def test_xclient_is_said_once_a_connection() -> None:
    memory = xclient(session(Rules(Settings(identity="xclient"))))
    memory.from_upstream(b"220 mx.example\r\n")
    memory.from_upstream(b"250-mx.example\r\n250 XCLIENT ADDR PROTO HELO\r\n")
    forget_heard(memory)
    memory.from_client(b"MAIL FROM:<a@b.example>\r\n")
    assert lines(memory.upstream_heard) == ["MAIL FROM:<a@b.example>"]


def test_an_identity_that_is_not_known_yet_is_not_told() -> None:
    rules = Rules(Settings(identity="xclient"), protocol="xclient")
    memory = xclient(session(rules))
    assert not memory.upstream_heard
    assert "250-CHUNKING" in lines(memory.client_heard)


def test_an_identity_that_goes_by_proxy_is_told_on_every_connection() -> None:
    memory = session(Rules(Settings(identity="proxy_v1")))
    connected(memory)
    line = b"PROXY TCP4 192.0.2.1 192.0.2.9 50000 25\r\n"
    assert bytes(memory.upstream_heard) == line
    memory.feed(events.Closed(Leg.UPSTREAM))
    forget_heard(memory)
    memory.from_client(b"EHLO c.example\r\n")
    memory.opened()
    assert bytes(memory.upstream_heard) == line


def test_a_named_reverse_target_is_told_by_the_address_the_client_came_to() -> None:
    """PROXY speaks of addresses only: a name there would be a fault of ours."""
    memory = session(Rules(Settings(identity="proxy_v1")))
    memory.session.destination = ("mx.example", 25)
    memory.session.local = ("192.0.2.7", 2525)
    memory.start()
    memory.opened()
    client = " ".join(map(str, (memory.session.client[0], "192.0.2.7")))
    port = memory.session.client[1]
    assert lines(memory.upstream_heard) == [f"PROXY TCP4 {client} {port} 2525"]


def test_the_downgrade_of_one_upstream_is_not_that_of_another() -> None:
    downgrades: dict[tuple[str, int], float] = {}
    for host, expected in [("192.0.2.9", "STARTTLS"), ("192.0.2.8", "STARTTLS")]:
        facts = new_facts(destination=(host, 25), reverse_name="mx.example")
        memory = forget_heard(connected(session(facts=facts, downgrades=downgrades)))
        memory.from_client(b"EHLO c.example\r\n")
        memory.from_upstream(b"250-mx.example\r\n250 STARTTLS\r\n")
        assert lines(memory.upstream_heard)[-1] == expected
        memory.from_upstream(b"220 go\r\n")
        memory.upstream_tls("no shared cipher")
    assert downgrades == {("192.0.2.9", 25): 4600.0, ("192.0.2.8", 25): 4600.0}
    facts = new_facts(reverse_name="mx.example")
    memory = forget_heard(connected(session(facts=facts, downgrades=downgrades)))
    memory.from_client(b"EHLO c.example\r\n")
    memory.from_upstream(b"250-mx.example\r\n250 STARTTLS\r\n")
    assert b"STARTTLS\r\n" not in memory.upstream_heard
    assert memory.take(effects.StartTls) is None


def test_a_remembered_downgrade_binds_only_where_the_policy_prefers() -> None:
    rules = Rules(Settings(server_tls=ServerTls(starttls="required")))
    facts = new_facts(reverse_name="mx.example")
    downgrades = {("192.0.2.9", 25): 1e9}
    memory = forget_heard(connected(session(rules, facts=facts, downgrades=downgrades)))
    memory.from_client(b"EHLO c.example\r\n")
    memory.from_upstream(b"250-mx.example\r\n250 STARTTLS\r\n")
    assert lines(memory.upstream_heard)[-1] == "STARTTLS"


def test_implicit_tls_upstream_asks_for_the_address_where_no_name_is_known() -> None:
    facts = new_facts(upstream_implicit_tls=True)
    memory = session(facts=facts)
    memory.start()
    memory.opened()
    (asked,) = [e for e in memory.pending if isinstance(e, effects.StartTls)]
    assert (asked.leg, asked.name) == (Leg.UPSTREAM, "192.0.2.9")
    memory.upstream_tls()
    assert facts.upstream_leg.history == ["implicit"]
    assert not memory.client_heard
    memory.from_upstream(b"220 mx.example ESMTP\r\n")
    assert lines(memory.client_heard) == ["220 mx.example ESMTP"]


def test_a_failed_implicit_handshake_is_an_unreachable_upstream() -> None:
    memory = session(facts=new_facts(upstream_implicit_tls=True))
    memory.start()
    memory.opened()
    memory.upstream_tls("wrong version number")
    assert lines(memory.client_heard) == ["421 4.3.2 Service not available"]
    assert memory.opens == 1
