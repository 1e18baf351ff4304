"""rules/default.yaml: safe, commented, total (contract 11)."""

from __future__ import annotations

import base64
import io
import zipfile
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml

from smtpguard.model.content import MemorySpool
from smtpguard.model.decision import Action
from smtpguard.model.disposition import Disposition, Outcome
from smtpguard.pipeline import Pipeline, TransactionJudge
from smtpguard.policy import PartFacts, Ruleset, load
from smtpguard.policy.files import read_file
from smtpguard.policy.patterns import expand_braces
from smtpguard.unpacking import Inspector
from tests.judging import NOON, TEXT_PART, PreparedScanners, lines, mixed
from tests.policy.rulefiles import envelope, message, path, session


if TYPE_CHECKING:
    from collections.abc import Iterator


DEFAULT = Path(__file__).parents[2] / "rules" / "default.yaml"
TEXT = DEFAULT.read_text(encoding="utf-8")


def attached(
    content: bytes, name: str, kind: str = "application/octet-stream"
) -> bytes:
    head = lines(
        f"Content-Type: {kind}",
        f'Content-Disposition: attachment; filename="{name}"',
        "Content-Transfer-Encoding: base64",
        "",
    )
    return head + base64.encodebytes(content).replace(b"\n", b"\r\n").rstrip()


def filled_in() -> Ruleset:
    text = TEXT.replace("domains: [] ", "domains: [own.example] ")
    assert text != TEXT
    return load("default.yaml", lambda _name: text)


def test_it_loads_and_says_what_is_missing() -> None:
    warnings = load(str(DEFAULT), read_file).warnings
    assert {one.slug for one in warnings} == {"no-domains", "no-identity"}
    assert [one.slug for one in filled_in().warnings] == ["no-identity"]


@pytest.mark.parametrize(
    "address",
    ["a@a.example", "postmaster", "postmaster@a.example", '"a b"@[192.0.2.1]'],
)
def test_as_it_stands_every_recipient_is_answered_451(address: str) -> None:
    policy = load(str(DEFAULT), read_file).choose(session())
    asked = session()
    assert policy.mail(asked, path("x@x.example")).action is Action.ALLOW
    decision = policy.rcpt(asked, envelope(), path(address))
    assert str(decision.reply) == "451 4.3.0 Not decided, try again later"


@pytest.mark.parametrize(
    ("address", "reply"),
    [
        ("anna@own.example", ""),
        ("Postmaster", ""),
        ("anna@else.example", "550 5.7.1 Relaying denied"),
        ("anna@sub.own.example", "550 5.7.1 Relaying denied"),
        ("anna%else.example@own.example", ""),
    ],
)
def test_with_domains_it_is_no_relay(address: str, reply: str) -> None:
    policy = filled_in().choose(session())
    decision = policy.rcpt(session(), envelope(), path(address))
    assert str(decision.reply or "") == reply


@pytest.mark.parametrize(
    "name",
    [
        *("a.exe", "A.EXE", "a.exe.", "a.exe \u00a0", "a.pdf.exe", "a\u202efdp.exe"),
        *(
            "a.scr",
            "a.js",
            "a.vbs",
            "a.hta",
            "a.ps1",
            "a.bat",
            "a.lnk",
            "a.iso",
            "a.img",
        ),
        *("a.vhdx", "a.one", "a.chm", "a.jar", "a.xll", "a.msi", "a.msix", "a.wsf"),
        *("a.appx", "a.settingcontent-ms", "a.url", "a.rdp", "a.reg", "a.dll", "a.cpl"),
        "a.txt.{3050F4D8-98B5-11CF-BB82-00AA00BDCE0B}",
        "a.exe::$DATA",
        "a.exe\x00.txt",
        "a\uff0eexe",
    ],
    ids=ascii,
)
def test_a_dangerous_name_is_stripped(name: str) -> None:
    policy = filled_in().choose(session())
    part = PartFacts("application/octet-stream", (name,))
    assert policy.part(part, message()).action is Action.STRIP


@pytest.mark.parametrize(
    "name",
    [
        *("a.pdf", "a.docx", "a.xlsx", "a.txt", "a.jpg", "a.zip", "a.csv", "a.html"),
        *("exe", "a.exe.pdf", "a.p7m", "winmail.dat", "a.eml", "a.ics", "a{b}.txt", ""),
    ],
)
def test_an_ordinary_name_passes(name: str) -> None:
    policy = filled_in().choose(session())
    part = PartFacts("application/octet-stream", (name,) if name else ())
    assert policy.part(part, message()).action is Action.SCAN


