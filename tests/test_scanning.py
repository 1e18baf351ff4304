"""What of a message is scanned, and that what was not is never taken for clean."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import pytest

from smtpguard.examining import MAX_KEPT
from smtpguard.model.content import MemorySpool
from smtpguard.model.disposition import Disposition, Outcome
from smtpguard.model.scan import Question
from smtpguard.model.verdict import Verdict, VerdictKind
from smtpguard.scanning import RAW, SPAM, questions
from tests.judging import (
    PAYLOAD,
    TEXT_PART,
    PreparedScanners,
    attachment,
    clean,
    forwarded,
    judge_message,
    lines,
    make_envelope,
    make_pipeline,
    make_session,
    mixed,
    octets,
    rules,
)


KINDS = VerdictKind
TOP = (
    "domains: [own.test]\nscanners:\n  v: {type: yara}\n  w: {type: yara}\n"
    '  s: {type: rspamd, url: "http://127.0.0.1:1"}'
)
QUARANTINE = f"{TOP}\nquarantine: {{folder: /kept}}"
SCAN = 'content_types: [{match: "*", action: scan}]'
TOOL = attachment("tool.bin")
MAIL = mixed(TEXT_PART, TOOL)


def scanning(*more: str, table: str = "{scanner: v}") -> str:
    return rules(SCAN, f"antivirus: {table}", *more, top=TOP)


def content(question: Question) -> bytes:
    return b"".join(question.subject.chunks())


def saying(kind: VerdictKind, what: bytes = b"", name: str = "") -> PreparedScanners:
    """Return scanners that say so of contents with these octets, clean of others."""

    def answer(key: str, question: Question) -> Verdict:
        if what not in content(question):
            return clean(key, question)
        return Verdict(question.scanners[0].name, kind, name, "told so")

    return PreparedScanners(answer)


def test_each_part_is_asked_about_decoded() -> None:
    scanners = PreparedScanners()
    judge_message(scanning(), mixed(TEXT_PART, TOOL, TOOL), scanners)
    [asked] = scanners.asked
    assert list(asked) == ["1.1", "1.2", "1.3"]
    for question in asked.values():
        found = content(question)
        assert question.subject.sha256 == hashlib.sha256(found).hexdigest()
        assert question.subject.size == len(found)
        assert [one.name for one in question.scanners] == ["v"]
    assert content(asked["1.2"]) == PAYLOAD


def test_of_an_attached_message_each_part_is_scanned() -> None:
    scanners = PreparedScanners()
    said = judge_message(scanning(), mixed(forwarded(MAIL), boundary="outer"), scanners)
    assert said.outcome is Outcome.RELAYED
    assert len(scanners.asked[0]) == 2


@pytest.mark.parametrize(
    ("kind", "outcome", "rule"),
    [
        (KINDS.CLEAN, Outcome.RELAYED, ""),
        (KINDS.INFECTED, Outcome.REJECTED, "antivirus.infected"),
        (KINDS.ENCRYPTED, Outcome.MODIFIED, "antivirus.encrypted"),
        (KINDS.OVERSIZE, Outcome.MODIFIED, "antivirus.oversize"),
        (KINDS.FAILED, Outcome.DEFERRED, "antivirus.error"),
        (KINDS.UNAVAILABLE, Outcome.DEFERRED, "antivirus.unavailable"),
    ],
)
def test_the_verdict_on_a_part_decides(
    kind: VerdictKind, outcome: Outcome, rule: str
) -> None:
    said = judge_message(scanning(), MAIL, saying(kind, PAYLOAD))
    assert said.outcome is outcome
    assert not rule or said.rule == rule
    told = {part["path"]: part["verdicts"] for part in said.report["parts"]}
    assert [one["kind"] for one in told["1.2"]] == [str(kind)]
    assert [one["kind"] for one in told["1.1"]] == ["clean"]


def test_without_scanners_nothing_passes_as_clean() -> None:
    judge = make_pipeline(scanning()).begin(make_session())
    said = judge.examine(make_session(), make_envelope(), MAIL)
    found = judge.dispose(said, questions(said), {})
    assert (found.outcome, found.rule) == (Outcome.DEFERRED, "antivirus.unavailable")


def test_scanners_that_answer_nothing_are_no_clean_mail() -> None:
    scanners = PreparedScanners(lambda _key, _question: ())
    said = judge_message(scanning(), MAIL, scanners)
    assert said.outcome is Outcome.DEFERRED


def test_what_is_allowed_is_not_scanned() -> None:
    allow = (
        'content_types: [{match: "text/*", action: allow}, {match: "*", action: scan}]'
    )
    scanners = PreparedScanners()
    judge_message(rules(allow, "antivirus: {scanner: v}", top=TOP), MAIL, scanners)
    [asked] = scanners.asked
    assert len(asked) == 1


def test_scan_by_one_list_is_a_scan() -> None:
    names = 'filenames: [{match: "*", action: allow}]'
    said = judge_message(scanning(names), MAIL, saying(KINDS.INFECTED))
    assert said.rule == "antivirus.infected"


def test_a_part_that_goes_is_scanned_if_that_could_be_worse() -> None:
    strip = 'filenames: [{match: "*.bin", action: strip}, {match: "*", action: allow}]'
    infected = saying(KINDS.INFECTED, PAYLOAD)
    said = judge_message(scanning(strip), MAIL, infected)
    assert said.rule == "antivirus.infected"
    mild = "{scanner: v, infected: strip, encrypted: lock, error: lock}"
    infected = saying(KINDS.INFECTED, PAYLOAD)
    said = judge_message(scanning(strip, table=mild), MAIL, infected)
    assert said.rule == "filenames:1"
    assert len(infected.asked[0]) == 1


def test_a_message_that_is_refused_anyway_is_not_scanned() -> None:
    deny = 'filenames: [{match: "*.bin", action: deny}, {match: "*", action: allow}]'
    scanners = PreparedScanners()
    said = judge_message(scanning(deny), MAIL, scanners)
    assert (said.outcome, scanners.asked) == (Outcome.REJECTED, [])


def test_a_table_that_lets_everything_pass_asks_nobody() -> None:
    table = (
        "{scanner: v, infected: allow, encrypted: allow, oversize: allow, error: allow}"
    )
    scanners = PreparedScanners()
    said = judge_message(scanning(table=table), MAIL, scanners)
    assert (said.outcome, scanners.asked) == (Outcome.RELAYED, [])


def test_a_text_mail_whose_scan_fails_arrives_or_waits_but_is_not_replaced() -> None:
    """The model destroyed text mails (contract 6)."""
    mail = lines("Content-Type: text/plain", "") + b"Hello\r\n"
    for action, outcome in (("allow", Outcome.RELAYED), ("strip", Outcome.DEFERRED)):
        table = f"{{scanner: v, error: {action}}}"
        said = judge_message(scanning(table=table), mail, saying(KINDS.FAILED))
        assert said.outcome is outcome
        assert said.content is None


def test_only_the_first_text_of_each_type_is_the_text_of_the_mail() -> None:
    table = "{scanner: v, error: strip}"
    one, two = (lines("Content-Type: text/plain", "") + w for w in (b"one", b"two"))
    said = judge_message(
        scanning(table=table), mixed(one, two), saying(KINDS.FAILED, b"two")
    )
    assert said.outcome is Outcome.MODIFIED
    named = lines("Content-Type: text/plain; name=a.txt", "") + b"named"
    said = judge_message(
        scanning(table=table), mixed(named, one), saying(KINDS.FAILED, b"named")
    )
    assert said.outcome is Outcome.MODIFIED
    html = lines("Content-Type: text/html", "") + b"html"
    said = judge_message(
        scanning(table=table), mixed(one, html), saying(KINDS.FAILED, b"html")
    )
    assert said.outcome is Outcome.DEFERRED


def test_the_message_as_it_came_is_scanned_where_the_table_says_so() -> None:
    scanners = saying(KINDS.INFECTED, b"Content-Type: multipart", "Raw.Test")
    said = judge_message(
        scanning(table="{scanner: v, raw: true, infected: strip}"), MAIL, scanners
    )
    assert content(scanners.asked[0][RAW]) == MAIL
    assert (said.outcome, said.rule) == (Outcome.REJECTED, "antivirus.infected")
    assert said.report["findings"] == ["v:infected:Raw.Test"]


def named(name: str, payload: bytes) -> bytes:
    """Return a part with a file of these octets."""
    return lines(f'Content-Type: text/x-test; name="{name}"', "") + payload


def doubtful(name: str, payload: bytes) -> bytes:
    """Return such a part of which readers may see another content."""
    encodings = lines(*(f"Content-Transfer-Encoding: {one}" for one in ("7bit", "x-a")))
    return encodings + named(name, payload)


def keeping(*more: str, table: str = "{scanner: v}") -> str:
    names = (
        'filenames: [{match: "*.bin", action: quarantine}, {match: "*", action: scan}]'
    )
    return rules(names, f"antivirus: {table}", *more, top=QUARANTINE)


def test_what_stays_of_a_message_is_scanned_where_a_part_is_kept() -> None:
    mail = mixed(TEXT_PART, TOOL, named("x", b"EVIL"))
    scanners = saying(KINDS.INFECTED, b"EVIL")
    said = judge_message(keeping(table="{scanner: v, infected: strip}"), mail, scanners)
    assert said.outcome is Outcome.MODIFIED
    assert b"EVIL" not in octets(said)
    assert [one.path for one in said.held] == ["1.2"]
    said = judge_message(keeping(), mail, saying(KINDS.INFECTED, b"EVIL"))
    assert said.outcome is Outcome.REJECTED


def test_a_message_that_is_kept_is_scanned_for_what_refuses_it() -> None:
    policy = keeping("ambiguous: quarantine")
    mail = mixed(TEXT_PART, doubtful("x", b"EVIL"))
    said = judge_message(policy, mail, saying(KINDS.CLEAN))
    assert said.outcome is Outcome.QUARANTINED
    said = judge_message(policy, mail, saying(KINDS.INFECTED, b"EVIL"))
    assert (said.outcome, said.rule) == (Outcome.REJECTED, "antivirus.infected")


def test_an_attached_message_is_scanned_as_a_whole_where_its_parts_are_not() -> None:
    some = (
        'content_types: [{match: "message/rfc822", action: scan}, '
        '{match: "*", action: allow}]'
    )
    policy = rules(some, "antivirus: {scanner: v}", top=TOP)
    mail = mixed(forwarded(mixed(TEXT_PART, named("x", b"EVIL"))), boundary="outer")
    scanners = saying(KINDS.INFECTED, b"EVIL")
    said = judge_message(policy, mail, scanners)
    assert said.outcome is Outcome.REJECTED
    assert list(scanners.asked[0]) == ["1.1"]


@pytest.mark.parametrize("infected", ["strip", "quarantine"])
def test_a_lock_around_a_virus_does_not_give_it_back(infected: str) -> None:
    """Whoever has the locked file unlocks it, without us."""
    types = (
        'content_types: [{match: "message/rfc822", action: lock}, '
        '{match: "*", action: scan}]'
    )
    table = f"antivirus: {{scanner: v, infected: {infected}}}"
    inner = mixed(TEXT_PART, named("x", b"EVIL"))
    mail = mixed(TEXT_PART, forwarded(inner), boundary="outer")
    policy = rules(types, table, top=QUARANTINE)
    said = judge_message(policy, mail, saying(KINDS.INFECTED, b"EVIL"))
    assert said.outcome is Outcome.MODIFIED
    assert b".clk" not in octets(said)
    assert [one.path for one in said.held] == ["1.2"] * (infected == "quarantine")


def test_a_part_to_scan_that_nobody_was_asked_about_does_not_pass() -> None:
    judge = make_pipeline(scanning()).begin(make_session())
    said = judge.examine(make_session(), make_envelope(), MAIL)
    asked = {"1.1": questions(said)["1.1"]}
    answers = {key: (clean(key, question),) for key, question in asked.items()}
    assert judge.dispose(said, asked, answers).outcome is Outcome.DEFERRED


@pytest.mark.parametrize(
    ("parts", "outcome"),
    [(MAX_KEPT, Outcome.MODIFIED), (MAX_KEPT + 1, Outcome.QUARANTINED)],
)
def test_of_a_message_with_many_parts_to_keep_all_of_it_is_kept(
    parts: int, outcome: Outcome
) -> None:
    said = judge_message(keeping(), mixed(TEXT_PART, *[TOOL] * parts))
    assert said.outcome is outcome
    assert len(said.held) == (parts if outcome is Outcome.MODIFIED else 0)


def test_a_message_in_doubt_is_kept_as_a_whole() -> None:
    """Readers may see another part in it than we take out."""
    mail = mixed(TEXT_PART, doubtful("a.bin", b"x"))
    said = judge_message(keeping("ambiguous: quarantine"), mail)
    assert (said.outcome, said.held) == (Outcome.QUARANTINED, ())


SPAM_TABLE = (
    "spam: {scanner: s, confirmed: {at: 9, action: deny}, bulk: {at: 5, action: tag}}"
)


def scored(score: float) -> PreparedScanners:
    return PreparedScanners(lambda *_: Verdict("s", KINDS.SCORED, score=score))


def judged(score: float, *lines_of_policy: str, mail: bytes = MAIL) -> Disposition:
    text = rules(*(lines_of_policy or (SPAM_TABLE,)), top=TOP)
    return judge_message(text, mail, scored(score), helo="client.test")


def test_the_engine_is_told_who_sends_to_whom() -> None:
    scanners = scored(0)
    judge_message(rules(SPAM_TABLE, top=TOP), MAIL, scanners, helo="client.test")
    question = scanners.asked[0][SPAM]
    told = question.subject.told
    assert told is not None
    assert (told.helo, told.reverse_path) == ("client.test", "a@out.test")
    assert (told.id, told.tls, told.authenticated) == ("5f3a.2", "", False)
    assert told.forward_paths
    assert content(question) == MAIL
    assert question.subject.sha256 == hashlib.sha256(MAIL).hexdigest()


def test_the_score_decides_and_is_told() -> None:
    assert judged(0).outcome is Outcome.RELAYED
    assert judged(0).report["spam"]["category"] == "clean"
    assert judged(6).outcome is Outcome.MODIFIED
    denied = judged(10)
    assert str(denied.reply) == "571 5.7.1 Delivery not authorized, message refused"
    assert denied.report["spam"] == {
        "score": 10,
        "category": "confirmed",
        "scanner": "s",
        "said": "",
        "symbols": {},
    }


def test_an_exception_asks_no_engine() -> None:
    allow = '[{match: "*@out.test", action: allow}, {match: "*", action: scan}]'
    table = SPAM_TABLE.removesuffix("}") + f", exceptions: {allow}}}"
    scanners = scored(99)
    said = judge_message(rules(table, top=TOP), MAIL, scanners)
    assert (said.outcome, scanners.asked) == (Outcome.RELAYED, [])
    deny = allow.replace("action: allow", "action: deny")
    table = SPAM_TABLE.removesuffix("}") + f", exceptions: {deny}}}"
    said = judge_message(rules(table, top=TOP), MAIL, scanners)
    assert (said.outcome, said.rule) == (Outcome.REJECTED, "spam.exceptions:1")


def test_a_message_is_stripped_and_tagged_at_once() -> None:
    strip = 'filenames: [{match: "*.bin", action: strip}, {match: "*", action: allow}]'
    said = judged(6, SPAM_TABLE, strip)
    assert (said.outcome, said.rule) == (Outcome.MODIFIED, "filenames:1")
    assert b"***BULK***" in octets(said)


def test_what_was_released_is_not_held_again_whatever_held_it() -> None:
    class Keeper:
        def was_released(self, sha256: str, _mailbox: object) -> bool:
            return sha256 == hashlib.sha256(MAIL).hexdigest()

    table = "{scanner: v, raw: true, infected: quarantine}"
    text = rules(SCAN, f"antivirus: {table}", top=QUARANTINE)
    scanners = saying(KINDS.INFECTED, b"Content-Type: multipart")
    pipeline = make_pipeline(text, scanners)
    for keeper, outcome in ((None, Outcome.QUARANTINED), (Keeper(), Outcome.RELAYED)):
        judge = replace(pipeline, keeper=keeper).begin(make_session())  # type: ignore[arg-type]
        spool = MemorySpool()
        spool.write(MAIL)
        said = judge.message(make_session(), make_envelope(), spool)
        assert said.outcome is outcome
