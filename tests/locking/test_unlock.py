from __future__ import annotations

import ast
import base64
import errno
import hashlib
import io
import json
import os
import re
import shutil
import stat
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpguard.locking import unlock
from smtpguard.locking.container import lock
from smtpguard.locking.unlock import LockError, main, numbered, opened, run, safe_name
from tests.locking.making import KEY, by_hand, fields, head_of, locked


SCRIPT = Path(unlock.__file__)
CONTENT = b"content\0\r\n"


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []


def put(folder: Path, octets: bytes, name: str = "a.clk") -> Path:
    path = folder / name
    path.write_bytes(octets)
    return path


# ---------------------------------------------------------------- hostile containers

FINE = fields(CONTENT)
DEEP = b'{"version":1,"name":' + b"[" * 60_000 + b"]" * 5_000 + b"}"
HOSTILE = {
    "nothing": (b"", "not a file that smtpguard has locked"),
    "magic-alone": (b"\x8fCLK\r\n\x1a\0", "cut off"),
    "line-ends-were-changed": (
        by_hand(FINE, CONTENT).replace(b"\r\n", b"\n"),
        "not a file that smtpguard has locked",
    ),
    "head-of-4-GB": (
        b"\x8fCLK\r\n\x1a\0" + b"\xff" * 4,
        "head is too long: 4294967295",
    ),
    "head-of-64-KiB-and-one": (
        by_hand(b"{" + b" " * 65_536),
        "head is too long: 65537 octets",
    ),
    "head-is-cut": (b"\x8fCLK\r\n\x1a\0\0\0\0\x50{", "cut off"),
    "no-head": (by_hand(b""), "not a flat JSON object"),
    "deep": (by_hand(DEEP), "not a flat JSON object"),
    "deep-objects": (by_hand(b'{"a":' * 10_000), "not a flat JSON object"),
    "a-list": (by_hand(b'[{"version":1}]'), "not a flat JSON object"),
    "a-string": (by_hand(b'"{"'), "not a JSON object"),
    "a-number-of-60000-digits": (
        by_hand(b'{"version":' + b"9" * 60_000 + b"}"),
        "head",
    ),
    "not-json": (by_hand(b'{"version":1,}'), "not a JSON object"),
    "utf-8": (by_hand('{"name":"ä"}'.encode()), "not a JSON object"),
    "nul": (by_hand(b'{"name":"\0"}'), "not a JSON object"),
    "key-twice": (
        by_hand(json.dumps(FINE)[:-1].encode() + b',"name":"b"}', CONTENT),
        "a key twice",
    ),
    "version-2": (
        by_hand({**FINE, "version": 2, "new": ""}),
        "version 2, which is not",
    ),
    "version-0": (by_hand({**FINE, "version": 0}), "version 0, which is not"),
    "version-true": (by_hand({**FINE, "version": True}), "keys and types of version 1"),
    "version-is-text": (by_hand({**FINE, "version": "1"}), "keys and types"),
    "version-is-a-fraction": (by_hand({**FINE, "version": 1.0}), "keys and types"),
    "key-lacks": (by_hand(fields(CONTENT, reason=None), CONTENT), "keys and types"),
    "key-unknown": (by_hand({**FINE, "x": 1}, CONTENT), "keys and types"),
    "name-is-null": (by_hand({**FINE, "name": None}), "keys and types"),
    "size-is-nan": (by_hand({**FINE, "size": float("nan")}), "keys and types"),
    "size-is-infinite": (by_hand(b'{"size":1e999}'), "keys and types"),
    "negative-size": (
        by_hand(fields(CONTENT, size=-9, payload=-9), CONTENT),
        "impossible size",
    ),
    "negative-size-encrypted": (
        by_hand(fields(CONTENT, size=-1, encryption="age"), CONTENT),
        "impossible size",
    ),
    "negative-payload-encrypted": (
        by_hand(fields(CONTENT, payload=-1, encryption="age"), CONTENT),
        "impossible size",
    ),
    "size-of-2-to-63": (
        by_hand(fields(size=1 << 63, payload=1 << 63)),
        "impossible size",
    ),
    "size-of-2-to-62": (by_hand(fields(size=1 << 62, payload=1 << 62)), "cut off"),
    "two-sizes": (by_hand(fields(CONTENT, size=8), CONTENT), "two sizes"),
    "digest-of-capitals": (by_hand(fields(sha256="A" * 64)), "no SHA-256"),
    "digest-too-short": (by_hand(fields(sha256="a" * 63)), "no SHA-256"),
    "mask-too-short": (by_hand(fields(mask="00")), "no key of the mask"),
    "time-is-text": (by_hand(fields(time="now")), "a time or an id"),
    "id-with-controls": (by_hand(fields(id="\x1b")), "a time or an id"),
    "encryption-unknown": (by_hand(fields(encryption="rot13")), "not known here"),
    "another-content": (by_hand(FINE, b"CONTENT\0\r\n"), "not the one that its head"),
    "digest-wrong": (by_hand(FINE, CONTENT)[:-1] + b"\0", "digest is another one"),
    "cut-in-the-digest": (by_hand(FINE, CONTENT)[:-1], "cut off"),
    "nul-behind": (by_hand(FINE, CONTENT, b"\0"), "something follows its end"),
    "two-in-one": (by_hand(FINE, CONTENT) * 2, "something follows its end"),
    "encrypted": (
        by_hand(fields(CONTENT, encryption="age", size=1), CONTENT),
        "it is encrypted: `smtpguard unlock --identity` opens it",
    ),
}


