"""The words between a layer and the TLS layers under it."""

from __future__ import annotations

from mitmproxy.proxy import events

from smtpguard.proxy.upgrade import ContinueTls, StartTls, StartTlsCompleted
from tests.proxy.playbook import make_context


def test_starting_does_not_pause_who_says_it() -> None:
    client = make_context().client

    assert StartTls(client).blocking is False
    assert ContinueTls(client).blocking is False


def test_a_start_carries_what_the_handshake_needs() -> None:
    client = make_context().client
    command = StartTls(client, "mx.example", b"\x16\x03", hold=True)

    assert command.connection is client
    assert command.name == "mx.example"
    assert command.data == b"\x16\x03"
    assert command.hold


def test_mitmproxy_knows_which_command_a_completion_answers() -> None:
    assert events.command_reply_subclasses[StartTls] is StartTlsCompleted  # type: ignore[index]
