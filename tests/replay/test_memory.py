from __future__ import annotations

from typing import Any

import pytest

from smtpguard.dialogue import effects
from smtpguard.model.session import Leg, SessionFacts, TlsFacts
from smtpguard.model.settings import ServerTls, Settings
from smtpguard.replay.memory import MemorySession
from tests.replay.deciders import CLIENT, UPSTREAM, Rules


def new(rules: Rules | None = None, **facts: Any) -> MemorySession:
    values: dict[str, Any] = {
        "id": "s1",
        "client": CLIENT,
        "destination": UPSTREAM,
        **facts,
    }
    return MemorySession(rules or Rules(), SessionFacts(**values))


def test_nothing_is_said_before_the_start() -> None:
    memory = new()
    assert not memory.pending
    memory.start()
    assert memory.take(effects.StartTls) is None
    memory.opened()
    memory.from_upstream(b"220 hi\r\n")
    assert memory.client_heard == b"220 hi\r\n"


def test_a_closed_leg_hears_nothing_more() -> None:
    memory = new()
    memory.start()
    memory.opened("refused")
    assert memory.client_heard.startswith(b"421 ")
    assert Leg.CLIENT in memory.closed
    assert memory.ended


def test_handshakes_have_the_facts_they_are_given() -> None:
    memory = new(Rules(Settings(server_tls=ServerTls("required"))), reverse_name="mx")
    memory.start()
    memory.opened()
    memory.from_upstream(b"220 hi\r\n")
    memory.from_client(b"STARTTLS\r\n")
    memory.from_upstream(b"250-hi\r\n250 STARTTLS\r\n")
    memory.from_upstream(b"220 go\r\n")
    upstream = TlsFacts("TLSv1.2", "A", "mx", "self-signed")
    memory.upstream_tls(facts=upstream)
    client = TlsFacts("TLSv1.3", "B", "sni")
    memory.client_tls("sni", facts=client)
    assert memory.session.client_leg.tls == client
    assert memory.session.upstream_leg.tls == upstream


def test_time_wakes_the_dialogue_when_it_asked_for_it() -> None:
    memory = new()
    memory.start()
    assert not memory.client_heard
    memory.pass_time(29)
    assert not memory.client_heard
    memory.pass_time(2)
    assert memory.client_heard.startswith(b"421 4.3.2")


def test_answering_what_was_not_asked_is_a_fault_of_the_test() -> None:
    memory = new()
    with pytest.raises(AssertionError, match="nothing to open"):
        memory.opened()
    with pytest.raises(AssertionError, match="no handshake"):
        memory.client_tls()
    with pytest.raises(AssertionError, match="no handshake"):
        memory.upstream_tls()
