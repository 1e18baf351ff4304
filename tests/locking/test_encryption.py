from __future__ import annotations

import errno
import hashlib
import io
from typing import TYPE_CHECKING

import pyrage
import pytest

from smtpguard.locking.container import read_head, unlock
from smtpguard.locking.encryption import lock_for, parse_recipient, piped
from tests.locking.making import KEY, head_of


if TYPE_CHECKING:
    from collections.abc import Iterator

    from smtpguard.locking.container import Head


IDENTITY = pyrage.x25519.Identity.generate()
RECIPIENT = parse_recipient(str(IDENTITY.to_public()))
BLOCK = 65_536


def sealed(*chunks: bytes, head: Head) -> bytes:
    return b"".join(lock_for(RECIPIENT, chunks, head, KEY, io.BytesIO()))


@pytest.mark.parametrize("size", [0, 1, BLOCK, 200_001])
def test_only_the_private_key_reads_it(size: int) -> None:
    content = hashlib.shake_256(b"content").digest(size)
    octets = sealed(content[:7], b"", content[7:], head=head_of(content))
    payload = b"".join(unlock([octets]))
    assert payload.startswith(b"age-encryption.org/v1\n")
    assert pyrage.decrypt(payload, [IDENTITY]) == content
    with pytest.raises(pyrage.DecryptError):
        pyrage.decrypt(payload, [pyrage.x25519.Identity.generate()])
    wanted = head_of(content, encryption="age", payload=len(payload))
    assert read_head(octets) == wanted


@pytest.mark.parametrize("chunks", [[], [b"conten"], [b"contents"], [b"CONTENT"]])
def test_chunks_that_are_not_those_of_the_head_are_not_locked(
    chunks: list[bytes],
) -> None:
    with pytest.raises(ValueError, match="not what the head tells"):
        sealed(*chunks, head=head_of(b"content"))


def test_it_is_written_while_its_chunks_come() -> None:
    spool = io.BytesIO()
    before: list[int] = []

    def chunks() -> Iterator[bytes]:
        for _ in range(20):
            before.append(spool.tell())
            yield bytes(BLOCK)

    head = head_of(bytes(20 * BLOCK))
    pieces = list(lock_for(RECIPIENT, chunks(), head, KEY, spool))
    assert before[-1] > 15 * BLOCK
    assert max(map(len, pieces)) == BLOCK


class Full(io.BytesIO):
    """Takes so many octets."""

    def __init__(self, room: int) -> None:
        super().__init__()
        self.room = room

    def write(self, octets: bytes) -> int:  # type: ignore[override]
        if self.tell() + len(octets) > self.room:
            raise OSError(errno.ENOSPC, "full")
        return super().write(octets)


@pytest.mark.parametrize("room", [0, 100, 5_000, 100_000, 200_200])
def test_a_spool_that_is_full_is_told_and_nothing_is_locked(room: int) -> None:
    """pyrage alone forgets what is raised for its last octets."""
    content = bytes(200_001)
    pieces = lock_for(RECIPIENT, [content], head_of(content), KEY, Full(room))
    with pytest.raises(OSError, match="full") as told:
        next(pieces)
    assert told.value.errno == errno.ENOSPC


def test_what_reading_raises_is_what_is_raised() -> None:
    def chunks() -> Iterator[bytes]:
        yield b"x"
        raise TimeoutError

    with pytest.raises(TimeoutError):
        next(lock_for(RECIPIENT, chunks(), head_of(b"x"), KEY, io.BytesIO()))


def test_what_pyrage_raises_is_raised_too() -> None:
    sink = io.BytesIO()
    with pytest.raises(pyrage.DecryptError):
        piped(pyrage.decrypt_io, io.BytesIO(b"junk").read, sink.write, [IDENTITY])


@pytest.mark.parametrize("text", ["", "age1", "age1xyz", "ssh-ed25519 AAAA", "ä"])
def test_what_is_no_public_key_is_named(text: str) -> None:
    with pytest.raises(ValueError, match=f"not an age X25519 public key: {text!r}"):
        parse_recipient(text)


@pytest.mark.parametrize(
    "text", [str(IDENTITY), str(IDENTITY).lower()], ids=["as-made", "small-letters"]
)
def test_a_private_key_in_place_of_a_public_one_is_not_shown(text: str) -> None:
    with pytest.raises(ValueError, match="this is a private key") as caught:
        parse_recipient(text)
    assert text[20:40] not in str(caught.value)
