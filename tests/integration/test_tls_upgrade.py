"""STARTTLS under attack (T1, T2, T3): what came in clear stays out of TLS.

Client and upstream are raw sockets around a live mitmdump. The upstream keeps what it
was told in clear and in TLS apart; each test says both lists whole. Two policies: with
``follow`` the upstream's STARTTLS waits for the client's, so a test can hold our 220
back; with ``required`` the upstream is in TLS before, and our 220 leaves at once.
"""

from __future__ import annotations

import ssl
from ssl import TLSVersion
from typing import TYPE_CHECKING

import pytest

from tests.integration.gateway import (
    BYE,
    INNER,
    MAIL,
    NAME,
    OUTER,
    READY,
    Gateway,
    cut_everywhere,
    deliver,
    run_gateway,
)
from tests.integration.sink import GO


if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.integration.bed.certificates import Identity
    from tests.integration.conftest import StartGuard


pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

STARTTLS = b"STARTTLS\r\n"
INJECTED = {
    "a command that we answer": b"NOOP x\r\n",
    "a command that we relay": b"MAIL FROM:<evil@evil.example>\r\n",
    "a whole envelope": b"RSET\r\nMAIL FROM:<>\r\nRCPT TO:<v@own.example>\r\nDATA\r\n",
    "half a command": b"MAIL FR",
}
REPLIES = {
    "a reply": b"250 injected\r\n",
    "capabilities": b"250-injected\r\n250 AUTH PLAIN\r\n",
    "half a reply": b"250-inj",
    "a refusal": b"454 4.7.0 not now\r\n",
    "a TLS record": b"\x16\x03\x03\x00\x04\x0e\x00\x00\x00",
}


@pytest.fixture(scope="module")
def follow(identity: Identity, start_unowned_guard: StartGuard) -> Iterator[Gateway]:
    yield from run_gateway("follow", identity, start_unowned_guard)


@pytest.fixture(scope="module")
def required(identity: Identity, start_unowned_guard: StartGuard) -> Iterator[Gateway]:
    yield from run_gateway("required", identity, start_unowned_guard)


@pytest.fixture(autouse=True)
def sinks(follow: Gateway, required: Gateway) -> Iterator[None]:
    """Each test finds ordinary servers."""
    yield
    follow.sink.behave()
    required.sink.behave()


def assert_only_the_mail(gate: Gateway, number: int) -> None:
    """The upstream was told what a client says that injects nothing."""
    session = gate.upstream(number)
    assert session.clear == [OUTER, b"STARTTLS"]
    assert session.early == b""
    assert session.secure == [INNER, *MAIL, BYE]


@pytest.mark.parametrize("injected", INJECTED.values(), ids=INJECTED)
def test_t1_what_comes_before_our_220_is_discarded(
    injected: bytes, follow: Gateway
) -> None:
    before, expected = len(follow.discarded()), []
    for pieces in cut_everywhere(STARTTLS + injected):
        number = follow.number
        with follow.client() as wire:
            follow.starttls(wire, *pieces)
            wire.start_tls(follow.context(), NAME)
            deliver(wire)
        assert_only_the_mail(follow, number)
        expected.append(len(injected))
    follow.wait_discarded(before, expected)


@pytest.mark.parametrize("injected", INJECTED.values(), ids=INJECTED)
def test_t1_what_comes_in_clear_after_our_220_ends_the_session(
    injected: bytes, required: Gateway
) -> None:
    for first, second in cut_everywhere(injected):
        number = required.number
        with required.client() as wire:
            wire.send(STARTTLS + first)
            assert wire.reply() == READY
            wire.send(second)
            assert wire.rest() == b""
        session = required.upstream(number)
        assert session.clear == [OUTER, b"STARTTLS"]
        assert session.secure == [OUTER, BYE]


@pytest.mark.parametrize("injected", INJECTED.values(), ids=INJECTED)
def test_t1_a_cut_within_starttls_changes_nothing(
    injected: bytes, required: Gateway
) -> None:
    for place in range(len(STARTTLS)):
        number = required.number
        with required.client() as wire:
            wire.send_apart(STARTTLS[:place], STARTTLS[place:] + injected)
            assert wire.reply() == READY
            wire.start_tls(required.context(), NAME)
            deliver(wire)
        session = required.upstream(number)
        assert session.clear == [OUTER, b"STARTTLS"]
        assert session.secure == [OUTER, INNER, *MAIL, BYE]


def test_t2_a_clienthello_behind_starttls_is_discarded(follow: Gateway) -> None:
    before, expected = len(follow.discarded()), []
    length = len(follow.hello())
    for place in range(len(STARTTLS) + length):
        number = follow.number
        with follow.client() as wire:
            hello = follow.hello()
            whole = STARTTLS + hello
            follow.starttls(wire, whole[:place], whole[place:])
            # Had it been answered, this one would be taken for its second message.
            wire.start_tls(follow.context(), NAME)
            deliver(wire)
        assert_only_the_mail(follow, number)
        follow.upstream(number).assert_never_seen(hello)
        expected.append(length)
    follow.wait_discarded(before, expected)


