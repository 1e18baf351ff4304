"""Stripping, credentials, names: rows T4 and T6 to T8 of the attack list.

What the TLS layers themselves must withstand stands in ``tests/proxy``.
"""

from __future__ import annotations

import pytest

from smtpguard.dialogue import effects, events
from smtpguard.model.session import Leg
from smtpguard.model.settings import ServerTls, Settings
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


def named(rules: Rules) -> MemorySession:
    """Return a session whose upstream's name is known without the client."""
    return session(rules, facts=new_facts(reverse_name="mx.example"))


# -- T4: stripping and downgrade ------------------------------------------------------


STRIPPED: dict[str, list[bytes | None]] = {
    "not offered": [b"250 mx.example\r\n"],
    "454": [WITH_TLS, b"454 4.7.0 later\r\n"],
    "502": [WITH_TLS, b"502 5.5.1 what\r\n"],
    "garbage": [WITH_TLS, b"xxx\r\n"],
    "250": [WITH_TLS, b"250 ok\r\n"],
    "handshake": [WITH_TLS, b"220 go\r\n", None],
}


@pytest.mark.parametrize("server", ["required", "follow"])
@pytest.mark.parametrize("said", STRIPPED.values(), ids=STRIPPED)
def test_T4_where_tls_is_wanted_no_mail_goes_up_in_clear(
    server: str, said: list[bytes | None]
) -> None:
    memory = forget_heard(connected(named(tls_rules(server))))
    memory.from_client(b"STARTTLS\r\n")
    answer_upstream(memory, said)
    assert lines(memory.client_heard) == ["454 4.7.0 TLS not available"]
    assert memory.dialogue.client.secure is False
    assert b"MAIL" not in memory.upstream_heard


def answer_upstream(memory: MemorySession, said: list[bytes | None]) -> None:
    for octets in said:
        if octets is None:
            memory.upstream_tls("handshake failure")
        else:
            memory.from_upstream(octets)


@pytest.mark.parametrize("said", STRIPPED.values(), ids=STRIPPED)
def test_T4_required_answers_mail_with_451_whatever_stripped_the_tls(
    said: list[bytes | None],
) -> None:
    memory = forget_heard(connected(session(tls_rules("required"))))
    memory.from_client(b"EHLO c.example\r\n")
    memory.from_upstream(said[0] or b"")
    lines(memory.client_heard)
    memory.from_client(b"MAIL FROM:<a@b.example>\r\n")
    answer_upstream(memory, said[1:])
    (heard,) = lines(memory.client_heard)
    assert heard.startswith("451 4.")
    assert b"MAIL" not in memory.upstream_heard


@pytest.mark.parametrize("kind", ["454", "502", "handshake"])
def test_T4_preferred_goes_on_in_clear_and_logs_the_downgrade(kind: str) -> None:
    memory = connected(named(tls_rules("preferred")))
    memory.from_client(b"EHLO c.example\r\n")
    answer_upstream(memory, STRIPPED[kind])
    if kind == "handshake":
        memory.opened()
        memory.from_upstream(b"220 mx.example ESMTP\r\n")
        memory.from_upstream(WITH_TLS)
    assert any("downgrade" in line for line in memory.log)
    assert any("downgrade" in step for step in memory.session.upstream_leg.history)
    enveloped(memory)
    assert memory.session.upstream_leg.tls is None


def test_T4_a_reset_after_the_upstreams_handshake_is_no_reason_for_clear() -> None:
    memory = secured(session(tls_rules("required")))
    memory.from_client(b"MAIL FROM:<a@b.example>\r\n")
    memory.feed(events.Closed(Leg.UPSTREAM, reset=True))
    assert lines(memory.client_heard) == ["451 4.4.2 Connection to next server lost"]
    memory.from_client(b"MAIL FROM:<a@b.example>\r\n")
    memory.opened()
    memory.from_upstream(b"220 mx.example ESMTP\r\n")
    forget_heard(memory)
    memory.from_upstream(b"250 mx.example\r\n")
    assert lines(memory.client_heard) == ["451 4.7.0 Next server has no TLS"]
    assert b"MAIL" not in memory.upstream_heard


def test_T4_follow_offers_starttls_only_where_the_upstream_does() -> None:
    memory = connected(session(tls_rules("follow")))
    memory.from_client(b"EHLO c.example\r\n")
    memory.from_upstream(b"250 mx.example\r\n")
    assert b"STARTTLS" not in memory.client_heard


# -- T6: credentials ------------------------------------------------------------------


SECRETS = ("AHVzZXIAc2VjcmV0", "dXNlcg==", "c2VjcmV0", "1secret")


@pytest.mark.parametrize(
    "said",
    [
        b"AUTH PLAIN AHVzZXIAc2VjcmV0\r\n",
        b"AUTH PLAIN\r\nAHVzZXIAc2VjcmV0\r\n",
        b"AUTH LOGIN\r\ndXNlcg==\r\nc2VjcmV0\r\n",
        b"AUTH LOGIN\r\n1secret\r\n",
        b"auth login dXNlcg==\r\n1secret\r\n",
    ],
    ids=repr,
)
@pytest.mark.parametrize("client", ["required", "allowed", "none"])
def test_T6_auth_in_clear_is_refused_here_and_seen_nowhere(
    client: str, said: bytes
) -> None:
    memory = greeted(session(tls_rules("preferred", client)))
    memory.from_client(said)
    assert lines(memory.client_heard)[0][:3] in {"530", "538"}
    assert not memory.upstream_heard
    assert_no_secret(memory)


