from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import smtpguard
from smtpguard.model.contents import Contents, Entry, Fact, Finding
from smtpguard.unpacking import Inspector
from smtpguard.unpacking.inspector import joined
from tests.inspection import crafted
from tests.inspection.crafted import EXE, sha256, zipped
from tests.inspection.payloads import payloads


@pytest.fixture(scope="module")
def inspector() -> Iterator[Inspector]:
    made = Inspector(1)
    yield made
    made.stop()


def test_what_cannot_be_entered_starts_no_process() -> None:
    own = Inspector(1)
    assert own.look(b"Hello\r\n", ("a.txt",), "text/plain").detected == "text/plain"
    assert own.look(b"\xff\xd8\xff" + bytes(9999)).detected == "image/jpeg"
    assert own.look(EXE, ("a.exe",)).facts == {Fact.EXECUTABLE}
    assert own._pool.pids() == ()


def test_names_and_claim_are_looked_at(inspector: Inspector) -> None:
    assert inspector.look(b"x", ("a.js",)).facts == {Fact.EXECUTABLE}
    assert inspector.look(b"x", (), "application/hta").facts == {Fact.EXECUTABLE}


@pytest.mark.parametrize(
    ("octets", "name"),
    [
        (crafted.rar5("\u00fc.exe".encode(), EXE), "a.rar"),
        (crafted.lzh(b"\x81.exe", EXE), "a.lzh"),
        (crafted.tarred({"\u00fc.exe": EXE}, "w:xz"), "a.txz"),
        (zipped({"\u00fc.exe": EXE}, 14), "a.zip"),
        (crafted.cpio("\u00fc.exe".encode(), EXE), "a.cpio"),
    ],
    ids=["rar", "lzh", "tar.xz", "zip", "cpio"],
)
def test_archives_are_entered_where_no_file_can_be_opened(
    inspector: Inspector, octets: bytes, name: str
) -> None:
    found = inspector.look(octets, (name,))
    (entry,) = found.entries
    assert "\u00fc.exe" in entry.names
    assert entry.sha256 == sha256(EXE)
    assert entry.facts == {Fact.EXECUTABLE}
    assert found.facts == {Fact.ARCHIVE}
    assert found.detected


def test_a_document_is_entered_and_is_no_archive(inspector: Inspector) -> None:
    types = '<Types><Override ContentType="application/vnd.ms-word.document'
    types += '.macroEnabled.main+xml"/></Types>'
    files = {"[Content_Types].xml": types.encode(), "word/vbaProject.bin": b"?"}
    found = inspector.look(zipped(files))
    assert found.detected == "application/vnd.ms-word.document.macroEnabled.12"
    assert found.facts == {Fact.MACRO}
    assert [entry.path for entry in found.entries] == [*files]


def test_an_archive_that_nobody_can_open_is_told(inspector: Inspector) -> None:
    own = b"KDMV\x01" + bytes(99)
    assert inspector.look(own).findings == (Finding("not-inspectable", "vmdk"),)
    # Told by its signature alone.
    found = inspector.look(b"SIT!" + bytes(6) + b"rLau" + bytes(99))
    assert found.facts == {Fact.ARCHIVE, Fact.LIMIT}


def test_what_is_called_an_archive_and_begins_none_is_told(
    inspector: Inspector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("smtpguard.unpacking.inspector.containers", lambda _: ())
    found = inspector.look(zipped({"x.exe": EXE}))
    assert found.findings == (Finding("not-inspectable", "application/zip"),)
    assert found.facts == {Fact.ARCHIVE, Fact.LIMIT}


def test_without_time_nothing_is_entered(inspector: Inspector) -> None:
    found = inspector.look(zipped({"x.exe": EXE}), seconds=0)
    assert found.detected == "application/zip"
    assert found.facts == {Fact.ARCHIVE, Fact.LIMIT}
    assert found.findings == (Finding("inspector-busy"),)


def test_once_stopped_it_detects_and_enters_nothing() -> None:
    stopped = Inspector(1)
    stopped.stop()
    found = stopped.look(zipped({"x.exe": EXE}))
    assert found.facts == {Fact.ARCHIVE, Fact.LIMIT}
    assert found.findings == (Finding("inspector-stopped"),)


def test_both_looks_are_one() -> None:
    entry = Entry("a", ("a",), 1)
    seen = Contents("a/b", frozenset({Fact.MACRO}), (), (Finding("x"), Finding("y")))
    inside = Contents("", frozenset({Fact.LIMIT}), (entry,), (Finding("y"),))
    assert joined(seen, inside) == Contents(
        "a/b",
        frozenset({Fact.MACRO, Fact.LIMIT}),
        (entry,),
        (Finding("x"), Finding("y")),
    )


def test_every_program_that_was_packed_by_others_is_found(
    inspector: Inspector, shared: Path
) -> None:
    clam = "71e7b604d18aefd839e51a39c88df8383bb4c071dc31f87f00a2b5df580d4495"
    found = {
        name
        for name, octets in payloads(shared).items()
        if any(one.sha256 == clam for one in inspector.look(octets, (name,)).entries)
    }
    assert found >= {
        *("clam.7z", "clam.zip", "clam.bz2.zip", "clam.cab", "clam.tar.gz"),
        *("clam.bin-be.cpio", "clam.bin-le.cpio", "clam.newc.cpio", "clam.odc.cpio"),
        *("clam.exe.bz2", "clam.tnef"),
    }


SCRIPT = """
from smtpguard.unpacking import Inspector
inspector = Inspector(1)
contents = inspector.look({octets!r})
inspector.stop()
print([entry.path for entry in contents.entries], contents.findings)
"""


def test_the_package_is_found_where_only_the_path_of_this_process_has_it(
    tmp_path: Path,
) -> None:
    """As mitmproxy does with -s addons/smtpguard.py, and with python -m."""
    code = SCRIPT.format(octets=zipped({"x.exe": EXE}))
    addons = Path(smtpguard.__file__).resolve().parents[1]
    (tmp_path / "started.py").write_text(
        f"import sys\nsys.path.insert(0, {str(addons)!r})\n{code}"
    )
    for how in (["started.py"], ["-m", "started"]):
        done = subprocess.run(
            [sys.executable, *how],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
            env={"PATH": os.environ["PATH"]},
        )
        assert (done.stdout, done.stderr) == ("['x.exe'] ()\n", "")
