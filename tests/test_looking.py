"""What is known of the parts of a message before a rule is asked."""

from __future__ import annotations

import base64
import hashlib
import io
import zipfile
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from smtpguard import looking
from smtpguard.errors import InspectorError
from smtpguard.looking import MAX_ENTRIES, MAX_OCTETS, Look, Looker, TakesLong
from smtpguard.mime import parse
from smtpguard.model.contents import Contents, Entry, Fact, Finding
from tests.judging import TEXT_PART, attachment, forwarded, lines, mixed
from tests.mime.test_cms import enclosing, mailed


if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass
class Prepared:
    """An inspector that answers what it is told to, and remembers the questions."""

    answer: Contents = field(default_factory=Contents)
    asked: list[tuple[bytes, tuple[str, ...], str, float]] = field(default_factory=list)
    waits: list[float] = field(default_factory=list)

    def look(
        self,
        octets: bytes,
        names: tuple[str, ...],
        claimed: str,
        seconds: float,
        most: float,
    ) -> Contents:
        self.asked.append((octets, names, claimed, seconds))
        self.waits.append(most)
        return self.answer

    def stop(self) -> None:
        """Nothing runs."""


@dataclass
class Slow(Prepared):
    """One that takes ``each`` seconds of the clock for a look."""

    each: float = 0.0

    def now(self) -> float:
        return 100 + self.each * len(self.asked)


