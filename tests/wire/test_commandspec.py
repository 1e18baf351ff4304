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
        ("required", {"EHLO", "HELO", "AUTH", "VRFY"}),
        ("none", {"STARTTLS", "DATA", "RSET", "QUIT"}),
    ],
)
def test_arguments_are_what_rfc_5321_says(argument: str, expected: set[str]) -> None:
    found = {verb for verb, known in COMMANDS.items() if known.argument == argument}
    assert found == expected