@pytest.mark.parametrize(
    ("content_type", "action"),
    [
        ("text/plain", Action.SCAN),
        ("text/html", Action.SCAN),
        ("application/pdf", Action.SCAN),
        ("message/rfc822", Action.SCAN),
        ("application/x-msdownload", Action.STRIP),
        ("Application/X-DosExec", Action.STRIP),
        ("application/hta", Action.STRIP),
        ("message/external-body", Action.STRIP),
        ("message/partial", Action.DENY),
    ],
)
def test_a_type_is_judged(content_type: str, action: Action) -> None:
    policy = filled_in().choose(session())
    assert policy.part(PartFacts(content_type), message()).action is action


def patterns(where: str) -> list[str]:
    """Return what the wildcards of a list stand for, but for its last."""
    [policy] = yaml.safe_load(TEXT)["policies"]
    found = []
    for rule in policy[where][:-1]:
        written = rule.get("match", [])
        for pattern in [written] if isinstance(written, str) else written:
            if not pattern.startswith("regex:"):
                found += expand_braces(pattern)
    return found


@cache
def inspector() -> Inspector:
    return Inspector(1)


@pytest.fixture(scope="module", autouse=True)
def _end_of_processes() -> Iterator[None]:
    yield
    inspector().stop()


@cache
def judge() -> TransactionJudge:
    pipeline = Pipeline(
        filled_in(), lambda: NOON, inspector=inspector(), scanners=PreparedScanners()
    )
    return pipeline.begin(session())


def judged(mail: bytes) -> Disposition:
    spool = MemorySpool()
    spool.write(mail)
    return judge().message(session(), envelope("a@x.example", "r@own.example"), spool)


def zipped(name: str, content: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(zipfile.ZipInfo(name), content)
    return buffer.getvalue()


def names_rules() -> list[dict[str, object]]:
    [policy] = yaml.safe_load(TEXT)["policies"]
    rules: list[dict[str, object]] = policy["filenames"]
    return rules


def test_there_are_many_endings() -> None:
    assert len(patterns("filenames")) > 130


@pytest.mark.parametrize("pattern", patterns("filenames"))
@pytest.mark.parametrize("where", ["attached", "in a zip"])
def test_each_ending_is_stripped_from_a_mail(pattern: str, where: str) -> None:
    name = pattern.replace("*", "Invoice")
    if where == "attached":
        mail = mixed(TEXT_PART, attached(b"harmless text", name))
    else:
        mail = mixed(TEXT_PART, attached(zipped(name, b"harmless text"), "a.zip"))
    said = judged(mail)
    assert (said.outcome, said.action) == (Outcome.MODIFIED, Action.STRIP)
    # By its name, whatever its type says beside that.
    named = [s for s in said.trace if s.part == "1.2" and s.rule[:9] == "filenames"]
    assert named[-1].matched
    assert named[-1].rule != f"filenames:{len(names_rules())}"


@pytest.mark.parametrize(
    "pattern",
    [one for one in patterns("content_types") if not one.startswith("message/")],
)
def test_each_type_is_dealt_with_in_a_mail(pattern: str) -> None:
    mail = mixed(TEXT_PART, attached(b"text", "a.bin", pattern.replace("*", "x")))
    said = judged(mail)
    password = pattern in DOCUMENTS
    # These are locked where they are encrypted, and nothing is done otherwise.
    assert said.outcome is (Outcome.RELAYED if password else Outcome.MODIFIED)


DOCUMENTS = {
    *("application/zip", "application/x-7z-compressed", "application/vnd.rar"),
    *("application/x-arj", "application/encrypted", "application/x-ole-storage"),
    *("application/msword", "application/vnd.ms-*"),
}
PROGRAM = b"MZ" + bytes(58) + b"\x40\0\0\0PE\0\0" + bytes(500)


@pytest.mark.parametrize(
    "name", ["a.dat", "a.pdf"], ids=["without a known name", "under another one"]
)
@pytest.mark.parametrize("inside", [False, True])
def test_a_program_is_stripped_whatever_it_is_called(name: str, inside: bool) -> None:
    content = zipped(name, PROGRAM) if inside else PROGRAM
    said = judged(mixed(TEXT_PART, attached(content, "a.zip" if inside else name)))
    assert (said.outcome, said.action) == (Outcome.MODIFIED, Action.STRIP)


MACROS = zipped("word/vbaProject.bin", b"macro")


def office() -> bytes:
    buffer = io.BytesIO(MACROS)
    with zipfile.ZipFile(buffer, "a") as archive:
        archive.writestr("[Content_Types].xml", "<Types/>")
        archive.writestr("word/document.xml", "<w:document/>")
    return buffer.getvalue()


def locked_zip() -> bytes:
    """Return a zip whose only file claims to be encrypted, in both its headers."""
    octets = bytearray(zipped("a.txt", b"secret text"))
    octets[6] |= 1
    octets[octets.index(b"PK\x01\x02") + 8] |= 1
    return bytes(octets)


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (office(), "a.docm"),
        (office(), "a.docx"),
        (zipped("in/a.docm", office()), "a.zip"),
        (locked_zip(), "a.zip"),
        (zipped("in/a.zip", locked_zip()), "b.zip"),
    ],
    ids=["macros", "macros unnamed", "macros in a zip", "password", "password inside"],
)
def test_macros_and_what_is_behind_a_password_are_locked(
    content: bytes, name: str
) -> None:
    said = judged(mixed(TEXT_PART, attached(content, name)))
    assert (said.outcome, said.action) == (Outcome.MODIFIED, Action.LOCK)


