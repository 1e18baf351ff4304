from __future__ import annotations

import base64
import errno
import hashlib
import io
import json
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import pyrage
import pytest

from smtpguard.errors import SmtpGuardError
from smtpguard.locking.container import lock
from smtpguard.unlocking import read_identities, unlocked
from tests.locking.making import KEY, head_of, locked


if TYPE_CHECKING:
    from collections.abc import Callable

    from smtpguard.locking.unlock import Result


IDENTITY = pyrage.x25519.Identity.generate()
OTHER = pyrage.x25519.Identity.generate()
CONTENT = hashlib.shake_256(b"content").digest(200_001)


def sealed(content: bytes, **changes: Any) -> bytes:
    """Return ``content`` locked for the administrator."""
    return of_age_file(encrypted(content), content, **changes)


def encrypted(content: bytes) -> bytes:
    return pyrage.encrypt(content, [IDENTITY.to_public()])  # type: ignore[no-any-return]


def of_age_file(payload: bytes, content: bytes = b"", **changes: Any) -> bytes:
    """Return a container as anybody could make it, of what is no age file too."""
    head = head_of(content, encryption="age", payload=len(payload), **changes)
    return b"".join(lock([payload], head, KEY))


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    path = tmp_path / "keys.txt"
    text = f"# created: 2026-11-24\n# public key: x\n{OTHER}\r\n\n  {IDENTITY}\n"
    path.write_text(text)
    return path


def put(folder: Path, octets: bytes, name: str = "a.clk") -> Path:
    path = folder / name
    path.write_bytes(octets)
    return path


def only(results: Any) -> Result:
    (result,) = results
    return result  # type: ignore[no-any-return]


def test_what_was_locked_for_the_administrator_is_restored(
    tmp_path: Path, keys: Path
) -> None:
    path, out = put(tmp_path, sealed(CONTENT)), tmp_path / "out"
    result = only(unlocked([path], out, identities=[keys]))
    assert (result.result, result.detail) == ("restored", str(out / "Rechnung.exe"))
    assert (out / "Rechnung.exe").read_bytes() == CONTENT
    assert [path.name for path in out.iterdir()] == ["Rechnung.exe"]


def test_content_and_key_stand_nowhere_in_it() -> None:
    octets = sealed(b"secret content " * 20)
    assert b"age-encryption" not in octets
    assert b"secret" not in octets


def test_sealed_and_others_come_in_one_batch(tmp_path: Path, keys: Path) -> None:
    folder, audit = tmp_path / "in", tmp_path / "audit"
    folder.mkdir()
    put(folder, sealed(b"1", name="1"), "1.clk")
    put(folder, locked(b"2", name="2"), "2.clk")
    put(folder, b"none", "3.clk")
    out = tmp_path / "out"
    found = list(unlocked([folder], out, identities=[keys], audit=audit))
    assert [result.status for result in found] == [0, 0, 1]
    assert {path.name: path.read_bytes() for path in out.iterdir()} == {
        "1": b"1",
        "2": b"2",
    }
    records = [json.loads(line) for line in audit.read_text().splitlines()]
    assert [record["result"] for record in records] == [
        "restored",
        "restored",
        "refused",
    ]
    assert [record["name"] for record in records] == ["1", "2", None]


@pytest.mark.parametrize("has_key", [False, True])
def test_verifying_writes_nothing(tmp_path: Path, keys: Path, has_key: bool) -> None:
    path = put(tmp_path, sealed(CONTENT))
    before = sorted(tmp_path.iterdir())
    result = only(unlocked([path], None, identities=[keys] if has_key else []))
    digest = hashlib.sha256(CONTENT).hexdigest()
    assert result.result == "verified"
    assert result.detail == (digest if has_key else "intact, but encrypted")
    assert sorted(tmp_path.iterdir()) == before


def refused(octets: bytes, folder: Path, keys: list[Path]) -> str:
    """Return why a container is refused, which it is in every way."""
    path, out = put(folder, octets), folder / "out"
    results = [only(unlocked([path], to, identities=keys)) for to in (out, None)]
    assert [result.status for result in results] == [1, 1]
    assert results[0].detail == results[1].detail
    assert list(out.iterdir()) == []
    return results[0].detail


def test_another_key_opens_nothing(tmp_path: Path) -> None:
    wrong = tmp_path / "wrong"
    wrong.write_text(f"{OTHER}\n")
    text = refused(sealed(CONTENT), tmp_path, [wrong])
    assert text == "it cannot be decrypted: No matching keys found"


