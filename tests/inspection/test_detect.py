"""All looks together; attacks M7 and M10 as far as no entry is read."""

from __future__ import annotations

import io
import random
import struct
import time
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpguard.inspection import detect
from smtpguard.mime import parse
from smtpguard.model.contents import Fact
from tests.inspection.compounds import compound
from tests.inspection.crafted import tarred
from tests.inspection.payloads import payloads


PE = b"MZ".ljust(0x3C, b"\0") + struct.pack("<I", 0x40) + b"PE\0\0" + bytes(64)
GIF = b"GIF89a" + bytes(range(64))
PORTABLE = "application/vnd.microsoft.portable-executable"
RAR = b"Rar!\x1a\x07\x00" + struct.pack("<HBHH", 0, 0x73, 0x0080, 13) + bytes(6)
SEVEN_ZIP = (
    b"7z\xbc\xaf\x27\x1c\0\4" + struct.pack("<I", zlib.crc32(bytes(20))) + bytes(20)
)


def zipped(*names: str) -> bytes:
    into = io.BytesIO()
    with zipfile.ZipFile(into, "w") as archive:
        for name in names:
            archive.writestr(name, "content")
    return into.getvalue()


def kinds(octets: bytes) -> list[str]:
    return [finding.kind for finding in detect(octets).findings]


def test_nothing_is_nothing() -> None:
    found = detect(b"")
    assert (found.detected, found.facts, found.entries) == ("", frozenset(), ())


@pytest.mark.parametrize(
    ("octets", "kind"),
    [
        (b"Hello\r\n", "text/plain"),
        ("Hello".encode("utf-16"), "text/plain"),
        (b"<html>\x00</html>", "text/html"),
        (bytes(range(256)), ""),
        (b"%PDF-1.4\n", "application/pdf"),
        (b"\r\njunk %PDF-1.4\n", "application/pdf"),
    ],
    ids=["text", "utf-16", "html-with-nul", "noise", "pdf", "pdf-behind"],
)
def test_what_is_harmless_has_a_type_and_no_facts(octets: bytes, kind: str) -> None:
    found = detect(octets)
    assert (found.detected, found.facts, found.findings) == (kind, frozenset(), ())


def test_M7_a_program_is_one_whatever_it_is_called() -> None:
    found = detect(PE, ("holiday.png",), "image/png")
    assert (found.detected, set(found.facts)) == (PORTABLE, {Fact.EXECUTABLE})


def test_M7_a_picture_that_java_runs_is_both() -> None:
    found = detect(GIF + zipped("META-INF/MANIFEST.MF"))
    assert found.detected == "image/gif"
    assert found.facts == {Fact.EXECUTABLE, Fact.ARCHIVE}
    assert [(one.kind, one.detail) for one in found.findings] == [
        ("polyglot", "image/gif, application/java-archive")
    ]


@pytest.mark.parametrize(
    ("archive", "facts"),
    [
        (zipped("x"), {Fact.ARCHIVE}),
        (RAR, {Fact.ARCHIVE, Fact.ENCRYPTED}),
        (SEVEN_ZIP, {Fact.ARCHIVE}),
    ],
    ids=["zip", "rar", "7z"],
)
@pytest.mark.parametrize("front", [GIF, PE, b"junk"], ids=["picture", "sfx", "junk"])
def test_M10_an_archive_behind_something_is_seen(
    front: bytes, archive: bytes, facts: set[Fact]
) -> None:
    assert facts <= detect(front + bytes(3000) + archive).facts


def test_signatures_before_an_archive_do_not_hide_it() -> None:
    decoys = b"Rar!\x1a\x07\x00 7z\xbc\xaf\x27\x1c " * 1000
    assert detect(b"x" + decoys + RAR).facts == {Fact.ARCHIVE, Fact.ENCRYPTED}


def test_an_archive_alone_is_no_polyglot() -> None:
    for archive in (zipped("x"), RAR, SEVEN_ZIP):
        assert kinds(archive) == []


@pytest.mark.parametrize(
    "octets",
    [
        tarred({"a.docm": zipped("word/vbaProject.bin", "[Content_Types].xml")}),
        zipped("a", "b") + RAR + b"in the comment",
        compound({"ObjectPool": zipped("META-INF/MANIFEST.MF")}),
        b"%PDF-1.4\n" + zipped("META-INF/MANIFEST.MF") + b"%%EOF",
    ],
    ids=["tar", "zip", "ole", "pdf"],
)
def test_what_another_file_holds_as_it_is_is_not_what_it_is(octets: bytes) -> None:
    assert "polyglot" not in kinds(octets)
    assert detect(octets).facts <= {Fact.ARCHIVE}


