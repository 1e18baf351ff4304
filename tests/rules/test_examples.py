"""Each example of rules/examples does what its head says."""

from __future__ import annotations

from pathlib import Path

import pytest

from smtpguard.model.decision import Action
from smtpguard.policy import PartFacts, Ruleset, load
from smtpguard.policy.files import read_file
from tests.policy.rulefiles import envelope, message, path, session


EXAMPLES = Path(__file__).parents[2] / "rules" / "examples"
FILES = sorted(EXAMPLES.glob("*.yaml"))


def example(name: str) -> Ruleset:
    return load(str(EXAMPLES / f"{name}.yaml"), read_file)


def test_every_example_is_tested_here() -> None:
    names = [file.stem for file in FILES]
    assert names == ["outbound", "own-domain", "recipients"]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_an_example_loads_without_a_warning(file: Path) -> None:
    assert load(str(file), read_file).warnings == ()


@pytest.mark.parametrize(
    ("reverse_path", "authenticated", "reply"),
    [
        ("formular-xyz-123@meinefirma.example", False, ""),
        ("Formular-XYZ-123@MeineFirma.example", False, ""),
        ("chef@meinefirma.example", False, "550 5.7.1 Sender address rejected"),
        ("chef@meinefirma-mail.example", False, "550 5.7.1 Sender address rejected"),
        ("chef@meinefirma.example", True, ""),
        ("chef@evilmeinefirma.example", False, ""),
        ("kunde@else.example", False, ""),
        ("", False, ""),
    ],
)
def test_own_domain_is_refused_from_outside(
    reverse_path: str, authenticated: bool, reply: str
) -> None:
    asked = session(authenticated=authenticated)
    decision = example("own-domain").choose(asked).mail(asked, path(reverse_path))
    assert str(decision.reply or "") == reply


@pytest.mark.parametrize(
    ("recipient", "reply"),
    [
        ("anna.schmidt@meinefirma.example", ""),
        ("ANNA.SCHMIDT@MEINEFIRMA.EXAMPLE", ""),
        ("j.müller@meinefirma.example", ""),
        ("vertrieb+messe@meinefirma.example", ""),
        ("Postmaster", ""),
        ("nobody@meinefirma.example", "550 5.1.1 Mailbox unavailable"),
        ("new@meinefirma.example", "550 5.1.1 Mailbox unavailable"),
        ("anna.schmidt@else.example", "550 5.7.1 Relaying denied"),
    ],
)
def test_only_recipients_in_the_list_exist(recipient: str, reply: str) -> None:
    policy = example("recipients").choose(session())
    decision = policy.rcpt(session(), envelope(), path(recipient))
    assert str(decision.reply or "") == reply
    assert decision.action is (Action.DENY if reply else Action.ALLOW)


def test_a_mailbox_that_moved_is_rewritten() -> None:
    policy = example("recipients").choose(session())
    decision = policy.rcpt(session(), envelope(), path("old@meinefirma.example"))
    assert decision.action is Action.REWRITE
    assert str(decision.rewrite_to) == "new@meinefirma.example"


@pytest.mark.parametrize(
    ("reverse_path", "tls", "reply"),
    [
        ("x@partner.example", False, "450 4.7.10 Encryption needed"),
        ("lager@lieferant.example", False, "450 4.7.10 Encryption needed"),
        ("x@partner.example", True, ""),
        ("x@lieferant.example", False, ""),
    ],
)
def test_partners_have_to_encrypt(reverse_path: str, tls: bool, reply: str) -> None:
    asked = session(tls=tls)
    policy = example("recipients").choose(asked)
    there = path("anna.schmidt@meinefirma.example")
    decision = policy.rcpt(asked, envelope(reverse_path), there)
    assert str(decision.reply or "") == reply


@pytest.mark.parametrize(
    ("client", "name"),
    [
        ("10.1.2.3", "outbound"),
        ("192.168.1.1", "outbound"),
        ("fd12::1", "outbound"),
        ("192.0.2.1", "inbound"),
        ("2001:db8::1", "inbound"),
    ],
)
def test_the_house_has_a_policy_of_its_own(client: str, name: str) -> None:
    assert example("outbound").choose(session(client)).name == name


def test_outbound_may_write_to_everybody_but_only_as_the_house() -> None:
    asked = session("10.1.2.3")
    policy = example("outbound").choose(asked)
    assert policy.settings.limits.recipients is None
    assert policy.settings.server_tls.verify == "webpki"
    assert policy.mail(asked, path("anna@meinefirma.example")).action is Action.ALLOW
    assert policy.mail(asked, path("")).action is Action.ALLOW
    refused = policy.mail(asked, path("anna@else.example"))
    assert str(refused.reply) == "550 5.7.1 Use your own address"
    there = policy.rcpt(asked, envelope(), path("kunde@else.example"))
    assert there.action is Action.ALLOW
    key = PartFacts("application/octet-stream", ("server.key",))
    assert policy.part(key, message(session=asked)).action is Action.DENY


def test_inbound_is_no_relay() -> None:
    asked = session("192.0.2.1")
    policy = example("outbound").choose(asked)
    there = policy.rcpt(asked, envelope(), path("kunde@else.example"))
    assert str(there.reply) == "550 5.7.1 Relaying denied"
    assert policy.settings.identity == "proxy_v2"
