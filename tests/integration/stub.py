"""An upstream that answers as a test wants it: not at all, late, or with a refusal.

Speaks just enough SMTP for one message after the other, with STARTTLS, DATA and BDAT.
What a real server does is for the bed's Postfix.
"""

from __future__ import annotations

import socket
import ssl
import threading
from itertools import takewhile
from typing import TYPE_CHECKING

from tests.integration.bed.process import wait_until


if TYPE_CHECKING:
    from types import TracebackType
    from typing import BinaryIO, Self

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


class Stub:
    """The upstream: a context that listens on loopback."""

    def __init__(self, identity: Identity) -> None:
        self.greeting = b"220 stub.example.test ESMTP\r\n"
        self.final: bytes | None = b"250 2.0.0 kept\r\n"
        """What is said after a message; None is silence until the peer closes."""
        self.gate = threading.Event()
        """What is to be said after a message is said once this is set."""
        self.gate.set()
        self.messages: list[bytes] = []
        """Those that came in whole, as they were sent."""
        self.accepted: list[bytes] = []
        """Those that were answered."""
        self.connections = 0
        self.left = 0
        """Connections that have ended."""
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(identity.certificate, identity.key)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._threads = [threading.Thread(target=self._accept)]

    @property
    def reverse(self) -> str:
        """The reverse mode that leads here."""
        return f"reverse:tcp://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        self._threads[0].start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.gate.set()
        # Closing alone leaves accept() waiting.
        self._listener.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(30)
        self._listener.close()

    def wait_messages(self, count: int) -> None:
        """Wait until so many messages have come in; ``BedError`` in vain."""
        wait_until(
            lambda: len(self.messages) >= count, f"{count} messages upstream", 20
        )

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            thread = threading.Thread(target=self._connection, args=(sock,))
            thread.start()
            self._threads.append(thread)

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
