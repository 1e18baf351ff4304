"""Plays dialogue scripts through a real mitmdump, both peers over sockets.

In lockstep: a peer says its lines when everything before them has happened, and reads
exactly what the script says it must hear. Handshakes are real. Every step has a
deadline. What a script cannot do over sockets (let minutes pass, fill a disk) is told
by ``why_not``, or by the script itself: ``only: memory: REASON``.
"""

from __future__ import annotations

import contextlib
import os
import socket
import ssl
import struct
import sys
from concurrent.futures import Future, ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

from mitmproxy import exceptions, tcp
from mitmproxy import io as flowio

from smtpguard.proxy.sessionrecord import read_record
from tests.integration.bed.process import Process, free_port, start, wait_until
from tests.proxy.peers import make_authority
from tests.transcripts import scripted


if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from smtpguard.replay.script import Script, Step


ROOT = Path(__file__).resolve().parents[2]
STEP_SECONDS = 10.0
RULES = """\
version: 1
domains: [d.example]
policies:
  - name: nobody
    mail_from: [{match: "*", action: tempfail}]
    rcpt_to: [{match: "*", action: tempfail}]
    content_types: [{match: "*", action: allow}]
    filenames: [{match: "*", action: allow}]
"""
"""What judges a session that no script claims."""
ALERT = b"\x15\x03\x03\x00\x02\x02\x28"
"""TLS: fatal, handshake_failure."""
UNKNOWN = "an event that is not played over sockets"
NAMES = ("mx.example", "192.0.2.9")
"""What the upstream is called where its name is known, and where it is not."""


class LiveError(AssertionError):
    """A script was not followed; the text tells line, wanted and found."""


def why_not(script: Script) -> str:
    """Say why a script is played in memory only; "" where it is not."""
    only = script.header("only")
    if only:
        return only
    if any(step.direction == "=" for step in script.steps):
        return "time passes"
    for name in ("disk", "option", "command", "trusted"):
        if name in script.headers:
            return f"header {name}"
    return "no verdict comes" if script.header("verdict") == "silent" else ""


class Mitmdump:
    """A running mitmdump with smtpguard before one upstream port."""

    def __init__(self, folder: Path) -> None:
        self.port, self.upstream_port = free_port(), free_port()
        authority = make_authority(folder)
        self.certificates = {name: authority.issue(name) for name in NAMES}
        self.ca_file = authority.ca_file
        self._flows = folder / "flows.mitm"
        self._read = 0
        rules = folder / "rules.yaml"
        rules.write_text(RULES)
        target = f"reverse:tcp://127.0.0.1:{self.upstream_port}"
        self.process: Process = start(
            [
                Path(sys.executable).with_name("mitmdump"),
                *("--mode", f"{target}@127.0.0.1:{self.port}"),
                *("-s", ROOT / "addons" / "smtpguard.py"),
                *("-s", Path(scripted.__file__)),
                *("-w", self._flows),
                *("--set", f"confdir={folder}"),
                *("--set", f"smtpguard_rules={rules}"),
                *("--set", "smtpguard_name=guard.example"),
                *("--set", f"ssl_verify_upstream_trusted_ca={self.ca_file}"),
            ],
            folder / "mitmdump.log",
            env={"PYTHONPATH": os.pathsep.join([str(ROOT / "addons"), str(ROOT)])},
        )
        self.process.wait_text(scripted.READY)

    def flow(self, name: str) -> tcp.TCPFlow:
        """Return the saved flow of a script's session, once it is there."""
        found: list[tcp.TCPFlow] = []

        def saved() -> bool:
            found.extend(flow for flow in self._new_flows() if is_of(flow, name))
            return bool(found)

        wait_until(saved, f"the flow of {name}")
        return found[0]

    def _new_flows(self) -> Iterator[tcp.TCPFlow]:
        """Yield the flows that were saved since the last time; half of one waits."""
        octets = self._flows.read_bytes()[self._read :] if self._flows.exists() else b""
        file = BytesIO(octets)
        flows = iter(flowio.FlowReader(file).stream()) if octets else iter(())
        with contextlib.suppress(exceptions.FlowReadException, StopIteration):
            while True:
                flow = next(flows)
                self._read += file.tell()
                octets = octets[file.tell() :]
                file.seek(0)
                file.truncate()
                file.write(octets)
                file.seek(0)
                if isinstance(flow, tcp.TCPFlow):
                    yield flow

    def log(self) -> str:
        """Return what mitmdump has printed."""
        return self.process.text()

    def stop(self) -> None:
        """End it."""
        self.process.stop()