@pytest.mark.parametrize(("octets", "text"), HOSTILE.values(), ids=HOSTILE)
def test_a_container_that_is_not_right_is_refused(
    octets: bytes, text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, out = put(tmp_path, octets), tmp_path / "out"
    assert main([str(path), "-o", str(out)]) == 1
    told = capsys.readouterr().out
    assert told.startswith(f"refused: {path}: ")
    assert text in told
    assert told.count("\n") == 1
    assert names(out) == []


def test_what_is_right_is_not_refused(tmp_path: Path) -> None:
    """So that what is refused above is so for the one thing that is wrong with it."""
    path, out = put(tmp_path, by_hand(FINE, CONTENT)), tmp_path / "out"
    assert main([str(path), "-o", str(out)]) == 0
    assert (out / "a.txt").read_bytes() == CONTENT


@given(octets=st.binary(max_size=200))
def test_any_octets_are_refused_and_nothing_else(octets: bytes) -> None:
    for begin in (b"", b"\x8fCLK\r\n\x1a\0", b"\x8fCLK\r\n\x1a\0\0\0\0\x10"):
        with pytest.raises(LockError):
            list(opened([begin + octets])[1])


def test_it_takes_the_time_of_what_is_there_not_of_what_is_claimed() -> None:
    huge = by_hand(fields(size=1 << 62, payload=1 << 62))
    started = time.process_time()
    with pytest.raises(LockError):
        list(opened(huge[at : at + 1] for at in range(len(huge)))[1])
    assert time.process_time() - started < 1


# -------------------------------------------------------------------------- restoring


def test_a_file_is_restored_private_and_not_executable(tmp_path: Path) -> None:
    path, out = put(tmp_path, locked(CONTENT, name="a.sh")), tmp_path / "x" / "out"
    (result,) = run([path], out)
    assert (result.result, result.status) == ("restored", 0)
    assert result.detail == str(out / "a.sh")
    assert (out / "a.sh").read_bytes() == CONTENT
    assert stat.S_IMODE((out / "a.sh").stat().st_mode) == 0o600
    assert names(out) == ["a.sh"]


def test_names_that_are_taken_are_numbered_and_nothing_is_replaced(
    tmp_path: Path,
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "a.tar.gz").write_bytes(b"before")
    (out / "a.tar-2.gz").mkdir()
    (out / "a.tar-3.gz").symlink_to(tmp_path / "elsewhere")
    path = put(tmp_path, locked(CONTENT, name="a.tar.gz"))
    assert main([str(path), str(path), "-o", str(out)]) == 0
    assert (out / "a.tar.gz").read_bytes() == b"before"
    assert not (tmp_path / "elsewhere").exists()
    assert (out / "a.tar-4.gz").read_bytes() == CONTENT
    assert (out / "a.tar-5.gz").read_bytes() == CONTENT
    assert len(names(out)) == 5


def test_too_many_of_one_name_fail(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unlock, "MAX_SAME", 2)
    path, out = put(tmp_path, locked(CONTENT, name="a")), tmp_path / "out"
    found = [result.result for result in run([path] * 3, out)]
    assert found == ["restored", "restored", "failed"]
    assert names(out) == ["a", "a-2"]


@pytest.mark.parametrize("name", ["../a", "/etc/a", "..\\..\\a", "C:\\a", "a\0", "a."])
def test_a_name_leads_nowhere_else(name: str, tmp_path: Path) -> None:
    path, out = put(tmp_path, locked(CONTENT, name=name)), tmp_path / "x" / "out"
    assert main([str(path), "-o", str(out)]) == 0
    assert names(tmp_path) == ["a.clk", "x"]
    assert names(tmp_path / "x") == ["out"]
    assert names(out) == ["a_" if name == "a\0" else "a"]


def test_what_cannot_be_moved_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_path: Path, _target: Path) -> Path:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "replace", full)
    path, out = put(tmp_path, locked(CONTENT)), tmp_path / "out"
    (result,) = run([path], out)
    assert (result.result, result.status) == ("failed", 2)
    assert result.detail == "No space left on device"
    assert names(out) == []


