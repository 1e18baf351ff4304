from __future__ import annotations

import ipaddress
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpguard.errors import ProtocolError
from smtpguard.wire.proxyprotocol import (
    ProxyHeader,
    build_v1,
    build_v2,
    parse,
)
from smtpguard.wire.receiver import Receiver
from tests.wire.feeding import cuts, octet_by_octet, of_words, outcome


SIGNATURE = bytes.fromhex("0d0a0d0a000d0a515549540a")
BAD = "bad"


def v2(command: int, family: int, addresses: bytes = b"", extra: bytes = b"") -> bytes:
    length = struct.pack(">H", len(addresses + extra))
    return SIGNATURE + bytes([command, family]) + length + addresses + extra


TCP4 = bytes([192, 0, 2, 1, 198, 51, 100, 2]) + struct.pack(">HH", 40000, 25)
TCP6 = (
    ipaddress.IPv6Address("2001:db8::1").packed
    + ipaddress.IPv6Address("2001:db8::2").packed
    + struct.pack(">HH", 40000, 25)
)
OF_4 = (("192.0.2.1", 40000), ("198.51.100.2", 25))
OF_6 = (("2001:db8::1", 40000), ("2001:db8::2", 25))


def read(segments: list[bytes]) -> tuple[ProxyHeader | str | None, bytes]:
    """Return header or ``BAD``, and what is left behind it."""
    receiver = Receiver()
    header = None
    for segment in segments:
        receiver.feed(segment)
        if header is not None:
            continue
        found = outcome(lambda: parse(receiver))
        if isinstance(found, ProtocolError):
            assert found.closes
            assert str(found).isascii()
            return BAD, b""
        header = found
    return header, receiver.take(1000)


HEADERS = [
    pytest.param(
        b"PROXY TCP4 192.0.2.1 198.51.100.2 40000 25\r\n",
        ProxyHeader(OF_4[0]),
        id="v1-tcp4",
    ),
    pytest.param(
        b"PROXY TCP6 2001:db8::1 2001:DB8:0::2 40000 25\r\n",
        ProxyHeader(OF_6[0]),
        id="v1-tcp6",
    ),
    pytest.param(
        b"PROXY TCP6 ::ffff:192.0.2.1 ::ffff:198.51.100.2 40000 25\r\n",
        ProxyHeader(OF_4[0]),
        id="v1-mapped",
    ),
    pytest.param(b"PROXY UNKNOWN\r\n", ProxyHeader(None), id="v1-unknown"),
    pytest.param(
        b"PROXY UNKNOWN " + b"f" * 91 + b"\r\n",
        ProxyHeader(None),
        id="v1-unknown-longest",
    ),
    pytest.param(v2(0x21, 0x11, TCP4), ProxyHeader(OF_4[0]), id="v2-tcp4"),
    pytest.param(v2(0x21, 0x21, TCP6), ProxyHeader(OF_6[0]), id="v2-tcp6"),
    pytest.param(
        v2(0x21, 0x11, TCP4, b"\x04\x00\x01x"), ProxyHeader(OF_4[0]), id="v2-tlv"
    ),
    pytest.param(
        v2(0x21, 0x11, TCP4, b"x" * 524), ProxyHeader(OF_4[0]), id="v2-longest"
    ),
    pytest.param(v2(0x20, 0x00), ProxyHeader(None), id="v2-local"),
    pytest.param(v2(0x20, 0x11, TCP4), ProxyHeader(None), id="v2-local-with-addresses"),
    pytest.param(v2(0x21, 0x00, b"xx"), ProxyHeader(None), id="v2-unspec"),
]


@pytest.mark.parametrize(("octets", "header"), HEADERS)
def test_headers_are_read_whole_octet_by_octet_and_with_what_follows(
    octets: bytes, header: ProxyHeader
) -> None:
    assert read([octets]) == (header, b"")
    assert read(octet_by_octet(octets)) == (header, b"")
    assert read([octets + b"EHLO x\r\n"]) == (header, b"EHLO x\r\n")


@pytest.mark.parametrize(("octets", "header"), HEADERS)
def test_a_header_is_not_there_before_its_last_octet(
    octets: bytes, header: ProxyHeader
) -> None:
    assert read([octets[:-1]]) == (None, octets[:-1])


