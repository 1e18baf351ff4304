"""SIGTERM while real senders' mails are on their way: each still gets its reply."""

from __future__ import annotations

import signal
import smtplib
import socket
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

import pytest

from tests.integration.bed.clients import HELO
from tests.integration.bed.mails import Mail, Target, make_mail
from tests.integration.bed.process import wait_until
from tests.integration.sessions import sessions_of
from tests.integration.stub import Stub
from tests.integration.ways import ALLOWED, HEAD, policy


if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.integration.bed.certificates import Identity
    from tests.integration.bed.guard import Guard, Program
    from tests.integration.bed.told import Told
    from tests.integration.conftest import Send, StartGuard, StartPostfix


pytestmark = [pytest.mark.real, pytest.mark.timeout(120)]

SENDERS = ("postfix", "exim-bdat", "exim-kept", "curl", "msmtp", "smtplib", "swaks")


def refuses(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 5).close()
    except ConnectionRefusedError:
        return True
    return False


@contextmanager
def idle_client(port: int) -> Iterator[smtplib.SMTP]:
    with closing(smtplib.SMTP("127.0.0.1", port, HELO, timeout=30)) as smtp:
        assert smtp.ehlo()[0] == 250
        yield smtp


def check_end(guard: Guard, mails: list[Mail]) -> None:
    assert guard.process.popen.wait(30) == 0, guard.log
    outcomes = [session.outcomes for session in sessions_of(guard, *mails)]
    assert outcomes == [["relayed"]] * len(mails)
    assert "are cut off by the end" not in guard.log


@contextmanager
def sending(
    send: Send, guard: Guard, names: Sequence[str], mails: Sequence[Mail]
) -> Iterator[list[Future[list[Told]]]]:
    """Send a mail with each client at the same time."""
    target = Target("127.0.0.1", guard.port, "starttls", guard.trust)
    with ThreadPoolExecutor(len(names)) as pool:
        yield [
            pool.submit(send, name, target, mail)
            for name, mail in zip(names, mails, strict=True)
        ]


def terminate(guard: Guard, under_way: Sequence[Future[list[Told]]]) -> None:
    """Begin the end; an idle client is sent away at once, the others are not."""
    with idle_client(guard.port) as idle:
        guard.process.popen.send_signal(signal.SIGTERM)
        assert idle.getreply() == (421, b"4.3.2 Service shutting down")
    wait_until(lambda: refuses(guard.port), "the listener's end")
    assert guard.process.alive
    assert not any(future.done() for future in under_way)


@pytest.mark.parametrize("program", ["mitmdump", "run"])
def test_mails_in_flight_get_the_upstreams_reply(
    program: Program, send: Send, start_guard: StartGuard, identity: Identity
) -> None:
    mails = [make_mail(ALLOWED) for _ in SENDERS]
    with Stub(identity) as stub:
        stub.gate.clear()
        rules = HEAD + policy(client="allowed")
        guard = start_guard(stub.reverse, rules, program=program)
        with sending(send, guard, SENDERS, mails) as sent:
            stub.wait_messages(len(SENDERS))
            terminate(guard, sent)
            stub.gate.set()
            for future in sent:
                (told,) = future.result(30)
                assert told.final == "250 2.0.0 kept", told.transcript
    check_end(guard, mails)
    for mail in mails:
        taken = [each for each in stub.accepted if mail.token.encode() in each]
        assert len(taken) == 1


def test_a_real_upstream_that_takes_its_time_has_each_mail_once(
    send: Send, start_guard: StartGuard, start_postfix: StartPostfix
) -> None:
    server = start_postfix("starttls", smtpd_end_of_data_restrictions="sleep 5")
    endpoint = server.endpoint("starttls")
    mode = f"reverse:tcp://{endpoint.host}:{endpoint.port}"
    guard = start_guard(mode, HEAD + policy(client="allowed"))
    names = ("postfix", "exim-bdat", "smtplib")
    # Long enough for Postfix to hand its beginning on before the end has come.
    mails = [make_mail(ALLOWED, body=b"A line of text.\r\n" * 1000) for _ in names]
    with sending(send, guard, names, mails) as sent:
        for mail in mails:
            # Nothing goes up before the client's final dot.
            server.instance.wait_log(f"message-id=<{mail.token}@")
        terminate(guard, sent)
        for future in sent:
            (told,) = future.result(30)
            assert told.accepted, told.transcript
    check_end(guard, mails)
    server.instance.settle()
    copies = [len(server.maildir.copies(mail.token)) for mail in mails]
    assert copies == [1] * len(mails)
