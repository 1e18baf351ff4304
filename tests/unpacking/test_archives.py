from __future__ import annotations

import bz2
import gzip
import lzma
import random
import subprocess
import time
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpguard.inspection import detect
from smtpguard.model.contents import Contents, Entry, Fact, Finding
from smtpguard.unpacking import archives
from smtpguard.unpacking.archives import ArchiveLimits, look_inside
from tests.inspection import crafted
from tests.inspection.crafted import EXE, central, joined, local, sha256, tarred, zipped
from tests.inspection.payloads import payloads
from tests.integration.bed.need import need


ARCHIVE, ENCRYPTED = Fact.ARCHIVE, Fact.ENCRYPTED
LIMIT, MALFORMED = Fact.LIMIT, Fact.MALFORMED


def look(octets: bytes, /, *names: str, **limits: float) -> Contents:
    """Return the facts of the octets themselves as well, as whoever asks has them."""
    inside = look_inside(octets, names, ArchiveLimits(**limits))  # type: ignore[arg-type]
    return replace(inside, facts=inside.facts | detect(octets, names).facts)


def kinds(contents: Contents) -> set[str]:
    return {finding.kind for finding in contents.findings}


def paths(contents: Contents) -> list[str]:
    return [entry.path for entry in contents.entries]


def exe_entry(path: str, *names: str) -> Entry:
    return Entry(
        path,
        names or (path.rpartition("!")[2],),
        len(EXE),
        "application/x-dosexec",
        frozenset({Fact.EXECUTABLE}),
        sha256(EXE),
    )


FILES = {"x.exe": EXE}
MADE = {
    "zip-stored": zipped(FILES, zipfile.ZIP_STORED),
    "zip-deflated": zipped(FILES),
    "zip-bzip2": zipped(FILES, zipfile.ZIP_BZIP2),
    "zip-lzma": zipped(FILES, zipfile.ZIP_LZMA),
    "tar": tarred(FILES),
    "tar.gz": tarred(FILES, "w:gz"),
    "tar.bz2": tarred(FILES, "w:bz2"),
    "tar.xz": tarred(FILES, "w:xz"),
    "tar.lzma": lzma.compress(tarred(FILES), lzma.FORMAT_ALONE),
    "rar4": crafted.rar4(b"x.exe", EXE),
    "rar5": crafted.rar5(b"x.exe", EXE),
    "cpio": crafted.cpio(b"x.exe", EXE),
    "cpio.gz": gzip.compress(crafted.cpio(b"x.exe", EXE)),
    "ar": crafted.ar(b"x.exe", EXE),
    "cab": crafted.cab(b"x.exe", EXE),
    "lzh": crafted.lzh(b"x.exe", EXE),
    "arj": crafted.arj(b"x.exe", EXE),
}


@pytest.mark.parametrize("octets", MADE.values(), ids=MADE)
def test_what_an_archive_holds_is_listed_and_detected(octets: bytes) -> None:
    contents = look(octets)
    assert contents.entries == (exe_entry("x.exe"),)
    assert contents.facts == {ARCHIVE}
    assert contents.findings == ()


def test_an_archive_in_an_archive_that_nobody_can_open_is_told() -> None:
    """By its signature it is a CD; a file system it has none."""
    image = bytes(0x8000) + b"\0BEA01" + bytes(99)
    contents = look(zipped({"a.img": image}))
    assert contents.findings == (Finding("not-inspectable", "a.img"),)
    assert contents.facts == {ARCHIVE, LIMIT}
    assert contents.entries[0].facts == {ARCHIVE, LIMIT}


@pytest.mark.parametrize("compress", [gzip.compress, bz2.compress, lzma.compress])
def test_a_compressed_file_is_named_by_the_name_it_has(compress: object) -> None:
    contents = look(compress(EXE), "report.exe.gz")  # type: ignore[operator]
    assert contents.entries == (exe_entry("report.exe"),)


def test_a_gzip_file_has_the_name_in_it_as_well() -> None:
    packed = bytearray(gzip.compress(EXE))
    packed[3] = 8
    packed[10:10] = b"inner.exe\0"
    contents = look(bytes(packed), "letter.txt.gz")
    assert contents.entries[0].names == ("inner.exe", "letter.txt")


