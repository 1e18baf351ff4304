"""TLS on the upstream leg: wanted, to be had, enough."""

from __future__ import annotations

import pytest

from smtpguard.dialogue import encryption
from smtpguard.dialogue.upstream import Upstream
from smtpguard.model.settings import ServerTls, Settings
from smtpguard.replay.memory import MemorySession
from smtpguard.wire import Capabilities
from tests.dialogue.peers import Rules, new_facts, session


OFFERED = Capabilities(b"mx", {"STARTTLS": ()})


def dialogue(
    server: str, *, client_secure: bool = False, secure: bool = False
) -> MemorySession:
    memory = session(Rules(), facts=new_facts())
    d = memory.dialogue
    d.settings = Settings(server_tls=ServerTls(starttls=server))  # type: ignore[arg-type]
    d.client.secure = client_secure
    d.upstream = Upstream(
        lambda _: None,
        lambda *_: None,
        opened=True,
        capabilities=OFFERED,
        secure=secure,
    )
    return memory


@pytest.mark.parametrize(
    ("server", "client_secure", "wanted", "enough_in_clear"),
    [
        ("none", False, False, True),
        ("none", True, False, True),
        ("preferred", False, True, True),
        ("preferred", True, True, True),
        ("required", False, True, False),
        ("required", True, True, False),
        ("follow", False, False, True),
        ("follow", True, True, False),
    ],
)
def test_the_policy_says_whether_tls_is_wanted_and_clear_is_enough(
    server: str, client_secure: bool, wanted: bool, enough_in_clear: bool
) -> None:
    d = dialogue(server, client_secure=client_secure).dialogue
    assert encryption.tls_wanted(d) is wanted
    assert encryption.encrypted_enough(d) is enough_in_clear
    assert encryption.tls_open(d) is (server != "none")


@pytest.mark.parametrize("server", ["none", "preferred", "required", "follow"])
def test_an_encrypted_leg_is_always_enough(server: str) -> None:
    d = dialogue(server, client_secure=True, secure=True).dialogue
    assert encryption.encrypted_enough(d)
    assert not encryption.tls_open(d)


def test_an_upstream_that_refused_tls_is_not_asked_again() -> None:
    d = dialogue("preferred").dialogue
    assert d.upstream is not None
    d.upstream.tls_refused = True
    assert not encryption.tls_open(d)


def test_while_the_client_shakes_hands_follow_wants_tls_already() -> None:
    d = dialogue("follow").dialogue
    d.client.in_tls = True
    assert encryption.tls_wanted(d)


def test_a_downgrade_is_remembered_for_an_hour() -> None:
    d = dialogue("preferred").dialogue
    d.now = 1000.0
    encryption.remember_as_clear(d)
    d.now = 4599.0
    assert encryption.remembered_as_clear(d)
    d.now = 4600.0
    assert not encryption.remembered_as_clear(d)


@pytest.mark.parametrize(
    ("fields", "sni", "remembered"),
    [
        ({}, "no-such-name.invalid", False),
        ({}, "", True),
        ({"reverse_name": "mx.example"}, "other.example", True),
    ],
    ids=["the client's name", "no name", "ours"],
)
def test_only_a_name_that_is_not_the_clients_makes_an_upstream_remembered_as_clear(
    fields: dict[str, str], sni: str, *, remembered: bool
) -> None:
    """Else one client could take TLS away from all others for an hour."""
    memory = session(Rules(), facts=new_facts(**fields))
    memory.dialogue.client.name = sni
    encryption.remember_as_clear(memory.dialogue)
    assert encryption.remembered_as_clear(memory.dialogue) is remembered
