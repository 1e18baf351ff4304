from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpguard.model.reply import Reply
from smtpguard.wire.capabilities import Capabilities, Offer, offer, offered_mechanisms
from tests.wire.feeding import of_words


def ehlo(*lines: bytes) -> Capabilities:
    return Capabilities.from_ehlo(Reply(250, (b"mx.example greets you", *lines)))


def offered(upstream: Capabilities, what: Offer) -> list[str]:
    """Return the keyword lines of our reply."""
    reply, _ = offer(upstream, what)
    assert reply.code == 250
    return [line.decode("ascii") for line in reply.lines[1:]]


def stripped(upstream: Capabilities, what: Offer) -> tuple[str, ...]:
    return offer(upstream, what)[1]


OURS = ["PIPELINING", "CHUNKING"]


def test_keywords_are_read_in_order() -> None:
    found = ehlo(b"PIPELINING", b"size 1000", b"AUTH PLAIN login", b"DSN")
    assert found.domain == b"mx.example greets you"
    assert list(found.keywords) == ["PIPELINING", "SIZE", "AUTH", "DSN"]
    assert found.parameters("SIZE") == ("1000",)
    assert found.parameters("AUTH") == ("PLAIN", "LOGIN")
    assert found.parameters("ETRN") == ()
    assert "DSN" in found
    assert "ETRN" not in found


@pytest.mark.parametrize(
    ("lines", "mechanisms"),
    [
        ((b"AUTH=LOGIN PLAIN",), ("LOGIN", "PLAIN")),
        ((b"AUTH PLAIN", b"AUTH=LOGIN PLAIN"), ("PLAIN", "LOGIN")),
        ((b"auth=login", b"Auth  cram-md5 "), ("LOGIN", "CRAM-MD5")),
        ((b"AUTH",), ()),
    ],
    ids=["old-form", "both", "case-and-spaces", "none"],
)
def test_both_forms_of_auth_are_one(
    lines: tuple[bytes, ...], mechanisms: tuple[str, ...]
) -> None:
    found = ehlo(*lines)
    assert found.parameters("AUTH") == mechanisms
    assert "AUTH" in found


@pytest.mark.parametrize(
    "line",
    [b"", b"-X", b" DSN", b"X_Y", b"D\xd6N", b"X \xd6", b"X\ty", b"AUTH=", b"X=1"],
)
def test_a_line_that_is_no_keyword_is_ignored(line: bytes) -> None:
    found = ehlo(b"SIZE", line, b"DSN")
    assert found.keywords == {"SIZE": (), "DSN": ()}


def test_of_a_repeated_keyword_the_first_counts() -> None:
    found = ehlo(b"SIZE 10", b"SIZE 20")
    assert found.size_limit == 10
    assert found.keywords == {"SIZE": ("10",)}


def test_helo_has_no_keywords() -> None:
    found = Capabilities.from_helo(Reply(250, (b"mx", b"DSN")))
    assert (found.domain, found.keywords) == (b"mx", {})


@pytest.mark.parametrize(
    ("line", "limit"),
    [
        (b"SIZE 1000", 1000),
        (b"SIZE", None),
        (b"SIZE 0", None),
        (b"SIZE x", None),
        (b"SIZE 123456789012345678901", None),
        (b"DSN", None),
    ],
)
def test_size_may_be_without_limit(line: bytes, limit: int | None) -> None:
    assert ehlo(line).size_limit == limit


@given(st.lists(st.binary(max_size=20) | of_words(b"AUTH", b"=", b" ", b"X", b"\xff")))
def test_any_reply_to_ehlo_can_be_offered(lines: list[bytes]) -> None:
    upstream = ehlo(*lines)
    reply, left_out = offer(upstream, Offer(extra=frozenset({"X"})))
    assert reply.lines[0] == b"mx.example greets you"
    assert [line for line in reply.lines[1:] if not line.isascii()] == []
    assert len(ehlo(*reply.lines[1:]).keywords) == len(reply.lines) - 1
    assert "".join(left_out).isprintable()


def test_what_we_implement_is_always_offered() -> None:
    assert offered(Capabilities(b"mx"), Offer()) == OURS
    assert stripped(Capabilities(b"mx"), Offer()) == ()