def test_zeros_before_a_file_do_not_make_it_an_empty_tar() -> None:
    hidden = bytes(1024) + EXE
    contents = look(gzip.compress(hidden), "a.gz")
    assert [entry.sha256 for entry in contents.entries] == [sha256(hidden)]


def test_what_follows_the_end_of_a_tar_is_listed() -> None:
    assert paths(look(tarred({"a": b"1"}) + tarred(FILES))) == ["a", "x.exe"]


def test_archives_in_archives_are_entered() -> None:
    inner = zipped({"b.rar": crafted.rar5(b"x.exe", EXE)})
    contents = look(tarred({"a.zip": inner}, "w:gz"))
    assert paths(contents) == ["a.zip", "a.zip!b.rar", "a.zip!b.rar!x.exe"]
    assert contents.entries[2] == exe_entry("a.zip!b.rar!x.exe")
    assert [ARCHIVE in entry.facts for entry in contents.entries] == [True, True, False]


def test_what_is_no_archive_has_nothing_in_it() -> None:
    for octets in (b"", b"P", b"text " * 1000, EXE, b"\xff\xd8" * 900, b"070" * 40):
        assert look_inside(octets, (), ArchiveLimits()) == Contents()


@pytest.mark.parametrize(
    "octets",
    [
        b"GIF89a" + MADE["zip-deflated"],
        b"\xff\xd8" * 99 + MADE["rar4"],
        b"\xff\xd8" * 99 + MADE["rar5"],
        b"\x89PNG" * 9 + MADE["arj"],
        EXE + MADE["zip-deflated"],
        b"GIF89a" + MADE["zip-deflated"] + bytes(70_000),
    ],
    ids=["gif-zip", "jpg-rar4", "jpg-rar5", "png-arj", "exe-zip", "zip-in-the-middle"],
)
def test_an_archive_behind_something_else_is_found(octets: bytes) -> None:
    contents = look(octets)
    assert exe_entry("x.exe") in contents.entries
    assert ARCHIVE in contents.facts


def test_what_outlook_attaches_is_entered_and_no_archive() -> None:
    inner = crafted.tnef((0x9002, b""), (0x8010, b"x.exe"), (0x800F, EXE))
    outer = crafted.tnef(
        (0x9002, b""),
        (0x8010, b"a.zip"),
        (0x800F, zipped(FILES)),
        (0x9002, b""),
        (0x8010, b"forwarded"),
        (0x800F, inner),
    )
    contents = look(outer, "winmail.dat")
    assert paths(contents) == [
        "a.zip",
        "a.zip!x.exe",
        "forwarded",
        "forwarded!x.exe",
    ]
    assert contents.entries[1] == exe_entry("a.zip!x.exe")
    assert contents.entries[3] == exe_entry("forwarded!x.exe")
    assert contents.facts == set()
    assert contents.findings == ()


OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1".ljust(512, b"\0")


def test_what_a_document_holds_in_pieces_is_no_damaged_archive() -> None:
    """A mail of Outlook with an attached document: its sectors lie anywhere."""
    inner = zipped({"a.txt": b"text", "x.exe": EXE}, zipfile.ZIP_STORED)
    for damaged in (inner.replace(EXE[100:200], b"?" * 100), inner[:700]):
        contents = look(OLE + damaged + bytes(99))
        assert contents.findings == ()
        assert contents.facts == set()
        assert paths(contents) == ["a.txt", "x.exe"]
        # What a name says can be believed all the same.
        assert contents.entries[1].facts == {Fact.EXECUTABLE}
        assert contents.entries[1].sha256 == ""


def test_what_a_document_holds_encrypted_is_encrypted() -> None:
    headers = {"flags": 1, "sizes": (4, 999)}
    inner = joined(
        [local(b"a.exe", b"????", **headers)],  # type: ignore[arg-type]
        [central(b"a.exe", b"????", 0, **headers)],  # type: ignore[arg-type]
    )
    contents = look(OLE + inner + bytes(99))
    assert contents.facts == {ENCRYPTED}
    assert paths(contents) == ["a.exe"]


