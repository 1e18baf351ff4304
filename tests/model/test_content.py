from __future__ import annotations

import mmap
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpguard.model.content import CHUNK_OCTETS, Edited, MemorySpool


def test_memory_spool_gives_back_what_was_written() -> None:
    spool = MemorySpool()
    for octets in (b"a", b"", b"bc" * CHUNK_OCTETS):
        spool.write(octets)
    assert spool.size == 1 + 2 * CHUNK_OCTETS
    assert spool.view() == b"".join(spool.chunks()) == b"a" + b"bc" * CHUNK_OCTETS
    assert max(map(len, spool.chunks())) == CHUNK_OCTETS


def test_closed_memory_spool_holds_nothing() -> None:
    spool = MemorySpool()
    spool.write(b"abc")
    spool.close()
    spool.close()
    assert (spool.size, spool.view(), list(spool.chunks())) == (0, b"", [])


def test_edited_message_is_its_pieces_in_order() -> None:
    edited = Edited(b"0123456789", ((0, 3), b"xyz", (7, 10)))
    assert b"".join(edited.chunks()) == b"012xyz789"
    assert edited.size == 9


def test_edited_message_reads_a_mapped_file_and_lets_go_of_it(tmp_path: Path) -> None:
    path = tmp_path / "message"
    path.write_bytes(b"0123456789")
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as m:
        assert b"".join(Edited(m, ((8, 10), b"-", (0, 2))).chunks()) == b"89-01"
        m.close()  # raises BufferError if anything still held it


@given(st.binary(max_size=40), st.data())
def test_size_is_the_length_of_the_chunks(octets: bytes, data: st.DataObject) -> None:
    at = st.integers(0, len(octets))
    span = st.tuples(at, at).map(lambda pair: (min(pair), max(pair)))
    pieces = data.draw(st.lists(span | st.binary(max_size=9), max_size=8))
    edited = Edited(octets, tuple(pieces))
    assert edited.size == len(b"".join(edited.chunks()))


@pytest.mark.parametrize("extra", [0, 1])
def test_large_spans_come_in_chunks(extra: int) -> None:
    octets = bytes(2 * CHUNK_OCTETS + extra)
    sizes = [len(chunk) for chunk in Edited(octets, ((0, len(octets)),)).chunks()]
    assert sizes == [CHUNK_OCTETS, CHUNK_OCTETS, *([1] if extra else [])]
