from __future__ import annotations

import pytest

from smtpguard.model.settings import ClientTls, ServerTls
from tests.policy.rulefiles import policy, rules, slugs


def test_every_key_reaches_the_settings() -> None:
    found = policy(
        "tls:",
        "  client: {starttls: required, implicit: auto, certificate: certs/mx.pem, "
        "min_version: 1.3}",
        "  server: {starttls: follow, verify: webpki, name: MX.A.example., "
        "min_version: 1.0}",
        "  inspect: false",
    ).settings
    assert found.client_tls == ClientTls(
        "required", "auto", (("*", "certs/mx.pem"),), "1.3"
    )
    assert found.server_tls == ServerTls("follow", "webpki", "mx.a.example", "1.0")
    assert not found.inspect


@pytest.mark.parametrize(
    "text",
    [
        "{}",
        "{client: {}, server: {}}",
        "{client: {certificate: mint, implicit: 465}, inspect: true}",
    ],
)
def test_defaults_stay(text: str) -> None:
    assert policy(f"tls: {text}").settings == policy().settings


@pytest.mark.parametrize(
    ("word", "wanted"),
    [("465", "port"), ("true", "true"), ("false", "false"), ("auto", "auto")],
)
def test_implicit_tls(word: str, wanted: str) -> None:
    found = policy(f"tls: {{client: {{implicit: {word}}}}}").settings
    assert found.client_tls.implicit == wanted


def test_certificates_are_chosen_by_name() -> None:
    found = policy(
        "tls:",
        "  client:",
        "    certificate:",
        '      - {name: "*.Müller.example", file: certs/a.pem}',
        '      - {name: "*", file: certs/b.pem}',
    ).settings
    assert found.client_tls.certificate == (
        ("*.xn--mller-kva.example", "certs/a.pem"),
        ("*", "certs/b.pem"),
    )


@pytest.mark.parametrize(
    ("text", "slug"),
    [
        ("[]", "bad-type"),
        ("{client: required}", "bad-type"),
        ("{client: {starttls: preferred}}", "bad-value"),
        ("{client: {implicit: 25}}", "bad-value"),
        ("{client: {min_version: 1.25}}", "bad-value"),
        ('{client: {certificate: "a\\u0007"}}', "bad-value"),
        ("{client: {certificate: []}}", "missing-value"),
        ("{client: {certificate: {}}}", "bad-type"),
        ("{client: {certificate: [a]}}", "bad-type"),
        ("{client: {certificate: [{name: a.example}]}}", "missing-key"),
        ("{client: {certificate: [{file: a.pem}]}}", "missing-key"),
        ('{client: {certificate: [{name: "a b", file: a.pem}]}}', "bad-domain"),
        ("{client: {certificate: [{name: a, file: a, key: b}]}}", "unknown-key"),
        ("{server: {starttls: allowed}}", "bad-value"),
        ("{server: {verify: pin}}", "not-supported-yet"),
        ("{server: {verify: mta-sts}}", "not-supported-yet"),
        ("{server: {verify: strict}}", "bad-value"),
        ("{server: {pin: [a]}}", "not-supported-yet"),
        ('{server: {name: "*.a.example"}}', "bad-domain"),
        ("{inspect: 1}", "bad-value"),
        ("{inspct: true}", "unknown-key"),
    ],
)
def test_a_bad_key_is_one_problem(text: str, slug: str) -> None:
    assert slugs(rules(f"tls: {text}")) == [slug]