def test_documents_in_a_tar_do_not_contradict_each_other() -> None:
    document = zipped({"word/document.xml": b"text"})
    contents = look(tarred({"a.docx": document, "b.docx": document}))
    assert contents.facts == {ARCHIVE}
    assert contents.findings == ()
    assert paths(contents) == [
        "a.docx",
        "a.docx!word/document.xml",
        "b.docx",
        "b.docx!word/document.xml",
    ]


def test_a_limit_within_a_document_is_told() -> None:
    inner = zipped({str(number): b"" for number in range(9)})
    contents = look(OLE + inner + bytes(99), entries=5)
    assert kinds(contents) == {"limit-entries"}
    assert LIMIT in contents.facts


FRONTS = {
    "gzip": gzip.compress(b"text"),
    "bzip2": bz2.compress(b"text"),
    "xz": lzma.compress(b"text"),
    "zstd-skipped": b"\x50\x2a\x4d\x18\4\0\0\0text",
    "tar": tarred({"a.txt": b"text"}),
    "cpio": crafted.cpio(b"a.txt", b"text"),
    "ar": crafted.ar(b"a.txt", b"text"),
    "arj": crafted.arj(b"a.txt", b"text"),
    "lzh": crafted.lzh(b"a.txt", b"text"),
    "cab": crafted.cab(b"a.txt", b"text"),
    "rar4": crafted.rar4(b"a.txt", b"text"),
    "rar5": crafted.rar5(b"a.txt", b"text"),
    "zip": zipped({"a.txt": b"text"}),
}


@pytest.mark.parametrize("gap", [0, 2048])
@pytest.mark.parametrize("behind", ["zip-deflated", "arj", "rar4", "rar5", "cab"])
@pytest.mark.parametrize("front", FRONTS.values(), ids=FRONTS)
def test_an_archive_behind_another_is_listed(
    front: bytes, behind: str, gap: int
) -> None:
    if behind == "arj" and front is FRONTS["arj"]:
        return  # arj itself opens the first
    contents = look(front + bytes(gap) + MADE[behind])
    assert exe_entry("x.exe") in contents.entries


def test_an_archive_behind_another_that_nobody_can_read_is_told() -> None:
    contents = look(FRONTS["gzip"] + crafted.arj(b"x.exe", EXE, method=1))
    assert "x.exe" in paths(contents)
    assert "not-inspectable" in kinds(contents)
    assert LIMIT in contents.facts


def test_an_archive_that_another_cut_into_blocks_is_no_damaged_one() -> None:
    """Deflate and LZMA leave what cannot be packed as it is, in blocks of 64 KiB."""
    noise = random.Random(5).randbytes(90_000)
    inner = crafted.rar5(b"a.bin", noise)
    contents = look(gzip.compress(inner, mtime=0), "a.rar.gz")
    assert contents.facts == {ARCHIVE}
    assert contents.findings == ()
    assert paths(contents)[:2] == ["a.rar", "a.rar!a.bin"]


def test_decoys_behind_an_archive_are_a_limit() -> None:
    contents = look(FRONTS["gzip"] + b"Rar!\x1a\x07\0" * 150_000)
    assert LIMIT in contents.facts


@pytest.mark.parametrize("magic", [b"Rar!\x1a\x07\0", b"PK\3\4", b"\x60\xea"])
def test_what_hides_behind_decoys_without_number_is_a_limit(magic: bytes) -> None:
    contents = look(b"?" + magic * 150_000)
    assert LIMIT in contents.facts


# ------------------------------------------------------------------------- encrypted


def test_an_encrypted_file_is_listed_as_encrypted_and_not_read() -> None:
    headers = {"flags": 1, "sizes": (4, 999)}
    octets = joined(
        [local(b"a.exe", b"????", **headers), local(b"b", b"text")],  # type: ignore[arg-type]
        [
            central(b"a.exe", b"????", 0, **headers),  # type: ignore[arg-type]
            central(b"b", b"text", 39),
        ],
    )
    contents = look(octets)
    hidden, plain = contents.entries
    assert hidden == Entry("a.exe", ("a.exe",), 999, facts=frozenset({ENCRYPTED}))
    assert plain.sha256 == sha256(b"text")
    assert contents.facts == {ARCHIVE, ENCRYPTED}
    assert contents.findings == (Finding("archive-encrypted", "a.exe"),)


