"""The raw ends that the acceptance tests stand on: what they claim they do."""

from __future__ import annotations

import socket
import ssl
import threading
from typing import TYPE_CHECKING

import pytest

from tests.integration import raw
from tests.integration.bed.process import BedError
from tests.integration.raw import Wire, connect
from tests.integration.sink import Arrived, Sink


if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.integration.bed.certificates import Authority, Identity


@pytest.fixture
def pair() -> Iterator[tuple[Wire, socket.socket]]:
    listener = socket.create_server(("127.0.0.1", 0))
    with listener, connect(listener.getsockname()[1]) as wire:
        peer, _ = listener.accept()
        with peer:
            yield wire, peer


def test_pieces_sent_apart_are_read_apart(pair: tuple[Wire, socket.socket]) -> None:
    wire, peer = pair
    read: list[bytes] = []

    def take() -> None:
        while octets := peer.recv(65536):
            read.append(octets)

    thread = threading.Thread(target=take)
    thread.start()
    pieces = [b"\r", b"\n", b".", b"\r", b"\n", b"a longer piece\r\n"] * 50
    wire.send_apart(*pieces)
    wire.finish()
    thread.join(10)
    assert read == pieces


def test_a_peer_that_does_not_read_is_told(
    pair: tuple[Wire, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(raw, "SECONDS", 0.05)
    wire, _ = pair
    with pytest.raises(BedError, match="not read"):
        wire.send_apart(b"x")


def test_a_peer_that_has_closed_is_not_waited_for(
    pair: tuple[Wire, socket.socket],
) -> None:
    wire, peer = pair
    peer.close()
    wire.send_apart(b"x")
    assert wire.rest() == b""


@pytest.fixture
def sink(identity: Identity) -> Iterator[Sink]:
    with Sink(identity, b"CHUNKING") as server:
        yield server


def talking(sink: Sink, trust: Path) -> Wire:
    """Connect and begin TLS; the caller closes."""
    wire = connect(sink.port)
    wire.reply()
    assert "STARTTLS" in wire.ask(b"EHLO x")
    assert wire.ask(b"MAIL FROM:<>").startswith("530 ")
    assert wire.ask(b"STARTTLS").startswith("220 ")
    wire.start_tls(ssl.create_default_context(cafile=str(trust)), "127.0.0.1")
    return wire


@pytest.mark.parametrize(
    ("sent", "kept", "ill_stuffed"),
    [
        (b".\r\n", b"", 0),
        (b"\r\n.\r\n", b"\r\n", 0),
        (b"x\r\n.\r\n", b"x\r\n", 0),
        (b"..\r\n.\r\n", b".\r\n", 0),
        (b"....\r\n..x\r\n.\r\n", b"...\r\n.x\r\n", 0),
        (b"x\n.\nx\r.\rx\r\n.\r\n", b"x\n.\nx\r.\rx\r\n", 0),
        (b".x\r\n.\r\n", b"x\r\n", 1),
        (b"x\r\n.x\r\n.\r\n", b"x\r\nx\r\n", 1),
    ],
    ids=repr,
)
def test_the_sink_keeps_what_data_brings(
    sent: bytes, kept: bytes, ill_stuffed: int, sink: Sink, authority: Authority
) -> None:
    with talking(sink, authority.certificate) as wire:
        wire.send(b"MAIL FROM:<>\r\nRCPT TO:<a@b>\r\nDATA\r\n")
        assert [wire.reply()[:3] for _ in range(3)] == ["250", "250", "354"]
        wire.send_apart(*(bytes([octet]) for octet in sent))
        assert wire.reply() == "250 2.0.0 kept"
        assert wire.ask(b"QUIT").startswith("221 ")
    assert sink.copies == {"a@b": [Arrived(kept, "DATA")]}
    assert sink.ill_stuffed == ill_stuffed


def test_the_sink_keeps_what_bdat_brings(sink: Sink, authority: Authority) -> None:
    with talking(sink, authority.certificate) as wire:
        wire.send(b"MAIL FROM:<>\r\nRCPT TO:<a@b>\r\nRCPT TO:<c@d>\r\n")
        wire.send(b"BDAT 5\r\n\r\n.\r\nBDAT 0\r\nBDAT 4 LAST\r\n.\0\r\nQUIT\r\n")
        assert [wire.reply()[:3] for _ in range(7)] == ["250"] * 6 + ["221"]
    arrived = [Arrived(b"\r\n.\r\n.\0\r\n", "BDAT")]
    assert sink.copies == {"a@b": arrived, "c@d": arrived}


def test_the_sink_keeps_clear_and_secure_commands_apart(
    sink: Sink, authority: Authority
) -> None:
    with talking(sink, authority.certificate) as wire:
        wire.ask(b"EHLO y")
        wire.ask(b"QUIT")
    session = sink.wait_session(0)
    assert session.clear == [b"EHLO x", b"MAIL FROM:<>", b"STARTTLS"]
    assert session.secure == [b"EHLO y", b"QUIT"]


def test_the_sink_notes_what_lies_behind_starttls(sink: Sink) -> None:
    with connect(sink.port) as wire:
        wire.reply()
        wire.send(b"STARTTLS\r\nNOOP\r\n")
        assert wire.reply().startswith("220 ")
        wire.finish()
    session = sink.wait_session(0)
    assert session.clear == [b"STARTTLS"]
    assert session.early == b"NOOP\r\n"
    assert session.fault
