"""clamd with a handful of signatures of its own, so that it starts at once.

It finds EICAR at the beginning of a file, ``MARKER`` anywhere, and the one program that
Debian's ``clamav-testfiles`` are all made of. Names end in ``.UNOFFICIAL``, as those of
every signature that is not ClamAV's.
"""

from __future__ import annotations

import os
import pwd
import signal
import socket
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import md5
from pathlib import Path
from typing import TYPE_CHECKING

from tests.integration.bed.need import need, unavailable
from tests.integration.bed.process import Process, free_port, start, wait_until


if TYPE_CHECKING:
    from collections.abc import Iterator


TEST_FILES = Path("/usr/share/clamav-testfiles")
MARKER = b"SMTPGUARD-TEST-MALWARE-MARKER"
"""What is infected wherever it stands."""
EICAR = "Test.Eicar.UNOFFICIAL"
MARKED = "Test.Marker.UNOFFICIAL"
CLAM = "Test.Clam.UNOFFICIAL"

# In hexadecimal, so that no scanner takes this file for it.
_EICAR_OCTETS = (
    "58354f2150254041505b345c505a58353428505e2937434329377d24"
    "45494341522d5354414e444152442d414e544956495255532d544553542d46494c45"
    "2124482b482a"
)
_CONFIGURATION = """\
DatabaseDirectory {folder}/db
TemporaryDirectory {folder}/tmp
LocalSocket {folder}/clamd.sock
FixStaleSocket yes
TCPSocket {port}
TCPAddr 127.0.0.1
Foreground yes
User {user}
MaxThreads {threads}
SelfCheck 0
StreamMaxLength {stream_max}
MaxScanSize 100M
MaxFileSize 50M
AlertEncrypted yes
AlertExceedsMax yes
"""


@dataclass(slots=True)
class RunningClamd:
    """A clamd, and what befalls it."""

    folder: Path
    port: int
    process: Process

    @property
    def unix(self) -> str:
        """Its unix socket, as an address of the rules."""
        return f"unix:{self.folder}/clamd.sock"

    @property
    def tcp(self) -> str:
        """Its port, as an address of the rules."""
        return f"127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        """Its process."""
        return self.process.pid

    def kill(self) -> None:
        """End it as a crash would, and wait for that."""
        os.kill(self.pid, signal.SIGKILL)
        self.process.popen.wait(10)

    def stop(self) -> None:
        """Let it stand still; its sockets stay."""
        os.kill(self.pid, signal.SIGSTOP)

    def cont(self) -> None:
        """Let it go on."""
        os.kill(self.pid, signal.SIGCONT)

    def restart(self) -> None:
        """Start it again after its end, and wait until it answers."""
        self.process = _started(self.folder)
        self._wait()

    def _wait(self) -> None:
        self.process.wait_listening(self.port)
        wait_until(self._answers, "an answer of clamd")

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), 5) as asked:
                asked.sendall(b"nPING\n")
                return asked.recv(16) == b"PONG\n"
        except OSError:
            return False


@contextmanager
def clamd(
    folder: Path, stream_max: str = "25M", threads: int = 8
) -> Iterator[RunningClamd]:
    """Run clamd in a folder. Skips where it is not installed."""
    need("clamd", "clamav-daemon")
    # The path of a unix socket has 108 octets at most.
    where = folder / "clamd"
    for each in (where, where / "db", where / "tmp"):
        each.mkdir(mode=0o700)
    _write_signatures(where / "db")
    port = free_port()
    text = _CONFIGURATION.format(
        folder=where,
        port=port,
        user=pwd.getpwuid(os.geteuid()).pw_name,
        threads=threads,
        stream_max=stream_max,
    )
    (where / "clamd.conf").write_text(text)
    server = RunningClamd(where, port, _started(where))
    try:
        server._wait()
        yield server
    finally:
        if server.process.alive:
            server.cont()
        server.process.stop()


def sample(name: str) -> bytes:
    """Return a file of Debian's clamav-testfiles. Skips where it is not installed."""
    if not (TEST_FILES / name).is_file():
        unavailable(f"{name} (package clamav-testfiles)")
    return (TEST_FILES / name).read_bytes()


def _started(folder: Path) -> Process:
    program = need("clamd", "clamav-daemon")
    command = [program, f"--config-file={folder}/clamd.conf"]
    return start(command, folder / "clamd.log")


def _write_signatures(folder: Path) -> None:
    """Write them as clamd's documentation has it: name, type, place, octets."""
    bodies = (
        f"Test.Eicar:0:0:{_EICAR_OCTETS}\n",
        f"Test.Marker:0:*:{MARKER.hex()}\n",
    )
    (folder / "test.ndb").write_text("".join(bodies))
    if (TEST_FILES / "clam.exe").is_file():
        octets = sample("clam.exe")
        digest = md5(octets, usedforsecurity=False).hexdigest()
        (folder / "test.hdb").write_text(f"{digest}:{len(octets)}:Test.Clam\n")
