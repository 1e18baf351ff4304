"""The upgradeable TLS layers against real OpenSSL peers (RFC 3207, traps 1)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from mitmproxy.connection import Connection, ConnectionState, Server
from mitmproxy.proxy import commands, events, layer
from mitmproxy.tls import TlsData
from OpenSSL import SSL

from smtpguard.proxy.hello import MAX_OCTETS
from smtpguard.proxy.starttls import (
    ClientTls,
    ContinueTls,
    HelloReceived,
    StartTls,
    StartTlsCompleted,
    TlsRefusedError,
    UpstreamTls,
)
from tests.proxy.peers import Authority, TlsPeer, client_peer, server_peer
from tests.proxy.playbook import World, make_context


class Do(events.Event):
    """Has the probe yield commands."""

    def __init__(self, *todo: commands.Command) -> None:
        self.todo = todo


class Probe(layer.Layer):
    """The layer above: remembers what it hears, says what it is told to."""

    def __init__(self, context: Any) -> None:
        super().__init__(context)
        self.heard: list[events.Event] = []
        self.on_hello: list[commands.Command] = []

    def _handle_event(self, event: events.Event) -> layer.CommandGenerator[None]:
        if isinstance(event, Do):
            yield from event.todo
            return
        self.heard.append(event)
        if isinstance(event, HelloReceived):
            yield from self.on_hello

    def of(self, kind: type) -> list[Any]:
        return [event for event in self.heard if isinstance(event, kind)]

    def data(self, conn: Connection) -> bytes:
        received = self.of(events.DataReceived)
        return b"".join(e.data for e in received if e.connection == conn)


class Bench:
    """Both TLS layers around a probe."""

    def __init__(self, pem: Path, *, provide: bool = True, quiet: bool = False) -> None:
        self.context = make_context()
        self.world = World(self.context)
        self.pem = pem
        self.min_version = SSL.TLS1_2_VERSION
        offer = self.offer if provide else None
        still = (lambda hook: True) if quiet else None
        self.upstream = UpstreamTls(self.context, offer, still)
        self.client = ClientTls(self.context, offer, still)
        self.probe = Probe(self.context)
        self.upstream.child_layer = self.client
        self.client.child_layer = self.probe
        self.world.start(self.upstream)

    def offer(self, data: TlsData) -> None:
        if data.conn == self.context.client:
            context = SSL.Context(SSL.TLS_SERVER_METHOD)
            context.set_min_proto_version(self.min_version)
            context.use_certificate_chain_file(str(self.pem))
            context.use_privatekey_file(str(self.pem))
            data.ssl_conn = SSL.Connection(context)
            data.ssl_conn.set_accept_state()
        else:
            context = SSL.Context(SSL.TLS_CLIENT_METHOD)
            context.load_verify_locations(str(self.pem.parent / "ca.pem"))
            data.ssl_conn = SSL.Connection(context)
            data.ssl_conn.set_connect_state()

    def do(self, *todo: commands.Command) -> Bench:
        self.world.feed(Do(*todo))
        return self

    def shake(self, conn: Connection, peer: TlsPeer, first: bytes = b"") -> Bench:
        """Carry octets to and fro until both sides have nothing more to say."""
        to_us = first
        for _ in range(20):
            if to_us:
                self.world.receive(conn, to_us)
            to_peer = self.world.take(conn)
            to_us = peer.feed(to_peer) if to_peer else b""
            if not to_us and not self.world.sent.get(conn.id):
                return self
        raise AssertionError("handshake does not end")

    def secure_client(self, peer: TlsPeer) -> Bench:
        self.do(StartTls(self.context.client))
        return self.shake(self.context.client, peer, peer.handshake())

    def secure_server(self, peer: TlsPeer, name: str = "mx.example") -> Bench:
        self.do(StartTls(self.context.server, name))
        return self.shake(self.context.server, peer)

    def completed(self) -> StartTlsCompleted:
        (found,) = self.probe.of(StartTlsCompleted)
        assert isinstance(found, StartTlsCompleted)
        return found


@pytest.fixture
def bench(authority: Authority) -> Bench:
    return Bench(authority.folder / "mx.example.pem")


# -- clear -----------------------------------------------------------------------------


def test_octets_pass_in_clear_in_both_directions(bench: Bench) -> None:
    client, server = bench.context.client, bench.context.server
    bench.world.receive(client, b"EHLO a\r\n").receive(server, b"220 hi\r\n")
    bench.do(commands.SendData(client, b"250\r\n"), commands.SendData(server, b"Q\r\n"))

    assert bench.probe.data(client) == b"EHLO a\r\n"
    assert bench.probe.data(server) == b"220 hi\r\n"
    assert bench.world.take(client) == b"250\r\n"
    assert bench.world.take(server) == b"Q\r\n"


def test_neither_leg_is_marked_as_tls_before_the_upgrade(bench: Bench) -> None:
    assert bench.context.client.tls is False
    assert bench.context.server.tls is False


@pytest.mark.parametrize("side", ["client", "server"])
def test_a_close_in_clear_reaches_the_child_once(bench: Bench, side: str) -> None:
    conn = getattr(bench.context, side)
    bench.world.close(conn).feed(events.ConnectionClosed(conn))

    (closed,) = bench.probe.of(events.ConnectionClosed)
    assert closed.connection == conn


def test_opening_a_connection_passes_without_pausing_the_layers(
    authority: Authority,
) -> None:
    bench = Bench(authority.folder / "mx.example.pem")
    bench.world.hold_openings = True
    server = Server(address=("198.51.100.2", 25))
    bench.upstream.reset(server)
    opening = commands.OpenConnection(server)
    opening.blocking = bench.probe  # type: ignore[assignment]
    bench.do(opening)
    bench.world.receive(bench.context.client, b"meanwhile")

    assert bench.probe.data(bench.context.client) == b"meanwhile"
    bench.world.answer(opening)
    assert len(bench.probe.of(events.OpenConnectionCompleted)) == 1


# -- the upgrade -----------------------------------------------------------------------


def test_client_upgrade_tells_version_cipher_and_name(bench: Bench) -> None:
    peer = client_peer()
    bench.secure_client(peer)

    done = bench.completed()
    assert done.reply is None
    assert done.facts is not None
    assert done.facts.version == peer.ssl.version()
    assert done.facts.cipher == peer.ssl.cipher()[0]  # type: ignore[index]
    assert done.facts.name == "mx.example"
    assert done.facts.verified == ""
    assert bench.context.client.tls_established


def test_upstream_upgrade_tells_the_verification_result(bench: Bench) -> None:
    bench.secure_server(server_peer(bench.pem))

    done = bench.completed()
    assert done.facts is not None
    assert done.facts.verified == "ok"
    assert done.facts.name == "mx.example"
    assert bench.context.server.certificate_list[0].cn == "mx.example"


def test_an_address_is_not_told_as_a_name(bench: Bench) -> None:
    bench.secure_server(server_peer(bench.pem), "198.51.100.1")

    facts = bench.completed().facts
    assert facts is not None
    assert facts.name == ""


def test_octets_are_encrypted_and_decrypted_after_the_upgrade(bench: Bench) -> None:
    client = bench.context.client
    peer = client_peer()
    bench.secure_client(peer)
    bench.world.receive(client, peer.write(b"EHLO b\r\n"))
    bench.do(commands.SendData(client, b"250 fine\r\n"))
    wire = bench.world.take(client)
    peer.feed(wire)

    assert bench.probe.data(client) == b"EHLO b\r\n"
    assert b"250" not in wire
    assert bytes(peer.received) == b"250 fine\r\n"


@pytest.mark.parametrize("size", [1, 7, 100], ids=lambda n: f"{n} octets a segment")
def test_the_hello_may_come_in_any_segments(bench: Bench, size: int) -> None:
    client = bench.context.client
    peer = client_peer()
    hello = peer.handshake()
    bench.do(StartTls(client))
    for at in range(0, len(hello), size):
        bench.world.receive(client, hello[at : at + size])
    bench.shake(client, peer, peer.feed(bench.world.take(client)))

    assert bench.completed().reply is None


def test_octets_read_before_the_command_belong_to_the_handshake(bench: Bench) -> None:
    """Implicit TLS told by its first octets (``implicit: auto``)."""
    client = bench.context.client
    peer = client_peer()
    bench.do(StartTls(client, data=peer.handshake()))
    bench.shake(client, peer, peer.feed(bench.world.take(client)))

    assert bench.completed().reply is None


def test_data_in_the_segment_of_finished_follows_the_completion(bench: Bench) -> None:
    client = bench.context.client
    peer = client_peer()
    bench.do(StartTls(client))
    bench.world.receive(client, peer.handshake())
    finished = peer.feed(bench.world.take(client))
    assert peer.established
    bench.world.receive(client, finished + peer.write(b"EHLO at once\r\n"))

    kinds = [type(event) for event in bench.probe.heard]
    assert kinds[-2:] == [StartTlsCompleted, events.DataReceived]
    assert bench.probe.data(client) == b"EHLO at once\r\n"


def test_data_during_the_established_hook_follows_the_completion(bench: Bench) -> None:
    client = bench.context.client
    bench.world.held_hooks = {"tls_established_client"}
    peer = client_peer()
    bench.secure_client(peer)
    bench.world.receive(client, peer.write(b"EHLO early\r\n"))
    assert bench.probe.of(StartTlsCompleted) == []
    bench.world.answer(bench.world.held("tls_established_client"))

    assert bench.completed().reply is None
    assert bench.probe.data(client) == b"EHLO early\r\n"


def test_hooks_are_those_that_mitmproxy_users_know(bench: Bench) -> None:
    bench.secure_client(client_peer()).secure_server(server_peer(bench.pem))

    assert [hook.name for hook in bench.world.hooks] == [
        "tls_clienthello",
        "tls_start_client",
        "tls_established_client",
        "tls_start_server",
        "tls_established_server",
    ]


def test_hooks_that_nobody_hears_are_not_raised(authority: Authority) -> None:
    bench = Bench(authority.folder / "mx.example.pem", quiet=True)
    bench.secure_client(client_peer())

    assert bench.completed().reply is None
    assert bench.world.hooks == []


def test_tls_may_be_set_up_by_another_addon(authority: Authority) -> None:
    bench = Bench(authority.folder / "mx.example.pem", provide=False)
    bench.world.handlers = {"tls_start_client": bench.offer}
    bench.secure_client(client_peer())

    assert bench.completed().reply is None


def test_a_pausing_layer_gets_the_completion_as_its_reply(authority: Authority) -> None:
    bench = Bench(authority.folder / "mx.example.pem")
    replies: list[object] = []

    class Pausing(layer.Layer):
        def _handle_event(self, event: events.Event) -> layer.CommandGenerator[None]:
            if isinstance(event, Do):
                command = StartTls(self.context.client)
                command.blocking = True
                replies.append((yield command))

    bench.client.child_layer = Pausing(bench.context)
    peer = client_peer()
    bench.do()
    bench.shake(bench.context.client, peer, peer.handshake())

    assert replies == [None]


# -- held ------------------------------------------------------------------------------


def test_a_held_handshake_waits_after_the_hello(bench: Bench) -> None:
    client = bench.context.client
    peer = client_peer(name="asked.example")
    bench.do(StartTls(client, hold=True))
    bench.world.receive(client, peer.handshake())

    (hello,) = bench.probe.of(HelloReceived)
    assert hello.name == "asked.example"
    assert bench.world.take(client) == b""
    assert bench.world.raised("tls_start_client") == []

    bench.do(ContinueTls(client))
    bench.shake(client, peer, peer.feed(bench.world.take(client)))
    assert bench.completed().reply is None


def test_the_server_can_be_upgraded_while_the_client_is_held(bench: Bench) -> None:
    client = bench.context.client
    peer = client_peer()
    bench.do(StartTls(client, hold=True))
    bench.world.receive(client, peer.handshake())
    bench.secure_server(server_peer(bench.pem))
    bench.do(ContinueTls(client))
    bench.shake(client, peer, peer.feed(bench.world.take(client)))

    server_done, client_done = bench.probe.of(StartTlsCompleted)
    assert server_done.command.connection == bench.context.server
    assert client_done.command.connection == client
    assert client_done.reply is None


def test_continuing_may_be_the_answer_to_the_hello(bench: Bench) -> None:
    client = bench.context.client
    bench.probe.on_hello = [ContinueTls(client)]
    peer = client_peer()
    bench.do(StartTls(client, hold=True))
    bench.shake(client, peer, peer.handshake())

    assert bench.completed().reply is None


def test_a_client_that_leaves_while_held_is_told_at_once(bench: Bench) -> None:
    client = bench.context.client
    bench.do(StartTls(client, hold=True))
    bench.world.receive(client, client_peer().handshake()).close(client)

    assert bench.completed().reply == "connection closed"
    assert bench.probe.of(events.ConnectionClosed) == []


def test_what_is_sent_while_held_is_bounded(bench: Bench) -> None:
    client = bench.context.client
    bench.do(StartTls(client, hold=True))
    bench.world.receive(client, client_peer().handshake())
    for _ in range(MAX_OCTETS // 16384 + 1):
        bench.world.receive(client, bytes(16384))

    assert bench.completed().reply == "too much data during the handshake"
    assert bench.world.is_closed(client)


# -- failures --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"MAIL FROM:<secret@example>\r\n", "not a TLS handshake"),
        (b"\x16\x03\x01\x00\x00", "empty TLS record"),
        (b"\x17\x03\x03\x00\x10" + bytes(16), "not a TLS handshake"),
        (
            b"\x16\x03\x01\x00\x04\x02\x00\x00\x00",
            "TLS handshake does not begin with a ClientHello",
        ),
        (b"\x16\x03\x01\x00\x06\x01\x00\x00\x02\x03\x03", "malformed ClientHello"),
    ],
    ids=["clear text", "empty record", "application data", "server hello", "cut body"],
)
def test_anything_but_a_hello_ends_the_connection(
    bench: Bench, data: bytes, error: str
) -> None:
    client = bench.context.client
    bench.do(StartTls(client))
    bench.world.receive(client, data)

    assert bench.completed().reply == error
    assert bench.world.is_closed(client)
    assert client.tls is False
    assert client.error == error
    assert len(bench.world.raised("tls_failed_client")) == 1


def test_octets_of_the_peer_are_never_logged(bench: Bench) -> None:
    """mitmproxy logs what it cannot parse as hex: an AUTH secret would be in it."""
    bench.do(StartTls(bench.context.client))
    bench.world.receive(bench.context.client, b"AUTH PLAIN AGEAYg==\r\n")

    assert "AGEAYg" not in bench.world.logged()
    assert b"AGEAYg".hex() not in bench.world.logged()


@pytest.mark.parametrize("record", [1000, 1], ids=["large records", "tiny records"])
def test_an_endless_hello_is_refused_at_its_bound(bench: Bench, record: int) -> None:
    """Traps 1: 2 MiB of it took mitmproxy 2.7 s, since each read began anew."""
    client = bench.context.client
    body = (b"\x01\x00\xff\xfc" + bytes(MAX_OCTETS))[: MAX_OCTETS + 4]
    bench.do(StartTls(client))
    fed = 0
    while not bench.world.is_closed(client):
        part = body[fed : fed + record].ljust(record, b"\0")
        bench.world.receive(client, b"\x16\x03\x01" + len(part).to_bytes(2) + part)
        fed += record
        assert fed <= MAX_OCTETS + record

    assert bench.completed().reply == f"ClientHello is longer than {MAX_OCTETS} octets"


@pytest.mark.parametrize(
    "first",
    [b"454 sorry\r\n", b"\x15\x03\x03\x00\x02\x02\x28", bytes(50)],
    ids=["clear text", "alert", "noise"],
)
def test_an_upstream_that_does_not_speak_tls_fails_the_upgrade(
    bench: Bench, first: bytes
) -> None:
    server = bench.context.server
    bench.do(StartTls(server, "mx.example"))
    bench.world.receive(server, first)

    assert bench.completed().reply
    assert bench.world.is_closed(server)
    assert len(bench.world.raised("tls_failed_server")) == 1


def test_a_peer_that_closes_during_the_handshake_fails_it(bench: Bench) -> None:
    server = bench.context.server
    bench.do(StartTls(server, "mx.example"))
    bench.world.close(server)

    assert bench.completed().reply == "connection closed"
    assert bench.probe.of(events.ConnectionClosed) == []


def test_a_peer_that_closes_during_a_hook_fails_the_handshake(bench: Bench) -> None:
    server = bench.context.server
    bench.world.held_hooks = {"tls_start_server"}
    bench.do(StartTls(server, "mx.example"))
    bench.world.close(server)
    assert bench.completed().reply == "connection closed"
    bench.world.answer(bench.world.held("tls_start_server"))

    assert len(bench.probe.of(StartTlsCompleted)) == 1


def test_the_other_leg_is_heard_while_a_tls_hook_works(bench: Bench) -> None:
    bench.world.held_hooks = {"tls_start_server"}
    bench.do(StartTls(bench.context.server, "mx.example"))
    bench.world.receive(bench.context.client, b"NOOP\r\n")

    assert bench.probe.data(bench.context.client) == b"NOOP\r\n"


def test_nobody_sets_tls_up_is_an_error_not_a_hang(authority: Authority) -> None:
    bench = Bench(authority.folder / "mx.example.pem", provide=False)
    client = bench.context.client
    bench.do(StartTls(client))
    bench.world.receive(client, client_peer().handshake())

    assert bench.completed().reply == "no TLS context was provided"
    assert bench.world.is_closed(client)


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (TlsRefusedError("no certificate"), "no certificate"),
        (OSError("disk"), "OSError while TLS was set up: disk"),
    ],
    ids=["refused", "broken"],
)
def test_a_refusal_ends_the_handshake_before_any_other_addon_is_asked(
    authority: Authority, error: Exception, told: str
) -> None:
    """Else mitmproxy would mint a certificate where the rules name one."""
    bench = Bench(authority.folder / "mx.example.pem")

    def refuse(data: TlsData) -> None:
        raise error

    bench.client._provide = refuse
    client = bench.context.client
    peer = client_peer()
    bench.do(StartTls(client))
    bench.world.receive(client, peer.handshake())

    assert bench.completed().reply == told
    assert bench.world.raised("tls_start_client") == []
    with pytest.raises(Exception, match=r"(?i)handshake failure"):
        peer.feed(bench.world.take(client))


def test_the_client_hears_an_alert_if_versions_do_not_meet(bench: Bench) -> None:
    import ssl

    old = client_peer(maximum_version=ssl.TLSVersion.TLSv1_2)

    bench.min_version = SSL.TLS1_3_VERSION
    client = bench.context.client
    bench.do(StartTls(client))
    bench.world.receive(client, old.handshake())

    assert bench.completed().reply
    with pytest.raises(ssl.SSLError, match=r"(?i)protocol version"):
        old.feed(bench.world.take(client))


def test_sending_after_a_failed_handshake_is_dropped(bench: Bench) -> None:
    """Traps 1: in mitmproxy it raises WantReadError, the layer dies, sockets stay."""
    server = bench.context.server
    bench.do(StartTls(server, "mx.example"))
    bench.world.receive(server, b"454 sorry\r\n").take(server)
    bench.do(commands.SendData(server, b"QUIT\r\n"), commands.CloseConnection(server))

    assert bench.world.take(server) == b""


def test_sending_during_a_handshake_is_dropped(bench: Bench) -> None:
    server = bench.context.server
    bench.do(StartTls(server, "mx.example"))
    bench.world.take(server)
    bench.do(commands.SendData(server, b"in clear?"))

    assert bench.world.take(server) == b""


def test_starting_twice_is_a_programming_error_in_our_words(bench: Bench) -> None:
    bench.secure_client(client_peer())

    with pytest.raises(AssertionError, match="no longer in clear"):
        bench.do(StartTls(bench.context.client))


@pytest.mark.parametrize("ended_by", ["peer", "us"])
def test_starting_on_a_closed_connection_fails_at_once(
    bench: Bench, ended_by: str
) -> None:
    client = bench.context.client
    if ended_by == "peer":
        bench.world.close(client)
    else:
        bench.do(commands.CloseConnection(client))
    bench.do(StartTls(client))

    assert bench.completed().reply == "connection closed"


def test_a_handshake_that_we_close_is_not_completed(bench: Bench) -> None:
    """The deadline is the child's: it knows what it has closed."""
    client = bench.context.client
    bench.do(StartTls(client), commands.CloseConnection(client))
    bench.world.receive(client, client_peer().handshake())

    assert bench.probe.of(StartTlsCompleted) == []
    assert bench.world.is_closed(client)


