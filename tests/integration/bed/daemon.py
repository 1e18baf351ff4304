"""A server at one port whose children may outlive it: ended at once, started again."""

from __future__ import annotations

import os
import signal
import socket
from abc import ABC, abstractmethod
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING

from tests.integration.bed.process import dies_with_us, wait_until


if TYPE_CHECKING:
    from tests.integration.bed.process import Process


class Daemon(ABC):
    """Listens on loopback, at the same port after every start."""

    def __init__(self, port: int) -> None:
        self.port = port
        self._process: Process | None = None
        self._watch = ExitStack()

    @property
    def address(self) -> str:
        """Where it is asked, ``HOST:PORT``."""
        return f"127.0.0.1:{self.port}"

    @abstractmethod
    def _run(self) -> Process:
        """Start it."""

    @abstractmethod
    def _answers(self) -> bool:
        """Whether it answers by now."""

    def start(self) -> None:
        """Start it and wait until it answers."""
        self._process = self._run()
        self._watch.enter_context(dies_with_us(self._process))
        self._process.wait_listening(self.port)
        wait_until(self._answers, f"an answer at port {self.port}")

    def freeze(self) -> None:
        """Stop it where it is: it takes connections and answers nothing."""
        assert self._process is not None
        os.killpg(self._process.pid, signal.SIGSTOP)

    def kill(self) -> None:
        """End it at once (SIGKILL), children too: connections are reset."""
        if self._process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.popen.wait(5)
            self._process = None
            # A child may outlive its parent for some moments, and listen.
            wait_until(self._is_gone, f"nobody at port {self.port}")
        self._watch.close()

    def restart(self) -> None:
        """Start it again at the same address, after ``kill`` or not."""
        self.kill()
        self.start()

    def _is_gone(self) -> bool:
        with socket.socket() as asking:
            return asking.connect_ex(("127.0.0.1", self.port)) != 0
