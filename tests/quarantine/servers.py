"""An SMTP server on the loopback that keeps what it gets and answers as it is told."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self


if TYPE_CHECKING:
    import ssl
    from collections.abc import Mapping
    from typing import BinaryIO


EVERYTHING = (b"8BITMIME", b"SIZE 1000000", b"SMTPUTF8", b"DSN")
CLOSE = b""
"""As an answer: the connection is closed."""


@dataclass
class Server:
    """Knows DATA alone, and reads it strictly: only CRLF.CRLF ends it.

    ``answers`` are by the beginning of a command, ``.`` is the final dot.
    """

    keywords: tuple[bytes, ...] = EVERYTHING
    answers: Mapping[bytes, bytes] = field(default_factory=dict)
    tls: ssl.SSLContext | None = None
    implicit: bool = False
    gate: threading.Event = field(default_factory=threading.Event)
    """The final dot is answered once it is set."""

    def __post_init__(self) -> None:
        self.gate.set()
        self.commands: list[bytes] = []
        """Command lines; those in TLS have ``tls `` before them."""
        self.messages: list[bytes] = []
        """As they came, dots undone, also those that were refused."""
        self.dotted = threading.Event()
        """A final dot has come."""
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.gate.set()
        self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._socket.close()

    def _run(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._socket.accept()
                with suppress(OSError):
                    self._serve(connection)
                connection.close()

    def _serve(self, connection: socket.socket) -> None:
        connection.settimeout(10)
        where = b""
        if self.implicit:
            connection, where = self._wrapped(connection), b"tls "
        connection.sendall(b"220 server.test ESMTP\r\n")
        file = connection.makefile("rb")
        while line := file.readline():
            command = line.rstrip(b"\r\n")
            self.commands.append(where + command)
            answer = self._answer(command, in_tls=bool(where))
            if answer == CLOSE:
                break
            connection.sendall(answer)
            if command == b"DATA" and answer.startswith(b"354"):
                if not self._take(file, connection):
                    break
            elif command == b"STARTTLS":
                file.close()
                connection, where = self._wrapped(connection), b"tls "
                file = connection.makefile("rb")
        file.close()
        connection.close()

    def _wrapped(self, connection: socket.socket) -> ssl.SSLSocket:
        assert self.tls is not None
        return self.tls.wrap_socket(connection, server_side=True)

    def _answer(self, command: bytes, *, in_tls: bool) -> bytes:
        for begin, answer in self.answers.items():
            if command.startswith(begin):
                return answer
        verb = command.partition(b" ")[0].upper()
        if verb == b"EHLO":
            offered = list(self.keywords)
            if self.tls is not None and not in_tls:
                offered.append(b"STARTTLS")
            lines = [b"server.test", *offered]
            last = len(lines) - 1
            return b"".join(
                b"250%c%s\r\n" % (b" -"[at < last], line)
                for at, line in enumerate(lines)
            )
        return {
            b"DATA": b"354 go on\r\n",
            b"STARTTLS": b"220 go on\r\n",
            b"QUIT": b"221 bye\r\n",
        }.get(verb, b"250 2.0.0 ok\r\n")

    def _take(self, file: BinaryIO, connection: socket.socket) -> bool:
        lines, line = [], b"\r\n"
        while True:
            at_start = line.endswith(b"\r\n")
            line = file.readline()
            if not line:
                return False
            if at_start and line == b".\r\n":
                break
            lines.append(line[1:] if at_start and line[:1] == b"." else line)
        undone = b"".join(lines)
        self.messages.append(undone)
        self.dotted.set()
        self.gate.wait(10)
        answer = self.answers.get(b".", b"250 2.0.0 queued\r\n")
        if answer != CLOSE:
            connection.sendall(answer)
        return answer != CLOSE
