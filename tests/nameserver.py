"""A name server on loopback that knows some TXT records, by UDP and by TCP."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING

import dns.exception
import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset
from dns.rdtypes.ANY.TXT import TXT


if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self


SILENT, SERVFAIL, EMPTY, GARBAGE = "silent", "servfail", "empty", "garbage"
type Record = bytes | list[bytes] | str
"""The text of a record, or of several; or one of the words above."""


class NameServer:
    """A context that answers; names it does not know do not exist."""

    def __init__(self, zone: Mapping[str, Record]) -> None:
        self.zone = {name.lower().rstrip("."): one for name, one in zone.items()}
        self.asked: list[str] = []
        """Names, in order, by whichever way."""
        self.by_tcp = 0
        self._stop = threading.Event()
        self._udp, self._tcp, self.port = _sockets()
        self._threads = [
            threading.Thread(target=self._serve_udp),
            threading.Thread(target=self._serve_tcp),
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(30)
        self._udp.close()
        self._tcp.close()

    def _serve_udp(self) -> None:
        while not self._stop.is_set():
            try:
                octets, peer = self._udp.recvfrom(4096)
            except TimeoutError:
                continue
            if answer := self._answer(octets, 1232):
                self._udp.sendto(answer, peer)

    def _serve_tcp(self) -> None:
        while not self._stop.is_set():
            try:
                peer, _ = self._tcp.accept()
            except TimeoutError:
                continue
            with peer:
                peer.settimeout(5)
                size = struct.unpack("!H", _exactly(peer, 2))[0]
                self.by_tcp += 1
                if answer := self._answer(_exactly(peer, size), 65535):
                    peer.sendall(struct.pack("!H", len(answer)) + answer)

    def _answer(self, octets: bytes, size: int) -> bytes:
        query = dns.message.from_wire(octets)
        question = query.question[0]
        name = question.name.to_text(omit_final_dot=True).lower()
        self.asked.append(name)
        response = dns.message.make_response(query)
        record = self.zone.get(name)
        if record == SILENT:
            return b""
        if record == GARBAGE:
            return octets[:2] + b"\xff" * 40
        if record is None:
            response.set_rcode(dns.rcode.NXDOMAIN)
        elif record == SERVFAIL:
            response.set_rcode(dns.rcode.SERVFAIL)
        elif not isinstance(record, str):
            texts = [record] if isinstance(record, bytes) else record
            records = (_txt(text) for text in texts)
            response.answer.append(dns.rrset.from_rdata(question.name, 60, *records))
        try:
            return response.to_wire(max_size=size)
        except dns.exception.TooBig:
            response.answer.clear()
            response.flags |= dns.flags.TC
            return response.to_wire()


def _sockets() -> tuple[socket.socket, socket.socket, int]:
    """Return a UDP and a listening TCP socket with one port."""
    for _ in range(50):
        tcp = socket.create_server(("127.0.0.1", 0))
        port = int(tcp.getsockname()[1])
        udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            udp.bind(("127.0.0.1", port))
        except OSError:  # somebody has it
            udp.close()
            tcp.close()
            continue
        udp.settimeout(0.05)
        tcp.settimeout(0.05)
        return udp, tcp, port
    raise RuntimeError("no port that is free for UDP and TCP")


def _txt(text: bytes) -> TXT:
    strings = [text[at : at + 255] for at in range(0, len(text), 255)] or [b""]
    return TXT(dns.rdataclass.IN, dns.rdatatype.TXT, strings)


def _exactly(peer: socket.socket, size: int) -> bytes:
    octets = b""
    while len(octets) < size:
        piece = peer.recv(size - len(octets))
        if not piece:
            raise ConnectionError
        octets += piece
    return octets
