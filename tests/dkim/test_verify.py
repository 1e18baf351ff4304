"""Signatures verified: dkimpy signs, dkimpy is asked as well, and hostile ones."""

from __future__ import annotations

import time
import tracemalloc
from collections.abc import Sequence

import dkim
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from smtpguard.dkim import Answers, broken, is_signed, verify
from smtpguard.dkim.verify import MAX_SIGNATURES
from smtpguard.mime import Edit, Limits, Span, apply, parse, prepend_field, remove_field
from tests.dkim.signing import (
    MAIL,
    NAME,
    NOW,
    craft,
    record,
    sign,
    told,
    verified,
    zone,
)


WAYS = [
    f"{header}/{body}".encode()
    for header in ("simple", "relaxed")
    for body in ("simple", "relaxed")
]
PASS = ("pass", "")
# RFC 8463, appendix A.
EXAMPLE = b"""\
DKIM-Signature: v=1; a=ed25519-sha256; c=relaxed/relaxed;
 d=football.example.com; i=@football.example.com;
 q=dns/txt; s=brisbane; t=1528637909; h=from : to :
 subject : date : message-id : from : subject : date;
 bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=;
 b=/gCrinpcQOoIfuHNQIbq4pgh9kyIK3AQUdt9OdqQehSwhEIug4D11Bus
 Fa3bT3FY5OsU7ZbnKELq+eXdp1Q1Dw==
DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed;
 d=football.example.com; i=@football.example.com;
 q=dns/txt; s=test; t=1528637909; h=from : to : subject :
 date : message-id : from : subject : date;
 bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=;
 b=F45dVWDfMbQDGHJFlXUNB2HKfbCeLRyhDXgFpEL8GwpsRe0IeIixNTe3
 DhCVlUrSjV4BwcVcOF6+FF3Zo9Rpo1tFOeS9mPYQTnGdaSGsgeefOsk2Jz
 dA+L10TeYt9BgDfQNZtKdN1WO//KgIqXP7OdEFE4LjFYNcUxZQ4FADY+8=
From: Joe SixPack <joe@football.example.com>
To: Suzie Q <suzie@shopping.example.net>
Subject: Is dinner ready?
Date: Fri, 11 Jul 2003 21:00:37 -0700 (PDT)
Message-ID: <20030712040037.46341.5F8J@football.example.com>

Hi.

We lost the game.  Are you hungry yet?

Joe.
""".replace(b"\n", b"\r\n")
EXAMPLE_KEYS = {
    "brisbane": b"v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=",
    "test": b"v=DKIM1; k=rsa; p=MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDkHlOQoBTzWRiGs5"
    b"V6NpP3idY6Wk08a5qhdR6wy5bdOKb2jLQiY/J16JYi0Qvx/byYzCNb3W91y3FutACDfzwQ/BC/e/8uBsCR"
    b"+yz1Lxj+PL6lHvqMKrM3rG4hstT5QjvHO9PzoxZyVYLzBfO2EeC3Ip3G+2kryOTIKT+l/K4w3QIDAQAB",
}


def test_the_example_of_the_rfc_holds() -> None:
    found = verified(EXAMPLE, zone(**EXAMPLE_KEYS))
    assert [(str(one.result), one.selector, one.algorithm) for one in found] == [
        ("pass", "brisbane", "ed25519-sha256"),
        ("pass", "test", "rsa-sha256"),
    ]


@pytest.mark.parametrize("how", WAYS)
@pytest.mark.parametrize("length", [False, True])
def test_what_dkimpy_signs_holds(how: bytes, length: bool) -> None:
    mail = sign(how=how, length=length)
    assert told(mail) == PASS
    assert is_signed(parse(mail))
    (one,) = verified(mail)
    assert (one.domain, one.selector) == ("signer.test", "sel")
    assert one.algorithm == "rsa-sha256"
    assert b"b=" + one.beginning.encode() in mail.replace(b"\r\n ", b"")
    assert len(one.beginning) >= 8  # RFC 6008


