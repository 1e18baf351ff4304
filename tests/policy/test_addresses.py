from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpguard.policy.addresses import Address, domain_pattern
from smtpguard.policy.patterns import PatternError
from smtpguard.policy.truth import Truth
from smtpguard.wire.path import parse_mail, parse_mailbox, parse_rcpt
from tests.policy.rulefiles import address_test, path


OWN = ("own.example", "xn--mller-kva.example")


def matches(pattern: str, address: str, own: tuple[str, ...] = OWN) -> Truth:
    mailbox = path(address).mailbox
    subject = None if mailbox is None else Address.of(mailbox, own)
    return address_test([pattern], own).test(subject)


@pytest.mark.parametrize(
    ("pattern", "address", "wanted"),
    [
        ("anna@a.example", "anna@a.example", True),
        ("anna@a.example", "ANNA@A.EXAMPLE", True),
        ("Anna@A.Example", "anna@a.example", True),
        ("anna@a.example", "anna+x@a.example", False),
        ("anna+*@a.example", "anna+x@a.example", True),
        ("anna@a.example.", "anna@a.example", True),
        ("anna@a.example", "anna@a.example.", True),
        ("*@a.example", "x@a.example", True),
        ("@a.example", "x@a.example", True),
        ("**@a.example", "x@a.example", True),
        ("*@a.example", "x@b.a.example", False),
        ("*@*.a.example", "x@b.a.example", True),
        ("*@*.a.example", "x@a.example", False),
        ("*@a.*", "x@a.example", True),
        ("*@{a,b}.example", "x@b.example", True),
        ("{x,y}@a.example", "y@a.example", True),
        ("{x@a.example,y@b.example}", "y@b.example", True),
        ("{x@a.example,y@b.example}", "x@b.example", False),
        ("x?@a.example", "x1@a.example", True),
        ("*%*@*", "u%evil.example@good.example", True),
        ("*!*@*", "evil!u@good.example", True),
        ("*@müller.example", "x@xn--mller-kva.example", True),
        ("*@MÜLLER.example", "x@xn--mller-kva.example", True),
        ("*@xn--mller-kva.example", "x@müller.example", True),
        ("*@*.müller.example", "x@a.müller.example", True),
        ("müller@a.example", "MÜLLER@a.example", True),
        ("u@[192.0.2.1]", "u@[192.0.2.1]", True),
        ("u@[192.0.2.*]", "u@[192.0.2.1]", True),
        ('"a b"@a.example', '"a b"@a.example', True),
        ('"anna"@a.example', "anna@a.example", True),
        ("anna@a.example", '"anna"@a.example', True),
        ("exact:a*b@a.example", "a*b@a.example", True),
        ("exact:a*b@a.example", "axb@a.example", False),
        ("exact:a*b@own", "a*b@own.example", True),
        ("exact:a*b@own", "axb@own.example", False),
        ("regex:[a-z]+@a\\.example", "Anna@a.example", True),
        ("regex:[a-z]+@a\\.example", "anna@a.example.b.example", False),
        ("regex:(?-i)Anna@.*", "Anna@a.example", True),
        ("regex:(?-i)Anna@.*", "anna@a.example", False),
        ("*@own", "x@own.example", True),
        ("@own", "x@müller.example", True),
        ("@OWN", "x@own.example", True),
        ("*@own", "x@sub.own.example", False),
        ("*@own", "x@other.example", False),
        ("sales@own", "sales@own.example", True),
        ("s*@own", "sales@own.example", True),
        ("s*@own", "other@own.example", False),
        ('"a b"@own', '"a b"@own.example', True),
        ("sales@own", "other@own.example", False),
        ("*", "x@a.example", True),
        ("*", "", True),
        ("<>", "", True),
        ("<>", "x@a.example", False),
        ("*@*", "", False),
        ("@own", "", False),
        ("regex:.*", "", False),
        ("postmaster@own", "postmaster", True),
        ("postmaster@own", "PostMaster", True),
        ("*@xn--mller-kva.example", "postmaster", False),
    ],
)
def test_an_address_pattern(pattern: str, address: str, wanted: bool) -> None:
    assert matches(pattern, address) is Truth.of(wanted)