def test_who_is_interrupted_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(_path: Path, _target: Path) -> Path:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", interrupted)
    path, out = put(tmp_path, locked(CONTENT)), tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        list(run([path], out))
    assert names(out) == []


def test_a_file_is_on_the_disk_before_it_has_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    called: list[str] = []
    synced, moved = os.fsync, Path.replace

    def fsync(descriptor: int) -> None:
        called.append(f"fsync of {os.fstat(descriptor).st_size}")
        synced(descriptor)

    def replace(path: Path, target: Path) -> Path:
        called.append("replace")
        return moved(path, target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(Path, "replace", replace)
    list(run([put(tmp_path, locked(CONTENT))], tmp_path / "out"))
    assert called == [f"fsync of {len(CONTENT)}", "replace"]


def test_nothing_appears_before_the_digest_was_right(tmp_path: Path) -> None:
    octets = locked(bytes(300_000))
    path, out = put(tmp_path, octets[:-1] + bytes([octets[-1] ^ 1])), tmp_path / "out"
    seen: list[list[str]] = []

    class Watched:
        """A container that looks at the folder while it is read."""

        suffix = ""

        def iterdir(self) -> Any:
            raise NotADirectoryError

        def stat(self) -> os.stat_result:
            return path.stat()

        def is_file(self) -> bool:
            return True

        def open(self, mode: str) -> Any:
            file = path.open(mode)
            read = file.read

            class Reading:
                def __enter__(self) -> Self:
                    return self

                def __exit__(self, *_: object) -> None:
                    file.close()

                def read(self, size: int) -> Any:
                    seen.append(names(out))
                    return read(size)

            return Reading()

    (result,) = run([Watched()], out)  # type: ignore[list-item]
    assert result.result == "refused"
    assert len(seen) > 4
    assert all(not name.startswith("Rechnung") for found in seen for name in found)
    assert any(found and found[0].startswith(".unlock-") for found in seen)
    assert names(out) == []


# ----------------------------------------------------------------------------- batches


def test_a_folder_stands_for_its_containers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    put(folder, locked(b"1", name="1"), "b.CLK")
    put(folder, locked(b"2", name="2"), "a.clk")
    put(folder, b"no container", "c.txt")
    assert main([str(folder), "-o", str(tmp_path / "out")]) == 0
    assert names(tmp_path / "out") == ["1", "2"]
    assert [line.split(": ")[0] for line in capsys.readouterr().out.splitlines()] == [
        "restored",
        "restored",
    ]


def test_a_bad_one_does_not_end_the_batch(tmp_path: Path) -> None:
    good, bad = put(tmp_path, locked(b"1")), put(tmp_path, b"x", "b.clk")
    out = tmp_path / "out"
    assert main([str(bad), str(good), "-o", str(out)]) == 1
    assert main([str(tmp_path / "none"), str(bad), str(good), "-o", str(out)]) == 2
    assert names(out) == ["Rechnung-2.exe", "Rechnung.exe"]


def test_what_is_no_file_fails_and_is_not_waited_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    os.mkfifo(tmp_path / "pipe.clk")
    (tmp_path / "empty").mkdir()
    paths = [tmp_path / name for name in ("none", "pipe.clk", "empty", "nul\0")]
    found = list(run(paths, None))
    assert [result.status for result in found] == [2, 2, 2, 2]
    assert found[0].detail == "No such file or directory"
    assert found[1].detail == found[2].detail == "no file, nor a folder with .clk files"


def test_verifying_writes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = put(tmp_path, locked(CONTENT))
    sealed = put(tmp_path, HOSTILE["encrypted"][0], "b.clk")
    bad = put(tmp_path, locked(CONTENT)[:-1], "c.clk")
    assert main([str(path), "--verify"]) == 0
    assert main([str(sealed), "--verify"]) == 0
    assert main([str(bad), "--verify"]) == 1
    digest = hashlib.sha256(CONTENT).hexdigest()
    assert capsys.readouterr().out.splitlines() == [
        f"verified: {path}: {digest}",
        f"verified: {sealed}: intact, but encrypted",
        f"refused: {bad}: it was cut off",
    ]
    assert names(tmp_path) == ["a.clk", "b.clk", "c.clk"]


def test_an_encrypted_one_that_was_changed_is_told_to_be_so(tmp_path: Path) -> None:
    octets = bytearray(HOSTILE["encrypted"][0])
    octets[-40] ^= 1
    for folder in (None, tmp_path / "out"):
        (result,) = run([put(tmp_path, bytes(octets))], folder)
        assert result.detail == "it was changed: its digest is another one"


def test_every_file_has_its_line_in_the_audit(tmp_path: Path) -> None:
    good = put(tmp_path, locked(CONTENT, name="ä\n.exe"))
    bad, audit, out = put(tmp_path, b"x", "b.clk"), tmp_path / "audit", tmp_path / "out"
    audit.write_text("before\n")
    started = datetime.now(UTC).replace(microsecond=0)
    assert main([str(good), str(bad), "-o", str(out), "--audit", str(audit)]) == 1
    first, *lines = audit.read_text("ascii").splitlines()
    assert first == "before"
    records = [json.loads(line) for line in lines]
    times = [datetime.fromisoformat(record.pop("time")) for record in records]
    assert all(started <= at <= datetime.now(UTC) for at in times)
    assert records == [
        {
            "file": str(good),
            "name": "ä\n.exe",
            "size": len(CONTENT),
            "sha256": hashlib.sha256(CONTENT).hexdigest(),
            "id": "03fda.1",
            "result": "restored",
            "detail": str(out / "ä_.exe"),
        },
        {
            "file": str(bad),
            "name": None,
            "size": None,
            "sha256": None,
            "id": None,
            "result": "refused",
            "detail": "not a file that smtpguard has locked",
        },
    ]


def test_the_line_of_the_audit_is_there_before_the_next_file(tmp_path: Path) -> None:
    path, audit = put(tmp_path, locked(CONTENT)), tmp_path / "audit"
    lines = [audit.read_text().count("\n") for _ in run([path] * 3, None, audit)]
    assert lines == [1, 2, 3]


def test_without_an_audit_that_was_asked_for_nothing_is_done(tmp_path: Path) -> None:
    path, out = put(tmp_path, locked(CONTENT)), tmp_path / "out"
    with pytest.raises(SystemExit) as ended:
        main([str(path), "-o", str(out), "--audit", str(tmp_path / "none" / "audit")])
    assert ended.value.code == 2
    assert names(out) == []


@pytest.mark.parametrize(
    "words",
    [[], ["a.clk"], ["-o", "out"], ["a.clk", "-o", "out", "--verify"], ["a", "--open"]],
)
def test_wrong_usage_is_2(words: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 2


def test_a_folder_that_is_a_file_is_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = put(tmp_path, locked(CONTENT))
    with pytest.raises(SystemExit) as ended:
        main([str(path), "-o", str(path)])
    assert ended.value.code == 2
    assert "File exists" in capsys.readouterr().err


def test_nothing_is_put_beside_the_program(tmp_path: Path) -> None:
    """There a ``json.py`` would be run by the next start without -I."""
    path = put(tmp_path, locked(b"raise SystemExit(77)", name="json.py"))
    before = names(SCRIPT.parent)
    for folder in (SCRIPT.parent, SCRIPT.parent / ".." / SCRIPT.parent.name):
        with pytest.raises(SystemExit) as ended:
            main([str(path), "-o", str(folder)])
        assert ended.value.code == 2
    assert names(SCRIPT.parent) == before


def test_what_a_terminal_cannot_show_is_escaped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = put(tmp_path, locked(CONTENT, name="ü.exe"), "\x1b[2J\n.clk")
    out = tmp_path / "out"
    terminal = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", terminal)
    assert main([str(path), "-o", str(out)]) == 0
    terminal.seek(0)
    shown = f"{tmp_path}/\\x1b[2J\\n.clk: {out}/\\xfc.exe"
    assert terminal.read() == f"restored: {shown}\n"
    assert names(out) == ["ü.exe"]


# ------------------------------------------------------------------------------ names


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a.exe", "a.exe"),
        ("Änderung (2).docm", "Änderung (2).docm"),
        ("", "unnamed"),
        (".", "unnamed"),
        ("..", "unnamed"),
        ("a/", "unnamed"),
        ("/", "unnamed"),
        ("../../etc/passwd", "passwd"),
        ("..\\..\\autoexec.bat", "autoexec.bat"),
        ("C:\\Windows\\a.exe", "a.exe"),
        ("C:a.exe", "C_a.exe"),
        ("a.txt:stream.exe", "a.txt_stream.exe"),
        ("a.exe::$DATA", "a.exe__$DATA"),
        ('a<b>c"d|e?f*g', "a_b_c_d_e_f_g"),
        (".bashrc", "bashrc"),
        (" . a.exe . ", "a.exe"),
        ("-rf", "_rf"),
        (" -rf", "_rf"),
        ("a\0.exe", "a_.exe"),
        ("a\r\nb\x1b\x7f\x85", "a__b___"),
        ("a\u202egpj.exe", "a_gpj.exe"),
        ("a\u200b\u2066\ufeff.exe", "a___.exe"),
        ("a\u2028b\u00a0c\u3000", "a_b_c_"),
        ("a\udcff.exe", "a_.exe"),
        ("CON", "_CON"),
        ("con.txt", "_con.txt"),
        ("Con .txt", "_Con.txt"),
        ("nul.tar.gz", "_nul.tar.gz"),
        ("aux.", "_aux"),
        (" prn", "_prn"),
        ("COM1", "_COM1"),
        ("com9.log", "_com9.log"),
        ("COM\u00b9", "_COM\u00b9"),
        ("LPT0.x", "_LPT0.x"),
        ("CONIN$", "_CONIN$"),
        ("CONOUT$.a", "_CONOUT$.a"),
        ("CLOCK$", "_CLOCK$"),
        ("COM10", "COM10"),
        ("console.txt", "console.txt"),
        ("x.con", "x.con"),
    ],
)
def test_a_name_is_made_harmless(name: str, expected: str) -> None:
    assert safe_name(name) == expected


