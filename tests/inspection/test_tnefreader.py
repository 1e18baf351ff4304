from __future__ import annotations

import struct
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpguard.inspection.members import Member, Oddity
from smtpguard.inspection.tnefreader import MAX_READINGS, tnef_members
from tests.inspection.crafted import EXE, properties, sha256, sized, tnef
from tests.inspection.payloads import payloads


BEGINS, DATA, TITLE, TRANSPORT, PROPERTIES = 0x9002, 0x800F, 0x8010, 0x9001, 0x9005
STRING, UNICODE, BINARY, OBJECT = 0x1E, 0x1F, 0x102, 0x0D
LONG, SHORT, SHOWN, CONTENT = 0x3707, 0x3704, 0x3001, 0x3701
FULL = b"\xff" * 4
MESSAGE = bytes.fromhex("07030200 00000000 c0000000 00000046")
STORAGE = bytes.fromhex("0b000000 00000000 c0000000 00000046")


def seen(
    octets: bytes,
) -> tuple[list[tuple[tuple[bytes | str, ...], bytes]], list[str]]:
    """Return names and contents of all attachments, and kinds of what is odd."""
    found = []
    odd = []
    for one in tnef_members(octets):
        if isinstance(one, Oddity):
            odd.append(one.kind)
            assert one.unseen
        else:
            content = b"".join(one.chunks or ())
            assert one.size == len(content)
            found.append((one.names, content))
    return found, odd


def wide(text: str) -> bytes:
    return sized((text + "\0").encode("utf-16-le"))


def test_attachments_have_all_their_names() -> None:
    octets = tnef(
        (0x8004, b"a subject"),
        (BEGINS, bytes(14)),
        (DATA, EXE),
        (TITLE, b"REPORT~1.EXE\0"),
        (TRANSPORT, b"r.exe\0"),
        (
            PROPERTIES,
            properties(
                (3, 0x0E20, bytes(4)),
                (UNICODE, LONG, wide("r\u00e9port.exe")),
                (STRING, SHORT, sized(b"short.exe\0")),
                (UNICODE, SHOWN, wide("shown")),
            ),
        ),
        (BEGINS, bytes(14)),
        (TITLE, b"b.txt"),
        (DATA, b"text"),
    )
    names = (
        *(b"REPORT~1.EXE", b"r.exe"),
        *("r\u00e9port.exe", b"short.exe", "shown"),
    )
    assert seen(octets) == ([(names, EXE), ((b"b.txt",), b"text")], [])


@pytest.mark.parametrize("interface", [MESSAGE, STORAGE, b""])
def test_objects_are_contents_without_their_interface(interface: bytes) -> None:
    content = tnef((0x8004, b"inner"))
    octets = tnef(
        (BEGINS, b""),
        (PROPERTIES, properties((OBJECT, CONTENT, sized(interface + content)))),
    )
    assert seen(octets) == ([(("",), content)], [])


def test_of_two_contents_both_are_there() -> None:
    """One reader takes the attribute, another the property."""
    octets = tnef(
        (BEGINS, b""),
        (TITLE, b"a"),
        (DATA, b"shown"),
        (PROPERTIES, properties((BINARY, CONTENT, sized(EXE)))),
    )
    assert seen(octets) == ([((b"a",), b"shown"), ((b"a",), EXE)], [])


def test_an_attachment_that_does_not_begin_is_one() -> None:
    assert seen(tnef((TITLE, b"x.exe"), (DATA, EXE))) == ([((b"x.exe",), EXE)], [])


def test_the_level_of_an_attribute_is_not_asked() -> None:
    octets = tnef((BEGINS, b""), (DATA, EXE)).replace(b"\2\x0f", b"\1\x0f")
    assert seen(octets) == ([(("",), EXE)], [])


