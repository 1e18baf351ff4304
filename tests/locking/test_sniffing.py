"""Nothing that was locked is taken for what it was, or for anything else."""

from __future__ import annotations

import base64
import bz2
import gzip
import hashlib
import io
import json
import lzma
import subprocess
import tarfile
import zipfile
from typing import TYPE_CHECKING

import pytest

from tests.integration.bed.need import need
from tests.locking.making import locked


if TYPE_CHECKING:
    from pathlib import Path


TEXT = b"Dear Sir or Madam,\r\n\r\nplease find enclosed our invoice.\r\n" * 20


def zipped() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.js", TEXT)
    return file.getvalue()


def tarred() -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        member = tarfile.TarInfo("a.js")
        member.size = len(TEXT)
        archive.addfile(member, io.BytesIO(TEXT))
    return file.getvalue()


KINDS = {
    "nothing": b"",
    "text": TEXT,
    "html": b"<!DOCTYPE html><html><body><script>alert(1)</script></body></html>",
    "svg": b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"/>',
    "pdf": b"%PDF-1.4\n1 0 obj<</Type/Catalog>>endobj\ntrailer<</Root 1 0 R>>\n%%EOF\n",
    "rtf": b"{\\rtf1\\ansi a}",
    "shell": b"#!/bin/sh\nexec rm -rf /\n",
    "javascript": b"var shell = new ActiveXObject('WScript.Shell');",
    "mail": b"From: a@x.test\r\nTo: b@y.test\r\nSubject: s\r\n\r\n" + TEXT,
    "vcard": b"BEGIN:VCARD\r\nVERSION:3.0\r\nFN:a\r\nEND:VCARD\r\n",
    "png": base64.b64decode(
        "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9"
        "awAAAABJRU5ErkJggg=="
    ),
    "gif": b"GIF89a\x01\0\x01\0\x80\0\0\0\0\0\xff\xff\xff,\0\0\0\0"
    b"\x01\0\x01\0\0\x02\x02D\x01\0;",
    "jpeg": b"\xff\xd8\xff\xe0\0\x10JFIF\0\x01\x01\0\0\x01\0\x01\0\0" + bytes(50),
    "exe": b"MZ" + bytes(58) + b"\x80\0\0\0" + bytes(64) + b"PE\0\0L\x01" + bytes(300),
    "elf": b"\x7fELF\x02\x01\x01" + bytes(9) + b"\x02\0>\0\x01" + bytes(100),
    "ole": b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600),
    "zip": zipped(),
    "zip-of-nothing": b"PK\x05\x06" + bytes(18),
    "zips-in-a-row": zipped() * 300,
    "gzip": gzip.compress(TEXT),
    "bzip2": bz2.compress(TEXT),
    "xz": lzma.compress(TEXT),
    "tar": tarred(),
    "7z": b"7z\xbc\xaf\x27\x1c\0\x04" + bytes(40),
    "rar": b"Rar!\x1a\x07\x01\0" + bytes(40),
    "cab": b"MSCF" + bytes(40),
    "iso": bytes(32_768) + b"\x01CD001\x01" + bytes(4000),
    "mp4": b"\0\0\0\x18ftypmp42" + bytes(40),
}
HOSTILE_HEADS = {
    "names-of-formats": "%PDF-1.4 <html> #!/bin/sh {\\rtf1 GIF89a.exe",
    "ustar-everywhere": "ustar\0" * 160,
    "zip-in-a-name": zipped().decode("latin-1"),
    "end-of-zip": "PK\x05\x06" + "\0" * 18,
    "controls": "\0\x1b[2J\r\n\r\nFrom a@x.test",
}


def key(name: str) -> bytes:
    """Return a key that was not known when the content was made."""
    return hashlib.sha256(b"key of " + name.encode()).digest()


LOCKED = {name: locked(content, key(name)) for name, content in KINDS.items()} | {
    name: locked(b"", key(name), name=text, type=text, reason=text)
    for name, text in HOSTILE_HEADS.items()
}


def shared_payloads(shared: Path) -> dict[str, bytes]:
    listed = json.loads((shared / "corpus/payloads/clamav-testfiles.json").read_text())
    found = {one["filename"]: base64.b64decode(one["b64"]) for one in listed}
    assert len(found) > 10
    return found


def written(folder: Path, files: dict[str, bytes]) -> list[Path]:
    folder.mkdir()
    paths = []
    for number, octets in enumerate(files.values()):
        paths.append(folder / f"{number}.clk")
        paths[-1].write_bytes(octets)
    return paths


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    return written(tmp_path / "locked", LOCKED)


def run(*words: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(word) for word in words],
        capture_output=True,
        check=False,
        stdin=subprocess.DEVNULL,
        encoding="latin-1",
    )


def types_by_file(program: str, paths: list[Path]) -> set[str]:
    return set(run(program, "-b", *paths).stdout.splitlines())


@pytest.mark.real
def test_file_says_data(files: list[Path], tmp_path: Path) -> None:
    program = need("file")
    plain = written(tmp_path / "plain", KINDS)
    assert len(types_by_file(program, plain)) > 20
    assert types_by_file(program, files) == {"data"}
    kept_going = run(program, "-b", "-k", "--mime-type", *files).stdout.splitlines()
    assert {line.partition("\\012")[0] for line in kept_going} == {
        "application/octet-stream"
    }


@pytest.mark.real
def test_file_says_data_of_payloads_of_others(shared: Path, tmp_path: Path) -> None:
    program = need("file")
    payloads = shared_payloads(shared)
    made = {name: locked(octets, key(name)) for name, octets in payloads.items()}
    assert len(types_by_file(program, written(tmp_path / "a", payloads))) > 5
    assert types_by_file(program, written(tmp_path / "b", made)) == {"data"}


@pytest.mark.real
def test_unzip_finds_no_archive(files: list[Path], tmp_path: Path) -> None:
    program = need("unzip")
    (plain,) = written(tmp_path / "plain", {"zip": KINDS["zip"]})
    assert run(program, "-l", plain).returncode == 0
    statuses = {path.name: run(program, "-l", path).returncode for path in files}
    assert set(statuses.values()) == {9}


@pytest.mark.real
def test_7z_finds_no_archive(files: list[Path], tmp_path: Path) -> None:
    program = need("7zz", "7zip")
    (plain,) = written(tmp_path / "plain", {"zip": KINDS["zip"]})
    assert run(program, "l", plain).returncode == 0
    for path in files:
        listed = run(program, "l", "-p", path)
        assert listed.returncode == 2, listed.stdout
        assert "Cannot open the file as archive" in listed.stdout + listed.stderr


def test_python_finds_no_archive(files: list[Path]) -> None:
    for path in files:
        assert not zipfile.is_zipfile(path)
        assert not tarfile.is_tarfile(path)


def test_no_text_is_seen_in_a_pager() -> None:
    """Of a text that was locked, no five letters in a row are there to be read."""
    octets = LOCKED["text"]
    words = {TEXT[at : at + 5] for at in range(len(TEXT) - 5)}
    assert [word for word in words if word in octets] == []