@pytest.mark.parametrize(
    ("name", "beginning", "ending"),
    [
        ("a" * 5000 + ".exe", "aaa", "a.exe"),
        ("ü" * 5000 + ".exe", "üüü", "ü.exe"),
        ("a." + "e" * 5000, "a.eee", "eee"),
        ("a" * 190 + ". . . . ." + "b" * 29, "aaa", "a." + "b" * 29),
        ("\U0001f600" * 100, "\U0001f600", "\U0001f600"),
    ],
)
def test_a_long_name_is_cut_and_keeps_its_ending(
    name: str, beginning: str, ending: str
) -> None:
    for made in (safe_name(name), numbered(safe_name(name), 1)):
        assert 190 <= len(made.encode()) <= 200 or made.endswith(ending)
        assert len(made.encode()) <= 200
        assert made.startswith(beginning)
        assert made.endswith(ending)
    assert len(numbered(safe_name(name), 10_000).encode()) <= 200
    assert "-10000" in numbered(safe_name(name), 10_000)


DEVICES = {"CON", "PRN", "AUX", "NUL"} | {
    f"{n}{d}" for n in ("COM", "LPT") for d in range(10)
}


@given(
    name=st.text(max_size=30)
    | st.text(alphabet="./\\: -CONcon\u202e\0\u00a01", max_size=12)
    | st.text(alphabet="aü. \U0001f600", min_size=150, max_size=260),
    number=st.sampled_from([1, 2, 10_000]),
)
def test_every_name_is_harmless(name: str, number: int) -> None:
    made = numbered(safe_name(name), number)
    assert 1 <= len(made.encode()) <= 200
    assert (
        re.search(r'[/\\:*?"<>|\x00-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e]', made)
        is None
    )
    assert made[0] not in ". -"
    assert made[-1] not in ". "
    assert made.partition(".")[0].rstrip(" ").upper() not in DEVICES
    assert safe_name(made) == made


