"""DKIM through a live mitmdump: unedited mail holds, edited mail says what held.

dkimpy signs, a name server of the test's own has the keys, and dkimpy verifies at the
upstream (contract 6).
"""

from __future__ import annotations

import base64
import json
import smtplib
from typing import TYPE_CHECKING, Any

import dkim
import pytest

from smtpguard.mime import parse
from smtpguard.proxy.sessionrecord import SESSION_KEY
from tests.dkim.signing import record, sign
from tests.integration.sink import Sink
from tests.judging import PAYLOAD, TEXT_PART, attachment, mixed
from tests.nameserver import SILENT, NameServer, Record


if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.integration.bed.certificates import Identity
    from tests.integration.bed.guard import Guard
    from tests.integration.conftest import StartGuard


RULES = """\
version: 1
dns: {servers: ["127.0.0.1:%d"], timeout: 2s}
policies:
  - name: everything
    tls: {client: {starttls: allowed}, server: {starttls: preferred}}
    rcpt_to: [{match: "*", action: allow}]
    filenames: [{match: "*.exe", action: strip}, {match: "*", action: allow}]
"""
OUR_NAME = "guard.example.test"
HARMLESS = mixed(TEXT_PART, attachment("logo.png", "image/png"))
HARMFUL = mixed(TEXT_PART, attachment("tool.exe"))
CONTENT = base64.b64encode(PAYLOAD)[:60]
ZONE: dict[str, Record] = {
    "one._domainkey.signer.test": record(),
    "two._domainkey.other.test": record(),
    "mute._domainkey.signer.test": SILENT,
}
WAYS = [b"simple/simple", b"simple/relaxed", b"relaxed/simple", b"relaxed/relaxed"]


class Bed:
    """A gateway before a sink, and the DNS beside it."""

    def __init__(self, guard: Guard, sink: Sink, dns: NameServer) -> None:
        self._guard = guard
        self._sink = sink
        self.dns = dns
        self._count = 0

    def through(self, mail: bytes) -> tuple[bytes, list[str]]:
        """Send a mail; return what arrived, and the findings of its record."""
        self._count += 1
        recipient = f"r{self._count}@own.test"
        with smtplib.SMTP("127.0.0.1", self._guard.port, timeout=30) as client:
            client.sendmail("a@signer.test", [recipient], mail)
        (arrived,) = self._sink.copies[recipient]
        flow = self._guard.wait_flows(self._count)[self._count - 1]
        told: dict[str, Any] = json.loads(flow.metadata[SESSION_KEY])
        (transaction,) = told["transactions"]
        return arrived.message, transaction["findings"]


@pytest.fixture(scope="module")
def bed(identity: Identity, start_unowned_guard: StartGuard) -> Iterator[Bed]:
    with NameServer(ZONE) as dns, Sink(identity) as sink:
        options = "--set", f"smtpguard_name={OUR_NAME}"
        guard = start_unowned_guard(sink.reverse, RULES % dns.port, *options)
        yield Bed(guard, sink, dns)
        assert guard.stop() == 0
        assert "Traceback" not in guard.log


def holds(mail: bytes, number: int = 0) -> bool:
    def look_up(name: bytes, timeout: float = 5) -> bytes:
        text = ZONE[name.decode().rstrip(".")]
        assert isinstance(text, bytes)
        return text

    try:
        return bool(dkim.DKIM(mail).verify(number, dnsfunc=look_up))
    except dkim.DKIMException:
        return False


def results(mail: bytes) -> list[str]:
    fields = parse(mail).fields
    return [one.value for one in fields if one.is_named("Authentication-Results")]


def signed(
    mail: bytes, how: bytes, *, length: bool = False, twice: bool = False
) -> bytes:
    mail = sign(mail, how, selector=b"one", length=length)
    if twice:
        mail = sign(mail, how, selector=b"two", domain=b"other.test")
    return mail


@pytest.mark.parametrize("twice", [False, True], ids=["one", "two"])
@pytest.mark.parametrize("length", [False, True], ids=["whole", "l="])
@pytest.mark.parametrize("how", WAYS)
def test_a_signed_mail_arrives_as_it_was_and_holds(
    bed: Bed, how: bytes, length: bool, twice: bool
) -> None:
    mail = signed(HARMLESS, how, length=length, twice=twice)
    asked = len(bed.dns.asked)
    arrived, findings = bed.through(mail)
    assert arrived == mail
    assert holds(arrived, 0)
    assert not twice or holds(arrived, 1)
    assert findings == []
    assert len(bed.dns.asked) == asked  # no edit, no question


@pytest.mark.parametrize("how", WAYS)
def test_a_stripped_mail_tells_what_held(bed: Bed, how: bytes) -> None:
    forged = b"Authentication-Results: %s; dkim=pass header.d=x.test\r\n"
    mail = forged % OUR_NAME.encode() + signed(HARMFUL, how, twice=True)
    arrived, findings = bed.through(mail)
    assert CONTENT in mail
    assert CONTENT not in arrived
    assert not holds(arrived, 0)
    assert not holds(arrived, 1)
    (told,) = results(arrived)
    assert arrived.startswith(b"Authentication-Results: ")
    assert told.startswith(f"{OUR_NAME}; dkim=pass header.d=other.test header.s=two")
    assert "; dkim=pass header.d=signer.test header.s=one" in told
    assert findings == [
        "dkim:pass:other.test",
        "dkim:pass:signer.test",
        "dkim-broken:other.test",
        "dkim-broken:signer.test",
    ]


def test_a_dns_that_is_silent_costs_its_time_and_no_mail(bed: Bed) -> None:
    arrived, findings = bed.through(sign(HARMFUL, selector=b"mute"))
    assert 'dkim=temperror reason="no answer from the DNS"' in results(arrived)[0]
    assert findings == ["dkim:temperror:signer.test"]


def test_a_key_that_is_not_there_is_told(bed: Bed) -> None:
    arrived, findings = bed.through(sign(HARMFUL, selector=b"none"))
    assert 'dkim=permerror reason="no key in the DNS"' in results(arrived)[0]
    assert findings == ["dkim:permerror:signer.test"]