@pytest.mark.parametrize(
    "line",
    [
        *("8BITMIME", "SMTPUTF8", "DSN", "ENHANCEDSTATUSCODES", "HELP"),
        *("DELIVERBY 240", "FUTURERELEASE 86400 2030-01-01T00:00:00Z"),
        *("DELIVERBY", "MT-PRIORITY STANAG4406", "SIZE"),
    ],
)
def test_what_the_upstream_has_is_passed(line: str) -> None:
    upstream = ehlo(line.encode())
    assert sorted(offered(upstream, Offer())) == sorted([*OURS, line])
    assert stripped(upstream, Offer()) == ()


@pytest.mark.parametrize(
    "line",
    [
        *("STARTTLS", "ETRN", "REQUIRETLS", "XCLIENT NAME ADDR", "XFORWARD NAME"),
        *("BURL imap", "VRFY", "ATRN", "X-EXPS GSSAPI NTLM", "RRVS", "BINARYMIME"),
        *("TURN", "EXPN", "LIMITS", "AUTH", "AUTH EXTERNAL"),
    ],
)
def test_F7_what_we_do_not_let_through_is_stripped(line: str) -> None:
    upstream = ehlo(line.encode())
    assert offered(upstream, Offer()) == OURS
    assert stripped(upstream, Offer()) == (line.partition(" ")[0],)


@pytest.mark.parametrize(
    ("theirs", "ours", "line"),
    [
        (b"SIZE 1000", 500, "SIZE 500"),
        (b"SIZE 1000", 5000, "SIZE 1000"),
        (b"SIZE 0", 500, "SIZE 500"),
        (b"SIZE", 500, "SIZE 500"),
        (b"SIZE 1000", 0, "SIZE 1000"),
        (b"SIZE 0", 0, "SIZE"),
    ],
)
def test_size_is_the_minimum_of_both(theirs: bytes, ours: int, line: str) -> None:
    assert line in offered(ehlo(theirs), Offer(size=ours))


def test_size_is_not_promised_for_an_upstream_without_it() -> None:
    assert offered(ehlo(), Offer(size=500)) == OURS


@pytest.mark.parametrize(
    ("lines", "found"),
    [
        ((b"BINARYMIME", b"CHUNKING"), True),
        ((b"BINARYMIME",), False),
        ((b"CHUNKING",), False),
    ],
    ids=["both", "no-chunking", "no-binarymime"],
)
def test_binarymime_needs_an_upstream_that_takes_it(
    lines: tuple[bytes, ...], found: bool
) -> None:
    assert ("BINARYMIME" in offered(ehlo(*lines), Offer())) is found


ALL_AUTH = (
    b"AUTH PLAIN LOGIN CRAM-MD5 SCRAM-SHA-256 SCRAM-SHA-256-PLUS EXTERNAL GSSAPI "
    b"GSS-SPNEGO DIGEST-MD5 NTLM XOAUTH2"
)


@pytest.mark.parametrize(
    ("rules", "line"),
    [
        (None, "AUTH PLAIN LOGIN CRAM-MD5 SCRAM-SHA-256 XOAUTH2"),
        (frozenset({"PLAIN", "OTP"}), "AUTH PLAIN"),
        (frozenset({"NTLM", "GSSAPI"}), "AUTH GSSAPI NTLM"),
    ],
    ids=["no-rules", "one", "by-rule-only"],
)
def test_mechanisms_are_filtered(rules: frozenset[str] | None, line: str) -> None:
    what = Offer(auth_mechanisms=rules)
    assert line in offered(ehlo(ALL_AUTH), what)
    assert offered_mechanisms(ehlo(ALL_AUTH), what) == set(line.split()) - {"AUTH"}
    everything = set(ALL_AUTH.decode().split()) - {"AUTH"}
    left_out = {text.removeprefix("AUTH ") for text in stripped(ehlo(ALL_AUTH), what)}
    assert left_out == everything - set(line.split())