CHANGES = {
    "body": (b"First", b"Fist"),
    "space in the body": (b"First  line", b"First line"),
    "space at the end of a line": (b"line\t \r\n", b"line\r\n"),
    "signed field": (b"To: b", b"To: c"),
    "fold": (b"folded\r\n\tand", b"folded and"),
    "case of a name": (b"Subject:", b"SUBJECT:"),
    "lines at the end": (b"\r\n\r\n\r\n", b"\r\n"),
    "text at the end": (b"last line\r\n", b"last line\r\nmore\r\n"),
    "another From": (b"From:", b"From: evil@x.test\r\nFrom:"),
    "field on top": (b"DKIM-S", b"X-New: 1\r\nDKIM-S"),
}


@pytest.mark.parametrize("how", WAYS)
@pytest.mark.parametrize("length", [False, True])
@pytest.mark.parametrize("change", CHANGES)
def test_what_a_change_breaks_is_what_it_breaks_for_dkimpy(
    how: bytes, length: bool, change: str
) -> None:
    old, new = CHANGES[change]
    before = sign(how=how, length=length)
    mail = before.replace(old, new, 1)
    assert mail != before

    def dns(name: bytes, timeout: float = 5) -> bytes:
        assert name == NAME.encode() + b"."
        return record()

    try:
        holds = dkim.verify(mail, dnsfunc=dns)
    except dkim.DKIMException:
        holds = False
    result, reason = told(mail)
    assert (result == "pass") is holds, reason
    if not holds and change != "another From":
        assert result == "fail"


def test_another_from_field_that_is_not_signed_is_not_let_pass() -> None:
    mail = sign(names=[b"from", b"subject"])
    forged = mail.replace(b"From:", b"From: boss@own.test\r\nFrom:", 1)
    assert told(forged) == ("policy", "another From field is not signed")
    assert told(craft(names=b"from:from:subject")) == PASS


@pytest.mark.parametrize(
    ("mail", "wanted"),
    [
        (craft(), PASS),
        (craft(b"h=subject", names=b""), ("permerror", "the From field is not signed")),
        (craft(b"x=%d" % (NOW - 9999)), ("fail", "signature expired")),
        (craft(b"l=3"), ("fail", "the body has changed")),
        (craft(b"l=999"), ("fail", "the body is shorter than what was signed")),
        (craft(b"bh=YWJj"), ("fail", "the body has changed")),
        (craft(b"s=none"), ("permerror", "no key in the DNS")),
        (craft(b"a=rsa-sha1"), ("policy", "SHA-1 proves nothing any more")),
        (craft(b"d=a b"), ("permerror", "not a domain")),
        (craft(drop=b"v"), ("permerror", "a required tag is missing")),
        (craft().replace(b"Anna", b"Anne"), ("fail", "signature does not fit")),
        (b"DKIM-Signature: \r\n" + MAIL, ("permerror", "a required tag is missing")),
        (b"DKIM-Signature: ;\r\n" + MAIL, ("permerror", "not a list of tags")),
        (b"DKIM-Signature: a\xff\r\n" + MAIL, ("permerror", "not a list of tags")),
    ],
)
def test_each_fault_has_its_result(mail: bytes, wanted: tuple[str, str]) -> None:
    assert told(mail) == wanted


def test_ed25519_and_fields_that_are_not_there() -> None:
    key = Ed25519PrivateKey.generate()
    mail = craft(key=key, names=b"from:subject:subject:x-none")
    assert told(mail, zone(sel=record(key))) == PASS
    added = mail.replace(b"From:", b"X-None: 1\r\nFrom:", 1)
    result = told(added, zone(sel=record(key)))
    assert result == ("fail", "signature does not fit")


def test_the_rest_of_a_body_that_is_not_signed_is_told() -> None:
    mail = sign(length=True) + b"Buy now!\r\n"
    assert told(mail) == ("pass", "a part of the body is not signed")


