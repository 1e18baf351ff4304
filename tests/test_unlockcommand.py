from __future__ import annotations

import hashlib
import io
import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pyrage
import pytest

from smtpguard.cli import main
from smtpguard.locking.encryption import lock_for
from tests.locking.making import KEY, head_of, locked


if TYPE_CHECKING:
    from pathlib import Path


CONTENT = b"MZ, as if it were a program.\r\n"
IDENTITY = pyrage.x25519.Identity.generate()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with a container, an encrypted one and one that was cut off."""
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "1.clk").write_bytes(locked(CONTENT))
    spool, head = io.BytesIO(), head_of(CONTENT, name="geheim.txt")
    pieces = lock_for(IDENTITY.to_public(), [CONTENT], head, KEY, spool)
    (folder / "2.clk").write_bytes(b"".join(pieces))
    (folder / "3.clk").write_bytes(locked(CONTENT)[:-1])
    return folder


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    (tmp_path / "keys").write_text(f"{IDENTITY}\n")
    return tmp_path / "keys"


def unlock(*words: object) -> int:
    return main(["unlock", *map(str, words)])


def test_a_folder_is_restored(
    folder: Path, keys: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert unlock(folder, "-o", out, "--identity", keys) == 1
    assert capsys.readouterr().out.splitlines() == [
        f"restored: {folder / '1.clk'}: {out / 'Rechnung.exe'}",
        f"restored: {folder / '2.clk'}: {out / 'geheim.txt'}",
        f"refused: {folder / '3.clk'}: it was cut off",
    ]
    found = {path.name: path.read_bytes() for path in out.iterdir()}
    assert found == {"Rechnung.exe": CONTENT, "geheim.txt": CONTENT}


def test_json_is_the_object_of_the_audit(
    folder: Path, keys: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    audit = tmp_path / "audit"
    words = ["--verify", "--json", "--audit", audit, "--identity", keys]
    assert unlock(folder, *words) == 1
    printed, noted = (
        [json.loads(line) for line in text.splitlines()]
        for text in (capsys.readouterr().out, audit.read_text())
    )
    for record in [*printed, *noted]:
        age = datetime.now(UTC) - datetime.fromisoformat(record.pop("time"))
        assert age.total_seconds() < 60
    assert printed == noted
    assert printed[1] == {
        "file": str(folder / "2.clk"),
        "name": "geheim.txt",
        "size": len(CONTENT),
        "sha256": hashlib.sha256(CONTENT).hexdigest(),
        "id": "03fda.1",
        "result": "verified",
        "detail": hashlib.sha256(CONTENT).hexdigest(),
    }
    assert [record["result"] for record in printed] == ["verified"] * 2 + ["refused"]


def test_the_status_is_0_where_all_is_fine(folder: Path) -> None:
    assert unlock(folder / "1.clk", folder / "2.clk", "--verify") == 0


def test_what_is_not_there_is_2(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert unlock(tmp_path / "none", folder, "--verify") == 2
    assert "none: No such file or directory\n" in capsys.readouterr().out
    for words in (
        [folder, "-o", folder / "1.clk"],
        [folder, "--verify", "--identity", tmp_path / "none"],
        [folder, "--verify", "--identity", folder / "1.clk"],
        [folder, "--verify", "--audit", tmp_path / "none" / "audit"],
    ):
        assert unlock(*words) == 2
        said = capsys.readouterr()
        assert said.out == ""
        assert said.err.startswith("smtpguard: ")
        assert said.err.count("\n") == 1


@pytest.mark.parametrize(
    "words", [[], ["a.clk"], ["-o", "out"], ["a.clk", "--verify", "-o", "out"]]
)
def test_wrong_usage_is_2(words: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        unlock(*words)
    assert ended.value.code == 2
