from __future__ import annotations

import hashlib
import io
import json
import re
import tracemalloc
import zipfile
from itertools import islice
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpguard.locking import container, unlock
from smtpguard.locking.container import (
    CONTENT_TYPE,
    LockError,
    is_container,
    lock,
    locked_name,
    read_head,
)
from tests.conftest import ROOT
from tests.locking.making import KEY, by_hand, fields, head_of, locked


if TYPE_CHECKING:
    from collections.abc import Iterator


BLOCK = 65_536
OTHER_KEY = KEY[::-1]


def unlocked(octets: bytes) -> bytes:
    return b"".join(container.unlock([octets]))


# ------------------------------------------------------------------------- both ways


@pytest.mark.parametrize(
    "size", [0, 1, 31, 32, 33, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK + 7]
)
def test_what_was_locked_is_unlocked(size: int) -> None:
    content = hashlib.shake_256(b"content").digest(size)
    assert unlocked(locked(content)) == content


@given(
    content=st.binary(max_size=300),
    key=st.binary(min_size=32, max_size=32),
    cuts=st.lists(st.integers(1, 40), min_size=1, max_size=9),
)
def test_chunks_may_have_any_lengths(
    content: bytes, key: bytes, cuts: list[int]
) -> None:
    def cut(octets: bytes) -> Iterator[bytes]:
        yield b""
        at = 0
        for turn in range(len(octets)):
            yield octets[at : at + cuts[turn % len(cuts)]]
            at += cuts[turn % len(cuts)]

    head = head_of(content)
    made = b"".join(lock(cut(content), head, key))
    assert made == b"".join(lock([content], head, key))
    assert b"".join(container.unlock(cut(made))) == content


def test_blocks_are_masked_alike_however_they_are_cut() -> None:
    content = bytes(2 * BLOCK + 5)
    pieces = (content[at : at + 999] for at in range(0, len(content), 999))
    made = b"".join(lock(pieces, head_of(content), KEY))
    assert made == locked(content)
    assert unlocked(made) == content


@given(text=st.text(max_size=50))
def test_a_head_comes_back_as_it_was_written(text: str) -> None:
    head = head_of(b"x", name=text, type=text, reason=text, id="", size=1)
    assert read_head(b"".join(lock([b"x"], head, KEY))) == head


@pytest.mark.parametrize(
    "name", ['"}{[', "a\0b", "\udcff\udc80", "\U0001f600", "\u202eexe.txt", "\\u0041"]
)
def test_hostile_names_come_back_as_they_were_written(name: str) -> None:
    assert read_head(locked(b"x", name=name)).name == name


def test_the_head_is_read_before_the_rest_is_there() -> None:
    octets = locked(b"content")
    end = len(octets) - 32 - len(b"content")
    assert read_head(octets[:end]) == head_of(b"content")
    with pytest.raises(LockError, match="cut off"):
        read_head(octets[: end - 1])


def test_a_long_name_loses_its_middle_and_keeps_its_ending() -> None:
    read = read_head(locked(b"x", name="a" * 5000 + ".exe")).name
    assert len(read) == container.MAX_TEXT
    assert read.startswith("aaa")
    assert "a...a" in read
    assert read.endswith("a.exe")


def test_the_longest_head_that_is_written_is_one_that_is_read() -> None:
    text = "\U0001f600" * 5000
    made = locked(b"x", name=text, type=text, reason=text, id="i" * 100)
    assert read_head(made).id == "i" * 100


# ------------------------------------------------------------------- faults of callers


@pytest.mark.parametrize("key", [b"", KEY[:-1], KEY + b"x"])
def test_a_key_of_another_length_is_a_fault(key: bytes) -> None:
    with pytest.raises(ValueError, match="not 32"):
        locked(b"x", key)


@pytest.mark.parametrize(
    "changes",
    [
        {"size": -1, "payload": -1},
        {"size": 1 << 63, "payload": 1 << 63},
        {"payload": 2},
        {"sha256": "E3" * 32},
        {"time": "yesterday"},
        {"time": "2026-11-24T09:36:13Z\n"},
        {"id": "a b"},
        {"encryption": "rot13"},
    ],
)
def test_a_head_that_would_not_be_read_is_not_written(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"^it"):
        locked(b"x", **changes)


@pytest.mark.parametrize("chunks", [[], [b"conten"], [b"contents"], [b"CONTENT"]])
def test_chunks_that_are_not_those_of_the_head_have_no_end(chunks: list[bytes]) -> None:
    pieces: list[bytes] = []
    with pytest.raises(ValueError, match="not what the head tells"):
        pieces.extend(lock(chunks, head_of(b"content"), KEY))
    with pytest.raises(LockError):
        unlocked(b"".join(pieces))


