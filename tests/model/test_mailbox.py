from __future__ import annotations

import pytest

from smtpguard.model.mailbox import Mailbox, Parameter, Path


ANNA = Mailbox(b"Anna@Example.ORG", "Anna", "example.org")


def test_mailbox_is_shown_in_its_normal_form() -> None:
    assert str(ANNA) == "Anna@example.org"


def test_postmaster_without_domain_is_shown_without_at() -> None:
    assert str(Mailbox(b"Postmaster", "Postmaster", "")) == "Postmaster"


def test_controls_in_a_quoted_local_part_are_escaped() -> None:
    assert str(Mailbox(b'"a\x1b"@x', "a\x1b\u202e", "x")) == "a\\x1b\\u202e@x"


@pytest.mark.parametrize(
    ("parameter", "octets"),
    [
        (Parameter("SIZE", "10"), b"SIZE=10"),
        (Parameter("SMTPUTF8", None), b"SMTPUTF8"),
        (Parameter("AUTH", ""), b"AUTH="),
        (Parameter("ORCPT", "utf-8;ü"), b"ORCPT=utf-8;\xc3\xbc"),
    ],
)
def test_parameter_is_sent_as_it_came(parameter: Parameter, octets: bytes) -> None:
    assert parameter.to_octets() == octets


def test_path_finds_its_parameters_by_keyword() -> None:
    path = Path(ANNA, (Parameter("SIZE", "1"), Parameter("BODY", "8BITMIME")))
    assert path.parameter("BODY") == Parameter("BODY", "8BITMIME")
    assert path.parameter("RET") is None


def test_null_path_is_shown_as_brackets() -> None:
    assert (str(Path(None)), str(Path(ANNA))) == ("<>", "<Anna@example.org>")
