from __future__ import annotations

import pytest

from smtpguard.policy import load
from smtpguard.policy.deliveryreader import DeliverySettings
from tests.policy.rulefiles import loaded, problems, reader, rules, slugs


def read(text: str) -> DeliverySettings | None:
    return loaded(rules(top=f"delivery: {text}\n")).delivery


def test_without_the_key_there_is_none() -> None:
    assert loaded(rules()).delivery is None


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("", DeliverySettings("mx.test", 25, "starttls", verify=False)),
        (", tls: none", DeliverySettings("mx.test", 25, "none", verify=False)),
        (
            ", tls: starttls_required",
            DeliverySettings("mx.test", 25, "starttls_required", verify=True),
        ),
        (", tls: tls", DeliverySettings("mx.test", 465, "tls", verify=True)),
        (", tls: tls, port: 26", DeliverySettings("mx.test", 26, "tls", verify=True)),
        (
            ", ca: ca.pem",
            DeliverySettings("mx.test", 25, "starttls", verify=True, ca="ca.pem"),
        ),
        (", timeout: 5s", DeliverySettings("mx.test", timeout=5.0)),
    ],
)
def test_what_is_not_said_depends_on_tls(text: str, wanted: DeliverySettings) -> None:
    assert read(f"{{host: MX.Test{text}}}") == wanted


@pytest.mark.parametrize(
    ("text", "host"),
    [("localhost", "localhost"), ("192.0.2.1", "192.0.2.1"), ("'::1'", "::1")],
)
def test_the_host_is_a_name_or_an_address(text: str, host: str) -> None:
    found = read(f"{{host: {text}}}")
    assert found is not None
    assert found.host == host


def test_files_count_from_the_folder_of_the_rule_file() -> None:
    text = rules(
        top="delivery: {host: a.test, tls: tls, ca: ca.pem, user: gw, "
        "password_file: /etc/secret}\n"
    )
    assert load("conf/r.yaml", reader({"conf/r.yaml": text})).delivery == (
        DeliverySettings(
            "a.test",
            465,
            "tls",
            verify=True,
            ca="conf/ca.pem",
            user="gw",
            password_file="/etc/secret",
        )
    )


@pytest.mark.parametrize(
    ("text", "slug"),
    [
        ("", "missing-value"),
        ("mx.test", "bad-type"),
        ("{}", "missing-key"),
        ("{host: 'a b'}", "bad-domain"),
        ("{host: [a]}", "bad-type"),
        ("{host: a, port: 0}", "bad-value"),
        ("{host: a, port: 65536}", "bad-value"),
        ("{host: a, tls: required}", "bad-value"),
        ("{host: a, timeout: 0s}", "bad-value"),
        ("{host: a, tls: tls, user: gw}", "missing-key"),
        ("{host: a, tls: tls, password_file: f}", "missing-key"),
        ("{host: a, user: gw, password_file: f}", "key-not-allowed-here"),
        ("{host: a, tls: none, ca: f}", "key-not-allowed-here"),
        ("{host: a, password: x}", "unknown-key"),
    ],
)
def test_what_cannot_be_meant_is_an_error(text: str, slug: str) -> None:
    assert slugs(rules(top=f"delivery: {text}\n")) == [slug]


def test_the_error_says_where_and_what() -> None:
    text = "delivery: {host: a, user: gw, password_file: f}\n"
    (problem,) = problems(rules(top=text))
    assert problem == (
        "2:21: error: delivery: user needs tls: starttls_required or tls, not to tell "
        "the password [key-not-allowed-here]"
    )
