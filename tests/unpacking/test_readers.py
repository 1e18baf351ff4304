from __future__ import annotations

import gzip

import pytest

from smtpguard.inspection.containers import Container, Way, containers
from smtpguard.inspection.members import Member, Oddity
from smtpguard.unpacking import libarchivereader
from smtpguard.unpacking.readers import members
from tests.inspection import crafted
from tests.inspection.crafted import EXE, tarred, zipped


CASES = {
    "zip": zipped({"x.exe": EXE}),
    "arj": crafted.arj(b"x.exe", EXE),
    "tnef": crafted.tnef((0x9002, b""), (0x8010, b"x.exe"), (0x800F, EXE)),
    "tar": tarred({"x.exe": EXE}),
    "tar.gz": tarred({"x.exe": EXE}, "w:gz"),
    "gzip": gzip.compress(EXE),
}
BY_LIBARCHIVE = {
    "rar": crafted.rar5(b"x.exe", EXE),
    "cab": crafted.cab(b"x.exe", EXE),
    "cpio.gz": gzip.compress(crafted.cpio(b"x.exe", EXE)),
}


def found(octets: bytes) -> tuple[tuple[bytes | str, ...], bytes]:
    """Return names and content of the one member; of an oddity its kind."""
    (container,) = containers(octets)
    seen: list[tuple[tuple[bytes | str, ...], bytes]] = []
    for one in members(octets, container, ("x.exe.gz",), 9):
        if isinstance(one, Oddity):
            seen.append(((one.kind,), b""))
        else:
            seen.append((one.names, b"".join(one.chunks or ())))
    (member,) = seen
    return member


@pytest.mark.parametrize("octets", [*CASES.values(), *BY_LIBARCHIVE.values()])
def test_each_archive_has_its_reader(octets: bytes) -> None:
    names, content = found(octets)
    assert names in {(b"x.exe",), ("x.exe",)}
    assert content == EXE


def test_without_libarchive_python_reads_what_it_can(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(libarchivereader, "_FFI", None)
    for octets in CASES.values():
        names, content = found(octets)
        assert names in {(b"x.exe",), ("x.exe",)}
        assert content == EXE
    for octets in BY_LIBARCHIVE.values():
        assert found(octets) == (("not-inspectable",), b"")


@pytest.mark.parametrize(
    "container",
    [
        Container(Way.OPAQUE, name="chm"),
        Container(Way.COMPRESSED, name="lrzip"),
    ],
)
def test_what_nobody_can_open_is_named(container: Container) -> None:
    (one,) = members(b"", container, (), 9)
    assert one == Oddity(
        "not-inspectable", container.name, unseen=True, malformed=False
    )


def test_a_compressed_file_is_named_after_its_own_name() -> None:
    (container,) = containers(gzip.compress(b"x"))
    (one,) = members(gzip.compress(b"x"), container, ("a.svgz", "b.txt.gz"), 9)
    assert isinstance(one, Member)
    assert set(one.names) == {"a.svg", "b.txt"}