@pytest.mark.parametrize(
    "mail",
    [
        mixed(TEXT_PART, attached(zipped("a.txt", b"text"), "a.zip")),
        mixed(TEXT_PART, attached(b"%PDF-1.7\n%%EOF", "a.pdf", "application/pdf")),
        mixed(
            TEXT_PART,
            attached(
                b"-----BEGIN PGP MESSAGE-----\n\nhQEMA\n-----END PGP MESSAGE-----",
                "a.asc",
                "application/octet-stream",
            ),
        ),
    ],
    ids=["zip", "pdf", "pgp"],
)
def test_ordinary_mail_goes_on_as_it_came(mail: bytes) -> None:
    said = judged(mail)
    assert (said.outcome, said.content) == (Outcome.RELAYED, None)


SCRIPT = b"#!/bin/bash\r\nrm -rf /tmp/x\r\n"


@pytest.mark.parametrize("text", [SCRIPT, b"@echo off\r\ndel x\r\n"])
@pytest.mark.parametrize("kind", [b"", b"Content-Type: text/plain\r\n"])
def test_a_text_that_begins_as_a_script_is_a_text_still(
    text: bytes, kind: bytes
) -> None:
    """What cron sends, and who asks colleagues: nobody can run what is only shown."""
    said = judged(b"Subject: cron\r\n" + kind + b"\r\n" + text)
    assert (said.outcome, said.content) == (Outcome.RELAYED, None)


def test_a_script_with_a_name_or_another_type_is_stripped() -> None:
    for part in (
        attached(SCRIPT, "a.txt", "text/plain"),
        lines("Content-Type: application/octet-stream", "") + SCRIPT,
        lines("Content-Type: text/x-shellscript", "") + SCRIPT,
    ):
        said = judged(mixed(TEXT_PART, part))
        assert (said.outcome, said.action) == (Outcome.MODIFIED, Action.STRIP)


def test_what_cannot_be_looked_at_is_refused() -> None:
    cut = zipped("a.txt", b"text")[:-30]
    said = judged(mixed(TEXT_PART, attached(cut, "a.zip")))
    assert (said.outcome, said.rule) == (Outcome.REJECTED, "limit")
    ace = b"\0" * 7 + b"**ACE**" + bytes(100)
    said = judged(mixed(TEXT_PART, attached(ace, "a.ace")))
    assert (said.outcome, said.rule) == (Outcome.REJECTED, "limit")


def test_the_example_that_is_commented_out_works() -> None:
    lines = TEXT.split("\n")
    start = next(n for n, line in enumerate(lines) if "own-author-from-outside" in line)
    for number in range(start, start + 6):
        lines[number] = lines[number].replace("# ", "", 1)
    text = "\n".join(lines).replace("domains: [] ", "domains: [own.example] ")
    policy = load("default.yaml", lambda _name: text).choose(session())
    part = PartFacts("text/plain")
    outside = policy.part(part, message(header_from=("boss@own.example",)))
    assert str(outside.reply) == "550 5.7.1 Author address rejected"
    asked = session(authenticated=True)
    inside = policy.part(
        part, message(session=asked, header_from=("boss@own.example",))
    )
    assert inside.action is Action.SCAN
    others = policy.part(part, message(header_from=("boss@else.example",)))
    assert others.action is Action.SCAN
