"""DKIM before an edit, through the pipeline: what is told, and when nothing is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from smtpguard.dkim import Answers
from smtpguard.looking import TakesLong
from smtpguard.mime import parse
from smtpguard.model.content import MemorySpool
from smtpguard.model.disposition import Disposition, Outcome
from tests.dkim.signing import record, sign, zone
from tests.judging import (
    TEXT_PART,
    attachment,
    make_envelope,
    make_pipeline,
    make_session,
    mixed,
    names,
    octets,
    rules,
)


STRIP = names('{match: "*.exe", action: strip}')
SUBJECT = 'headers: [{match: Subject, action: strip}, {match: "*", action: allow}]'
MAIL = mixed(TEXT_PART, attachment("tool.exe"))
HARMLESS = mixed(TEXT_PART, attachment("logo.png", "image/png"))
PASSED = (
    "mx.test; dkim=pass header.d=signer.test header.s=sel header.a=rsa-sha256 header.b="
)


class Dns:
    """Answers with a key, and counts."""

    def __init__(self, **records: bytes | None) -> None:
        self.asked: list[Sequence[str]] = []
        self._zone = zone(**records)

    def __call__(self, names: Sequence[str]) -> Answers:
        self.asked.append(names)
        return self._zone(names)


def judge(
    mail: bytes,
    *lines: str,
    dns: Dns | None = None,
    at_once: bool = False,
) -> Disposition:
    pipeline = replace(make_pipeline(rules(*(lines or (STRIP,)))), ask=dns or Dns())
    spool = MemorySpool()
    spool.write(mail)
    judge = pipeline.begin(make_session())
    return judge.message(make_session(), make_envelope(), spool, at_once=at_once)


def results(said: Disposition) -> list[str]:
    fields = parse(octets(said)).fields
    return [one.value for one in fields if one.is_named("Authentication-Results")]


def findings(said: Disposition) -> list[str]:
    told = said.report["findings"]
    return [one for one in told if one.startswith("dkim")]


def test_a_stripped_mail_says_what_held_before() -> None:
    said = judge(sign(MAIL))
    assert said.outcome is Outcome.MODIFIED
    assert octets(said).startswith(b"Authentication-Results: mx.test; dkim=pass")
    (told,) = results(said)
    assert told.startswith(PASSED)
    assert findings(said) == ["dkim:pass:signer.test", "dkim-broken:signer.test"]


def test_a_signature_that_did_not_hold_is_told_and_not_called_broken_by_us() -> None:
    said = judge(sign(MAIL).replace(b"See there", b"See here"))
    (told,) = results(said)
    assert told.startswith('mx.test; dkim=fail reason="the body has changed" header.d=')
    assert findings(said) == ["dkim:fail:signer.test"]


def test_an_edit_outside_of_what_is_signed_breaks_nothing() -> None:
    said = judge(sign(MAIL, names=[b"from"]), SUBJECT)
    assert b"Subject:" not in octets(said)
    assert results(said)[0].startswith(PASSED)
    assert findings(said) == ["dkim:pass:signer.test"]


@pytest.mark.parametrize(
    ("signed", "setting", "outcome"),
    [
        ([b"from", b"subject"], "deny", Outcome.REJECTED),
        ([b"from"], "deny", Outcome.MODIFIED),
        ([b"from", b"subject"], "header_only", Outcome.MODIFIED),
    ],
)
def test_deny_is_about_fields_that_are_signed(
    signed: list[bytes], setting: str, outcome: Outcome
) -> None:
    mail = sign(MAIL, names=signed)
    assert judge(mail, f"on_dkim: {setting}", SUBJECT).outcome is outcome


FORGED_ID = b"X-SmtpGuard-Id: 1\r\n"
FORGED_RESULTS = b"Authentication-Results: mx.test; spf=pass\r\n"


@pytest.mark.parametrize(
    ("forged", "signed", "settings", "outcome"),
    [
        (FORGED_ID, b"x-smtpguard-id", ("own_fields: add",), Outcome.REJECTED),
        (FORGED_ID, b"from", ("own_fields: add",), Outcome.RELAYED),
        (FORGED_ID, b"x-smtpguard-id", (), Outcome.RELAYED),
        (FORGED_RESULTS, b"authentication-results", (SUBJECT,), Outcome.REJECTED),
        (FORGED_RESULTS, b"from", (SUBJECT,), Outcome.MODIFIED),
        # Nothing is edited, and it stays.
        (FORGED_RESULTS, b"authentication-results", (), Outcome.RELAYED),
    ],
)
def test_deny_is_about_fields_that_we_take_out_as_well(
    forged: bytes, signed: bytes, settings: tuple[str, ...], outcome: Outcome
) -> None:
    mail = sign(forged + MAIL, names=[b"from", signed])
    said = judge(mail, "on_dkim: deny", *settings)
    assert said.outcome is outcome
    assert (said.rule == "on_dkim") is (outcome is Outcome.REJECTED)
    milder = judge(mail, "on_dkim: header_only", *settings)
    assert milder.outcome is not Outcome.REJECTED


def test_no_answer_is_told_and_the_mail_goes_on() -> None:
    said = judge(sign(MAIL), dns=Dns(sel=None))
    assert results(said)[0].startswith("mx.test; dkim=temperror reason=")
    assert findings(said) == ["dkim:temperror:signer.test"]


def test_each_of_two_signatures_is_told_in_order() -> None:
    inner = sign(MAIL, selector=b"one", domain=b"a.test")
    mail = sign(inner, selector=b"two", domain=b"b.test")
    said = judge(mail, dns=Dns(one=record(), two=b"p="))
    (told,) = results(said)
    assert told.index("dkim=permerror") < told.index("header.d=b.test")
    assert told.index("header.d=b.test") < told.index("dkim=pass")
    assert findings(said) == [
        "dkim:permerror:b.test",
        "dkim:pass:a.test",
        "dkim-broken:a.test",
    ]


@pytest.mark.parametrize("lines", [(STRIP,), (STRIP, "on_dkim: deny")])
def test_a_mail_that_is_not_edited_is_not_verified(lines: tuple[str, ...]) -> None:
    dns = Dns()
    mail = b"Authentication-Results: mx.test; dkim=pass\r\n" + sign(HARMLESS)
    said = judge(mail, *lines, dns=dns, at_once=True)
    assert (said.outcome, said.content, dns.asked) == (Outcome.RELAYED, None, [])
    assert findings(said) == []


def test_a_field_of_ours_on_top_is_no_edit() -> None:
    dns = Dns()
    said = judge(sign(HARMLESS), "session: {received: add}", dns=dns, at_once=True)
    assert octets(said).startswith(b"Received: ")
    assert (results(said), dns.asked) == ([], [])


def test_results_stand_above_the_received_field() -> None:
    said = judge(sign(MAIL), "session: {received: add}", STRIP)
    found = [one.name for one in parse(octets(said)).fields[:3]]
    assert found == ["Authentication-Results", "Received", "DKIM-Signature"]


def test_a_denied_mail_is_not_verified() -> None:
    dns = Dns()
    said = judge(sign(MAIL), STRIP, "on_dkim: deny", dns=dns)
    assert (said.outcome, dns.asked) == (Outcome.REJECTED, [])


def test_a_mail_without_signature_gets_no_results() -> None:
    dns = Dns()
    said = judge(MAIL, dns=dns, at_once=True)
    assert said.outcome is Outcome.MODIFIED
    assert (results(said), dns.asked) == ([], [])


@pytest.mark.parametrize("signed", [True, False])
def test_results_that_a_sender_forged_go_and_those_of_others_stay(signed: bool) -> None:
    forged = (
        b"Authentication-Results: MX.test;\r\n dkim=pass header.d=bank.test\r\n"
        b"authentication-results: (x) other.test; dkim=pass\r\n"
        b"Authentication-Results: mx.\r\n test; spf=pass\r\n"
    )
    said = judge(forged + (sign(MAIL) if signed else MAIL))
    told = results(said)
    assert told[-1] == "(x) other.test; dkim=pass"
    assert [one.startswith(PASSED) for one in told[:-1]] == [True] * signed
    assert b"bank.test" not in octets(said)
    assert b"spf=pass" not in octets(said)


def test_at_once_nobody_is_asked() -> None:
    dns = Dns()
    with pytest.raises(TakesLong):
        judge(sign(MAIL), dns=dns, at_once=True)
    assert dns.asked == []


def test_a_forged_field_of_ours_that_was_signed_is_an_edit() -> None:
    mail = sign(b"X-SmtpGuard-Id: 1\r\n" + HARMLESS, names=[b"from", b"x-smtpguard-id"])
    said = judge(mail, "own_fields: add")
    assert results(said)[0].startswith(PASSED)
    assert findings(said) == ["dkim:pass:signer.test", "dkim-broken:signer.test"]


def test_who_asks_nobody_adds_nothing() -> None:
    """``inspect`` and ``replay`` have no network."""
    pipeline = make_pipeline(rules(STRIP))
    spool = MemorySpool()
    spool.write(sign(MAIL))
    said = pipeline.begin(make_session()).message(
        make_session(), make_envelope(), spool, at_once=True
    )
    assert (said.outcome, results(said)) == (Outcome.MODIFIED, [])


def test_words_of_a_sender_make_no_field() -> None:
    field = b'DKIM-Signature: v=1; d=a\r\n b\\"; x; s=(; a=\xff; b=\xe9\xe9\r\n'
    (told,) = results(judge(field + MAIL))
    assert told == 'mx.test; dkim=permerror reason="not a list of tags"'
