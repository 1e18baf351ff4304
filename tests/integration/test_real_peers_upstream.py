"""What real senders are told where the upstream is not there, or falls silent."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.integration.bed.mails import Target, make_mail
from tests.integration.bed.process import free_port, wait_until
from tests.integration.conftest import CLIENTS
from tests.integration.sessions import Session, read_session, sessions_of
from tests.integration.stub import Stub
from tests.integration.ways import ALLOWED, HEAD, policy


if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.integration.bed.certificates import Identity
    from tests.integration.bed.guard import Guard
    from tests.integration.conftest import Send, StartGuard


pytestmark = [pytest.mark.real, pytest.mark.timeout(120)]

ALL_CLIENTS = sorted(CLIENTS)
NOT_THERE = "421 4.3.2 Service not available"
SILENT = "451 4.4.2 Next server does not answer"
IN_DOUBT = "upstream silent after the final dot"
IN_DOUBT_LOGGED = 'in_doubt="upstream silent after the final dot" '
IMPATIENT = "deadlines: {verdict: 900ms, final_reply: 1500ms, greeting: 1s}"


def through(guard: Guard) -> Target:
    return Target("127.0.0.1", guard.port, "starttls", guard.trust)


# -- the upstream is not there -------------------------------------------------------


@pytest.fixture(scope="module")
def without_upstream(start_unowned_guard: StartGuard) -> Iterator[Guard]:
    mode = f"reverse:tcp://127.0.0.1:{free_port()}"
    running = start_unowned_guard(mode, HEAD + policy())
    yield running
    assert running.stop() == 0, running.log


@pytest.mark.parametrize("name", ALL_CLIENTS)
def test_without_an_upstream_the_greeting_is_421(
    name: str, send: Send, without_upstream: Guard
) -> None:
    since = len(without_upstream.flows)
    (told,) = send(name, through(without_upstream), make_mail(ALLOWED))
    assert told.final == NOT_THERE, told.transcript
    flows = without_upstream.wait_flows(since + 1)[since:]
    sessions = [read_session(flow) for flow in flows]
    assert {session.outcomes == [] for session in sessions} == {True}
    assert {session.dialogue[0] for session in sessions} == {("(connect)", NOT_THERE)}


# -- it says so itself, or nothing ---------------------------------------------------


@pytest.fixture(scope="module")
def stub(identity: Identity) -> Iterator[Stub]:
    with Stub(identity) as running:
        yield running


@pytest.fixture(scope="module")
def guard(start_unowned_guard: StartGuard, stub: Stub) -> Iterator[Guard]:
    rules = HEAD + policy(session=IMPATIENT)
    running = start_unowned_guard(stub.reverse, rules)
    yield running
    assert running.stop() == 0, running.log


@pytest.mark.parametrize(
    "greeting",
    [b"421 4.3.2 full\r\n", b"554 5.3.2 no mail here\r\n", b"", b"250 hello\r\n"],
    ids=["421", "554", "silence", "garbage"],
)
@pytest.mark.parametrize("name", ["postfix", "exim-bdat", "smtplib"])
def test_whatever_the_upstream_greets_with_the_client_is_to_try_again(
    *,
    name: str,
    greeting: bytes,
    send: Send,
    guard: Guard,
    stub: Stub,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(stub, "greeting", greeting)
    (told,) = send(name, through(guard), make_mail(ALLOWED))
    assert told.final == NOT_THERE, told.transcript
    wait_until(lambda: stub.left == stub.connections, "the upstream's connections")


@pytest.mark.parametrize("name", ALL_CLIENTS)
def test_silence_after_the_dot_is_451_and_in_doubt(
    name: str,
    send: Send,
    guard: Guard,
    stub: Stub,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(stub, "final", None)
    mail = make_mail(ALLOWED)
    (told,) = send(name, through(guard), mail)
    assert told.final == SILENT, told.transcript
    (session, *again) = sessions_of(guard, mail)
    assert again == []
    check_in_doubt(session, guard)
    received = [each for each in stub.messages if mail.token.encode() in each]
    assert len(received) == len(session.outcomes)
    wait_until(lambda: stub.left == stub.connections, "the upstream's connections")


def check_in_doubt(session: Session, guard: Guard) -> None:
    """A duplicate that nobody can exclude is in the record, the flow and the log."""
    for record in session.record.transactions:
        assert record["disposition"] == "deferred"
        assert record["in_doubt"] == IN_DOUBT
        assert record["reply"] == SILENT
        transaction = record["transaction"]
        (line,) = [
            each for each in guard.log.splitlines() if f"tx={transaction} " in each
        ]
        assert IN_DOUBT_LOGGED in line
        assert f"{transaction}: in doubt: {IN_DOUBT}" in guard.log
    assert session.flow.metadata["smtpguard_in_doubt"] == IN_DOUBT
    assert session.flow.marked == ":question:"