# -------------------------------------------------------------------- the isolated PC


def test_the_program_is_one_that_3_9_reads() -> None:
    ast.parse(SCRIPT.read_text("utf-8"), feature_version=(3, 9))


def test_the_program_needs_and_can_start_nothing_else() -> None:
    """What is used of them starts no program and makes no connection."""
    imported = set()
    used = set()
    for node in ast.walk(ast.parse(SCRIPT.read_text("utf-8"))):
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) in {"os", "sys"}:
            used.add(ast.unparse(node))
        if isinstance(node, ast.Import):
            imported |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add(str(node.module))
    typing_only = {"collections.abc", "typing", "__future__"}
    assert imported - typing_only == {
        "argparse",
        "contextlib",
        "datetime",
        "hashlib",
        "json",
        "os",
        "pathlib",
        "re",
        "secrets",
        "sys",
        "unicodedata",
    }
    assert used == {"os.fsync", "sys.stdout"}


def interpreter(version: str) -> str:
    """Return a Python of that version, or skip the test."""
    if version == "this":
        return sys.executable
    versions = Path(os.environ.get("PYENV_ROOT", "none")) / "versions"
    candidates = [str(path) for path in versions.glob(f"{version}.*/bin/python")]
    for program in [shutil.which(f"python{version}") or "", *candidates]:
        if not program:
            continue
        # What is on the PATH may be a script that looks for the right one.
        asked = "import sys; print('%d.%d' % sys.version_info[:2], sys.executable)"
        words = [program, "-c", asked]
        said = subprocess.run(words, capture_output=True, check=False, text=True)
        found, _, path = said.stdout.strip().partition(" ")
        if found == version:
            return path
    pytest.skip(f"no Python {version} is here")


