"""Real senders through the gateway to a real Postfix, every way that leads there.

Each client sends two mails to four recipients each: one allowed, one that we deny, one
that the server refuses, one that we rewrite.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from tests.integration.bed.mails import SENDER, make_mail
from tests.integration.conftest import CLIENTS
from tests.integration.sessions import Session, read_session, sessions_of
from tests.integration.ways import (
    ALLOWED,
    DENIED,
    NEW,
    OLD,
    REFUSED,
    WAYS,
    Gateway,
    Kind,
    Way,
    start_gateway,
)


if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.integration.bed.guard import Program
    from tests.integration.bed.mails import Mail
    from tests.integration.bed.netns import Network
    from tests.integration.bed.postfix import PostfixServer
    from tests.integration.bed.told import Told
    from tests.integration.conftest import Send, StartGuard


pytestmark = [pytest.mark.real, pytest.mark.timeout(120)]

GIVES_UP_AT_REFUSAL = "msmtp"
"""Sends nothing once a recipient was refused."""
ONE_CONNECTION = {"curl", "smtplib", "postfix", "exim-kept"}
"""Clients that send both mails on one connection."""
ADDS_FIELDS = {"postfix", "exim-bdat", "exim-data", "exim-kept"}
"""Clients that put a Received field on top."""
BY_CHUNKS = {"exim-bdat", "exim-kept"}

IN_RUN = ("transparent 25 IPv4", "transparent 465 IPv6", "reverse PROXY v2 IPv4")

FIRST = (ALLOWED, DENIED, REFUSED, OLD)
SECOND = (OLD, REFUSED, DENIED, ALLOWED)
REPLIES = {
    ALLOWED: r"250 ",
    DENIED: r"550 5\.1\.1 Mailbox unavailable$",
    REFUSED: r"550 5\.1\.1 .*No such mailbox here$",
    OLD: r"250 ",
}


@pytest.fixture(scope="module")
def gateway(
    request: pytest.FixtureRequest,
    start_unowned_guard: StartGuard,
    network: Network,
    mail_server: PostfixServer,
) -> Iterator[Gateway]:
    program: Program = request.param
    running = start_gateway(start_unowned_guard, network, mail_server, program)
    yield running
    assert running.guard.stop() == 0, running.guard.log
    assert " error" not in running.guard.log.lower()


in_mitmdump = pytest.mark.parametrize("gateway", ["mitmdump"], indirect=True)
in_run = pytest.mark.parametrize("gateway", ["run"], indirect=True)


def send_two(
    name: str, way: Way, gateway: Gateway, send: Send, mails: Sequence[Mail]
) -> list[Told]:
    with gateway.redirect(way):
        client = gateway.network.client
        told = send(name, gateway.target(way), *mails, namespace=client)
    gateway.server.instance.settle()
    return told


def check_two_mails(name: str, way: Way, gateway: Gateway, send: Send) -> None:
    mails = [make_mail(*FIRST), make_mail(*SECOND)]
    told = send_two(name, way, gateway, send, mails)
    for mail, answer in zip(mails, told, strict=True):
        assert answer.accepted, answer.transcript
        assert answer.recipients.keys() == {*mail.forward_paths}, answer.transcript
        for recipient, reply in answer.recipients.items():
            assert re.match(REPLIES[recipient], reply), answer.transcript
        check_copies(name, gateway, way, mail)
    sessions = sessions_of(gateway.guard, *mails)
    assert len(sessions) == (1 if name in ONE_CONNECTION else 2)
    for session in sessions:
        check_session(session, gateway, way)
        check_commands(session, name)
    check_transactions(sessions, mails)


@in_mitmdump
@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
@pytest.mark.parametrize("name", sorted({*CLIENTS} - {GIVES_UP_AT_REFUSAL}))
def test_two_mails_to_four_recipients_each(
    name: str, way: Way, gateway: Gateway, send: Send
) -> None:
    check_two_mails(name, way, gateway, send)


@in_run
@pytest.mark.parametrize("way", IN_RUN, ids=IN_RUN)
@pytest.mark.parametrize("name", ["postfix", "exim-bdat", "exim-kept", "smtplib"])
def test_smtpguard_run_is_the_same_gateway(
    name: str, way: str, gateway: Gateway, send: Send
) -> None:
    check_two_mails(name, WAYS[way], gateway, send)


@in_mitmdump
@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_msmtp_gives_up_at_the_first_refusal_and_nothing_is_relayed(
    way: Way, gateway: Gateway, send: Send
) -> None:
    """It pipelines up to DATA and closes, whatever else stands."""
    since = len(gateway.guard.flows)
    mails = [make_mail(*FIRST), make_mail(*SECOND)]
    told = send_two("msmtp", way, gateway, send, mails)
    for mail, answer, last in zip(mails, told, (DENIED, REFUSED), strict=True):
        assert [*answer.recipients] == [mail.forward_paths[0], last], answer.transcript
        assert re.match(REPLIES[last], answer.recipients[last])
        assert answer.final == ""
        assert gateway.server.maildir.copies(mail.token) == []
    for flow, mail in zip(
        gateway.guard.wait_flows(since + 2)[since:], mails, strict=True
    ):
        session = read_session(flow)
        check_session(session, gateway, way)
        (record,) = session.record.transactions
        assert (record["disposition"], record["size"]) == ("deferred", 0)
        asked = [each["asked"] for each in record["envelope"]["rcpt_to"]]
        assert asked == [*mail.forward_paths]
        said = [line for side, line in session.said("sS") if side == "C"]
        assert said[-1] == "QUIT"
        assert "DATA" not in said


@in_mitmdump
@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_msmtp_sends_to_recipients_that_are_accepted(
    way: Way, gateway: Gateway, send: Send
) -> None:
    mails = [make_mail(ALLOWED, OLD), make_mail(OLD, ALLOWED)]
    told = send_two("msmtp", way, gateway, send, mails)
    for mail, answer in zip(mails, told, strict=True):
        assert answer.accepted, answer.transcript
        check_copies("msmtp", gateway, way, mail)
    sessions = sessions_of(gateway.guard, *mails)
    assert [session.outcomes for session in sessions] == [["relayed"], ["relayed"]]
    for session in sessions:
        check_session(session, gateway, way)


@in_mitmdump
@pytest.mark.parametrize("kind", ["xclient", "proxy_v2"])
def test_a_client_on_ipv6_is_told_to_a_server_on_ipv4(
    kind: Kind, gateway: Gateway, send: Send
) -> None:
    ipv4 = gateway.target(Way(kind, "starttls", "IPv4"))
    target = replace(ipv4, host=gateway.router("IPv6"))
    mail = make_mail(*FIRST)
    (told,) = send("smtplib", target, mail, namespace=gateway.network.client)
    assert told.accepted, told.transcript
    gateway.server.instance.settle()
    check_copies("smtplib", gateway, Way(kind, "starttls", "IPv6"), mail)


def check_copies(name: str, gateway: Gateway, way: Way, mail: Mail) -> None:
    """Each copy once, octet for octet, from the real client, over TLS."""
    server = gateway.server
    copies = server.maildir.copies(mail.token)
    assert [copy.recipient for copy in copies] == [ALLOWED, NEW]
    for copy in copies:
        assert copy.message.endswith(mail.message)
        assert len(copy.message) == len(mail.message) or name in ADDS_FIELDS
        assert copy.reverse_path == mail.reverse_path
        assert f"[{ipv6(gateway.client(way.family))}]" in copy.received
        assert "using TLSv1.3" in copy.received
    assert logged_clients(server, mail) == [gateway.client(way.family)]


def ipv6(address: str) -> str:
    """Return an address as a Received field has it (RFC 5321 4.1.3)."""
    return f"IPv6:{address}" if ":" in address else address


def logged_clients(server: PostfixServer, mail: Mail) -> list[str]:
    """Return the client's address of each time that the server took the mail."""
    log = server.instance.log_text()
    ids = re.findall(rf" (\w+): message-id=<{mail.token}@", log)
    return [
        client
        for each in ids
        for client in re.findall(rf" {each}: client=\S*?\[([^\]]*)\]", log)
    ]