def assert_no_secret(memory: MemorySession) -> None:
    shown = b"".join(entry.octets for entry in memory.dialogue.transcript.entries)
    everything = shown.decode("latin-1") + "".join(memory.log)
    for secret in SECRETS:
        assert secret.lower() not in everything.lower()


@pytest.mark.parametrize("record", [False, True])
def test_T6_credentials_pass_through_and_are_masked_unless_recorded(
    record: bool,
) -> None:
    memory = secured(
        session(record_auth=record), b"250-mx.example\r\n250 AUTH PLAIN LOGIN\r\n"
    )
    memory.from_client(b"AUTH LOGIN\r\n")
    memory.from_upstream(b"334 VXNlcm5hbWU6\r\n")
    memory.from_client(b"dXNlcg==\r\n")
    memory.from_upstream(b"334 UGFzc3dvcmQ6\r\n")
    memory.from_client(b"c2VjcmV0\r\n")
    memory.from_upstream(b"535 5.7.8 wrong\r\n")
    memory.from_client(b"AUTH PLAIN AHVzZXIAc2VjcmV0\r\n")
    memory.from_upstream(b"235 2.7.0 welcome\r\n")
    for secret in SECRETS[:3]:
        assert secret.encode() in memory.upstream_heard
    assert memory.session.authenticated
    shown = b"".join(entry.octets for entry in memory.dialogue.transcript.entries)
    assert (b"c2VjcmV0" in shown) is record
    assert not any(secret in line for secret in SECRETS for line in memory.log)
    if not record:
        assert_no_secret(memory)


# -- T7: a message that looks like TLS ------------------------------------------------


def test_T7_a_message_that_begins_like_tls_stays_a_message() -> None:
    memory = enveloped(greeted(session()))
    memory.from_client(b"DATA\r\n")
    memory.from_client(b"\x16\x03\x01\x02\x05\r\n.\r\n")
    memory.from_upstream(b"354 go\r\n")
    assert memory.upstream_heard.endswith(b"DATA\r\n\x16\x03\x01\x02\x05\r\n.\r\n")
    assert memory.take(effects.StartTls) is None


def test_T7_a_binary_chunk_that_begins_like_tls_stays_a_chunk() -> None:
    reply = b"250-mx.example\r\n250-8BITMIME\r\n250-CHUNKING\r\n250 BINARYMIME\r\n"
    memory = greeted(session(), reply)
    memory.from_client(b"MAIL FROM:<a@b.example> BODY=BINARYMIME\r\n")
    memory.from_upstream(b"250 ok\r\n")
    memory.from_client(b"RCPT TO:<c@d.example>\r\n")
    memory.from_upstream(b"250 ok\r\n")
    forget_heard(memory)
    memory.from_client(b"BDAT %d LAST\r\n" % len(HELLO) + HELLO)
    assert bytes(memory.upstream_heard) == b"BDAT %d LAST\r\n" % len(HELLO) + HELLO


# -- T8: names and certificates -------------------------------------------------------


def test_T8_the_upstream_is_asked_for_the_clients_name() -> None:
    memory = connected(session())
    memory.from_client(b"STARTTLS\r\n")
    memory.from_upstream(WITH_TLS)
    memory.from_upstream(b"220 go\r\n")
    memory.client_tls("mx1.d.example")
    (asked,) = [e for e in memory.pending if isinstance(e, effects.StartTls)]
    assert (asked.leg, asked.name) == (Leg.UPSTREAM, "mx1.d.example")


def test_T8_without_any_name_the_upstream_is_asked_for_its_address() -> None:
    memory = connected(session())
    memory.from_client(b"STARTTLS\r\n")
    memory.from_upstream(WITH_TLS)
    memory.from_upstream(b"220 go\r\n")
    memory.client_tls("")
    (asked,) = [e for e in memory.pending if isinstance(e, effects.StartTls)]
    assert asked.name == "192.0.2.9"


@pytest.mark.parametrize(
    ("name", "reverse", "expected"),
    [("set.example", "mx.example", "set.example"), ("", "mx.example", "mx.example")],
)
def test_T8_the_policys_name_comes_before_the_reverse_target(
    name: str, reverse: str, expected: str
) -> None:
    rules = Rules(Settings(server_tls=ServerTls(name=name)))
    memory = connected(session(rules, facts=new_facts(reverse_name=reverse)))
    memory.from_client(b"EHLO c.example\r\n")
    memory.from_upstream(WITH_TLS)
    memory.from_upstream(b"220 go\r\n")
    (asked,) = [e for e in memory.pending if isinstance(e, effects.StartTls)]
    assert asked.name == expected


def test_T8_what_verification_said_is_on_record_and_bars_requiretls() -> None:
    memory = connected(session())
    memory.from_client(b"STARTTLS\r\n")
    memory.from_upstream(WITH_TLS)
    memory.from_upstream(b"220 go\r\n")
    memory.client_tls("mx.example")
    memory.upstream_tls(verified="self-signed certificate")
    memory.from_client(b"EHLO c.example\r\n")
    forget_heard(memory)
    memory.from_upstream(b"250-mx.example\r\n250 REQUIRETLS\r\n")
    assert b"REQUIRETLS" not in memory.client_heard
    memory.client_heard.clear()
    memory.from_client(b"MAIL FROM:<a@b.example> REQUIRETLS\r\n")
    assert lines(memory.client_heard) == ["550 5.7.30 REQUIRETLS needed"]
    assert memory.session.upstream_leg.to_json() == {
        "tls": {
            "version": "TLSv1.3",
            "cipher": "TEST",
            "name": "mx.example",
            "verified": "self-signed certificate",
        },
        "history": ["starttls"],
    }
