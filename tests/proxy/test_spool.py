"""The file spool: memory first, then a file without a name."""

from __future__ import annotations

import contextlib
import errno
import mmap
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import pytest

from smtpguard.errors import os_text
from smtpguard.model.content import CHUNK_OCTETS
from smtpguard.proxy import spool
from smtpguard.proxy.spool import Budget, FileSpool


@pytest.fixture(params=[100, 10**9], ids=["file", "memory"])
def made(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[FileSpool]:
    with contextlib.closing(
        FileSpool(str(tmp_path), memory_octets=request.param)
    ) as spool:
        yield spool


@pytest.fixture
def small(tmp_path: Path) -> Iterator[FileSpool]:
    """Return a spool that goes to its file after ten octets."""
    with contextlib.closing(FileSpool(str(tmp_path), memory_octets=10)) as spool:
        yield spool


def test_what_was_written_is_what_is_read(made: FileSpool) -> None:
    pieces = [b"a" * 60, b"b" * 60, b"", b"c" * 600_000]
    for piece in pieces:
        made.write(piece)
    whole = b"".join(pieces)

    assert made.size == len(whole)
    assert bytes(made.view()) == whole
    assert b"".join(made.chunks()) == whole
    assert max(len(chunk) for chunk in made.chunks()) <= CHUNK_OCTETS


def test_the_view_can_be_searched_and_sliced(made: FileSpool) -> None:
    made.write(b"x" * 200 + b"needle" + b"y" * 200)
    view = made.view()

    assert view.find(b"needle") == 200
    assert view[200:206] == b"needle"


def test_an_empty_spool_is_empty(made: FileSpool) -> None:
    assert made.size == 0
    assert bytes(made.view()) == b""
    assert list(made.chunks()) == []


def test_writing_goes_on_after_a_view(made: FileSpool) -> None:
    made.write(b"a" * 200)
    made.view()
    made.write(b"b" * 200)

    assert bytes(made.view()) == b"a" * 200 + b"b" * 200


def test_a_large_message_leaves_memory(small: FileSpool) -> None:
    small.write(b"a" * 11)

    assert isinstance(small.view(), mmap.mmap)


def test_the_file_has_no_name(small: FileSpool, tmp_path: Path) -> None:
    """A crash must not leave anybody's mail behind."""
    small.write(b"a" * 1000)

    assert list(tmp_path.iterdir()) == []


def test_a_view_stays_good_after_close(made: FileSpool) -> None:
    """A judge may still read while the session has ended."""
    made.write(b"a" * 1000)
    view = made.view()
    made.close()

    assert view[0:1000] == b"a" * 1000


def test_closing_twice_is_closing(made: FileSpool) -> None:
    made.write(b"a" * 1000)
    made.close()
    made.close()

    assert made.size == 0


def test_closing_gives_the_file_back(small: FileSpool) -> None:
    descriptors = Path("/proc/self/fd")
    before = len(list(descriptors.iterdir()))
    small.write(b"a" * 1000)
    assert len(list(descriptors.iterdir())) == before + 1
    small.close()

    assert len(list(descriptors.iterdir())) == before


def test_a_missing_folder_is_an_oserror(tmp_path: Path) -> None:
    made = FileSpool(str(tmp_path / "none"), memory_octets=10)
    made.write(b"a" * 10)
    with pytest.raises(FileNotFoundError):
        made.write(b"b")

    assert bytes(made.view()) == b"a" * 10


def test_a_full_disk_is_the_oserror_it_is(small: FileSpool) -> None:
    small.write(b"a" * 20)
    assert small._file is not None
    with Path("/dev/full").open("wb", buffering=0) as full:
        os.dup2(full.fileno(), small._file.fileno())
    with pytest.raises(OSError, match="No space left"):
        small.write(b"b")


def test_a_message_that_cannot_move_to_a_full_disk_leaves_no_file_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    budget = Budget(left=1000)
    made = FileSpool(str(tmp_path), budget, 10)
    made.write(b"a" * 10)
    files: list[BinaryIO] = []

    def full(file: BinaryIO, _: bytes) -> None:
        files.append(file)
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(spool, "_write_all", full)
        with pytest.raises(OSError, match="No space left"):
            made.write(b"b" * 10)
    assert [file.closed for file in files] == [True]
    assert bytes(made.view()) == b"a" * 10
    assert budget.left == 990
    made.close()

    assert budget.left == 1000


def test_a_file_that_was_cut_is_an_error_not_a_shorter_mail(small: FileSpool) -> None:
    small.write(b"a" * 1000)
    assert small._file is not None
    small._file.truncate(500)
    with pytest.raises(OSError, match="shorter"):
        list(small.chunks())


def test_partial_writes_are_completed(tmp_path: Path) -> None:
    class Reluctant:
        """A disk that takes ten octets at a time."""

        def __init__(self) -> None:
            self.got = bytearray()

        def write(self, data: memoryview) -> int:
            self.got += data[:10]
            return min(10, len(data))

    disk = Reluctant()
    file: BinaryIO = disk  # type: ignore[assignment]
    spool._write_all(file, b"0123456789" * 5 + b"xyz")

    assert bytes(disk.got) == b"0123456789" * 5 + b"xyz"


def test_all_messages_together_have_a_budget(tmp_path: Path) -> None:
    budget = Budget(left=250)
    spools = [FileSpool(str(tmp_path), budget) for _ in range(4)]
    for one in spools:
        one.write(b"a" * 100)
    in_memory = [isinstance(one.view(), bytes) for one in spools]
    assert in_memory == [True, True, False, False]
    assert budget.left == 50
    for one in spools:
        assert bytes(one.view()) == b"a" * 100
        one.close()

    assert budget.left == 250


def test_what_moves_to_disk_gives_its_memory_back(tmp_path: Path) -> None:
    budget = Budget(left=1000)
    with contextlib.closing(FileSpool(str(tmp_path), budget, 100)) as spool:
        spool.write(b"a" * 90)
        assert budget.left == 910
        spool.write(b"b" * 90)
        assert budget.left == 1000
        assert bytes(spool.view()) == b"a" * 90 + b"b" * 90
    assert budget.left == 1000


def test_single_octets_cost_little_more_than_what_they_are(tmp_path: Path) -> None:
    import tracemalloc

    with contextlib.closing(FileSpool(str(tmp_path))) as spool:
        tracemalloc.start()
        for _ in range(200_000):
            spool.write(b"x")
        used, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert bytes(spool.view()) == b"x" * 200_000

    assert used < 2 * 200_000


@pytest.mark.parametrize("sizes", [(1, 5000, 1), (5000, 1, 5000), (1, 1, 1, 70_000)])
def test_small_and_large_pieces_stay_in_order(
    tmp_path: Path, sizes: tuple[int, ...]
) -> None:
    pieces = [bytes([65 + n]) * size for n, size in enumerate(sizes)]
    with contextlib.closing(FileSpool(str(tmp_path))) as spool:
        for piece in pieces:
            spool.write(piece)
        assert bytes(spool.view()) == b"".join(pieces)
        assert b"".join(spool.chunks()) == b"".join(pieces)


def test_a_failure_names_the_folder_and_not_the_file(tmp_path: Path) -> None:
    with (
        contextlib.closing(FileSpool(str(tmp_path / "gone"), memory_octets=1)) as spool,
        pytest.raises(FileNotFoundError) as raised,
    ):
        spool.write(b"xx")
    assert raised.value.filename == str(tmp_path / "gone")
    assert os_text(raised.value) == f"No such file or directory ({tmp_path / 'gone'})"