@pytest.mark.parametrize(
    "before",
    [
        (3, 0x0E20, bytes(4)),
        (2, 1, bytes(4)),
        (0x0B, 1, bytes(4)),
        (0x40, 1, bytes(8)),
        (0x48, 1, bytes(16)),
        (1, 1, b""),
        (BINARY, 1, sized(b"12345")),
        (0x1000 | BINARY, 1, sized(b"1", b"22", b"")),
        (0x1000 | 3, 1, struct.pack("<III", 2, 1, 2)),
        (3, 0x8000, bytes(16) + struct.pack("<II", 0, 5) + bytes(4)),
        (
            3,
            0x8001,
            bytes(16) + struct.pack("<II", 1, 6) + b"a\0b\0\0\0" + bytes(2) + bytes(4),
        ),
    ],
)
def test_each_type_of_property_is_jumped_over(before: tuple[int, int, bytes]) -> None:
    data = properties(before, (UNICODE, LONG, wide("x.exe")))
    octets = tnef((BEGINS, b""), (PROPERTIES, data))
    assert seen(octets) == ([(("x.exe",), b"")], [])


@pytest.mark.parametrize(
    "data",
    [
        properties((0x77, 1, b""), (UNICODE, LONG, wide("x"))),
        properties((BINARY, 1, sized(b"12345")[:-8])),
        properties((BINARY, 1, struct.pack("<II", 1, 0xFFFFFFFF))),
        properties((BINARY, 1, struct.pack("<I", 0xFFFFFFFF) + bytes(8))),
        struct.pack("<I", 0xFFFFFFFF) + struct.pack("<HHI", 3, 1, 1),
    ],
    ids=["type", "cut", "size", "count", "properties"],
)
def test_properties_that_cannot_be_read_are_told_and_lose_nothing_else(
    data: bytes,
) -> None:
    octets = tnef((BEGINS, b""), (DATA, EXE), (PROPERTIES, data), (TITLE, b"x.exe"))
    found, odd = seen(octets)
    assert found == [((b"x.exe",), EXE)]
    assert odd == ["archive-damaged"]


def test_what_is_cut_off_is_told_and_kept_as_far_as_it_goes() -> None:
    octets = tnef((BEGINS, b""), (TITLE, b"x.exe"), (DATA, EXE))
    assert seen(octets[:-100]) == (
        [((b"x.exe",), EXE[:-98])],
        ["archive-damaged"],
    )


def test_names_without_number_are_bounded() -> None:
    octets = tnef((BEGINS, b""), *[(TITLE, b"%d" % at) for at in range(500)])
    found, odd = seen(octets)
    assert len(found[0][0]) == MAX_READINGS
    assert odd
    data = properties(
        (0x1000 | STRING, LONG, sized(*[b"%d" % at for at in range(500)]))
    )
    found, odd = seen(tnef((BEGINS, b""), (PROPERTIES, data)))
    assert len(found[0][0]) == MAX_READINGS
    assert odd


@pytest.mark.parametrize(
    "make",
    [
        lambda n: tnef(*[(0x8004, b"")] * n),
        lambda n: tnef((BEGINS, b""), (PROPERTIES, FULL + b"\1\0\1\0" * n)),
        lambda n: tnef(
            (PROPERTIES, properties((BINARY, 1, b"\xff" * 4 + bytes(n * 4))))
        ),
    ],
    ids=["attributes", "properties", "values"],
)
def test_time_is_linear(make: object) -> None:
    def seconds(count: int) -> float:
        octets = make(count)  # type: ignore[operator]
        best = float("inf")
        for _ in range(3):
            begin = time.process_time()
            assert list(tnef_members(octets)) is not None
            best = min(best, time.process_time() - begin)
        return best

    assert seconds(40_000) < 3 * seconds(20_000) + 0.05


@given(st.binary(max_size=400), st.integers(0, 300))
def test_noise_raises_nothing(noise: bytes, at: int) -> None:
    data = properties((UNICODE, LONG, wide("x")), (BINARY, CONTENT, sized(b"1")))
    octets = tnef((BEGINS, b""), (DATA, b"1"), (PROPERTIES, data), (TITLE, b"t"))
    for mixed in (octets[:at] + noise, octets[:at] + noise + octets[at:]):
        for one in tnef_members(mixed):
            assert isinstance(one, Member | Oddity)


def test_the_program_of_others_is_found(shared: Path) -> None:
    (found,), odd = seen(payloads(shared)["clam.tnef"])
    names, content = found
    assert set(names) >= {b"clam.exe"}
    assert odd == []
    clam = "71e7b604d18aefd839e51a39c88df8383bb4c071dc31f87f00a2b5df580d4495"
    assert (len(content), sha256(content)) == (544, clam)
