from __future__ import annotations

import pytest

from smtpguard.wire.commandspec import COMMANDS, spec


def verbs(flag: str) -> set[str]:
    return {verb for verb, known in COMMANDS.items() if getattr(known, flag)}


def test_every_verb_is_listed_under_its_own_name() -> None:
    assert [
        v for v, known in COMMANDS.items() if known.verb != v or v != v.upper()
    ] == []


def test_before_tls_only_what_the_contract_names_is_let_through() -> None:
    assert verbs("before_tls") == {
        *("EHLO", "HELO", "NOOP", "QUIT", "STARTTLS", "HELP", "RSET")
    }


def test_groups_end_where_rfc_2920_and_the_extensions_say() -> None:
    """RFC 2920 3.1, RFC 3207 4, RFC 4954 4; XCLIENT and ETRN change what follows."""
    handled_last = verbs("group_last") & verbs("handled")
    assert handled_last == {
        *("EHLO", "HELO", "DATA", "VRFY", "QUIT", "NOOP", "STARTTLS", "AUTH"),
        *("ETRN", "XCLIENT"),
    }


def test_recipients_and_chunks_may_be_pipelined() -> None:
    assert verbs("group_last") & {"MAIL", "RCPT", "RSET", "BDAT"} == set()


def test_auth_alone_has_a_secret() -> None:
    assert verbs("secret") == {"AUTH"}


@pytest.mark.parametrize(
    "verb",
    [
        *("EXPN", "TURN", "ATRN", "LHLO", "BURL", "VERB", "XEXCH50", "XFORWARD"),
        *("SEND", "SOML", "SAML", "FROBNICATE"),
    ],
)
def test_F7_verbs_that_are_not_parsed_are_not_handled(verb: str) -> None:
    assert not spec(verb).handled
    assert not spec(verb).hostile


@pytest.mark.parametrize(
    "verb", ["GET", "POST", "CONNECT", "PRI", "INVITE", "PROXY", "SSH-2.0-OPENSSH_9.7"]
)
def test_what_no_mail_client_says_is_hostile(verb: str) -> None:
    assert spec(verb).hostile
    assert not spec(verb).handled


@pytest.mark.parametrize(
    ("argument", "expected"),
    [
        ("required", {"EHLO", "HELO", "AUTH", "MAIL", "RCPT", "BDAT", "VRFY"}),
        ("none", {"STARTTLS", "DATA", "RSET", "QUIT"}),
        ("optional", {"NOOP", "HELP"}),
    ],
)
def test_arguments_are_what_rfc_5321_says(argument: str, expected: set[str]) -> None:
    assert {verb for verb in expected if spec(verb).takes_argument == argument} == (
        expected
    )