@pytest.mark.parametrize(
    "octets",
    [
        pytest.param(b"EHLO x\r\n", id="ehlo"),
        pytest.param(b"PROXY\r\n", id="no-space"),
        pytest.param(b"proxy TCP4", id="lower-case"),
        pytest.param(b"PROXY UNKNOWNX\r\n", id="unknown-word"),
        pytest.param(b"PROXY UDP4 192.0.2.1 198.51.100.2 1 2\r\n", id="v1-udp"),
        pytest.param(b"PROXY TCP4 192.0.2.1 198.51.100.2 1\r\n", id="v1-one-port"),
        pytest.param(
            b"PROXY TCP4 192.0.2.1 198.51.100.2 1 2 3\r\n", id="v1-three-ports"
        ),
        pytest.param(b"PROXY TCP4 192.0.2.1  198.51.100.2 1 2\r\n", id="v1-two-spaces"),
        pytest.param(b"PROXY TCP4 192.0.2.1 198.51.100.2 01 2\r\n", id="v1-leading-0"),
        pytest.param(b"PROXY TCP4 192.0.2.1 198.51.100.2 1 65536\r\n", id="v1-port"),
        pytest.param(b"PROXY TCP4 192.0.2.1 198.51.100.2 65536 1\r\n", id="v1-port-1"),
        pytest.param(b"PROXY TCP4 192.0.2.256 198.51.100.2 1 2\r\n", id="v1-address"),
        pytest.param(b"PROXY TCP4 192.0.2.1 198.51.100.256 1 2\r\n", id="v1-to"),
        pytest.param(b"PROXY TCP4 2001:db8::1 2001:db8::2 1 2\r\n", id="v1-6-as-4"),
        pytest.param(b"PROXY TCP6 192.0.2.1 198.51.100.2 1 2\r\n", id="v1-4-as-6"),
        pytest.param(b"PROXY TCP4 192.0.2.1 198.51.100.2 1 2\n\r\n", id="v1-bare-lf"),
        pytest.param(b"PROXY TCP6 fe80::1%1 2001:db8::2 1 2\r\n", id="v1-scope"),
        pytest.param(b"PROXY UNKNOWN " + b"f" * 92 + b"\r\n", id="v1-too-long"),
        pytest.param(b"PROXY UNKNOWN " + b"f" * 200, id="v1-endless"),
        pytest.param(SIGNATURE[:11] + b"x", id="v2-signature"),
        pytest.param(v2(0x11, 0x11, TCP4), id="v2-version"),
        pytest.param(v2(0x22, 0x11, TCP4), id="v2-command"),
        pytest.param(v2(0x21, 0x12, TCP4), id="v2-udp"),
        pytest.param(v2(0x21, 0x31, b"x" * 216), id="v2-unix"),
        pytest.param(v2(0x21, 0x11, TCP4[:-1]), id="v2-too-short"),
        pytest.param(v2(0x21, 0x21, TCP4), id="v2-too-short-for-6"),
        pytest.param(v2(0x21, 0x11, TCP4, b"x" * 525), id="v2-too-long"),
        pytest.param(v2(0x20, 0x00, b"x" * 537), id="v2-local-too-long"),
    ],
)
def test_what_is_no_header_closes(octets: bytes) -> None:
    assert read([octets]) == (BAD, b"")
    assert read(octet_by_octet(octets)) == (BAD, b"")


def test_a_header_too_long_is_refused_by_its_head_alone() -> None:
    head = v2(0x21, 0x11, TCP4, b"x" * 525)[:16]
    assert read([head]) == (BAD, b"")


ADDRESSES = st.tuples(st.ip_addresses().map(str), st.integers(0, 65535))


@given(ADDRESSES, ADDRESSES, st.sampled_from([build_v1, build_v2]))
def test_what_is_built_is_read_back(
    src: tuple[str, int], dst: tuple[str, int], build: object
) -> None:
    octets = build_v1(src, dst) if build is build_v1 else build_v2(src, dst)
    header, rest = read([octets])
    assert isinstance(header, ProxyHeader)
    assert rest == b""
    assert header.source == plain(src)


def plain(address: tuple[str, int]) -> tuple[str, int]:
    ip = ipaddress.ip_address(address[0])
    mapped = ip.ipv4_mapped if isinstance(ip, ipaddress.IPv6Address) else None
    return str(mapped or ip), address[1]


def test_version_1_is_a_line_of_text() -> None:
    assert build_v1(*OF_4) == b"PROXY TCP4 192.0.2.1 198.51.100.2 40000 25\r\n"
    assert build_v1(*OF_6) == b"PROXY TCP6 2001:db8::1 2001:db8::2 40000 25\r\n"


def test_version_2_is_the_head_and_the_addresses() -> None:
    assert build_v2(*OF_4) == v2(0x21, 0x11, TCP4)
    assert build_v2(*OF_6) == v2(0x21, 0x21, TCP6)


def test_mixed_families_go_as_ipv6() -> None:
    octets = build_v2(("192.0.2.1", 1), ("2001:db8::2", 25))
    mapped = bytes(10) + b"\xff\xff" + bytes([192, 0, 2, 1])
    assert octets[16:32] == mapped
    assert build_v1(("192.0.2.1", 1), ("2001:db8::2", 25)).startswith(b"PROXY TCP6 ::")


def test_mapped_addresses_of_both_ends_go_as_ipv4() -> None:
    octets = build_v1(("::ffff:192.0.2.1", 1), ("::ffff:198.51.100.2", 2))
    assert octets == b"PROXY TCP4 192.0.2.1 198.51.100.2 1 2\r\n"


def test_a_scope_is_not_sent() -> None:
    octets = build_v1(("fe80::1%eth0", 1), ("fe80::2%3", 2))
    assert octets == b"PROXY TCP6 fe80::1 fe80::2 1 2\r\n"


@given(
    st.data(),
    of_words(b"PROXY ", b"TCP4 ", b"1.2.3.4 ", b"1", b"\r\n", SIGNATURE, b"\x21\x11"),
)
def test_any_split_gives_the_same(data: st.DataObject, octets: bytes) -> None:
    assert read(data.draw(cuts(octets))) == read([octets])


@given(st.binary(max_size=40) | st.binary(max_size=40).map(SIGNATURE.__add__))
def test_any_octets_give_a_header_nothing_or_a_protocol_error(octets: bytes) -> None:
    header, _ = read([octets])
    assert header in (None, BAD) or isinstance(header, ProxyHeader)