def is_of(flow: tcp.TCPFlow, name: str) -> bool:
    """Say whether a flow is that of a script's session."""
    record = read_record(flow)
    return record is not None and record.session["id"] == name


class Peer:
    """One end of a leg: a socket that becomes TLS, and what was read too far."""

    def __init__(self, connection: socket.socket) -> None:
        connection.settimeout(STEP_SECONDS)
        self.socket = connection
        self._read = bytearray()
        self._handshake: Future[ssl.SSLSocket] | None = None
        self._gone = False
        """We have broken the connection off ourselves."""

    def send(self, octets: bytes) -> None:
        """Say octets."""
        self.settle()
        self.socket.sendall(octets)

    def exactly(self, size: int) -> bytes:
        """Return the next octets, fewer only at the end of the connection."""
        while len(self._read) < size and self._more():
            pass
        return self._take(min(size, len(self._read)))

    def line(self) -> bytes:
        """Return the next octets up to a line feed."""
        while b"\n" not in self._read and self._more():
            pass
        end = self._read.find(b"\n") + 1
        return self._take(end or len(self._read))

    def is_closed(self) -> bool:
        """Wait for more; say whether it is the end."""
        return self._gone or (not self._read and not self._more())

    def pending(self) -> bytes:
        """Return what is there now, without waiting."""
        if self._gone:
            return b""
        self.socket.settimeout(0.0)
        with contextlib.suppress(OSError):
            self._more()
        return bytes(self._read)

    def shake(self, wrap: Callable[[socket.socket], ssl.SSLSocket]) -> None:
        """Begin a handshake; it ends while the other leg goes on."""
        self._handshake = _POOL.submit(wrap, self.socket)

    def settle(self) -> None:
        """Wait until a handshake that was begun has ended. Raises OSError."""
        handshake, self._handshake = self._handshake, None
        if handshake is not None:
            # What fails closes the connection.
            self._gone = True
            self.socket = handshake.result(STEP_SECONDS)
            self._gone = False

    def finish(self) -> None:
        """Say that nothing more comes (FIN)."""
        self.settle()
        # The class's own method: that of SSLSocket would forget its keys.
        socket.socket.shutdown(self.socket, socket.SHUT_WR)

    def reset(self) -> None:
        """Break the connection off (RST)."""
        self.settle()
        self._gone = True
        linger = struct.pack("ii", 1, 0)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.socket.close()

    def close(self) -> None:
        """Give the socket back."""
        with contextlib.suppress(OSError):
            self.settle()
        self.socket.close()

    def _more(self) -> bool:
        self.settle()
        try:
            octets = self.socket.recv(65536)
        except (ConnectionResetError, ssl.SSLEOFError):
            return False
        self._read += octets
        return bool(octets)

    def _take(self, size: int) -> bytes:
        taken = bytes(self._read[:size])
        del self._read[:size]
        return taken


_POOL = ThreadPoolExecutor(4, thread_name_prefix="handshake")


def play(script: Script, number: int, mitmdump: Mitmdump) -> None:
    """Play a script. Raises LiveError where something else is said."""
    with contextlib.closing(_Play(script, mitmdump)) as run:
        run.play(scripted.source_address(number))


