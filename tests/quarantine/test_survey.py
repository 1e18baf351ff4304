from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpguard.errors import QuarantineError
from smtpguard.model.content import MemorySpool
from smtpguard.quarantine.store import Store
from smtpguard.quarantine.survey import FileContent, survey, whole
from tests.quarantine.making import MESSAGE, kept


if TYPE_CHECKING:
    from pathlib import Path


class Pieces:
    """A message in pieces of our choice."""

    def __init__(self, *pieces: bytes) -> None:
        self._pieces = pieces
        self.size = sum(map(len, pieces))

    def chunks(self) -> list[bytes]:
        return list(self._pieces)


@pytest.mark.parametrize(
    ("octets", "stray", "is_ascii", "has_ascii_header"),
    [
        (b"", 0, True, True),
        (MESSAGE, 0, True, True),
        (b"a: b\r\n\r\n\xff\r\n", 0, False, True),
        (b"a: \xff\r\n\r\nb\r\n", 0, False, False),
        (b"a: \xff\r\n", 0, False, False),
        (b"a: b\n.\n\r\n\r\0\r\n", 4, True, True),
    ],
)
def test_what_a_message_asks_of_a_server(
    octets: bytes, stray: int, is_ascii: bool, has_ascii_header: bool
) -> None:
    found = survey(Pieces(octets))  # type: ignore[arg-type]
    assert (found.size, found.stray) == (len(octets), stray)
    assert found.sha256 == hashlib.sha256(octets).hexdigest()
    assert (found.is_ascii, found.has_ascii_header) == (is_ascii, has_ascii_header)


@given(st.lists(st.text("a\xe4\r\n", max_size=6).map(str.encode)))
def test_how_it_is_cut_does_not_matter(pieces: list[bytes]) -> None:
    at_once = survey(Pieces(b"".join(pieces)))  # type: ignore[arg-type]
    assert survey(Pieces(*pieces)) == at_once  # type: ignore[arg-type]


def test_a_file_is_a_content(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(MESSAGE * 10_000)
    content, spool = FileContent(path), MemorySpool()
    for chunk in content.chunks():
        spool.write(chunk)
    assert content.size == spool.size == len(MESSAGE) * 10_000
    assert survey(content) == survey(spool)


def test_octets_that_were_changed_are_not_handed_out(tmp_path: Path) -> None:
    store = Store(tmp_path)
    made = kept(store)
    path = store.octets(made.id)
    assert b"".join(whole(store, made).chunks()) == MESSAGE
    path.chmod(0o600)
    path.write_bytes(MESSAGE.replace(b"three", b"thrEE"))
    with pytest.raises(QuarantineError, match="not those that were kept"):
        whole(store, made)
    path.unlink()
    with pytest.raises(QuarantineError, match="No such file"):
        whole(store, made)
