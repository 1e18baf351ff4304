"""A port is ours alone, though several of our sockets listen on it."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from smtpguard.ports import hold, parse_address


LOOPBACK = "127.0.0.1"


def listener(port: int, *, shared: bool, host: str = LOOPBACK) -> socket.socket:
    """Listen as asyncio does; shared is with SO_REUSEPORT."""
    made = socket.socket()
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, int(shared))
        made.bind((host, port))
        made.listen()
    except OSError:
        made.close()
        raise
    return made


def in_use() -> Any:
    return pytest.raises(OSError, match=f"Errno {errno.EADDRINUSE}")


@pytest.fixture
def port() -> int:
    with socket.create_server((LOOPBACK, 0)) as free:
        found: int = free.getsockname()[1]
        return found


def test_others_are_kept_out_and_nobody_is_let_in(port: int) -> None:
    with hold(LOOPBACK, port):
        with in_use():
            listener(port, shared=False)
        with in_use():
            listener(port, shared=False, host="0.0.0.0")
        with in_use():
            hold(LOOPBACK, port)
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((LOOPBACK, port), 5)
    with hold(LOOPBACK, port):
        pass
    listener(port, shared=False).close()


def test_ours_get_all_clients_and_others_none_when_ours_are_gone(port: int) -> None:
    with hold(LOOPBACK, port):
        for _ in range(2):
            with listener(port, shared=True) as ours:
                # Each of them: a share for what holds the port would be one in two.
                for _ in range(20):
                    with socket.create_connection((LOOPBACK, port), 5):
                        ours.settimeout(5)
                        ours.accept()[0].close()
                with in_use():
                    hold(LOOPBACK, port)
            with in_use():
                listener(port, shared=False)


@pytest.mark.parametrize("shared", [True, False])
def test_a_port_where_somebody_listens_is_not_held(port: int, shared: bool) -> None:
    with listener(port, shared=shared), in_use():
        hold(LOOPBACK, port)
    with listener(port, shared=shared, host="0.0.0.0"), in_use():
        hold(LOOPBACK, port)


def test_whoever_has_bound_it_before_cannot_listen_afterwards(port: int) -> None:
    """As a gateway without workers that starts in the same moment."""
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind((LOOPBACK, port))
        with hold(LOOPBACK, port), in_use():
            other.listen()


def test_of_two_that_want_to_hold_it_in_the_same_moment_one_does(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other one comes when the first is bound already."""
    others: list[ExitStack] = []
    bind = socket.socket.bind

    def bind_both(self: socket.socket, address: Any) -> None:
        bind(self, address)
        monkeypatch.undo()
        others.append(hold(LOOPBACK, port))

    monkeypatch.setattr(socket.socket, "bind", bind_both)
    with in_use():
        hold(LOOPBACK, port)
    (other,) = others
    with other, in_use():
        listener(port, shared=False)


def test_connections_of_before_are_in_nobodys_way(port: int) -> None:
    with (
        listener(port, shared=True) as before,
        socket.create_connection((LOOPBACK, port), 5) as client,
    ):
        accepted = before.accept()[0]
        before.close()
        with hold(LOOPBACK, port):
            client.sendall(b"x")
            assert accepted.recv(1) == b"x"
        accepted.close()
    # What the server closed first waits out its time.
    with hold(LOOPBACK, port):
        pass


@pytest.fixture
def without_ipv6(request: pytest.FixtureRequest) -> Iterator[None]:
    """A kernel without IPv6 (no such family), or with it switched off (no address)."""
    real = socket.socket

    class Socket(real):  # type: ignore[valid-type,misc]
        def __init__(self, family: int, kind: int) -> None:
            if family == socket.AF_INET6 and request.param == errno.EAFNOSUPPORT:
                raise OSError(request.param, "no such family")
            super().__init__(family, kind)

        def bind(self, address: Any) -> None:
            if self.family == socket.AF_INET6:
                raise OSError(request.param, "no such address")
            super().bind(address)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket, "socket", Socket)
        yield


@pytest.mark.parametrize(
    "without_ipv6", [errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL], indirect=True
)
@pytest.mark.usefixtures("without_ipv6")
def test_a_machine_without_ipv6_holds_what_it_has(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    both = [
        (socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("::", port, 0, 0)),
        (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("0.0.0.0", port)),
    ]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: both)
    with hold("", port), in_use():
        hold("", port)
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: both[:1])
    with pytest.raises(OSError, match="no such"):
        hold("", port)


def test_an_address_that_is_not_ours_is_told(port: int) -> None:
    with pytest.raises(OSError, match=f"Errno {errno.EADDRNOTAVAIL}"):
        hold("192.0.2.1", port)


def test_a_name_with_the_same_address_twice_is_held(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    twice = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (LOOPBACK, port))] * 2
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: twice)
    with hold("twice.test", port), in_use():
        listener(port, shared=False)


def test_what_is_no_name_is_told(port: int) -> None:
    with pytest.raises(ValueError, match="label"):
        hold("x" * 70 + ".test", port)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("9464", ("127.0.0.1", 9464)),
        ("127.0.0.2:9464", ("127.0.0.2", 9464)),
        ("[::1]:9464", ("::1", 9464)),
        ("mx.example:1", ("mx.example", 1)),
    ],
)
def test_an_address_is_read(text: str, address: tuple[str, int]) -> None:
    assert parse_address(text) == address


@pytest.mark.parametrize(
    "text", ["", "x", "0", "65536", ":9464", "::1:9464", "a:", "-1"]
)
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"^"):
        parse_address(text)