def test_an_encrypted_payload_has_the_length_that_its_head_tells() -> None:
    head = head_of(b"content", encryption="age", payload=9)
    assert len(list(lock([b"encrypted"], head, KEY))) == 3
    for chunk in (b"encrypte", b"encrypted!"):
        with pytest.raises(ValueError, match="not what the head tells"):
            list(lock([chunk], head, KEY))


# ------------------------------------------------------------ changed, cut, longer


def test_every_octet_counts() -> None:
    octets = locked(b"content", name="a")
    for at in range(len(octets)):
        for bit in (1, 0x80):
            changed = bytearray(octets)
            changed[at] ^= bit
            with pytest.raises(LockError):
                unlocked(bytes(changed))


def test_every_length_but_its_own_is_refused() -> None:
    octets = locked(b"content", name="a")
    for end in range(len(octets)):
        with pytest.raises(LockError, match=r"cut off|not a file"):
            unlocked(octets[:end])
    for tail in (b"\0", b"\n", octets):
        with pytest.raises(LockError, match="follows its end"):
            unlocked(octets + tail)


def test_a_digest_that_fits_does_not_make_another_content_right() -> None:
    """Whoever knows the format can write a right digest at the end."""
    octets = locked(b"content")[:-32]
    changed = octets[:-1] + bytes([octets[-1] ^ 1])
    with pytest.raises(LockError, match="not the one that its head tells"):
        unlocked(changed + hashlib.sha256(changed).digest())


# ------------------------------------------------------------------------------- mask


def test_the_same_content_is_masked_otherwise_by_another_key() -> None:
    one, other = (
        locked(bytes(5000))[-5032:-32],
        locked(bytes(5000), OTHER_KEY)[-5032:-32],
    )
    same = sum(a == b for a, b in zip(one, other, strict=True))
    assert same < 60  # of 5,000 by chance 20


def test_blocks_of_one_content_are_masked_otherwise() -> None:
    payload = locked(bytes(2 * BLOCK))[-2 * BLOCK - 32 : -32]
    assert payload[:BLOCK] != payload[BLOCK:]