def check_session(session: Session, gateway: Gateway, way: Way) -> None:
    """Both legs' TLS, the client, and replies in the order of the commands."""
    how = "implicit" if way.tls == "implicit" else "starttls"
    assert session.client == gateway.client(way.family)
    assert session.record.session["policy"] == way.policy
    for leg in ("client", "upstream"):
        facts = session.leg(leg)
        assert facts["tls"]["version"] == "TLSv1.3"
        assert facts["tls"]["cipher"].startswith("TLS_")
        assert facts["history"] == [how]
    assert session.leg("upstream")["tls"]["verified"] == "ok"
    assert session.record.ended == "end"
    for recipient, reply in session.recipients():
        assert re.match(REPLIES[recipient], reply), session.dialogue
    said = [line for side, line in session.said("sS") if side == "C"]
    assert f"RCPT TO:<{DENIED}>" not in said
    assert OLD not in "".join(line for line in said if not line.startswith("RCPT"))


def check_commands(session: Session, name: str) -> None:
    """What is special about this client did happen."""
    client, upstream = session.said("Cc"), session.said("sS")
    for leg in (client, upstream):
        said = {line.split(" ")[0].upper() for side, line in leg if side == "C"}
        word = "BDAT" if name in BY_CHUNKS else "DATA"
        assert said & {"BDAT", "DATA"} == {word}
    if name == "swaks-pipelining":
        start = client.index(("C", f"MAIL FROM:<{SENDER}>"))
        sides = "".join(side for side, _ in client[start : start + 12])
        assert sides == "CCCCCCSSSSSS"


def check_transactions(sessions: Sequence[Session], mails: Sequence[Mail]) -> None:
    """One record a mail, with what was asked, what was told and what went up."""
    records = [each for session in sessions for each in session.record.transactions]
    assert len(records) == len(mails)
    for record, mail in zip(records, mails, strict=True):
        assert record["disposition"] == "relayed"
        assert record["reply"].startswith("250 ")
        assert record["in_doubt"] == ""
        assert record["envelope"]["mail_from"] == mail.reverse_path
        recipients = record["envelope"]["rcpt_to"]
        asked = [each["asked"] for each in recipients]
        assert sorted(asked) == sorted(mail.forward_paths)
        for each in recipients:
            assert re.match(REPLIES[each["asked"]], each["reply"])
        up = {each["asked"]: each["address"] for each in recipients}
        assert up[OLD] == NEW
        actions = {each["asked"]: each["action"] for each in recipients}
        assert actions == {
            ALLOWED: "allow",
            DENIED: "deny",
            REFUSED: "allow",
            OLD: "rewrite",
        }