@pytest.mark.parametrize(
    "octets",
    [
        crafted.rar4(b"x.exe", EXE, flags=4),
        crafted.arj(b"x.exe", EXE, flags=1),
    ],
    ids=["rar4", "arj"],
)
def test_other_encrypted_files_are_listed_likewise(octets: bytes) -> None:
    contents = look(octets)
    assert paths(contents) == ["x.exe"]
    assert contents.entries[0].facts == {ENCRYPTED}
    assert ENCRYPTED in contents.facts


def test_encrypted_headers_are_encrypted_and_not_looked_through() -> None:
    contents = look(crafted.rar4(b"x.exe", EXE, archive_flags=0x80))
    assert contents.facts >= {ARCHIVE, ENCRYPTED, LIMIT}
    assert "archive-encrypted" in kinds(contents)


def test_what_holds_something_encrypted_is_encrypted() -> None:
    inner = crafted.rar4(b"x.exe", EXE, flags=4)
    contents = look(tarred({"a.rar": inner}))
    assert contents.entries[0].facts == {ARCHIVE, ENCRYPTED}
    assert contents.facts == {ARCHIVE, ENCRYPTED}


# ----------------------------------------------------------------------------- names


def test_every_reading_of_a_name_is_a_name() -> None:
    octets = joined([local(b"\x81.exe", b"1")], [central(b"\x81.exe", b"1", 0)])
    assert look(octets).entries[0].names == ("ü.exe", "\x81.exe")


def test_a_name_that_leads_out_is_told() -> None:
    for name in ("/etc/passwd", "../x", "a/../../x", "..\\x", "C:x"):
        contents = look(tarred({name: b"1"}))
        assert kinds(contents) == {"archive-path"}, name
        assert name in contents.entries[0].names


def test_an_endless_name_is_shortened_and_told() -> None:
    name = b"a" * 5000 + b".exe"
    contents = look(joined([local(name, b"1")], [central(name, b"1", 0)]))
    assert contents.entries[0].names[0].endswith("aa.exe")
    assert len(contents.entries[0].names[0]) == 1024
    assert kinds(contents) == {"limit-name"}
    assert LIMIT in contents.facts


def test_all_names_together_are_bounded() -> None:
    files = {f"{number}{'n' * 90}": b"" for number in range(200)}
    contents = look(zipped(files), name_characters=9_000)
    assert kinds(contents) == {"limit-names"}
    assert 40 < len(contents.entries) < 60


# ---------------------------------------------------------------------------- limits


def nested(levels: int) -> bytes:
    octets = EXE
    for level in range(levels, 0, -1):
        octets = zipped({f"{level}.zip" if level < levels else "x.exe": octets})
    return octets


def test_depth_is_limited() -> None:
    assert "x.exe" in paths(look(nested(5)))[-1]
    assert kinds(look(nested(5))) == set()
    contents = look(nested(6))
    assert len(contents.entries) == 5
    assert kinds(contents) == {"limit-depth"}
    assert LIMIT in contents.facts
    assert all(LIMIT in entry.facts for entry in contents.entries)


def test_the_number_of_files_is_limited_over_all_archives() -> None:
    files = {str(number): b"" for number in range(6)}
    inner = zipped(files)
    octets = zipped({"a.zip": inner, "b.zip": inner})
    assert look(octets, entries=14).findings == ()
    contents = look(octets, entries=13)
    assert len(contents.entries) == 13
    assert kinds(contents) == {"limit-entries"}
    assert contents.facts == {ARCHIVE, LIMIT}


def test_octets_are_limited_and_a_zip_is_listed_to_its_end() -> None:
    files = {"a": bytes(3000), "b": bytes(3000), "x.exe": EXE}
    contents = look(zipped(files), octets=5000)
    assert paths(contents) == ["a", "b", "x.exe"]
    assert contents.entries[0].sha256 == sha256(bytes(3000))
    assert [entry.facts for entry in contents.entries[1:]] == [{LIMIT}, {LIMIT}]
    assert kinds(contents) == {"limit-octets"}