def test_a_document_that_java_runs_is_both() -> None:
    """Java looks for the end of the archive, Word for the beginning of its own."""
    document = compound({"WordDocument": b"\xec\xa5" + bytes(600)})
    assert Fact.EXECUTABLE in detect(document + zipped("META-INF/MANIFEST.MF")).facts


def test_a_script_before_an_archive_is_seen() -> None:
    found = detect(b"#!/usr/bin/env python3\n" + zipped("__main__.py"))
    assert found.detected == "text/x-python"
    assert found.facts == {Fact.EXECUTABLE, Fact.ARCHIVE}


def test_a_script_with_octets_that_no_text_has_is_seen() -> None:
    assert detect(b"#!/bin/sh\n\x00\x01").facts == {Fact.EXECUTABLE}
    assert detect(b"@echo off\r\n\x00").facts == {Fact.EXECUTABLE}


def test_a_pdf_header_hides_no_script() -> None:
    found = detect(b"#!/bin/sh\n#%PDF-1.4\n")
    assert Fact.EXECUTABLE in found.facts


def test_the_name_of_a_script_counts_whatever_it_holds() -> None:
    found = detect(b"GIF89a=1;new ActiveXObject('x')", ("x.gif", "x.js"))
    assert (found.detected, set(found.facts)) == ("image/gif", {Fact.EXECUTABLE})
    assert detect(b"\x00\x01", ("x.js",)).detected == "text/javascript"


def test_the_claim_of_a_script_counts_where_nothing_else_is_known() -> None:
    assert detect(b"x=1", (), "Application/JavaScript; charset=x").facts == {
        Fact.EXECUTABLE
    }
    assert detect(GIF, (), "application/javascript").facts == frozenset()


@pytest.mark.parametrize(
    ("claimed", "fact"),
    [
        ("multipart/signed", Fact.SIGNED),
        ("application/pgp-signature", Fact.SIGNED),
        ("application/x-pkcs7-signature", Fact.SIGNED),
        ("multipart/encrypted", Fact.ENCRYPTED),
        ("application/pgp-encrypted", Fact.ENCRYPTED),
    ],
)
def test_claims_of_signatures_and_encryption_count(claimed: str, fact: Fact) -> None:
    assert detect(b"Version: 1\r\n", (), claimed).facts == {fact}


SIGNED_DATA = bytes.fromhex("2a864886f70d010702")


@pytest.mark.parametrize(
    ("names", "claimed"),
    [
        ((), "application/pkcs7-mime"),
        ((), "application/x-pkcs7-mime"),
        (("smime.P7M",), "application/octet-stream"),
        (("a.txt", "smime.p7m ."), ""),
        (("smime.p7z",), "text/plain"),
    ],
)  # fmt: skip
def test_what_claims_to_be_smime_and_is_none_we_know_is_a_limit(
    names: tuple[str, ...], claimed: str
) -> None:
    """Other readers know more of BER and PEM, and show what is in it."""
    for octets in (
        b"",
        b"Version: 1\r\n",
        bytes.fromhex("3f10800609")
        + SIGNED_DATA,  # the sequence in the form of high tags
        bytes.fromhex("30801f0609") + SIGNED_DATA,
        bytes.fromhex("3080060a") + SIGNED_DATA[:-1] + b"\x82\x02",
        b"Hello\n-----BEGIN PKCS7-----\nMIAGCSqGSIb3DQEHAqCA\n",
        b"-----BEGIN SIGNED MESSAGE-----\nMIAGCSqGSIb3DQEHAqCA\n",
    ):
        found = detect(octets, names, claimed)
        assert found.facts == {Fact.ENCRYPTED, Fact.LIMIT}, octets
        assert [one.kind for one in found.findings] == ["not-inspectable"]


def test_the_claim_of_a_signature_does_not_hide_that_of_smime() -> None:
    found = detect(b"x", ("smime.p7m",), "application/pkcs7-signature")
    assert found.facts == {Fact.SIGNED, Fact.ENCRYPTED, Fact.LIMIT}
    assert Fact.LIMIT in detect(b"x", ("a.p7m:x",), "application/pgp-encrypted").facts


