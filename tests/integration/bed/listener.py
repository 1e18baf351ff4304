"""What upstreams of the bed share: they listen on loopback, a thread for each peer."""

from __future__ import annotations

import socket
import ssl
import threading
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING


if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Self

    from tests.integration.bed.certificates import Identity


class Listener(ABC):
    """A context that listens. Says no word by itself."""

    def __init__(self, identity: Identity) -> None:
        self.gate = threading.Event()
        """Shut by a test to have something wait; opened at the end."""
        self.gate.set()
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

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._serve_next(sock))
            thread.start()
            self._threads.append(thread)

    @abstractmethod
    def _serve_next(self, sock: socket.socket) -> Callable[[], None]:
        """Count a connection; return what serves it, in a thread, and closes it."""