def test_a_file_beyond_its_limit_is_hashed_and_others_are_looked_into() -> None:
    contents = look(tarred({"a": bytes(3000), "x.exe": EXE}), entry_octets=2000)
    assert contents.entries[0].size == 3000
    assert contents.entries[0].facts == {LIMIT}
    assert contents.entries[1] == exe_entry("x.exe")
    assert kinds(contents) == {"limit-entry-octets"}


def test_the_ratio_is_limited_once_there_is_much() -> None:
    octets = gzip.compress(bytes(1 << 20))
    assert len(octets) * 200 < 1 << 20
    assert kinds(look(octets)) == set()
    contents = look(octets, ratio_from=1 << 19)
    assert kinds(contents) == {"limit-ratio"}
    assert contents.facts == {ARCHIVE, LIMIT}


def test_time_is_limited() -> None:
    contents = look(zipped({"a": b"1", "b": b"2"}), seconds=-1)
    assert kinds(contents) == {"limit-seconds"}
    assert contents.facts == {ARCHIVE, LIMIT}


def test_what_cannot_be_opened_here_is_named() -> None:
    for octets in (b"ITSF\x03\0\0\0" + bytes(99), b"MSWIM\0\0\0" + bytes(99)):
        contents = look(octets)
        assert contents.facts >= {ARCHIVE, LIMIT}
        assert kinds(contents) == {"not-inspectable"}
    contents = look(crafted.arj(b"x.exe", EXE, method=1))
    assert contents.entries == (
        Entry("x.exe", ("x.exe",), len(EXE), facts=frozenset({LIMIT})),
    )
    assert contents.findings == (Finding("not-inspectable", "x.exe: arj method 1"),)


def test_a_fault_of_who_detects_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> Contents:
        raise ZeroDivisionError

    monkeypatch.setattr(archives, "detect", broken)
    contents = look_inside(MADE["zip-deflated"], (), ArchiveLimits())
    assert contents.findings == (Finding("detect-failed", "ZeroDivisionError"),)
    assert contents.facts == {LIMIT}
    assert paths(contents) == ["x.exe"]


# ----------------------------------------------------------------------------- bombs


def overlapping() -> bytes:
    """M10: many files of the directory share the same octets."""
    content = bytes(1 << 20)
    body = local(b"a", content, method=8)
    sizes = (len(body) - 31, len(content))
    names = [b"%d" % number for number in range(3000)]
    return joined(
        [body], [central(name, b"", 0, method=8, sizes=sizes) for name in names]
    )


def quine() -> bytes:
    """M10: an archive that has itself as its only file, as far as its header says."""
    size = 1 << 20
    head = local(b"q.zip", b"", sizes=(size, size))
    return head * 3000


def many() -> bytes:
    bodies, directory, offset = [], [], 0
    for number in range(65_536):
        name = b"%d" % number
        bodies.append(local(name, b""))
        directory.append(central(name, b"", offset))
        offset += len(bodies[-1])
    return joined(bodies, directory)


def tree() -> bytes:
    """M10, as 42.zip: sixteen archives in each, six levels, then zeros."""
    octets = zipped({"0.dll": bytes(4 << 20)})
    for _ in range(5):
        octets = zipped({f"lib {number}.zip": octets for number in range(16)})
    return octets


BOMBS = {
    "overlapping": (overlapping, "limit-ratio"),
    "quine": (quine, "limit-depth"),
    "65536-files": (many, "limit-entries"),
    "nested": (tree, "limit-depth"),
    "gzip-of-zeros": (lambda: gzip.compress(bytes(64 << 20)), "limit-ratio"),
    "gzips": (lambda: gzipped(30), "limit-depth"),
    "signatures": (lambda: b"PK\3\4" * (1 << 20), "limit-headers"),
}


def gzipped(times: int) -> bytes:
    octets = b"x"
    for _ in range(times):
        octets = gzip.compress(octets)
    return octets


@pytest.mark.parametrize(("make", "kind"), BOMBS.values(), ids=BOMBS)
def test_a_bomb_ends_as_a_finding(make: object, kind: str) -> None:
    octets = make()  # type: ignore[operator]
    begin = time.process_time()
    contents = look(octets)
    assert time.process_time() - begin < 5
    assert kind in kinds(contents)
    assert LIMIT in contents.facts
    assert len(contents.entries) <= 10_000