@pytest.mark.parametrize(
    "rules",
    [frozenset(), frozenset({"EXTERNAL", "SCRAM-SHA-256-PLUS"})],
    ids=["none-allowed", "those-that-cannot-work"],
)
def test_without_a_mechanism_there_is_no_auth(rules: frozenset[str]) -> None:
    what = Offer(auth_mechanisms=rules)
    assert offered(ehlo(ALL_AUTH), what) == OURS
    assert stripped(ehlo(ALL_AUTH), what) == ("AUTH",)
    assert offered_mechanisms(ehlo(ALL_AUTH), what) == frozenset()
    assert offered_mechanisms(ehlo(), what) == frozenset()


@pytest.mark.parametrize(
    ("theirs", "ours", "line", "left_out"),
    [
        (b"LIMITS RCPTMAX=50", 100, "LIMITS RCPTMAX=50", ()),
        (b"LIMITS RCPTMAX=500", 100, "LIMITS RCPTMAX=100", ()),
        (b"LIMITS MAILMAX=5", 100, "LIMITS MAILMAX=5 RCPTMAX=100", ()),
        (
            b"LIMITS RCPTMAX=500 RCPTDOMAINMAX=2",
            None,
            "LIMITS RCPTMAX=500 RCPTDOMAINMAX=2",
            (),
        ),
        (
            b"LIMITS MAILMAX=5 FOO=1 RCPTMAX=x",
            None,
            "LIMITS MAILMAX=5",
            ("LIMITS FOO=1", "LIMITS RCPTMAX=x"),
        ),
        (b"LIMITS MAILMAX=0", 100, "LIMITS RCPTMAX=100", ("LIMITS MAILMAX=0",)),
    ],
    ids=["theirs", "ours", "other", "no-limit-of-ours", "unknown", "zero"],
)
def test_limits_are_the_minimum_of_both(
    theirs: bytes, ours: int | None, line: str, left_out: tuple[str, ...]
) -> None:
    what = Offer(max_recipients=ours)
    assert line in offered(ehlo(theirs), what)
    assert stripped(ehlo(theirs), what) == left_out


def test_what_a_flag_lets_through_is_offered() -> None:
    upstream = ehlo(b"REQUIRETLS", b"ETRN", b"XCLIENT NAME ADDR", b"STARTTLS")
    what = Offer(requiretls=True, etrn=True, xclient=True, starttls=True)
    assert set(offered(upstream, what)) - set(OURS) == {
        *("REQUIRETLS", "ETRN", "STARTTLS"),
        "XCLIENT NAME ADDR PORT PROTO HELO LOGIN DESTADDR DESTPORT",
    }
    assert stripped(upstream, what) == ()


def test_our_own_tls_and_identity_need_nothing_of_the_upstream() -> None:
    what = Offer(requiretls=True, etrn=True, xclient=True, starttls=True)
    found = offered(ehlo(), what)
    assert "STARTTLS" in found
    assert {line.split()[0] for line in found} == {*OURS, "STARTTLS", "XCLIENT"}


def test_an_extra_keyword_is_passed_with_its_parameters() -> None:
    upstream = ehlo(b"rrvs 1 2", b"XFOO", b"XFORWARD NAME", b"STARTTLS", b"BURL")
    what = Offer(extra=frozenset({"RRVS", "XFORWARD", "STARTTLS", "BURL", "ABSENT"}))
    assert offered(upstream, what) == [*OURS, "RRVS 1 2"]
    assert stripped(upstream, what) == ("XFOO", "XFORWARD", "STARTTLS", "BURL")


def test_the_upstream_is_named_unless_it_is_hidden() -> None:
    hidden, _ = offer(ehlo(), Offer(hide=True, own_domain=b"gate.example"))
    shown, _ = offer(ehlo(), Offer(own_domain=b"gate.example"))
    assert hidden.lines[0] == b"gate.example"
    assert shown.lines[0] == b"mx.example greets you"


def test_what_we_offer_can_be_read_by_the_same_reader() -> None:
    """The dialogue checks parameters against what was offered, read back."""
    reply, _ = offer(ehlo(b"SIZE 10", ALL_AUTH, b"DSN"), Offer(size=5))
    found = Capabilities.from_ehlo(reply)
    assert found.size_limit == 5
    assert set(found.keywords) == {*OURS, "SIZE", "AUTH", "DSN"}
