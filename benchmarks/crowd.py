"""Many large messages at once, and an upstream that takes its time.

The C generator gives up on a reply after 20 s and its sink never waits, so this one
case has a client and a sink in Python: one thread a connection, the octets made once.
"""

from __future__ import annotations

import smtplib
import socket
import ssl
import sys
import threading
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from benchmarks.generator import ROOT, Tls
from tests.integration.bed.process import free_port, start


if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


BLOCK = 64 * 1024
LINE = b"x" * 76 + b"\r\n"
HEADER = b"From: a@bench.test\r\nTo: b@bench.test\r\nSubject: crowd\r\n\r\n"


@dataclass(slots=True)
class CrowdResult:
    """What the clients were told."""

    accepted: int = 0
    failed: int = 0
    seconds: float = 0.0
    first_error: str = ""
    lock: threading.Lock = field(default_factory=threading.Lock)

    def note(self, error: str) -> None:
        """Count one client; "" is an accepted message."""
        with self.lock:
            if error:
                self.failed += 1
                self.first_error = self.first_error or error
            else:
                self.accepted += 1


def send_at_once(
    port: int, tls: Tls, clients: int, octets: int, seconds: float
) -> CrowdResult:
    """Let ``clients`` reach 354, then send one message each at the same moment.

    Every socket operation is given up after ``seconds``.
    """
    body = HEADER + LINE * (octets // len(LINE)) + b".\r\n"
    result = CrowdResult()
    together = threading.Barrier(clients)

    def one() -> None:
        try:
            with _client(port, tls, seconds) as smtp:
                _to_354(smtp)
                together.wait(seconds)
                smtp.send(body)
                code, text = smtp.getreply()
            result.note(
                "" if code == 250 else f"{code} {text.decode('ascii', 'replace')}"
            )
        except (OSError, smtplib.SMTPException, threading.BrokenBarrierError) as error:
            together.abort()
            result.note(f"{type(error).__name__}: {error}")

    began = time.monotonic()
    threads = [threading.Thread(target=one, daemon=True) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(seconds * 2)
    result.seconds = time.monotonic() - began
    return result


def _client(port: int, tls: Tls, seconds: float) -> smtplib.SMTP:
    trusting = ssl.create_default_context()
    trusting.check_hostname = False
    trusting.verify_mode = ssl.CERT_NONE
    if tls == "implicit":
        return smtplib.SMTP_SSL(
            "127.0.0.1", port, "bench.test", timeout=seconds, context=trusting
        )
    smtp = smtplib.SMTP("127.0.0.1", port, "bench.test", timeout=seconds)
    if tls == "starttls":
        smtp.ehlo()
        smtp.starttls(context=trusting)
    return smtp


def _to_354(smtp: smtplib.SMTP) -> None:
    smtp.ehlo()
    for command, wanted in (
        ("MAIL FROM:<a@bench.test>", 250),
        ("RCPT TO:<b@bench.test>", 250),
        ("DATA", 354),
    ):
        code, text = smtp.docmd(command)
        if code != wanted:
            raise smtplib.SMTPResponseException(code, text)


@contextmanager
def slow_sink(folder: Path, pem: Path, rate: int, *, implicit: bool) -> Iterator[int]:
    """Run the sink below as a program of its own; its port.

    ``rate`` is octets a second that each connection reads, 0 for all it can.
    """
    port = free_port()
    kind = "implicit" if implicit else "starttls"
    module = [sys.executable, "-m", "benchmarks.crowd"]
    command = [*module, str(port), str(pem), str(rate), kind]
    process = start(command, folder / f"crowd-sink-{port}.log", cwd=ROOT)
    try:
        process.wait_listening(port)
        yield port
    finally:
        process.stop()


def _serve(
    sock: socket.socket, context: ssl.SSLContext, rate: int, *, implicit: bool
) -> None:
    with suppress(OSError), sock:
        if implicit:
            sock = context.wrap_socket(sock, server_side=True)
        sock.sendall(b"220 crowd.test ESMTP\r\n")
        encrypted = implicit
        while True:
            words = _line(sock).upper().split()
            verb = words[0] if words else b""
            if verb == b"STARTTLS" and not encrypted:
                sock.sendall(b"220 go\r\n")
                sock = context.wrap_socket(sock, server_side=True)
                encrypted = True
            elif verb == b"EHLO":
                offer = b"250 SIZE 52428800\r\n"
                upgrade = b"" if encrypted else b"250-STARTTLS\r\n"
                sock.sendall(b"250-crowd.test\r\n" + upgrade + offer)
            elif verb == b"DATA":
                sock.sendall(b"354 go\r\n")
                _take_message(sock, rate)
                sock.sendall(b"250 2.0.0 ok\r\n")
            elif verb == b"QUIT":
                sock.sendall(b"221 bye\r\n")
                return
            else:
                sock.sendall(b"250 2.1.0 ok\r\n")


def _line(sock: socket.socket) -> bytes:
    line = bytearray()
    while not line.endswith(b"\r\n"):
        octet = sock.recv(1)
        if not octet:
            raise ConnectionError("the peer has gone")
        line += octet
    return bytes(line)


def _take_message(sock: socket.socket, rate: int) -> None:
    began, taken, tail = time.monotonic(), 0, b"\r\n"
    while not tail.endswith(b"\r\n.\r\n"):
        block = sock.recv(BLOCK)
        if not block:
            raise ConnectionError("the peer has gone")
        taken += len(block)
        tail = (tail + block)[-5:]
        if rate:
            # Pacing is what this sink is for: it reads no faster than ``rate``.
            time.sleep(max(0.0, taken / rate - (time.monotonic() - began)))


def _main(arguments: list[str]) -> None:
    port, pem, rate, kind = arguments
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    with socket.create_server(("127.0.0.1", int(port)), backlog=128) as listener:
        # A large window would hide from the proxy that its upstream is slow.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 * BLOCK)
        while True:
            sock, _ = listener.accept()
            threading.Thread(
                target=_serve,
                args=(sock, context, int(rate)),
                kwargs={"implicit": kind == "implicit"},
                daemon=True,
            ).start()


if __name__ == "__main__":
    _main(sys.argv[1:])