CUT_FROM = {"tar": 512, "cpio": 6, "ar": 8, "lzh": 50, "arj": 60, "zip-stored": 50}
"""Octets that there must be for the beginning to be known as an archive."""


@pytest.mark.parametrize("name", MADE)
def test_cut_anywhere_it_is_told_or_seen(name: str) -> None:
    octets = MADE[name]
    step = 1 if len(octets) < 2000 else 7
    for size in range(len(octets) - 1, -1, -step):
        contents = look(octets[:size])
        if size >= CUT_FROM.get(name, 50):
            is_seen = any(one.sha256 == sha256(EXE) for one in contents.entries)
            assert is_seen or contents.facts & {LIMIT, MALFORMED}, size


@given(st.sampled_from(sorted(MADE)), st.data())
def test_damaged_anyhow_it_never_raises(name: str, data: st.DataObject) -> None:
    octets = bytearray(MADE[name])
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(octets) - 1))
        octets[at] = data.draw(st.integers(0, 255))
    contents = look(bytes(octets))
    assert all(
        finding.detail.isascii() and finding.detail.isprintable()
        for finding in contents.findings
    )


def test_a_file_of_holes_is_told() -> None:
    head = bytearray(tarred({"hole": b""})[:512])
    head[156] = ord("S")  # GNU sparse: all 8 GiB at the end are a hole
    head[386:410] = b"%011o\0%011o\0" % (0, 0)
    head[483:495] = b"%011o\0" % ((8 << 30) - 1)
    head[257:265] = b"ustar  \0"
    head[148:156] = b" " * 8
    head[148:156] = b"%06o\0 " % sum(head)
    contents = look(bytes(head) + bytes(1024))
    assert contents.entries[0].size == (8 << 30) - 1
    assert contents.facts == {ARCHIVE, LIMIT}
    assert kinds(contents) == {"archive-sparse"}


# ------------------------------------------------------------------ by other programs


def made_by(folder: Path, *command: str) -> bytes:
    (folder / "x.exe").write_bytes(EXE)
    program = need(command[0])
    target = folder / "made"
    arguments = [
        str(target) + "." + one[7:] if one.startswith("TARGET.") else one
        for one in command[1:]
    ]
    subprocess.run([program, *arguments], cwd=folder, check=True, capture_output=True)
    (made,) = folder.glob("made*")
    return made.read_bytes()


@pytest.mark.real
@pytest.mark.parametrize(
    "command",
    [
        ("7zz", "a", "TARGET.7z", "x.exe"),
        ("7zz", "a", "-mm=PPMd", "TARGET.zip", "x.exe"),
        ("7zz", "a", "-mm=xz", "TARGET.zip", "x.exe"),
        ("zstd", "x.exe", "-o", "TARGET.zst"),
        ("gcab", "-c", "TARGET.cab", "x.exe"),
        ("gcab", "-z", "-c", "TARGET.cab", "x.exe"),
        ("arj", "a", "-m0", "TARGET.arj", "x.exe"),
        ("genisoimage", "-R", "-o", "TARGET.iso", "x.exe"),
        ("zip", "TARGET.zip", "x.exe"),
    ],
    ids=" ".join,
)
def test_archives_of_other_programs_are_entered(
    command: tuple[str, ...], tmp_path: Path
) -> None:
    contents = look(made_by(tmp_path, *command), "x.exe.zst")
    (entry,) = contents.entries
    assert "x.exe" in entry.names
    assert entry.sha256 == sha256(EXE)
    assert contents.facts == {ARCHIVE}


@pytest.mark.real
@pytest.mark.parametrize(
    "command",
    [
        ("7zz", "a", "-psecret", "TARGET.7z", "x.exe"),
        ("7zz", "a", "-psecret", "-mem=AES256", "TARGET.zip", "x.exe"),
        ("zip", "-P", "secret", "TARGET.zip", "x.exe"),
        ("arj", "a", "-gsecret", "TARGET.arj", "x.exe"),
    ],
    ids=" ".join,
)
def test_encrypted_archives_of_other_programs(
    command: tuple[str, ...], tmp_path: Path
) -> None:
    contents = look(made_by(tmp_path, *command))
    assert contents.entries == (
        Entry("x.exe", ("x.exe",), len(EXE), facts=frozenset({ENCRYPTED})),
    )
    assert contents.facts == {ARCHIVE, ENCRYPTED}