def test_a_new_server_connection_begins_in_clear_again(bench: Bench) -> None:
    old = bench.context.server
    bench.do(StartTls(old, "mx.example"))
    bench.world.receive(old, b"454 sorry\r\n")
    new = Server(address=old.address)
    new.state = ConnectionState.OPEN
    bench.world.connections[new.id] = new
    bench.upstream.reset(new)
    bench.do(commands.SendData(new, b"EHLO again\r\n"))
    bench.world.receive(new, b"220 in clear\r\n")

    assert bench.world.take(new) == b"EHLO again\r\n"
    assert bench.probe.data(new) == b"220 in clear\r\n"
    assert new.tls is False


# -- the end ---------------------------------------------------------------------------


def test_closing_says_close_notify(bench: Bench) -> None:
    client = bench.context.client
    peer = client_peer()
    bench.secure_client(peer)
    bench.do(commands.CloseConnection(client))
    peer.feed(bench.world.take(client))

    assert peer.ended
    assert bench.world.is_closed(client)


def test_closing_twice_closes_once(bench: Bench) -> None:
    client = bench.context.client
    bench.do(commands.CloseConnection(client), commands.CloseConnection(client))

    assert bench.world.closed == [client.id]


def test_close_notify_of_the_peer_is_told_once(bench: Bench) -> None:
    client = bench.context.client
    peer = client_peer()
    bench.secure_client(peer)
    ended = peer.unwrap()
    bench.world.receive(client, ended).close(client)

    assert len(bench.probe.of(events.ConnectionClosed)) == 1


def test_replies_still_reach_a_peer_that_said_close_notify(bench: Bench) -> None:
    client = bench.context.client
    peer = client_peer()
    bench.secure_client(peer)
    bench.world.receive(client, peer.unwrap())
    bench.do(commands.SendData(client, b"221 bye\r\n"))

    assert bench.world.take(client)


def test_a_broken_record_ends_the_connection(bench: Bench) -> None:
    client = bench.context.client
    bench.secure_client(client_peer())
    bench.world.receive(client, b"\x17\x03\x03\x00\x20" + bytes(32))
    bench.do(commands.SendData(client, b"anybody?"))

    assert bench.world.is_closed(client)
    assert len(bench.probe.of(events.ConnectionClosed)) == 1
    assert "TLS error" in bench.world.logged()


def test_ignoring_the_connection_after_the_hello_is_refused(bench: Bench) -> None:
    """An addon for HTTP must not turn a session that was read into a tunnel."""

    def ignore(data: Any) -> None:
        data.ignore_connection = True

    bench.world.handlers = {"tls_clienthello": ignore}
    bench.secure_client(client_peer())

    assert bench.completed().reply is None
    assert "ignore_connection" in bench.world.logged()