def test_no_answer_is_temporary_and_no_name_is_for_good() -> None:
    assert told(sign(), zone(sel=None)) == ("temperror", "no answer from the DNS")
    assert told(sign(), zone(x=b"")) == ("permerror", "no key in the DNS")
    assert told(sign(), lambda names: {}) == ("temperror", "no answer from the DNS")


def test_a_key_on_trial_makes_a_failure_none() -> None:
    """RFC 6376 3.6.1: as if the mail were not signed."""
    ask = zone(sel=record(tags="t=y;"))
    assert told(sign(), ask) == PASS
    bad = sign().replace(b"First", b"Fist")
    assert told(bad, ask) == ("neutral", "the body has changed, with a key on trial")


def test_two_signatures_are_told_apart() -> None:
    inner = sign(how=b"simple/simple", selector=b"one")
    mail = sign(inner, selector=b"two", domain=b"other.test", names=[b"from"])
    found = verified(mail, zone(one=record(), two=b"p="))
    assert [(str(one.result), one.domain, one.reason) for one in found] == [
        ("permerror", "other.test", "key revoked"),
        ("pass", "signer.test", ""),
    ]


def test_a_signature_may_cover_another() -> None:
    inner = sign(selector=b"one")
    mail = craft(b"s=two", mail=inner, names=b"from:dkim-signature")
    ask = zone(one=record(), two=record())
    assert [str(one.result) for one in verified(mail, ask)] == ["pass", "pass"]


def test_of_fields_with_one_name_the_lowest_is_signed_first() -> None:
    """RFC 6376 5.4.2."""
    mail = craft(mail=b"X-A: 1\r\nX-A: 2\r\n" + MAIL, names=b"from:x-a")
    assert told(mail) == PASS
    assert told(mail.replace(b"X-A: 1\r\n", b"")) == PASS
    assert told(mail.replace(b"X-A: 2\r\n", b"")) == (
        "fail",
        "signature does not fit",
    )


def test_a_signature_may_forbid_others_and_does_not_count_itself() -> None:
    mail = craft(names=b"from:dkim-signature")
    assert told(mail) == PASS
    other = craft(b"s=other", mail=mail, names=b"from")
    assert [str(one.result) for one in verified(other)] == ["permerror", "fail"]


def test_ten_thousand_signatures_ask_for_ten() -> None:
    asked: list[str] = []

    def ask(names: Sequence[str]) -> Answers:
        asked.extend(names)
        return dict.fromkeys(names)

    flood = b"".join(b"DKIM-Signature: s=s%d\r\n" % n for n in range(10_000))
    start = time.process_time()
    found = verify(parse(flood + MAIL), ask, NOW)
    assert time.process_time() - start < 5
    assert (len(found), asked) == (MAX_SIGNATURES, [])
    same = craft().removesuffix(MAIL)
    many = b"".join(same.replace(b"s=sel", b"s=s%d" % n) for n in range(50))
    assert len(verify(parse(many + MAIL), ask, NOW)) == MAX_SIGNATURES
    assert asked == [f"s{n}._domainkey.signer.test" for n in range(MAX_SIGNATURES)]


def test_a_name_is_asked_for_once() -> None:
    asked: list[Sequence[str]] = []

    def ask(names: Sequence[str]) -> Answers:
        asked.append(names)
        return {NAME: (record(),)}

    mail = sign(sign(), names=[b"from"])
    assert [str(one.result) for one in verify(parse(mail), ask, NOW)] == ["pass"] * 2
    assert asked == [(NAME,)]


def test_a_header_that_is_not_read_to_its_end_proves_nothing() -> None:
    message = parse(sign(), Limits(header_section=500))
    (one,) = verify(message, zone(), NOW)
    assert (one.result, one.reason) == (
        "policy",
        "the header is larger than what is read",
    )