def test_the_claim_of_smime_does_not_overrule_what_it_is() -> None:
    compressed = bytes.fromhex("3080060b2a864886f70d0109100109a080")
    found = detect(compressed + bytes(20), (), "application/pkcs7-mime")
    assert found.facts == {Fact.LIMIT}
    assert [finding.detail for finding in found.findings] == ["content of S/MIME"]


def test_pgp_in_a_text_leaves_it_a_text() -> None:
    armor = b"-----BEGIN PGP MESSAGE-----\n\nhQEMA1234567890ab\n"
    found = detect(b"Hello,\n" + armor)
    assert (found.detected, set(found.facts)) == ("text/plain", {Fact.ENCRYPTED})


def test_excel_without_a_compound_file_is_looked_at() -> None:
    bof = struct.pack("<HHHH", 0x0409, 6, 0, 0x40) + bytes(2)
    found = detect(bof)
    assert (found.detected, set(found.facts)) == (
        "application/vnd.ms-excel",
        {Fact.MACRO},
    )


PAYLOADS = {
    "clam.7z": ("application/x-7z-compressed", {Fact.ARCHIVE}),
    "clam.arj": ("application/x-arj", {Fact.ARCHIVE}),
    "clam.bin-be.cpio": ("application/x-cpio", {Fact.ARCHIVE}),
    "clam.bin-le.cpio": ("application/x-cpio", {Fact.ARCHIVE}),
    "clam.bz2.zip": ("application/zip", {Fact.ARCHIVE}),
    "clam.cab": ("application/vnd.ms-cab-compressed", {Fact.ARCHIVE}),
    "clam.chm": ("application/vnd.ms-htmlhelp", {Fact.EXECUTABLE}),
    "clam.d64.zip": ("application/zip", {Fact.ARCHIVE}),
    "clam.exe.binhex": ("application/mac-binhex40", set()),
    "clam.exe.bz2": ("application/x-bzip2", {Fact.ARCHIVE}),
    "clam.exe.html": ("text/html", set()),
    "clam.exe.rtf": ("text/rtf", set()),
    "clam.exe.szdd": ("application/x-ms-compress-szdd", {Fact.ARCHIVE}),
    "clam.impl.zip": ("application/zip", {Fact.ARCHIVE}),
    "clam.newc.cpio": ("application/x-cpio", {Fact.ARCHIVE}),
    "clam.odc.cpio": ("application/x-cpio", {Fact.ARCHIVE}),
    "clam.ole.doc": ("application/msword", set()),
    "clam.pdf": ("application/pdf", set()),
    "clam.ppt": ("application/vnd.ms-powerpoint", set()),
    "clam.sis": ("application/vnd.symbian.install", {Fact.EXECUTABLE}),
    "clam.tar.gz": ("application/gzip", {Fact.ARCHIVE}),
    "clam.tnef": ("application/vnd.ms-tnef", set()),
    "clam.zip": ("application/zip", {Fact.ARCHIVE}),
    "clam_cache_emax.tgz": ("application/gzip", {Fact.ARCHIVE}),
}


def test_each_file_of_others_is_what_its_name_says(shared: Path) -> None:
    files = payloads(shared)
    assert len(files) == 35
    for name, octets in files.items():
        found = detect(octets)
        expected = PAYLOADS.get(name, (PORTABLE, {Fact.EXECUTABLE}))
        assert (found.detected, set(found.facts)) == expected, name
        assert name in PAYLOADS or name.endswith(".exe")


# Who has what by content: a shell and a Perl script, and what SMTPtool's mails are
# about, as their names say. In all the others there is nothing of the kind.
FACTS = {
    "00993.041d0d8e108657fd1ba5c605a10e2bfa": {Fact.EXECUTABLE},
    "01561.4d9ed1a0103b1a90cfd91921b9014124": {Fact.EXECUTABLE},
    "Active_Content_-_Excel_Macro": {Fact.MACRO},
    "Encrypted_Zip": {Fact.ENCRYPTED},
    "Exe_file": {Fact.EXECUTABLE},
    "Password_Encrypted_PDF": {Fact.ENCRYPTED},
}


