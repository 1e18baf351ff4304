from __future__ import annotations

import io
import struct
import zipfile
import zlib
from collections.abc import Iterator

import pytest

from smtpguard.inspection import zips
from smtpguard.inspection.zips import Header, content, has_end, headers


def zipped(
    *names: str, method: int = zipfile.ZIP_DEFLATED, comment: bytes = b""
) -> bytes:
    into = io.BytesIO()
    with zipfile.ZipFile(into, "w", method) as archive:
        archive.comment = comment
        for name in names:
            archive.writestr(name, f"content of {name}")
    return into.getvalue()


def local(name: bytes, flags: int = 0, method: int = 0, extra: bytes = b"") -> bytes:
    sizes = struct.pack("<IIIHH", 0, 0, 0, len(name), len(extra))
    return b"PK\3\4" + struct.pack("<HHHI", 20, flags, method, 0) + sizes + name + extra


def central(
    name: bytes, offset: int, flags: int = 0, method: int = 0, extra: bytes = b""
) -> bytes:
    return (
        b"PK\1\2"
        + struct.pack("<HHHHI", 20, 20, flags, method, 0)
        + struct.pack("<IIIHHH", 0, 0, 0, len(name), len(extra), 0)
        + struct.pack("<HHII", 0, 0, 0, offset)
        + name
        + extra
    )


def end(directory: bytes, offset: int) -> bytes:
    return b"PK\5\6" + struct.pack("<HHHHIIH", 0, 0, 1, 1, len(directory), offset, 0)


def found(octets: bytes) -> Iterator[Header]:
    for header in headers(octets):
        assert header is not None
        yield header


def names(octets: bytes) -> set[bytes]:
    return {header.name for header in found(octets)}


def test_each_entry_has_a_local_and_a_central_header() -> None:
    seen = [(header.name, header.data is None) for header in found(zipped("A", "b"))]
    assert seen == [(b"a", False), (b"b", False), (b"a", True), (b"b", True)]


def test_folders_are_written_in_one_way() -> None:
    assert names(local(b"\\Word\\X.xml")) == {b"word/x.xml"}


def test_an_archive_behind_something_is_found_by_its_end() -> None:
    octets = b"GIF89a" + bytes(5000) + zipped("a", comment=b"hello")
    assert has_end(octets)
    assert names(octets) == {b"a"}
    assert sum(header.data is not None for header in found(octets)) == 1


def test_an_end_without_a_directory_is_none() -> None:
    assert not has_end(b"PK\5\6" + bytes(18))
    assert not has_end(b"text PK\5\6 text")


def test_an_end_is_looked_for_where_a_comment_lets_it_be() -> None:
    octets = b"x" + zipped("a")
    assert has_end(octets + bytes(65535))
    assert not has_end(octets + bytes(65536))


def test_what_only_the_directory_has_is_found() -> None:
    directory = central(b"hidden", 0)
    assert names(local(b"shown") + directory + end(directory, 35)) == {
        b"shown",
        b"hidden",
    }


def test_what_only_a_local_header_has_is_found() -> None:
    one = local(b"hidden")
    directory = central(b"shown", len(one))
    octets = one + local(b"shown") + directory + end(directory, len(one) * 2 - 1)
    assert names(octets) == {b"shown", b"hidden"}


def test_a_header_that_only_the_directory_points_to_is_read() -> None:
    """The walk jumps over it: it lies in the content of another entry."""
    inner = local(b"inner", flags=1)
    outer = bytearray(local(b"outer") + inner)
    outer[18:22] = struct.pack("<I", len(inner))
    directory = central(b"inner", 35)
    octets = bytes(outer) + directory + end(directory, len(outer))
    assert [one.is_encrypted for one in found(octets) if one.data is not None] == [
        False,
        True,
    ]


def test_all_entries_of_a_directory_are_read_without_their_contents() -> None:
    directory = central(b"one", 0, extra=b"UT\1\0x") + central(b"two", 0)
    assert names(b"prefix" + directory + end(directory, 0)) == {b"one", b"two"}


def test_an_archive_stored_in_an_archive_is_content() -> None:
    into = io.BytesIO()
    with zipfile.ZipFile(into, "w") as archive:
        archive.writestr("in.zip", zipped("META-INF/MANIFEST.MF"))
    assert names(into.getvalue()) == {b"in.zip"}


@pytest.mark.parametrize(
    ("flags", "method", "extra", "encrypted"),
    [
        (0x0001, 8, b"", True),
        (0x0041, 8, b"", True),
        (0x2000, 0, b"", True),
        (0, 99, b"", True),
        (0, 8, b"\x01\x99\x07\x00\x02\x00AE\x03\x08\x00", True),
        (0x0808, 8, b"UT\x05\x00\x03abcd", False),
    ],
    ids=["classic", "strong", "masked", "aes", "aes-extra", "plain"],
)
@pytest.mark.parametrize("side", ["local", "central"])
def test_encryption_is_seen_on_either_side(
    side: str, flags: int, method: int, extra: bytes, encrypted: bool
) -> None:
    says = {"flags": flags, "method": method}
    one = local(b"x", **says, extra=extra) if side == "local" else local(b"x")
    directory = (
        central(b"x", 0) if side == "local" else central(b"x", 0, **says, extra=extra)
    )
    octets = one + directory + end(directory, len(one))
    assert any(header.is_encrypted for header in found(octets)) == encrypted


def test_zip64_is_read_by_its_own_end() -> None:
    one = local(b"x")
    directory = central(b"x", 0)
    end64 = b"PK\6\6" + struct.pack("<QHHIIQQ", 44, 45, 45, 0, 0, 1, 1)
    end64 += struct.pack("<QQ", len(directory), len(one))
    locator = b"PK\6\7" + struct.pack("<IQI", 0, len(one + directory), 1)
    last = b"PK\5\6" + struct.pack("<HHHHIIH", 0, 0, 1, 1, *[0xFFFFFFFF] * 2, 0)
    octets = b"prefix" + one + directory + end64 + locator + last
    assert has_end(octets)
    assert [header.data for header in found(octets)] == [None, len(b"prefix") + 31]


def test_content_is_read_stored_and_deflated() -> None:
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        octets = zipped("a", method=method)
        assert content(octets, next(found(octets))) == b"content of a"


def test_content_that_is_a_bomb_is_read_to_the_limit() -> None:
    into = io.BytesIO()
    with zipfile.ZipFile(into, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a", bytes(50 * zips.MAX_INFLATED))
    read = content(into.getvalue(), next(found(into.getvalue())))
    assert read is not None
    assert len(read) == zips.MAX_INFLATED


def test_content_that_cannot_be_read_is_none() -> None:
    broken = local(b"x", method=8) + b"\xff\xff\xff"
    with pytest.raises(zlib.error):
        zlib.decompress(b"\xff\xff\xff", -15)
    for octets in (broken, local(b"x", flags=1), local(b"x", method=14)):
        assert content(octets, next(found(octets))) is None
    directory = central(b"x", 0)
    octets = local(b"x") + directory + end(directory, 31)
    assert content(octets, list(found(octets))[-1]) is None


def test_too_many_headers_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zips, "MAX_HEADERS", 5)
    assert list(headers(local(b"x") * 5))[-1] is not None
    assert list(headers(local(b"x") * 6))[-1] is None


def test_headers_that_are_cut_off_end_the_walk() -> None:
    octets = zipped("a", "b")
    for cut in range(len(octets)):
        assert names(octets[:cut]) <= {b"", b"a", b"b", b"c"}
