"""The ClientHello out of the client's first TLS records (RFC 8446 4.1.2, 5.1).

Owns the octets from the first one of a handshake until the ClientHello is complete.
Each octet is looked at once, whatever the segments, and at most ``MAX_OCTETS`` are
taken: mitmproxy's own reader parses all of it again for each segment and has no bound.
Errors name the fault and never the octets: what stands here by mistake may be a secret.
"""

from __future__ import annotations

from mitmproxy import tls


MAX_OCTETS = 64 * 1024
"""A ClientHello with post-quantum key shares has 2 KiB; OpenSSL takes up to 128 KiB,
nobody sends more than 17."""
_RECORD_HEADER = 5
_HANDSHAKE_HEADER = 4
_HANDSHAKE_RECORD = 0x16
_CLIENT_HELLO = 0x01


class HelloReader:
    """Collects TLS records until they hold a whole ClientHello."""

    def __init__(self) -> None:
        self.octets = bytearray()
        """Everything that was fed, to be handed on to OpenSSL."""
        self._at = 0
        self._message = bytearray()

    def feed(self, data: bytes) -> tls.ClientHello | None:
        """Take octets in; return the ClientHello once it is whole, None before.

        Raises:
            ValueError: these are no TLS records, no ClientHello, or too many octets.
        """
        self.octets += data
        if len(self.octets) > MAX_OCTETS:
            raise ValueError(f"ClientHello is longer than {MAX_OCTETS} octets")
        while (record := self._next_record()) is not None:
            self._message += record
            if (size := self._size()) is not None and len(self._message) >= size:
                return _parse(bytes(self._message[_HANDSHAKE_HEADER:size]))
        return None

    def _next_record(self) -> bytes | None:
        """Return the payload of the next whole record."""
        header = self.octets[self._at : self._at + _RECORD_HEADER]
        _check_record_header(header)
        if len(header) < _RECORD_HEADER:
            return None
        length = int.from_bytes(header[3:5])
        if length == 0:
            raise ValueError("empty TLS record")
        start = self._at + _RECORD_HEADER
        if len(self.octets) < start + length:
            return None
        self._at = start + length
        return bytes(self.octets[start : self._at])

    def _size(self) -> int | None:
        """Return the handshake message's length with its header, once known."""
        if len(self._message) < _HANDSHAKE_HEADER:
            return None
        if self._message[0] != _CLIENT_HELLO:
            raise ValueError("TLS handshake does not begin with a ClientHello")
        size = _HANDSHAKE_HEADER + int.from_bytes(self._message[1:4])
        if size > MAX_OCTETS:
            raise ValueError(f"ClientHello is longer than {MAX_OCTETS} octets")
        return size


def _check_record_header(header: bytearray) -> None:
    """Tell clear text from TLS by its first octets, as soon as they are there."""
    if header[:1] and header[0] != _HANDSHAKE_RECORD:
        raise ValueError("not a TLS handshake")
    if len(header) > 1 and header[1] != 3:
        raise ValueError("not a TLS handshake")


def _parse(body: bytes) -> tls.ClientHello:
    """Parse a ClientHello without its handshake header."""
    try:
        hello = tls.ClientHello(body)
        # Lazy, and raise for malformed extensions: better here than in the handshake.
        _ = hello.sni, hello.alpn_protocols
    except Exception as error:
        # Generated code: EOFError, AttributeError, UnicodeError, kaitai's own ...
        raise ValueError("malformed ClientHello") from error
    return hello