@pytest.mark.parametrize("version", [TLSVersion.TLSv1_2, TLSVersion.TLSv1_3])
def test_t2_a_command_and_a_clienthello_behind_starttls_are_discarded(
    version: TLSVersion, follow: Gateway
) -> None:
    context = ssl.create_default_context(cafile=str(follow.guard.trust))
    context.maximum_version = version
    number = follow.number
    with follow.client() as wire:
        hello = follow.hello(context)
        follow.starttls(wire, STARTTLS + b"NOOP\r\n" + hello)
        wire.start_tls(context, NAME)
        deliver(wire)
    assert_only_the_mail(follow, number)
    follow.upstream(number).assert_never_seen(hello)


def test_t2_a_clienthello_of_which_we_have_thrown_away_the_begin_leads_nowhere(
    required: Gateway,
) -> None:
    length = len(required.hello())
    for place in range(1, length):
        number = required.number
        with required.client() as wire:
            hello = required.hello()
            wire.send(STARTTLS + hello[:place])
            assert wire.reply() == READY
            wire.send(hello[place:])
            wire.finish()
            assert wire.rest() == b""
        session = required.upstream(number)
        assert session.clear == [OUTER, b"STARTTLS"]
        assert session.secure == [OUTER, BYE]
        required.upstream(number).assert_never_seen(hello)


def test_t2_a_clienthello_may_come_in_any_two_segments(required: Gateway) -> None:
    length = len(required.hello())
    for place in range(1, length):
        with required.client() as wire:
            assert wire.ask(b"STARTTLS").startswith("220 ")
            hello = wire.hello(required.context(), NAME)
            wire.send_apart(hello[:place], hello[place:])
            wire.shake_hands()
            deliver(wire)


@pytest.mark.parametrize(
    ("line", "codes"),
    [
        (b"STARTTLS\t\r\n", ["501", "500"]),
        (b"STARTTLS x\r\n", ["501", "500"]),
        (b" STARTTLS\r\n", ["500", "500"]),
        (b"\0STARTTLS\r\n", ["500"]),
        (b"STARTTLS\n", ["500"]),
        (b"STARTTLS\r", ["500"]),
        (b"STARTTLS", ["500"]),
    ],
    ids=repr,
)
def test_t2_what_is_not_quite_starttls_upgrades_nothing(
    line: bytes, codes: list[str], required: Gateway
) -> None:
    """The ClientHello behind it is binary noise then, and ends the session."""
    number = required.number
    with required.client() as wire:
        hello = required.hello()
        wire.send(line + hello)
        assert [reply[:3].decode() for reply in wire.rest().splitlines()] == codes
    session = required.upstream(number)
    assert session.secure == [OUTER, BYE]
    session.assert_never_seen(hello)


@pytest.mark.parametrize("line", [b"starttls \r\n", b"StartTls  \r\n"], ids=repr)
def test_t2_starttls_in_any_case_and_with_blanks_behind_is_starttls(
    line: bytes, required: Gateway
) -> None:
    number = required.number
    with required.client() as wire:
        hello = required.hello()
        wire.send(line + hello)
        assert wire.reply() == READY
        wire.start_tls(required.context(), NAME)
        deliver(wire)
    session = required.upstream(number)
    assert session.secure == [OUTER, INNER, *MAIL, BYE]
    session.assert_never_seen(hello)


@pytest.mark.parametrize("injected", REPLIES.values(), ids=REPLIES)
def test_t3_what_the_server_says_in_clear_behind_its_220_costs_it_the_session(
    injected: bytes, follow: Gateway
) -> None:
    for pieces in cut_everywhere(GO + injected):
        number = follow.number
        follow.sink.starttls_answer = pieces
        with follow.client() as wire:
            assert wire.ask(b"STARTTLS") == "454 4.7.0 TLS not available"
            # Closed by the gateway, while the client is still there.
            session = follow.upstream(number)
            assert session.clear == [OUTER, b"STARTTLS"]
            assert session.secure == []
            if pieces[0] == GO:
                assert session.after[:2] == b"\x16\x03"  # our own ClientHello
            else:
                assert session.after == b""
            assert wire.ask(BYE).startswith("221 ")
            assert wire.rest() == b""


@pytest.mark.parametrize("injected", REPLIES.values(), ids=REPLIES)
def test_t3_the_same_before_the_client_asks_for_tls_costs_it_its_tls(
    injected: bytes, required: Gateway
) -> None:
    for pieces in cut_everywhere(GO + injected):
        number = required.number
        required.sink.starttls_answer = pieces
        with required.client(b"") as wire:
            if pieces[0] == GO:  # all we see is a handshake that failed
                assert wire.ask(OUTER).startswith("250-")
                assert wire.ask(b"STARTTLS") == "454 4.7.0 TLS not available"
                assert wire.ask(BYE).startswith("221 ")
            else:
                assert wire.ask(OUTER) == "421 4.3.2 Service not available"
            assert wire.rest() == b""
        session = required.upstream(number)
        assert session.clear == [OUTER, b"STARTTLS"]
        assert session.secure == []
        assert session.after[:2] == (b"\x16\x03" if pieces[0] == GO else b"")


def test_t3_the_next_session_has_its_tls_again(follow: Gateway) -> None:
    number = follow.number
    follow.sink.starttls_answer = (GO + b"250 injected\r\n",)
    with follow.client() as wire:
        assert wire.ask(b"STARTTLS").startswith("454 ")
    follow.upstream(number)
    follow.sink.behave()
    number = follow.number
    with follow.client() as wire:
        assert wire.ask(b"STARTTLS") == READY
        wire.start_tls(follow.context(), NAME)
        deliver(wire)
    assert_only_the_mail(follow, number)
