"""A plain mitmdump as the bed starts it: log, flows, end."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.integration.bed.mails import Target, make_mail
from tests.integration.bed.process import BedError


if TYPE_CHECKING:
    from tests.integration.conftest import Loopback, Send, StartGuard


pytestmark = pytest.mark.real


def test_readiness_is_no_connection(
    start_guard: StartGuard, loopback: Loopback
) -> None:
    guard = start_guard(loopback.reverse("clear"), None)
    assert guard.stop() == 0
    assert "client connect" not in guard.log
    assert guard.flows == []


def test_a_session_is_in_the_flows_once_it_has_ended(
    start_guard: StartGuard, loopback: Loopback, send: Send
) -> None:
    guard = start_guard(loopback.reverse("clear"), None)
    mail = make_mail("a@own.example")
    target = Target("127.0.0.1", guard.port, "clear", loopback.trust)
    (told,) = send("smtplib", target, mail)
    assert told.accepted
    (flow,) = guard.wait_flows(1)
    sent = b"".join(each.content for each in flow.messages if each.from_client)
    assert mail.token.encode() in sent
    assert guard.stop() == 0
    assert len(guard.flows) == 1


def test_reverse_tls_is_read_with_a_certificate_of_mitmproxys_own(
    start_guard: StartGuard, loopback: Loopback, send: Send
) -> None:
    guard = start_guard(loopback.reverse("smtps", "tls"), None)
    mail = make_mail("a@own.example")
    target = Target("127.0.0.1", guard.port, "implicit", guard.trust, "127.0.0.1")
    (told,) = send("smtplib", target, mail)
    assert told.accepted, told.transcript
    (flow,) = guard.wait_flows(1)
    sent = b"".join(each.content for each in flow.messages if each.from_client)
    assert mail.token.encode() in sent


def test_a_mitmdump_that_does_not_start_is_told_with_its_log(
    start_guard: StartGuard,
) -> None:
    with pytest.raises(BedError, match="no-such-mode"):
        start_guard("no-such-mode", None)


def test_a_start_that_may_fail_is_not_waited_for(start_guard: StartGuard) -> None:
    guard = start_guard("no-such-mode", None, wait=False)
    assert guard.process.popen.wait(20) != 0
    assert "no-such-mode" in guard.log
