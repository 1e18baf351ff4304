"""One connection, octet by octet: in clear, then in TLS, with segments of our choosing.

For peers that do what no mail program does: commands in the segment of a ClientHello, a
dot apart from its CRLF. TLS runs over memory, so that a test holds the records in its
hands and may put them where they do not belong. Blocking, with a deadline on all that
it waits for.
"""

from __future__ import annotations

import socket
import ssl
import struct
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from tests.integration.bed.process import BedError


if TYPE_CHECKING:
    from typing import Self

    type Ends = tuple[tuple[str, int], tuple[str, int]]


SECONDS = 20.0
"""How long anything is waited for."""
_READ = 256 * 1024


class Wire:
    """One end of a TCP connection; as a context it is closed in the end."""

    def __init__(self, sock: socket.socket, *, keep: bool = False) -> None:
        """``keep`` keeps all that came in ``came``, as it came."""
        sock.settimeout(SECONDS)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock = sock
        self.came = bytearray()
        self._keep = keep
        self._buffer = bytearray()
        self._searched = 0
        self._unsent = bytearray()
        self._sent = 0
        self._ends = (sock.getpeername(), sock.getsockname())
        self._ended = False
        self._begun: ssl.SSLObject
        """The handshake under way."""
        self._tls: ssl.SSLObject | None = None
        self._from_peer = ssl.MemoryBIO()
        self._to_peer = ssl.MemoryBIO()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.sock.close()

    # -- out ---------------------------------------------------------------------------

    def send(self, octets: bytes) -> None:
        """Send octets in one piece: one segment as a rule, one record in TLS."""
        self.later(octets)
        self.flush()

    def later(self, octets: bytes) -> None:
        """Send octets before the next time that something is waited for."""
        self._unsent += octets

    def flush(self) -> None:
        """Send what ``later`` was given."""
        octets, self._unsent = bytes(self._unsent), bytearray()
        if self._tls is None:
            self._write(octets)
            return
        for start in range(0, len(octets), 16384):
            self._tls.write(octets[start : start + 16384])
        self._write(self._to_peer.read())

    def send_apart(self, *pieces: bytes) -> None:
        """Send each piece once the peer's program has read the one before.

        Empty pieces are left out. Returns when the last one was read too.
        """
        for piece in filter(None, pieces):
            self.send(piece)
            wait_read(self._ends, self._sent)

    def _write(self, octets: bytes) -> None:
        self.sock.sendall(octets)
        self._sent += len(octets)

    def finish(self) -> None:
        """Send nothing more; what comes may still be read."""
        with suppress(OSError):  # the peer has closed
            self.sock.shutdown(socket.SHUT_WR)

    # -- in ----------------------------------------------------------------------------

    def line(self) -> bytes | None:
        """Return the next line without its CRLF; None once no more comes."""
        found = self.until(b"\r\n")
        return None if found is None else found[:-2]

    def until(self, end: bytes) -> bytes | None:
        """Return everything up to and with ``end``; None once no more comes."""
        self._searched = 0
        while (at := self._buffer.find(end, self._searched)) < 0:
            self._searched = max(0, len(self._buffer) - len(end) + 1)
            if not self._fill():
                return None
        return self._take(at + len(end))

    def exactly(self, count: int) -> bytes | None:
        """Return so many octets; None where fewer come."""
        while len(self._buffer) < count:
            if not self._fill():
                return None
        return self._take(count)

    def put_back(self, octets: bytes) -> None:
        """Have octets that were taken read again."""
        self._buffer[:0] = octets

    def rest(self) -> bytes:
        """Return all that comes until the peer closes."""
        while self._fill():
            pass
        return self._take(len(self._buffer))

    @property
    def unread(self) -> bytes:
        """What has come and was not taken yet."""
        return bytes(self._buffer)

    def reply(self) -> str:
        """Return the next whole SMTP reply, its lines joined by newlines.

        "" where the peer has closed instead.
        """
        lines = []
        while (line := self.line()) is not None:
            lines.append(line.decode("ascii", "backslashreplace"))
            if line[3:4] != b"-":
                return "\n".join(lines)
        return ""

    def ask(self, command: bytes) -> str:
        """Send a line and return the reply."""
        self.send(command + b"\r\n")
        return self.reply()

    def _take(self, count: int) -> bytes:
        taken = bytes(self._buffer[:count])
        del self._buffer[:count]
        return taken

    def _fill(self) -> bool:
        """Wait for more; False once no more comes."""
        if self._unsent:
            self.flush()
        before = len(self._buffer)
        while not self._ended and len(self._buffer) == before:
            data = self._receive()
            if self._tls is None:
                self._buffer += data
            else:
                self._from_peer.write(data)
                self._decrypt(self._tls)
        return len(self._buffer) > before

    def _receive(self) -> bytes:
        try:
            data = self.sock.recv(_READ)
        except ConnectionError:
            data = b""
        if self._keep:
            self.came += data
        self._ended = not data
        return data

    def _decrypt(self, tls: ssl.SSLObject) -> None:
        try:
            while octets := tls.read(_READ):
                self._buffer += octets
            self._ended = True
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLError:
            self._ended = True

    # -- TLS ---------------------------------------------------------------------------

    def hello(self, context: ssl.SSLContext, name: str) -> bytes:
        """Begin a handshake as its client and return the ClientHello, unsent."""
        self._from_peer, self._to_peer = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._begun = context.wrap_bio(
            self._from_peer, self._to_peer, server_hostname=name
        )
        with suppress(ssl.SSLWantReadError):
            self._begun.do_handshake()
        return self._to_peer.read()

    def shake_hands(self) -> None:
        """Finish the handshake whose ClientHello was sent.

        Raises ``ssl.SSLError`` where it fails, ``ConnectionError`` where the peer
        closes.
        """
        self._from_peer.write(self._take(len(self._buffer)))
        while not self._step():
            data = self._receive()
            if not data:
                raise ConnectionError("closed during the handshake")
            self._from_peer.write(data)
        self._tls = self._begun
        self._decrypt(self._tls)

    def start_tls(self, context: ssl.SSLContext, name: str) -> None:
        """Shake hands as the client. Raises as ``shake_hands``."""
        self.send(self.hello(context, name))
        self.shake_hands()

    def accept_tls(self, context: ssl.SSLContext) -> None:
        """Shake hands as the server. Raises as ``shake_hands``."""
        self.flush()
        self._begun = context.wrap_bio(self._from_peer, self._to_peer, server_side=True)
        self.shake_hands()

    def _step(self) -> bool:
        try:
            self._begun.do_handshake()
        except ssl.SSLWantReadError:
            return False
        finally:
            # Of a handshake that fails at least the alert.
            self._write(self._to_peer.read())
        return True