def test_a_header_of_many_names_and_fields_takes_no_time() -> None:
    names = b":".join(b"x%d" % n for n in range(20_000))
    fields = b"".join(b"Y%d: 1\r\n" % n for n in range(10_000))
    blanks = b" " * 50_000
    mail = craft(mail=b"From: a@signer.test\r\n" + fields + b"\r\nbody\r\n")
    mail = mail.replace(b"h=from", b"h=from:" + names, 1)
    mail = mail.replace(b"; bh", b";" + blanks + b"bh", 1)
    message = parse(mail, Limits(header_section=len(mail)))
    start = time.process_time()
    (one,) = verify(message, zone(), NOW)
    assert time.process_time() - start < 5
    assert (one.result, one.reason) == ("fail", "signature does not fit")


TAGS = st.sampled_from(
    [b"v=1", b"a=rsa-sha256", b"d=signer.test", b"s=sel", b"h=from", b"bh=", b"b="]
)


@given(
    st.lists(TAGS | st.binary(max_size=20).map(lambda b: b.replace(b"\n", b""))),
    st.binary(max_size=60),
)
def test_no_octets_make_it_raise(tags: list[bytes], key: bytes) -> None:
    field = b"DKIM-Signature: " + b";".join(tags).replace(b"\r", b"") + b"\r\n"
    for one in verify(parse(field + MAIL), zone(sel=key), NOW):
        assert one.result != "pass"
        assert one.reason.isascii()


# -- what edits break ----------------------------------------------------------------


def names_of(broken_ones: Sequence[object]) -> list[str]:
    return [str(getattr(one, "selector", "")) for one in broken_ones]


def test_an_edit_breaks_what_it_touches_and_no_more() -> None:
    inner = sign(selector=b"one", names=[b"from", b"subject"])
    mail = sign(inner, selector=b"two", names=[b"from", b"to"])
    message = parse(mail)
    found = verify(message, zone(one=record(), two=record()), NOW)
    assert [str(one.result) for one in found] == ["pass", "pass"]

    def after(*edits: Edit) -> list[str]:
        return names_of(broken(found, apply(message, edits), Limits()))

    def field(name: str) -> Edit:
        return next(
            remove_field(message, one) for one in message.fields if one.is_named(name)
        )

    body = message.root.body
    assert after() == []
    assert after(prepend_field(message, b"X-New", b"1")) == []
    assert after(field("subject")) == ["one"]
    assert after(field("to")) == ["two"]
    assert after(field("from")) == ["two", "one"]
    assert after(field("dkim-signature")) == ["two"]
    assert after(Edit(Span(body.start, body.start + 5), b"Fist")) == ["two", "one"]
    # Blanks at the end of the body are no part of it.
    assert after(Edit(Span(body.end - 2, body.end), b"")) == []


def test_what_did_not_hold_is_not_broken() -> None:
    message = parse(sign().replace(b"First", b"Fist"))
    found = verify(message, zone(), NOW)
    gone = Edit(message.root.body, b"")
    assert broken(found, apply(message, [gone]), Limits()) == ()


def test_text_behind_the_signed_length_may_change() -> None:
    message = parse(sign(length=True) + b"added\r\n")
    found = verify(message, zone(), NOW)
    end = message.root.body.end
    edited = apply(message, [Edit(Span(end - 7, end), b"gone")])
    assert broken(found, edited, Limits()) == ()


@pytest.mark.parametrize("how", WAYS)
def test_a_large_message_is_not_copied(how: bytes) -> None:
    mail = sign(MAIL + b"some text  of a line\r\n" * 400_000, how)
    message = parse(mail)
    tracemalloc.start()
    try:
        (one,) = verify(message, zone(), NOW)
        assert broken([one], apply(message, []), Limits()) == ()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert one.result == "pass"
    assert peak < len(mail) / 4  # of 8.8 MB: chunks of 256 KiB, each a few times
