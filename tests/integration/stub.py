"""An upstream that answers as a test wants it: not at all, late, or with a refusal.

Speaks just enough SMTP for one message after the other, with STARTTLS, DATA and BDAT.
What a real server does is for the bed's Postfix.
"""

from __future__ import annotations

from functools import partial
from itertools import takewhile
from typing import TYPE_CHECKING

from tests.integration.bed.listener import Listener
from tests.integration.bed.process import wait_until


if TYPE_CHECKING:
    import socket
    from collections.abc import Callable
    from typing import BinaryIO

    from tests.integration.bed.certificates import Identity


ANSWERS = {
    b"EHLO": b"250-stub.example.test\r\n"
    b"250-PIPELINING\r\n"
    b"250-STARTTLS\r\n"
    b"250 CHUNKING\r\n",
    b"STARTTLS": b"220 2.0.0 go\r\n",
    b"DATA": b"354 go ahead\r\n",
    b"QUIT": b"221 2.0.0 bye\r\n",
}

SECONDS = 30.0
"""How long a peer, or a test, is waited for."""


class Stub(Listener):
    """The upstream: a context that listens on loopback.

    What is to be said after a message is said once its ``gate`` is set.
    """

    def __init__(self, identity: Identity) -> None:
        super().__init__(identity)
        self.greeting = b"220 stub.example.test ESMTP\r\n"
        self.final: bytes | None = b"250 2.0.0 kept\r\n"
        """What is said after a message; None is silence until the peer closes."""
        self.messages: list[bytes] = []
        """Those that came in whole, as they were sent."""
        self.accepted: list[bytes] = []
        """Those that were answered."""
        self.connections = 0
        self.left = 0
        """Connections that have ended."""

    def wait_messages(self, count: int) -> None:
        """Wait until so many messages have come in; ``BedError`` in vain."""
        wait_until(
            lambda: len(self.messages) >= count, f"{count} messages upstream", 20
        )

    def _serve_next(self, sock: socket.socket) -> Callable[[], None]:
        self.connections += 1
        return partial(self._connection, sock)

    def _connection(self, sock: socket.socket) -> None:
        sock.settimeout(SECONDS)
        try:
            with sock:
                self._serve(sock)
        except OSError:
            pass  # the peer has gone
        finally:
            self.left += 1

    def _serve(self, sock: socket.socket) -> None:
        """Speak in clear, and after STARTTLS once more in TLS."""
        sock.sendall(self.greeting)
        if not self._converse(sock):
            return
        with self._context.wrap_socket(sock, server_side=True) as secured:
            self._converse(secured)

    def _converse(self, sock: socket.socket) -> bool:
        """Take commands; True where STARTTLS was the last one."""
        with sock.makefile("rb") as lines:
            for line in lines:
                verb = line.split(b" ")[0].strip().upper()
                if verb != b"BDAT":
                    sock.sendall(ANSWERS.get(verb, b"250 2.0.0 ok\r\n"))
                if verb in {b"QUIT", b"STARTTLS"}:
                    return verb == b"STARTTLS"
                if verb in {b"DATA", b"BDAT"} and not self._message(sock, lines, line):
                    return False
        return False

    def _message(self, sock: socket.socket, lines: BinaryIO, line: bytes) -> bool:
        """Take a message in and answer it; False where no more is said."""
        words = line.split()
        if words[0].upper() == b"BDAT":
            message = lines.read(int(words[1]))
        else:
            message = b"".join(takewhile(lambda each: each != b".\r\n", lines))
        self.messages.append(message)
        if self.final is None:
            lines.read()
            return False
        self.gate.wait(SECONDS)
        sock.sendall(self.final)
        self.accepted.append(message)
        return True