@pytest.mark.parametrize("version", ["this", "3.9", "3.10", "3.11", "3.12", "3.13"])
def test_the_one_file_alone_restores_and_refuses(version: str, tmp_path: Path) -> None:
    program = interpreter(version)
    script = tmp_path / "alone" / "unlock.py"
    script.parent.mkdir()
    shutil.copy(SCRIPT, script)
    content = hashlib.shake_256(b"x").digest(200_000)
    put(tmp_path, locked(content, name="../Übersicht\u202e.exe"), "a.clk")
    for number, (octets, _) in enumerate(HOSTILE.values()):
        put(tmp_path, octets, f"hostile-{number}.clk")
    words = [program, "-W", "error", "-I", "-S", str(script)]
    done = subprocess.run(
        [*words, ".", "-o", "out", "--audit", "audit"],
        capture_output=True,
        check=False,
        cwd=tmp_path,
    )
    assert (done.returncode, done.stderr) == (1, b"")
    assert names(tmp_path / "out") == ["Übersicht_.exe"]
    assert (tmp_path / "out" / "Übersicht_.exe").read_bytes() == content
    audit = [json.loads(line) for line in (tmp_path / "audit").read_text().splitlines()]
    assert [one["result"] for one in audit] == ["restored", *["refused"] * len(HOSTILE)]
    assert names(script.parent) == ["unlock.py"]


def test_payloads_of_others_come_back_by_the_one_file(
    shared: Path, tmp_path: Path
) -> None:
    listed = json.loads((shared / "corpus/payloads/clamav-testfiles.json").read_text())
    digests = []
    for number, one in enumerate(listed):
        content = base64.b64decode(one["b64"])
        digests.append(one["sha256"])
        head = head_of(content, name=f"{number}-{one['filename']}")
        put(tmp_path, b"".join(lock([content], head, KEY)), f"{number:04}.clk")
    out = tmp_path / "out"
    words = [sys.executable, "-I", "-S", str(SCRIPT), str(tmp_path), "-o", str(out)]
    done = subprocess.run(words, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    found = {path.name: path.read_bytes() for path in out.iterdir()}
    assert len(found) == len(listed) > 10
    for name, octets in found.items():
        number = int(name.partition("-")[0])
        assert hashlib.sha256(octets).hexdigest() == digests[number]