def connect(port: int) -> Wire:
    """Connect to a port on loopback."""
    return Wire(socket.create_connection(("127.0.0.1", port), SECONDS))


def wait_read(ends: Ends, sent: int) -> None:
    """Wait until the program at the other end has read all that was sent to it.

    Then what is sent next is a read of its own there. ``ends`` are the other end's
    address and ours, ``sent`` is how many octets were sent since they were connected.
    Returns too where the other end has closed. Raises ``BedError`` in vain.
    """
    end = time.monotonic() + SECONDS
    while (progress := _progress(ends)) is not None:
        received, unread = progress
        if received >= sent and not unread:
            return
        if time.monotonic() > end:
            raise BedError(f"sent octets are not read within {SECONDS:g} s")
        time.sleep(0.0002)


# sock_diag(7): the request for one connection and what is used of the answer.
_NETLINK_SOCK_DIAG = 4
_REQUEST = struct.Struct("=IHHII BBBxI")
_ENDS = struct.Struct(">HH")
_SOCK_DIAG_BY_FAMILY = 20
_INFO = 2
_MESSAGE_SIZE = 16 + 72
_STATE_AT = 16 + 1
_LISTEN = 10
_UNREAD_AT = 16 + 56
_RECEIVED_AT = 128
"""Of ``tcpi_bytes_received`` in ``struct tcp_info``."""


def _progress(ends: Ends) -> tuple[int, int] | None:
    """Return how many octets the other end was sent and how many it has not read.

    None where it has closed. The table in ``/proc`` would not do: it tells of an octet
    that is not acknowledged yet, which it is 40 ms after it was read.
    """
    request = (
        _REQUEST.pack(
            *(72, _SOCK_DIAG_BY_FAMILY, 1, 0, 0),
            *(socket.AF_INET, socket.IPPROTO_TCP, 1 << (_INFO - 1), 0xFFFFFFFF),
        )
        + _ENDS.pack(*(port for _, port in ends))
        + b"".join(socket.inet_aton(host).ljust(16, b"\0") for host, _ in ends)
        + b"\0\0\0\0"
        + b"\xff" * 8
    )
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_SOCK_DIAG) as link:
        link.send(request)
        answer = link.recv(8192)
    size, kind = struct.unpack_from("=IH", answer)
    # Where there is no such connection any more, the listener of its port is found.
    if kind != _SOCK_DIAG_BY_FAMILY or answer[_STATE_AT] == _LISTEN:
        return None
    (unread,) = struct.unpack_from("=I", answer, _UNREAD_AT)
    at = _MESSAGE_SIZE
    while at < size:
        length, attribute = struct.unpack_from("=HH", answer, at)
        if attribute == _INFO:
            (received,) = struct.unpack_from("=Q", answer, at + 4 + _RECEIVED_AT)
            return received, unread
        at += (length + 3) & ~3
    return None
