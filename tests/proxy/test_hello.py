"""The ClientHello reader: any segments, bounded, silent about what it read."""

from __future__ import annotations

import itertools
import time

import pytest

from smtpguard.proxy.hello import MAX_OCTETS, HelloReader
from tests.proxy.peers import client_peer


@pytest.fixture(scope="module")
def hello() -> bytes:
    return client_peer(name="mx.example").handshake()


def fragmented(hello: bytes, size: int) -> bytes:
    """Put the same handshake message into records of ``size`` octets."""
    body = hello[5:]
    parts = [body[at : at + size] for at in range(0, len(body), size)]
    return b"".join(b"\x16\x03\x01" + len(p).to_bytes(2) + p for p in parts)


def test_a_whole_hello_is_returned_at_once(hello: bytes) -> None:
    found = HelloReader().feed(hello)

    assert found is not None
    assert found.sni == "mx.example"


def test_every_split_gives_the_same_hello(hello: bytes) -> None:
    for at in range(1, len(hello)):
        reader = HelloReader()
        assert reader.feed(hello[:at]) is None
        found = reader.feed(hello[at:])
        assert found is not None
        assert found.sni == "mx.example"
        assert bytes(reader.octets) == hello


@pytest.mark.parametrize("size", [1, 2, 3, 100])
def test_a_hello_over_many_records_is_put_together(hello: bytes, size: int) -> None:
    found = HelloReader().feed(fragmented(hello, size))

    assert found is not None
    assert found.sni == "mx.example"


def test_octets_behind_the_hello_are_kept_for_openssl(hello: bytes) -> None:
    reader = HelloReader()
    assert reader.feed(hello + b"\x14\x03\x03\x00\x01\x01") is not None
    assert bytes(reader.octets) == hello + b"\x14\x03\x03\x00\x01\x01"


@pytest.mark.parametrize(
    ("octets", "fault"),
    [
        (b"E", "not a TLS handshake"),
        (b"\x16P", "not a TLS handshake"),
        (b"\x80\x2e\x01\x03\x01", "not a TLS handshake"),
        (b"\x16\x03\x03\x00\x00", "empty TLS record"),
        (b"\x16\x03\x03\x00\x04\x02\x00\x00\x01", "does not begin with a ClientHello"),
        (b"\x16\x03\x03\x00\x04\x01\x02\x00\x00", "longer than"),
    ],
    ids=["letter", "second octet", "SSL 2", "empty", "server hello", "announced size"],
)
def test_what_cannot_become_a_hello_is_told_at_once(octets: bytes, fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        HelloReader().feed(octets)


def test_errors_hold_no_octets_of_the_peer() -> None:
    with pytest.raises(ValueError) as raised:
        HelloReader().feed(b"AUTH PLAIN c2VjcmV0")

    assert "c2VjcmV0" not in str(raised.value)
    assert b"c2VjcmV0".hex() not in str(raised.value)


@pytest.mark.parametrize("name", [b"\xff\xfe", b"..", b"a\x00b", b"a b"], ids=repr)
def test_a_strange_name_is_no_name(hello: bytes, name: bytes) -> None:
    at = hello.index(b"mx.example")
    padded = name.ljust(10, b"\xff")
    found = HelloReader().feed(hello[:at] + padded + hello[at + 10 :])

    assert found is not None
    assert found.sni is None


def test_single_octets_cost_linear_time(hello: bytes) -> None:
    """mitmproxy parses all of it again for each segment."""

    def seconds(octets: int) -> float:
        reader = HelloReader()
        reader.feed(b"\x16\x03\x01\xff\x00\x01\x00\xfe\xfc")
        began = time.process_time()
        for _ in range(octets):
            reader.feed(b"\0")
        return time.process_time() - began

    short = min(seconds(4_000) for _ in range(5))
    long = min(seconds(64_000) for _ in range(5))
    # Sixteen times the octets: sixteen times as long, and not 256 times.
    assert long < 64 * max(short, 0.001)


def test_no_more_than_its_bound_is_kept() -> None:
    reader = HelloReader()
    record = b"\x16\x03\x01\x00\x01\x01"
    reader.feed(record + b"\x16\x03\x01\x00\x03\x00\xff\x00")
    endless = itertools.repeat(record * 100)
    with pytest.raises(ValueError, match="longer than"):
        [reader.feed(octets) for octets in endless]
    assert len(reader.octets) <= MAX_OCTETS + 600
