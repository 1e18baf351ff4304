"""SMTP behind SOCKS: taken over without waiting for octets."""

from __future__ import annotations

import pytest
from mitmproxy.proxy import commands, events, layer
from mitmproxy.test import taddons

from smtpguard.proxy.socks import SmtpSocks
from tests.proxy.playbook import World, make_context


HELLO = b"\x05\x01\x00"
CONNECT = b"\x05\x01\x00\x01\xc6\x33\x64\x01\x00\x19"
WELL = b"\x05\x00\x00\x01\x00\x00\x00\x00\x00\x00"


class Taken(layer.Layer):
    """What takes the connection over; speaks when it hears something."""

    def _handle_event(self, event: events.Event) -> layer.CommandGenerator[None]:
        if isinstance(event, events.DataReceived):
            yield commands.SendData(self.context.client, b"heard " + event.data)


@pytest.mark.parametrize("strategy", ["eager", "lazy"])
def test_smtp_is_taken_over_once_the_destination_is_known(strategy: str) -> None:
    with taddons.context():
        made = make_context(server_open=False)
        made.options.connection_strategy = strategy
        made.server.address = None
        world = World(made)
        socks = SmtpSocks(made, Taken)
        world.start(socks)
        world.receive(made.client, HELLO)
        world.take(made.client)
        world.receive(made.client, CONNECT)
        assert world.take(made.client) == WELL
        world.receive(made.client, b"EHLO a\r\n")

    assert world.take(made.client) == b"heard EHLO a\r\n"
    assert world.opened == []
    assert str(made.server.address) == "('198.51.100.1', 25)"


def test_what_is_not_smtp_is_left_to_mitmproxy() -> None:
    with taddons.context():
        made = make_context(server_open=False)
        made.server.address = None
        world = World(made)
        world.start(SmtpSocks(made, lambda _: None))
        world.receive(made.client, HELLO)
        world.receive(made.client, CONNECT)
        world.receive(made.client, b"GET / HTTP/1.1\r\n\r\n")

    assert world.opened == [made.server]
    assert [hook.name for hook in world.hooks] == ["next_layer"]