@pytest.mark.real
def test_7z_with_encrypted_names(tmp_path: Path) -> None:
    made = made_by(tmp_path, "7zz", "a", "-psecret", "-mhe=on", "TARGET.7z", "x.exe")
    contents = look(made)
    assert contents.entries == ()
    assert contents.facts == {ARCHIVE, ENCRYPTED, LIMIT}
    assert kinds(contents) == {"archive-encrypted"}


@pytest.mark.real
def test_a_cd_is_read_as_each_system_reads_it(tmp_path: Path) -> None:
    made = made_by(tmp_path, "genisoimage", "-J", "-R", "-o", "TARGET.iso", "x.exe")
    # Rock Ridge alone has the name in capitals nowhere; Windows never reads it.
    assert made.count(b"NM\x0a\x01\0x.exe") == 1
    disguised = made.replace(b"NM\x0a\x01\0x.exe", b"NM\x0a\x01\0x.txt")
    (entry,) = look(disguised).entries
    assert {name.lower() for name in entry.names} == {"x.txt", "x.exe"}


CLAM = "71e7b604d18aefd839e51a39c88df8383bb4c071dc31f87f00a2b5df580d4495"
ENTERED = {
    "clam.7z": "clam.exe",
    "clam.bin-be.cpio": "clam.exe",
    "clam.bin-le.cpio": "clam.exe",
    "clam.bz2.zip": "clam.exe",
    "clam.cab": "clam.exe",
    "clam.exe.bz2": "clam.exe",
    "clam.newc.cpio": "clam.exe",
    "clam.odc.cpio": "clam.exe",
    "clam.tar.gz": "clam.exe",
    "clam.tnef": "clam.exe",
    "clam.zip": "clam.exe",
}
LISTED_ONLY = {
    "clam.arj": "clam.exe",
    "clam.d64.zip": "clam.exe",
    "clam.impl.zip": "CLAM.EXE",
}
"""By methods that nobody here can undo: ARJ's first, Deflate64, implode."""
NOT_OPENED = {"clam.chm", "clam.exe.szdd", "clam.sis"}
DEEP = "clam_cache_emax.tgz"
"""tgz in each other, a dozen of them."""
NO_CONTAINERS = {
    *(
        f"clam-{packer}.exe"
        for packer in (
            *("aspack", "fsg", "mew", "nsis", "pespin"),
            *("petite", "upack", "upx", "wwpack", "yc"),
        )
    ),
    *("clam.exe", "clam.exe.binhex", "clam.exe.html", "clam.exe.rtf"),
    *("clam.ole.doc", "clam.pdf", "clam.ppt"),
}
"""Programs and documents; what is BinHex ``mime`` reads."""


def test_every_container_of_the_shared_payloads(shared: Path) -> None:
    files = payloads(shared)
    assert len(files) == 35
    known = {*ENTERED, *LISTED_ONLY, *NOT_OPENED, DEEP, *NO_CONTAINERS}
    assert known == set(files)
    for name, octets in files.items():
        contents = look_inside(octets, (name,), ArchiveLimits())
        if name in ENTERED:
            (entry,) = contents.entries
            assert (entry.path, entry.size, entry.sha256) == (ENTERED[name], 544, CLAM)
            assert Fact.EXECUTABLE in entry.facts
            assert contents.findings == ()
        elif name in LISTED_ONLY:
            (entry,) = contents.entries
            assert (entry.path, entry.size) == (LISTED_ONLY[name], 544)
            assert entry.facts == {LIMIT}
            assert kinds(contents) == {"not-inspectable"}
        elif name in NOT_OPENED:
            assert contents.entries == ()
            assert contents.facts == {ARCHIVE, LIMIT}
        elif name == DEEP:
            assert kinds(contents) == {"limit-depth"}
            # It holds the next two, each of which is a chain of its own.
            assert len(contents.entries) == 10
        else:
            assert contents == Contents(), name