def test_a_content_made_for_one_key_opens_as_nothing_by_another() -> None:
    """Masked with the key that was guessed it is a zip file; so keys are random."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("evil.js", "payload")
    made = unlock.masked(file.getvalue(), KEY, 0)
    guessed, other = locked(made), locked(made, OTHER_KEY)
    with zipfile.ZipFile(io.BytesIO(guessed)) as archive:
        assert archive.namelist() == ["evil.js"]
    assert not zipfile.is_zipfile(io.BytesIO(other))


@pytest.mark.parametrize("field", ["name", "type", "reason"])
def test_no_text_of_a_sender_stands_in_a_head_as_it_is(field: str) -> None:
    text = "%PDF-1.4 <html><script> {\\rtf1 ustar CD001 PK\x03\x04"
    changes: dict[str, Any] = {field: text}
    octets = locked(b"", **changes)
    head = octets[12:-32].decode("ascii")
    (written,) = re.findall(rf'"{field}":"([^"]*)"', head)
    assert re.fullmatch(r"(?:\\u[0-9a-f]{4})+", written)
    assert json.loads(head)[field] == text


# -------------------------------------------------------------------------- resources


def test_memory_is_bounded_both_ways() -> None:
    size = 16 << 20
    digest = hashlib.sha256()
    for _ in range(size // BLOCK):
        digest.update(bytes(BLOCK))
    head = head_of(b"", size=size, payload=size, sha256=digest.hexdigest())
    chunks = (bytes(BLOCK) for _ in range(size // BLOCK))
    tracemalloc.start()
    try:
        length = sum(map(len, container.unlock(lock(chunks, head, KEY))))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert length == size
    assert peak < 2 << 20


def test_one_large_chunk_is_not_copied() -> None:
    content = bytes(16 << 20)
    head = head_of(content)
    tracemalloc.start()
    try:
        made = sum(map(len, lock([content], head, KEY)))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert made > len(content)
    assert peak < 1 << 20


def test_a_container_is_made_and_read_as_its_chunks_come() -> None:
    """The first octets are out when little more than they has been in."""
    taken = 0

    def chunks() -> Iterator[bytes]:
        nonlocal taken
        for _ in range(100):
            taken += 1
            yield bytes(BLOCK)

    head = head_of(b"", size=100 * BLOCK, payload=100 * BLOCK)
    assert len(list(islice(container.unlock(lock(chunks(), head, KEY)), 3))) == 3
    assert taken <= 5


# ------------------------------------------------------------------------------ names


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a.exe", "a.exe.clk"),
        ("", "unnamed.clk"),
        ("..\\..\\a.exe. ", "a.exe.clk"),
        ("a.exe\r\nX-Injected: 1", "a.exe__X-Injected_ 1.clk"),
        ("\u202efdp.exe", "_fdp.exe.clk"),
        ("Bücher.xlsm", "Bücher.xlsm.clk"),
    ],
)
def test_a_locked_name_is_the_name_with_an_ending(name: str, expected: str) -> None:
    assert locked_name(name) == expected


def test_a_locked_name_is_short_enough_for_every_file_system() -> None:
    assert len(locked_name("ü" * 5000 + ".exe").encode()) <= 204


# ------------------------------------------------------------------ not locked twice

NAME = "Rechnung.exe.clk"


@pytest.mark.parametrize(
    ("octets", "name"),
    [
        (locked(b"content"), NAME),
        (locked(b"", name=""), locked_name("")),
        (locked(b"content", encryption="age"), NAME),
        (by_hand(fields(b"theirs"), b"theirs"), "a.txt.clk"),
        (locked(b"content"), locked_name("ü" * 5000 + "\u202eexe. ")),
    ],
    ids=["ours", "nameless", "encrypted", "of-a-sender", "long"],
)
def test_a_container_is_known_to_be_one(octets: bytes, name: str) -> None:
    pieces = [octets[:5], octets[5:]]
    assert is_container(CONTENT_TYPE, [name], pieces)
    assert is_container(CONTENT_TYPE.upper(), {name, "b.clk"}, pieces)


@pytest.mark.parametrize(
    ("content_type", "names"),
    [
        ("application/octet-stream", [NAME]),
        (CONTENT_TYPE + "x", [NAME]),
        (CONTENT_TYPE, []),
        (CONTENT_TYPE, [""]),
        (CONTENT_TYPE, ["Rechnung.exe"]),
        (CONTENT_TYPE, [NAME, "Rechnung.exe"]),
        (CONTENT_TYPE, ["Rechnung.exe\0.clk"]),
        (CONTENT_TYPE, ["\u202eexe.clk"]),
        (CONTENT_TYPE, ["../a.clk"]),
        (CONTENT_TYPE, [".clk"]),
        (CONTENT_TYPE, ["a.exe .clk"]),
        (CONTENT_TYPE, ["a.clk."]),
        (CONTENT_TYPE, ["aclk"]),
    ],
)
def test_all_of_a_container_must_be_so(content_type: str, names: list[str]) -> None:
    """What is not, is locked: its octets are not even read."""

    unread = iter([locked(b"content")])
    assert not is_container(content_type, names, unread)
    assert list(unread) == [locked(b"content")]


def test_a_container_that_does_not_verify_is_none() -> None:
    octets = locked(b"content")
    for wrong in (octets[:-1], octets + b"\0", octets[:-1] + b"\0", b"MZ", b""):
        assert not is_container(CONTENT_TYPE, [NAME], [wrong])


# --------------------------------------------------------------------------- the page


def example() -> tuple[bytes, str]:
    page = (ROOT / "docs" / "clk.md").read_text("utf-8")
    dump = re.findall(r"^([0-9a-f]{4})  ((?:[0-9a-f]{2} ?)+)", page, re.MULTILINE)
    assert [int(offset, 16) for offset, _ in dump] == list(range(0, len(dump) * 16, 16))
    return bytes.fromhex("".join(octets for _, octets in dump)), page


def test_the_example_of_the_page_is_one_that_is_made() -> None:
    octets, _ = example()
    content = b"MZ, as if it were a program.\r\n"
    made = lock([content], head_of(content, name="ä.exe", type="a/b", reason="r"), KEY)
    assert b"".join(made) == octets


def test_the_example_is_read_as_the_page_says() -> None:
    """With nothing but what the page tells: no code of ours."""
    octets, page = example()
    assert octets[:8] == b"\x8fCLK\r\n\x1a\0"
    length = int.from_bytes(octets[8:12], "big")
    head = json.loads(octets[12 : 12 + length])
    for key in head:
        assert f"| `{key}` |" in page
    payload = octets[12 + length : 12 + length + head["payload"]]
    stream = hashlib.shake_128(bytes.fromhex(head["mask"]) + bytes(8)).digest(30)
    content = bytes(a ^ b for a, b in zip(payload, stream, strict=True))
    assert content == b"MZ, as if it were a program.\r\n"
    assert hashlib.sha256(content).hexdigest() == head["sha256"]
    end = 12 + length + head["payload"]
    assert hashlib.sha256(octets[:end]).digest() == octets[end:]


def test_the_page_tells_the_limits_of_the_code() -> None:
    _, page = example()
    for value in (unlock.MAX_HEAD, unlock.BLOCK, container.MAX_TEXT, unlock.MAX_NAME):
        assert f"{value:,}" in page
    assert container.CONTENT_TYPE in page