def test_an_age_file_that_is_damaged_is_refused(tmp_path: Path, keys: Path) -> None:
    """Its container is right: whoever made it has locked something else."""
    octets = bytearray(encrypted(CONTENT))
    octets[-100_000] ^= 1
    for made in (octets, octets[:-1], b"junk" * 9, b""):
        text = refused(of_age_file(bytes(made), CONTENT), tmp_path, [keys])
        assert text.startswith("it cannot be decrypted: ")


@pytest.mark.parametrize(
    "changes", [{"size": len(CONTENT) - 1}, {"sha256": hashlib.sha256().hexdigest()}]
)
def test_a_content_that_is_not_the_heads_is_refused(
    changes: dict[str, Any], tmp_path: Path, keys: Path
) -> None:
    text = refused(sealed(CONTENT, **changes), tmp_path, [keys])
    assert text == "its content is not the one that its head tells"


@pytest.mark.parametrize("at", [-1, -50, -150_000])
def test_a_container_that_is_damaged_is_refused(
    at: int, tmp_path: Path, keys: Path
) -> None:
    octets = bytearray(sealed(CONTENT))
    octets[at] ^= 1
    text = refused(bytes(octets), tmp_path, [keys])
    assert text == "it was changed: its digest is another one"
    assert refused(sealed(CONTENT)[:at], tmp_path, [keys]) == "it was cut off"
    assert (
        refused(sealed(CONTENT) + b"\0", tmp_path, [keys])
        == "something follows its end"
    )


class Unreadable(io.BytesIO):
    """What was written into it cannot be read again."""

    def read(self, size: int | None = -1) -> bytes:
        raise OSError(errno.EIO, os.strerror(errno.EIO))


def on_a_full_disk() -> BinaryIO:
    return io.BufferedWriter(io.FileIO("/dev/full", "w"), 1)


@pytest.mark.parametrize(
    ("files", "text"),
    [
        ((on_a_full_disk, io.BytesIO), "No space left on device"),
        ((io.BytesIO, on_a_full_disk), "No space left on device"),
        ((Unreadable, io.BytesIO), "Input/output error"),
        ((io.BytesIO, Unreadable), "Input/output error"),
    ],
)
@pytest.mark.parametrize("size", [9, len(CONTENT)])
def test_a_disk_that_fails_is_no_fault_of_the_container(
    *,
    size: int,
    files: tuple[Callable[[], BinaryIO], ...],
    text: str,
    tmp_path: Path,
    keys: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = (make() for make in files)
    monkeypatch.setattr(tempfile, "TemporaryFile", lambda: next(made))
    path, out = put(tmp_path, sealed(CONTENT[:size])), tmp_path / "out"
    result = only(unlocked([path], out, identities=[keys]))
    assert (result.result, result.status, result.detail) == ("failed", 2, text)
    assert list(out.iterdir()) == []


@pytest.mark.parametrize(
    "text",
    [
        "",
        "# only a comment\n",
        "age1notaprivatekey\n",
        f"{IDENTITY}\nAGE-SECRET-KEY-1QQQ\n",
        f"{IDENTITY}\n" + "#" * 70_000,
        "\udcff\udcfe",
    ],
    ids=["empty", "comment", "public", "one-of-two", "long", "octets"],
)
def test_a_file_without_keys_is_named_and_not_shown(text: str, tmp_path: Path) -> None:
    path = tmp_path / "keys"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(
        SmtpGuardError, match=r"not a(n| file of) age private key"
    ) as told:
        unlocked([], None, identities=[path])
    assert str(path) in str(told.value)
    assert "AGE-SECRET" not in str(told.value)
    assert str(IDENTITY)[20:40] not in str(told.value)


def test_all_keys_of_a_file_are_read(keys: Path) -> None:
    assert [str(key) for key in read_identities(keys)] == [str(OTHER), str(IDENTITY)]


def test_what_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        unlocked([], None, identities=[tmp_path / "none"])
    with pytest.raises(FileNotFoundError):
        list(unlocked([], None, audit=tmp_path / "none" / "audit"))


def test_payloads_of_others_come_back(shared: Path, tmp_path: Path, keys: Path) -> None:
    listed = json.loads((shared / "corpus/payloads/clamav-testfiles.json").read_text())
    folder = tmp_path / "in"
    folder.mkdir()
    for number, one in enumerate(listed):
        content = base64.b64decode(one["b64"])
        make = sealed if number % 2 else locked
        put(folder, make(content, name=f"{number:04}"), f"{number:04}.clk")
    out = tmp_path / "out"
    found = list(unlocked([folder], out, identities=[keys]))
    assert {result.result for result in found} == {"restored"}
    digests = [
        hashlib.sha256(Path(result.detail).read_bytes()).hexdigest() for result in found
    ]
    assert digests == [one["sha256"] for one in listed]
    assert len(digests) > 10