def zip_of(*names: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in names:
            archive.writestr(zipfile.ZipInfo(name), b"content of a file")
    return buffer.getvalue()


def attached(octets: bytes, name: str = "a.zip") -> bytes:
    head = lines(
        f'Content-Type: application/zip; name="{name}"',
        "Content-Transfer-Encoding: base64",
        "",
    )
    return head + base64.encodebytes(octets).replace(b"\n", b"\r\n").rstrip()


ZIPPED = attached(zip_of("a.txt"))


def looks(
    mail: bytes,
    inspector: Prepared | None = None,
    *,
    enters: bool = True,
    at_once: bool = False,
    seconds: Callable[[], float] = float,
) -> dict[str, Look]:
    looker = Looker(inspector, seconds, enters=enters, at_once=at_once)
    return looker.looks(parse(mail))


def test_each_candidate_is_measured_and_detected() -> None:
    found = looks(mixed(TEXT_PART, ZIPPED), enters=False)
    assert list(found) == ["1.1", "1.2"]
    content = zip_of("a.txt")
    look = found["1.2"]
    assert (look.size, look.sha256) == (
        len(content),
        hashlib.sha256(content).hexdigest(),
    )
    assert look.types == ("application/zip",)
    assert Fact.ARCHIVE in look.facts
    assert found["1.1"].types == ("text/plain",)
    assert found["1.1"].facts == frozenset()


def test_a_message_in_a_message_is_known_by_its_size() -> None:
    inner = lines("Subject: inner", "", "text")
    found = looks(mixed(forwarded(inner)))
    size = len(inner.removesuffix(b"\r\n"))
    assert found["1.1"].size == size
    assert found["1.1"].contents == Contents()


def test_only_what_can_hold_files_is_entered_with_all_that_is_known_of_it() -> None:
    inspector = Prepared(Contents("application/zip", facts=frozenset({Fact.ARCHIVE})))
    looks(mixed(TEXT_PART, ZIPPED, attachment("b.bin")), inspector)
    [(octets, names, claimed, seconds)] = inspector.asked
    assert octets == zip_of("a.txt")
    assert (names, claimed) == (("a.zip",), "application/zip")
    assert 0 < seconds <= looking.LOOK_SECONDS


def test_nothing_is_entered_where_nobody_asks() -> None:
    inspector = Prepared()
    assert looks(mixed(ZIPPED), inspector, enters=False)["1.1"].why == {}
    assert inspector.asked == []


def test_nothing_is_entered_where_there_is_no_time() -> None:
    inspector = Prepared()
    with pytest.raises(TakesLong):
        looks(mixed(ZIPPED), inspector, at_once=True)
    assert inspector.asked == []
    assert list(looks(mixed(TEXT_PART), inspector, at_once=True)) == ["1.1"]


def kinds(look: Look) -> list[str]:
    return [finding.kind for finding in look.contents.findings]


def test_what_a_signature_encloses_is_a_part_and_a_limit_all_the_same() -> None:
    """RFC 8551 3.5.2: readers show what lies in the signed data as the mail."""
    found = looks(mailed(enclosing(mixed(TEXT_PART, ZIPPED))), enters=False)
    assert list(found) == ["1", "1.1.1", "1.1.2"]
    assert {Fact.SIGNED, Fact.LIMIT} <= found["1"].facts
    assert found["1"].types == ("application/pkcs7-mime",)
    assert found["1.1.2"].types == ("application/zip",)


def test_what_a_signature_encloses_and_nobody_can_read_was_not_looked_at() -> None:
    signed = bytes.fromhex("3080 0609 2a864886f70d010702 a080 3080 020101 3100")
    signed += bytes.fromhex("3080 0609 2a864886f70d010701 a080 2480 0402") + b"hi"
    head = lines(
        "Content-Type: application/pkcs7-mime; smime-type=signed-data",
        "Content-Transfer-Encoding: base64",
        "",
    )
    mail = mixed(head + base64.encodebytes(signed).replace(b"\n", b"\r\n").rstrip())
    look = looks(mail, Prepared())["1.1"]
    assert look.facts >= {Fact.SIGNED, Fact.LIMIT}
    assert look.why == {"limit": "not-inspectable in the content of part 1.1"}


def test_what_nobody_can_enter_says_so() -> None:
    look = looks(mixed(ZIPPED))["1.1"]
    assert "not-inspectable" in kinds(look)
    assert Fact.LIMIT in look.facts
    assert look.why == {"limit": "not-inspectable in the content of part 1.1"}


def test_the_time_is_for_the_whole_message() -> None:
    """That of a processor; other times it does not matter how late it is."""
    now = iter(range(100, 120))
    inspector = Prepared(Contents("application/zip", seconds=19.95))
    mail = mixed(ZIPPED, ZIPPED)
    found = looks(mail, inspector, seconds=lambda: float(next(now)))
    assert [asked[3] for asked in inspector.asked] == [20.0]
    assert kinds(found["1.2"]) == ["limit-seconds"]
    assert [Fact.LIMIT in found[f"1.{n}"].facts for n in (1, 2)] == [False, True]

    quick = Prepared(Contents("application/zip", seconds=2.5))
    looks(mail, quick)
    assert [asked[3] for asked in quick.asked] == [20.0, 17.5]


def test_containers_that_end_who_looks_use_up_the_time() -> None:
    """Else it would be undecided again each time it is sent."""
    crashed = Contents(
        facts=frozenset({Fact.LIMIT}), findings=(Finding("inspector-crashed"),)
    )
    inspector = Slow(crashed, each=9)
    found = looks(mixed(*[ZIPPED] * 8), inspector, seconds=inspector.now)
    assert [asked[3] for asked in inspector.asked] == [20.0, 11.0, 2.0]
    assert "limit-seconds" in kinds(found["1.8"])


def test_time_that_others_took_says_nothing_of_a_message() -> None:
    inspector = Slow(Contents("application/zip", seconds=0.5), each=30)
    with pytest.raises(InspectorError, match="not looked through in 40 s"):
        looks(mixed(ZIPPED, ZIPPED, ZIPPED), inspector, seconds=inspector.now)
    assert len(inspector.asked) == 2
    assert inspector.waits == [40.0, 10.0]


def test_the_octets_of_a_whole_message_are_bounded() -> None:
    """What was not read to its end costs nothing, whatever it claims."""
    half = Entry("a", ("a",), MAX_OCTETS // 2, sha256="ab" * 32)
    locked = Entry("b", ("b",), 1 << 60, facts=frozenset({Fact.ENCRYPTED}))
    inspector = Prepared(Contents("application/zip", entries=(half, locked)))
    found = looks(mixed(*[ZIPPED] * 4), inspector)
    assert len(inspector.asked) == 2
    told = [kinds(found[f"1.{n}"]) for n in (1, 2, 3, 4)]
    assert told == [[], [], ["limit-octets"], ["limit-octets"]]
    assert Fact.LIMIT in found["1.4"].facts
    assert found["1.4"].contents.detected == "application/zip"


def test_the_entries_of_a_whole_message_are_bounded() -> None:
    many = tuple(Entry(f"{n}", (f"{n}",), 1) for n in range(MAX_ENTRIES // 2 + 1))
    inspector = Prepared(Contents("application/zip", entries=many))
    found = looks(mixed(ZIPPED, ZIPPED, ZIPPED), inspector)
    counts = [len(found[f"1.{n}"].contents.entries) for n in (1, 2, 3)]
    assert counts == [len(many), MAX_ENTRIES - len(many), 0]
    assert [kinds(found[f"1.{n}"])[-1:] for n in (1, 2, 3)] == [
        [],
        ["limit-entries"],
        ["limit-entries"],
    ]


@pytest.mark.parametrize("fact", [Fact.LIMIT, Fact.MALFORMED, Fact.AMBIGUOUS])
@pytest.mark.parametrize("inside", [False, True])
def test_a_doubt_about_content_is_told_also_of_an_entry(
    fact: Fact, inside: bool
) -> None:
    own = frozenset() if inside else frozenset({fact})
    entry = Entry("x", ("x",), 1, facts=frozenset({fact}) if inside else frozenset())
    answer = Contents("a/b", own, (entry,), (Finding("some-kind"),))
    look = looks(mixed(ZIPPED), Prepared(answer))["1.1"]
    assert look.why == {str(fact): "some-kind in the content of part 1.1"}
    assert fact in look.facts


BEHIND_A_PASSWORD = frozenset({Fact.ARCHIVE, Fact.ENCRYPTED, Fact.LIMIT})
PASSWORD = Finding("archive-encrypted", "in.7z")


@pytest.mark.parametrize(
    ("findings", "entry", "is_only"),
    [
        ((PASSWORD,), BEHIND_A_PASSWORD, True),
        ((PASSWORD, Finding("archive-path", "../x")), BEHIND_A_PASSWORD, True),
        ((PASSWORD, Finding("limit-depth")), BEHIND_A_PASSWORD, False),
        ((PASSWORD, Finding("not-inspectable")), BEHIND_A_PASSWORD, False),
        ((PASSWORD, Finding("some-kind")), BEHIND_A_PASSWORD, False),
        ((PASSWORD,), frozenset({Fact.LIMIT}), False),
        ((PASSWORD,), BEHIND_A_PASSWORD | {Fact.MALFORMED}, False),
        ((), BEHIND_A_PASSWORD, False),
    ],
)
def test_a_limit_is_encryption_s_where_nothing_else_was_left_out(
    findings: tuple[Finding, ...], entry: frozenset[Fact], *, is_only: bool
) -> None:
    entries = (Entry("in.7z", ("in.7z",), 9, facts=entry),)
    answer = Contents("a/b", BEHIND_A_PASSWORD, entries, findings)
    look = looks(mixed(ZIPPED), Prepared(answer))["1.1"]
    assert look.is_only_encrypted is is_only
    # Who reads it is told first what else there was.
    kind = next((one.kind for one in findings[1:]), "archive-encrypted")
    assert look.why["limit"].startswith(kind if findings else "limit")


def test_a_limit_of_the_mail_s_own_structure_is_not_encryption_s(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told = iter([("limit", "limit-readings in part 1.1")])
    monkeypatch.setattr(looking, "doubts", lambda _: told)
    answer = Contents("a/b", BEHIND_A_PASSWORD, findings=(PASSWORD,))
    look = looks(mixed(ZIPPED), Prepared(answer))["1.1"]
    assert not look.is_only_encrypted


def test_defects_become_facts_of_their_part() -> None:
    twice = lines("Content-Type: text/plain", "Content-Type: text/html", "") + b"x"
    found = looks(mixed(twice, TEXT_PART))
    assert found["1.1"].why == {
        "ambiguous": "duplicate-content-type in part 1.1: others could see other parts"
    }
    assert Fact.AMBIGUOUS in found["1.1"].facts
    assert found["1.2"].why == {}


def test_a_part_without_a_type_is_untyped() -> None:
    bare = lines("Content-Disposition: inline", "") + b"text"
    found = looks(mixed(bare, TEXT_PART))
    assert [Fact.UNTYPED in look.facts for look in found.values()] == [True, False]


def test_what_lies_in_multipart_signed_is_signed() -> None:
    signature = lines("Content-Type: application/pkcs7-signature", "") + b"x"
    signed = mixed(TEXT_PART, signature, boundary="=_s").replace(
        b"multipart/mixed", b"multipart/signed"
    )
    inner = signed.partition(b"MIME-Version: 1.0\r\n")[2].removesuffix(b"\r\n")
    found = looks(mixed(inner, attachment("a.bin")))
    assert {path: Fact.SIGNED in look.facts for path, look in found.items()} == {
        "1.1.1": True,
        "1.1.2": True,
        "1.2": False,
    }


def test_a_dkim_signature_is_a_fact_of_every_part() -> None:
    mail = b"DKIM-Signature: v=1\r\n" + mixed(TEXT_PART, ZIPPED)
    assert all(
        Fact.DKIM_SIGNED in look.facts for look in looks(mail, enters=False).values()
    )


@pytest.mark.parametrize(
    "kind",
    [
        "inspector-busy",
        "inspector-failed",
        "inspector-killed",
        "inspector-stalled",
        "inspector-stopped",
    ],
)
def test_a_fault_of_ours_says_nothing_of_the_content(kind: str) -> None:
    """It is undecided, and sent again; not refused for good."""
    facts = frozenset({Fact.LIMIT})
    inspector = Prepared(Contents(facts=facts, findings=(Finding(kind, "x"),)))
    with pytest.raises(InspectorError, match=f"{kind}: x"):
        looks(mixed(ZIPPED), inspector)


def test_what_crashes_or_stalls_who_looks_is_not_looked_at() -> None:
    for kind in ("inspector-crashed", "inspector-timeout", "inspector-nonsense"):
        facts = frozenset({Fact.LIMIT})
        inspector = Prepared(Contents(facts=facts, findings=(Finding(kind),)))
        assert "limit" in looks(mixed(ZIPPED), inspector)["1.1"].why