def test_parts_of_others_have_the_facts_that_they_should_have(shared: Path) -> None:
    """Names and claims are kept from it: what is told here is told by content."""
    found: dict[str, set[Fact]] = {}
    for folder in ("corpus", "mime", "evasion/smtptool"):
        for path in sorted((shared / "corpus" / folder).rglob("*.eml")):
            for part in parse(path.read_bytes()).candidates():
                facts = detect(b"".join(part.decoded())).facts if part.is_leaf else ()
                if told := set(facts) - {Fact.ARCHIVE, Fact.SIGNED}:
                    found.setdefault(path.stem, set()).update(told)
    assert found == FACTS


@pytest.mark.parametrize(
    "front",
    [
        b"",
        b"PK\3\4",
        b"PK\5\6",
        b"%PDF-1.7",
        b"{\\rtf",
        b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1",
        b"7z\xbc\xaf\x27\x1c",
        b"Rar!\x1a\x07\x00",
        b"Rar!\x1a\x07\x01\x00",
        b"\x09\x08\x10\x00\x00\x06\x05\x00",
        b"0\x80\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x02",
        b"\xa3\x02\x78\x9c",
        b"MZ",
        b"-----BEGIN PGP MESSAGE-----",
    ],
)
@given(tail=st.binary(max_size=2048))
def test_noise_behind_a_signature_raises_nothing(front: bytes, tail: bytes) -> None:
    detect(front + tail, ("x.js",), "application/pkcs7-mime")


def test_mutated_files_raise_nothing(shared: Path) -> None:
    files = [*payloads(shared).values(), zipped("[Content_Types].xml", "x")]
    files.append(compound({"WordDocument": b"\xec\xa5", "A/_VBA_PROJECT": b""}))
    chance = random.Random(3)
    for number in range(3000):
        octets = bytearray(files[number % len(files)])
        for _ in range(chance.choice((1, 4, 32))):
            at = chance.randrange(min(len(octets), chance.choice((16, 128, 1 << 16))))
            octets[at] = chance.choice((0, 0xFF, chance.randrange(256)))
        cut = chance.choice((len(octets), chance.randrange(len(octets))))
        detect(bytes(octets[:cut]))


def entries(count: int) -> bytes:
    utf16 = "WordDocument".encode("utf-16-le").ljust(64, b"\0") + b"\x1a\0\2"
    head = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1".ljust(512, b"\0")
    return head + utf16.ljust(128, b"\0") * count


GENERATORS: dict[str, Callable[[int], bytes]] = {
    "local-headers": lambda n: (b"PK\3\4" + bytes(26)) * n,
    "directories": lambda n: (
        (b"PK\1\2" + bytes(42)) * n
        + b"".join(
            b"PK\5\6" + bytes(8) + struct.pack("<II", 46 * n + 22 * at, 0) + bytes(2)
            for at in range(8)
        )
    ),
    "encrypt": lambda n: b"%PDF-1.4" + b"/Encrypt /Encrypt" * n,
    "encrypt-blanks": lambda n: b"%PDF-1.4" + (b"/Encrypt" + b" " * 50) * n,
    "objects": lambda n: b"{\\rtf" + b"\\obj" * n,
    "compound-entries": entries,
    "rar-4": lambda n: b"Rar!\x1a\x07\x00" + b"\0\0\x75\0\0\x07\0" * n,
    "rar-5": lambda n: b"Rar!\x1a\x07\x01\x00" + b"\0\0\0\0\x02\x09\0" * n,
    "rar-behind": lambda n: b"x" + RAR * n,
    "7z-behind": lambda n: b"x" + SEVEN_ZIP * n,
    "biff": lambda n: b"\x09\x08\x10\0\0\6\5\0" + bytes(12) + b"\1\0\0\0" * n,
    "armor": lambda n: b"-----BEGIN PGP MESSAGE-----\n\n" * n,
    "comments": lambda n: b"<!-- -- -->" * n,
    "batch": lambda n: b"rem x\n" * n,
    "blanks": lambda n: b" \n" * n,
}


@pytest.mark.slow
@pytest.mark.parametrize("name", GENERATORS)
def test_time_is_linear(name: str) -> None:
    """Four times as much, at most 4 * 2.5 times as long; a square would be 16."""

    def seconds(count: int) -> float:
        octets = GENERATORS[name](count)
        times = []
        for _ in range(3):
            start = time.process_time()
            detect(octets)
            times.append(time.process_time() - start)
        return min(times)

    assert seconds(80_000) < 10 * max(seconds(20_000), 0.002)
