"""rules/default.yaml: safe, commented, total (contract 11)."""

from __future__ import annotations

from pathlib import Path

import pytest

from smtpguard.model.decision import Action
from smtpguard.policy import PartFacts, Ruleset, load
from smtpguard.policy.files import read_file
from tests.policy.rulefiles import envelope, message, path, session


DEFAULT = Path(__file__).parents[2] / "rules" / "default.yaml"
TEXT = DEFAULT.read_text(encoding="utf-8")


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
    assert policy.part(part, message()).action is Action.ALLOW


@pytest.mark.parametrize(
    ("content_type", "action"),
    [
        ("text/plain", Action.ALLOW),
        ("text/html", Action.ALLOW),
        ("application/pdf", Action.ALLOW),
        ("message/rfc822", Action.ALLOW),
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
    assert inside.action is Action.ALLOW
    others = policy.part(part, message(header_from=("boss@else.example",)))
    assert others.action is Action.ALLOW