class _Play:
    """One script while it is played."""

    def __init__(self, script: Script, mitmdump: Mitmdump) -> None:
        self.script = script
        self.mitmdump = mitmdump
        self.at = 0
        self.listener: socket.socket | None = None
        self.client: Peer | None = None
        self.upstream: Peer | None = None
        self._refusing = False
        """Until something is heard of the refusal."""

    def play(self, source: str) -> None:
        """Follow the script from its first to its last line."""
        self._set_reachable()
        self.client = Peer(
            socket.create_connection(
                ("127.0.0.1", self.mitmdump.port), STEP_SECONDS, (source, 0)
            )
        )
        while self.at < len(self.script.steps):
            step = self.script.steps[self.at]
            self._set_reachable()
            try:
                self._follow(step)
            except (OSError, TimeoutError) as error:
                self._fail(step, f"{type(error).__name__}: {error}")
        for peer in (self.client, self.upstream):
            if peer is not None and (rest := peer.pending()):
                self._fail(self.script.steps[-1], f"more: {rest!r}")

    def close(self) -> None:
        """Give every socket back."""
        for peer in (self.client, self.upstream, self.listener):
            if peer is not None:
                peer.close()

    # -- steps -----------------------------------------------------------------------

    def _follow(self, step: Step) -> None:
        if step.event:
            self.at += 1
            self._happen(step)
        elif step.direction in "CS":
            self._peer(step).send(self._said(step.direction))
        else:
            self.at += 1
            self._expect(step)

    def _said(self, direction: str) -> bytes:
        """Return all that a peer says before somebody else does something."""
        said = b""
        while self.at < len(self.script.steps):
            step = self.script.steps[self.at]
            if step.direction != direction or step.event:
                break
            said += step.octets
            self.at += 1
        return said

    def _expect(self, step: Step) -> None:
        peer = self._peer(step)
        if step.open_ended:
            found = peer.line()
            fits = found.startswith(step.octets) and found.endswith(b"\n")
        else:
            found = peer.exactly(len(step.octets))
            fits = found == step.octets
        if not fits:
            self._fail(step, repr(found + peer.pending()))
        self._refusing = False

    def _happen(self, step: Step) -> None:
        match step.direction:
            case "C":
                self._client_does(step)
            case "S":
                self._upstream_does(step)
            case _:
                self._is_noticed(step)

    def _client_does(self, step: Step) -> None:
        match step.words:
            case ["tls", *name]:
                self._peer(step).shake(_client_handshake("".join(name)))
            case ["tls-fails", *_]:
                with contextlib.suppress(ssl.SSLError):
                    self._peer(step).shake(_client_handshake("", distrusts=True))
                    self._peer(step).settle()
            case ["close"]:
                self._peer(step).finish()
            case ["reset"]:
                self._peer(step).reset()
            case _:
                self._fail(step, UNKNOWN)

    def _upstream_does(self, step: Step) -> None:
        match step.words:
            case ["tls"]:
                name = self.script.header("name") or NAMES[1]
                pem = self.mitmdump.certificates[name]
                self._peer(step).shake(_server_handshake(pem))
                self._peer(step).settle()
            case ["tls-fails", *_]:
                head = self._peer(step).exactly(5)
                self._peer(step).exactly(int.from_bytes(head[3:]))
                self._peer(step).send(ALERT)
                self._peer(step).finish()
            case ["refused", *_]:
                self._refusing = True
            case ["silent"]:
                pass
            case ["close"]:
                self._peer(step).finish()
            case ["reset"]:
                self._peer(step).reset()
            case _:
                self._fail(step, UNKNOWN)

    def _is_noticed(self, step: Step) -> None:
        match step.direction, step.words:
            case "s", ["open"]:
                if self.listener is not None:
                    # Else it is refused, and nobody here sees it.
                    self._accept()
            case "c" | "s", ["close"]:
                if not self._peer(step).is_closed():
                    self._fail(step, repr(self._peer(step).pending()))
                if step.direction == "s":
                    self._peer(step).close()
                    self.upstream = None
            case _:
                self._fail(step, UNKNOWN)

    # -- connections -----------------------------------------------------------------

    def _peer(self, step: Step) -> Peer:
        """Return whose turn it is; the upstream accepts when it needs to."""
        if step.direction in "Cc":
            assert self.client is not None
            return self.client
        if self.upstream is None:
            self._accept()
        assert self.upstream is not None
        return self.upstream

    def _accept(self) -> None:
        assert self.listener is not None, "the upstream is not reachable"
        if self.upstream is not None:
            self.upstream.close()
        connection, _ = self.listener.accept()
        self.upstream = Peer(connection)

    def _set_reachable(self) -> None:
        """Listen, unless the next thing that the upstream does is to refuse."""
        ahead = self.script.steps[self.at :]
        answer = next((s for s in ahead if s.direction == "S"), None)
        refuses = answer is not None and answer.event and answer.words[0] == "refused"
        refuses = refuses or self._refusing
        if refuses and self.listener is not None:
            self.listener.close()
            self.listener = None
        elif not refuses and self.listener is None:
            address = ("127.0.0.1", self.mitmdump.upstream_port)
            self.listener = socket.create_server(address)
            self.listener.settimeout(STEP_SECONDS)

    def _fail(self, step: Step, found: str) -> None:
        place = f"{self.script.name}:{step.number}"
        wanted = step.octets if not step.event else step.words
        raise LiveError(f"{place}: wanted {wanted!r}, found {found}")


def _client_handshake(
    name: str, *, distrusts: bool = False
) -> Callable[[socket.socket], ssl.SSLSocket]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    if not distrusts:
        context.verify_mode = ssl.CERT_NONE
    return lambda plain: context.wrap_socket(plain, server_hostname=name or None)


def _server_handshake(pem: Path) -> Callable[[socket.socket], ssl.SSLSocket]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    return lambda plain: context.wrap_socket(plain, server_side=True)