@pytest.mark.parametrize(
    "octets",
    [
        b'TO:<"a@good.com x"@evil.example>',
        b'TO:<"u@good.com"@evil.example>',
        b"TO:<u@evilgood.com>",
        b"TO:<u@good.com.evil.example>",
        b"TO:<u%good.com@evil.example>",
        b"TO:<@good.com:u@evil.example>",
        b'TO:<"u\\@good.com"@evil.example>',
    ],
)
def test_A1_A2_A3_a_domain_is_never_matched_by_a_local_part(octets: bytes) -> None:
    mailbox = parse_rcpt(octets, smtputf8=False).mailbox
    assert mailbox is not None
    for pattern in ("*@good.com", "u@good.com", "*@*.good.com", "*@good.co?"):
        assert address_test([pattern]).test(Address.of(mailbox)) is Truth.NO


def test_A1_a_quoted_address_is_at_its_real_domain() -> None:
    mailbox = parse_rcpt(b'TO:<"a@evil.com x"@good.com>', smtputf8=False).mailbox
    assert mailbox is not None
    subject = Address.of(mailbox)
    assert address_test(["*@good.com"]).test(subject) is Truth.YES
    assert address_test(["*@evil.com"]).test(subject) is Truth.NO


def test_A2_a_source_route_is_not_the_address() -> None:
    mailbox = parse_mail(b"FROM:<@evil.com:u@good.com>").mailbox
    assert mailbox is not None
    assert address_test(["*@good.com"]).test(Address.of(mailbox)) is Truth.YES


@pytest.mark.parametrize("pattern", ["*@own", "@own", "sales@own"])
def test_own_without_domains_is_not_known(pattern: str) -> None:
    assert matches(pattern, "sales@any.example", own=()) is Truth.UNKNOWN
    assert matches(pattern, "", own=()) is Truth.NO


def test_own_without_domains_is_no_for_another_local_part() -> None:
    assert matches("sales@own", "anna@any.example", own=()) is Truth.NO


def test_postmaster_without_domains_has_none() -> None:
    assert matches("postmaster@*", "postmaster", own=()) is Truth.YES
    assert matches("*@a.example", "postmaster", own=()) is Truth.NO


def test_an_address_reads_as_it_was_written() -> None:
    assert str(Address.of(parse_mailbox("Anna@A.example"))) == "Anna@a.example"
    assert str(Address("postmaster", "a.example")) == "postmaster@a.example"


@pytest.mark.parametrize(
    ("pattern", "slug"),
    [
        ("", "bad-pattern"),
        ("example.com", "bad-pattern"),
        ("a@", "bad-address"),
        ("*@", "bad-domain"),
        ("*@a..example", "bad-domain"),
        ("*@-a.example", "bad-domain"),
        ("*@a b.example", "bad-domain"),
        ("*@*.a b", "bad-domain"),
        ("*@*ü.example", "bad-pattern"),
        ("a b@c.example", "bad-address"),
        ("a@b@c.example", "bad-address"),
        ('"a*"@c.example', "bad-pattern"),
        ("exact:<>", "bad-address"),
        ("exact:a", "bad-address"),
        ("regex:(", "bad-regex"),
        ("*@{a,b.example", "bad-pattern"),
        (f"{'a' * 65}@a.example", "bad-address"),
        (f"*@{'a.' * 127}example", "bad-domain"),
        (f"*@{'a' * 64}.example", "bad-domain"),
    ],
    ids=str,
)
def test_a_bad_address_pattern_is_refused(pattern: str, slug: str) -> None:
    with pytest.raises(PatternError) as raised:
        address_test([pattern])
    assert raised.value.slug == slug


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("A.Example.", "a.example"),
        ("müller.example", "xn--mller-kva.example"),
        ("*.Müller.example", "*.xn--mller-kva.example"),
        ("m?ller*.Example", "m?ller*.example"),
        ("[192.0.2.*", "[192.0.2.*"),
    ],
)
def test_a_domain_pattern_has_one_form(text: str, wanted: str) -> None:
    assert domain_pattern(text) == wanted


ATOMS = st.text(st.sampled_from("aB0!#$%&'+-/=^_`|~."), min_size=1, max_size=12)
DOMAINS = st.lists(
    st.text(st.sampled_from("aB0-"), min_size=1, max_size=5), min_size=1, max_size=3
).map(".".join)


@given(ATOMS, DOMAINS)
def test_the_short_way_reads_addresses_as_the_grammar_does(
    local_part: str, domain: str
) -> None:
    """Plain addresses of long lists do not go through ``wire.path``."""
    text = f"{local_part}@{domain}"
    try:
        mailbox = parse_mailbox(text)
    except ValueError:
        with pytest.raises(PatternError):
            address_test([text])
        return
    test = address_test([text])
    assert test.exact == {(mailbox.local_part.lower(), mailbox.domain)}
