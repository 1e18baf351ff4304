"""What both TLS layers share: order, held hooks, replaced connections."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from mitmproxy.connection import ConnectionState, Server
from mitmproxy.proxy import commands, events, layer
from OpenSSL import SSL

from smtpguard.proxy.starttls import StartTls, StartTlsCompleted
from smtpguard.proxy.upgradeable import Phase
from tests.proxy.peers import Authority, client_peer, server_peer
from tests.proxy.test_starttls import Bench, Do


if TYPE_CHECKING:
    from mitmproxy.connection import Connection


@pytest.fixture
def bench(authority: Authority) -> Bench:
    return Bench(authority.folder / "mx.example.pem")


def test_an_answer_to_the_child_waits_until_the_child_has_spoken(bench: Bench) -> None:
    """Else a layer would be called in the middle of its own sentence."""
    server = bench.context.server
    bench.world.close(server)
    depth: list[int] = []

    class Watching(layer.Layer):
        speaking = 0

        def handle_event(self, event: events.Event) -> layer.CommandGenerator[None]:
            depth.append(self.speaking)
            self.speaking += 1
            if isinstance(event, Do):
                yield from event.todo
            self.speaking -= 1

        _handle_event = handle_event

    bench.client.child_layer = Watching(bench.context)
    bench.do(StartTls(server, "mx.example"), commands.Log("still speaking"))

    assert depth == [0, 0]


def test_an_exception_in_the_child_does_not_leave_the_layer_deaf(bench: Bench) -> None:
    def broken(event: events.Event) -> layer.CommandGenerator[None]:
        raise RuntimeError("planted")

    heard = bench.probe.handle_event
    bench.probe.handle_event = broken  # type: ignore[method-assign]
    with pytest.raises(RuntimeError):
        bench.world.receive(bench.context.client, b"first")
    bench.probe.handle_event = heard  # type: ignore[method-assign]
    bench.world.receive(bench.context.client, b"second")

    assert bench.probe.data(bench.context.client) == b"second"


def test_what_a_server_sends_during_a_hook_is_used_after_it(bench: Bench) -> None:
    server = bench.context.server
    bench.world.held_hooks = {"tls_start_server"}
    peer = server_peer(bench.pem)
    bench.do(StartTls(server, "mx.example"))
    bench.world.receive(server, b"too early")
    bench.world.answer(bench.world.held("tls_start_server"))
    bench.shake(server, peer)

    assert bench.completed().reply  # those octets were no handshake


def test_octets_in_clear_at_the_start_belong_to_the_servers_handshake(
    bench: Bench,
) -> None:
    server = bench.context.server
    bench.do(StartTls(server, "mx.example", b"454 sorry\r\n"))

    assert bench.completed().reply
    assert bench.world.is_closed(server)


def test_a_hook_of_a_replaced_connection_ends_nothing(bench: Bench) -> None:
    old = bench.context.server
    bench.world.held_hooks = {"tls_start_server"}
    bench.do(StartTls(old, "mx.example"), commands.CloseConnection(old))
    new = Server(address=old.address)
    new.state = ConnectionState.OPEN
    bench.world.connections[new.id] = new
    bench.upstream.reset(new)
    bench.world.answer(bench.world.held("tls_start_server"))
    bench.do(commands.SendData(new, b"EHLO a\r\n"))

    assert bench.world.take(new) == b"EHLO a\r\n"
    assert bench.probe.of(StartTlsCompleted) == []
    assert bench.upstream.phase is Phase.CLEAR


def test_closing_for_writing_alone_leaves_reading_open(bench: Bench) -> None:
    closing = commands.CloseTcpConnection(bench.context.client, half_close=True)
    list(bench.client.send_close(closing))
    bench.world.receive(bench.context.client, b"still here")

    assert bench.probe.data(bench.context.client) == b"still here"


def test_an_encryption_that_cannot_be_ended_keeps_no_connection_open(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """OpenSSL refuses close_notify after some errors, and in the middle of others."""
    client = bench.context.client
    bench.secure_client(client_peer())

    def refuse() -> bool:
        raise SSL.Error([("SSL routines", "", "shutdown while in init")])

    monkeypatch.setattr(bench.client.tls, "shutdown", refuse)
    bench.do(commands.CloseConnection(client))

    assert bench.world.is_closed(client)
    assert bench.client.phase is Phase.CLOSED


def test_large_data_leaves_in_one_piece(bench: Bench) -> None:
    """mitmproxy cuts it into 64 KiB, and each piece is a system call."""
    client = bench.context.client
    peer = client_peer()
    bench.secure_client(peer)
    before = len(bench.world.commands)
    bench.do(commands.SendData(client, b"x" * 300_000))
    sent = [c for c in bench.world.commands[before:] if sends(c, client)]
    peer.feed(bench.world.take(client))

    assert len(sent) == 1
    assert bytes(peer.received) == b"x" * 300_000


def test_many_records_of_a_peer_are_one_event(bench: Bench) -> None:
    client = bench.context.client
    peer = client_peer()
    bench.secure_client(peer)
    records = b"".join(peer.write(b"line %d\r\n" % n) for n in range(50))
    bench.world.receive(client, records)

    (received,) = bench.probe.of(events.DataReceived)
    assert received.data == b"".join(b"line %d\r\n" % n for n in range(50))


@pytest.mark.parametrize("cut", [1, 5, 20])
def test_a_record_in_two_segments_is_read_when_it_is_whole(
    bench: Bench, cut: int
) -> None:
    client = bench.context.client
    peer = client_peer()
    bench.secure_client(peer)
    record = peer.write(b"EHLO a\r\n")
    bench.world.receive(client, record[:cut])
    assert bench.probe.data(client) == b""
    bench.world.receive(client, record[cut:])

    assert bench.probe.data(client) == b"EHLO a\r\n"


def test_the_phase_is_told_for_debugging(bench: Bench) -> None:
    assert repr(bench.client) == "ClientTls(clear)"
    bench.secure_client(client_peer())

    assert repr(bench.client) == "ClientTls(secure)"


def sends(command: commands.Command, conn: Connection) -> bool:
    return isinstance(command, commands.SendData) and command.connection is conn
