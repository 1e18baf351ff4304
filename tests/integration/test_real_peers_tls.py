"""TLS to a real Postfix that cannot have it, and clients that do not ask for it."""

from __future__ import annotations

import smtplib
from typing import TYPE_CHECKING

import pytest

from tests.integration.bed.certificates import make_authority
from tests.integration.bed.clients import HELO
from tests.integration.bed.mails import Mail, Target, make_mail
from tests.integration.bed.netns import PROXY_PORT
from tests.integration.sessions import Session, read_session, sessions_of
from tests.integration.ways import ALLOWED, HEAD, NEW, OLD, REFUSED, policy


if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.integration.bed.certificates import Authority, Identity
    from tests.integration.bed.guard import Guard
    from tests.integration.bed.mails import Tls
    from tests.integration.bed.netns import Network
    from tests.integration.bed.postfix import PostfixServer
    from tests.integration.conftest import Loopback, Send, StartGuard, StartPostfix


pytestmark = [pytest.mark.real, pytest.mark.timeout(120)]

SENDERS = ["postfix", "exim-bdat", "smtplib"]
NO_STARTTLS = {
    "postfix": "refused to start TLS: 454 4.7.0 TLS not available",
    "exim-bdat": "a TLS session is required, but an attempt to start TLS failed",
    "smtplib": "454 4.7.0 TLS not available",
}
"""How each client tells that it was refused STARTTLS and kept its mail."""
NO_TLS = "451 4.7.0 Next server has no TLS"
WHY = {
    "issuer": "unable to get local issuer certificate",
    "name": "hostname mismatch",
}
"""In OpenSSL's words."""


def why_not(name: str, send: Send, target: Target, mail: Mail) -> str:
    """Return what a client says that needs TLS and does not get it."""
    try:
        (told,) = send(name, target, mail)
    except smtplib.SMTPResponseException as error:
        return f"{error.smtp_code} {error.smtp_error!r}".replace("b'", "")
    return told.transcript


@pytest.fixture
def other_authority(tmp_path: Path) -> Path:
    """The certificate of an authority that has issued nothing."""
    return make_authority(tmp_path / "other").certificate


def through(guard: Guard, tls: Tls = "starttls") -> Target:
    return Target("127.0.0.1", guard.port, tls, guard.trust)


def first_session(guard: Guard) -> Session:
    return read_session(guard.wait_flows(1)[0])


# -- an upstream that is not who it should be ----------------------------------------


@pytest.mark.parametrize("why", ["issuer", "name"])
@pytest.mark.parametrize("name", SENDERS)
def test_a_certificate_that_does_not_verify_gets_no_mail(
    *,
    name: str,
    why: str,
    send: Send,
    start_guard: StartGuard,
    loopback: Loopback,
    other_authority: Path,
) -> None:
    asked = "name: other.example.test" if why == "name" else "name: mail.example.test"
    guard = start_guard(
        loopback.reverse("starttls"),
        HEAD + policy(server=f"starttls: required, verify: webpki, {asked}"),
        upstream_trust=other_authority if why == "issuer" else None,
    )
    mail = make_mail(ALLOWED)
    said = why_not(name, send, through(guard), mail)
    assert NO_STARTTLS[name] in said, said
    session = first_session(guard)
    assert session.versions == {"client": "", "upstream": ""}
    failed = f"TLS handshake failed: Certificate verify failed: {WHY[why]}"
    # At the client's EHLO, and once more when it asked for STARTTLS.
    assert session.leg("upstream")["history"] == [failed, failed]
    assert failed in guard.log
    loopback.server.instance.settle()
    assert loopback.server.maildir.copies(mail.token) == []


@pytest.mark.parametrize("tls", ["starttls", "clear"])
def test_in_transparent_mode_it_does_not_either(
    *,
    tls: Tls,
    send: Send,
    start_guard: StartGuard,
    network: Network,
    mail_server: PostfixServer,
    other_authority: Path,
) -> None:
    """There the upstream's name is known late, and a client in clear is told why."""
    guard = start_guard(
        "transparent",
        HEAD + policy(client="allowed"),
        namespace=network.router,
        port=PROXY_PORT,
        upstream_trust=other_authority,
    )
    mail = make_mail(ALLOWED)
    with network.redirect(guard.port):
        target = Target(network.mail.ipv4, 25, tls, guard.trust)
        (told,) = send("postfix", target, mail, namespace=network.client)
    assert not told.accepted
    assert told.final == ("" if tls == "starttls" else NO_TLS), told.transcript
    session = first_session(guard)
    assert session.versions == {"client": "", "upstream": ""}
    (why,) = session.leg("upstream")["history"]
    assert why.endswith(f": {WHY['issuer']}")
    said = [line for side, line in session.said("sS") if side == "C"]
    assert [line.split(" ")[0] for line in said] == ["EHLO", "STARTTLS"]
    assert mail_server.maildir.copies(mail.token) == []


# -- an upstream that cannot have the TLS we ask for ---------------------------------


@pytest.fixture
def old_postfix(start_postfix: StartPostfix) -> PostfixServer:
    """One that offers STARTTLS, with nothing that smtpguard agrees to by default."""
    return start_postfix("starttls", smtpd_tls_protocols="!TLSv1.2, !TLSv1.3")


def before(server: PostfixServer) -> str:
    endpoint = server.endpoint("starttls")
    return f"reverse:tcp://{endpoint.host}:{endpoint.port}"


@pytest.mark.parametrize("name", SENDERS)
def test_preferred_dials_again_in_clear_and_remembers_it(
    *,
    name: str,
    send: Send,
    start_guard: StartGuard,
    old_postfix: PostfixServer,
    identity: Identity,
    authority: Authority,
) -> None:
    # A client that sends no name and wants one gets no certificate minted for it where
    # the upstream has shown none: this is the case for an own certificate.
    own = f'required, certificate: "{identity.both}"'
    rules = HEAD + policy(server="starttls: preferred", client=own)
    guard = start_guard(before(old_postfix), rules)
    target = Target("127.0.0.1", guard.port, "starttls", authority.certificate)
    mails = [make_mail(ALLOWED, REFUSED, OLD) for _ in range(2)]
    for mail in mails:
        (told,) = send(name, target, mail)
        assert told.accepted, told.transcript
    old_postfix.instance.settle()
    for mail in mails:
        copies = old_postfix.maildir.copies(mail.token)
        assert [copy.recipient for copy in copies] == [ALLOWED, NEW]
        assert not any("using TLS" in copy.received for copy in copies)
    first, second = (sessions_of(guard, mail)[0] for mail in mails)
    for session in (first, second):
        assert session.versions == {"client": "TLSv1.3", "upstream": ""}
        assert session.outcomes == ["relayed"]
    (why,) = first.leg("upstream")["history"]
    assert why.startswith("downgrade: TLS handshake failed: ")
    assert second.leg("upstream")["history"] == ["downgrade: handshake failed lately"]
    assert guard.log.count("downgrade: upstream dialled again in clear") == 1
    assert old_postfix.instance.log_text().count("SSL_accept error") == 1


@pytest.mark.parametrize("name", SENDERS)
def test_required_does_not(
    name: str, send: Send, start_guard: StartGuard, old_postfix: PostfixServer
) -> None:
    guard = start_guard(before(old_postfix), HEAD + policy(server="starttls: required"))
    mail = make_mail(ALLOWED)
    said = why_not(name, send, through(guard), mail)
    assert NO_STARTTLS[name] in said, said
    old_postfix.instance.settle()
    assert old_postfix.maildir.copies(mail.token) == []
    assert "MAIL" not in "".join(line for _, line in first_session(guard).said("sS"))


@pytest.mark.parametrize("name", SENDERS)
def test_required_before_a_server_without_tls_is_451(
    name: str, send: Send, start_guard: StartGuard, loopback: Loopback
) -> None:
    rules = HEAD + policy(server="starttls: required", client="allowed")
    guard = start_guard(loopback.reverse("clear"), rules)
    mail = make_mail(ALLOWED)
    (told,) = send(name, through(guard, "clear"), mail)
    assert told.final == NO_TLS, told.transcript
    assert loopback.server.maildir.copies(mail.token) == []


# -- clients that say HELO -----------------------------------------------------------


def by_helo(target: Target, mail: Mail) -> list[tuple[int, bytes]]:
    """Send a mail as a printer does: HELO, no TLS, one command at a time."""
    with smtplib.SMTP(target.host, target.port, timeout=30) as smtp:
        replies = [smtp.helo(HELO), smtp.mail(mail.reverse_path)]
        replies += [smtp.rcpt(each) for each in mail.forward_paths]
        replies.append(smtp.data(mail.message))
    return replies


def check_helo_only(
    call: Callable[[], list[tuple[int, bytes]]],
    mail: Mail,
    guard: Guard,
    server: PostfixServer,
) -> Session:
    replies = call()
    assert [code for code, _ in replies] == [250, 250, 250, 550, 250, 250]
    assert replies[0] == (250, b"mail.example.test")
    server.instance.settle()
    copies = server.maildir.copies(mail.token)
    assert [copy.recipient for copy in copies] == [ALLOWED, NEW]
    assert all(copy.message == mail.message for copy in copies)
    assert all("using TLSv1.3" in copy.received for copy in copies)
    (session,) = sessions_of(guard, mail)
    assert session.versions == {"client": "", "upstream": "TLSv1.3"}
    assert session.leg("upstream")["tls"]["verified"] == "ok"
    said = [line for side, line in session.said("sS") if side == "C"]
    assert f"EHLO {HELO}" in said
    assert not any(line.startswith("HELO") for line in said)
    return session


def test_a_client_with_helo_only_gets_tls_upstream_and_its_name_handed_on(
    start_guard: StartGuard, loopback: Loopback
) -> None:
    rules = HEAD + policy(client="allowed", identity="xclient")
    guard = start_guard(loopback.reverse("starttls"), rules)
    mail = make_mail(ALLOWED, REFUSED, OLD)
    session = check_helo_only(
        lambda: by_helo(through(guard, "clear"), mail), mail, guard, loopback.server
    )
    said = [line for side, line in session.said("sS") if side == "C"]
    (xclient,) = [line for line in said if line.startswith("XCLIENT")]
    assert f" PROTO=SMTP HELO={HELO} " in f"{xclient} "


@pytest.mark.parametrize("family", ["IPv4", "IPv6"])
def test_a_client_with_helo_only_is_redirected_without_identity(
    family: str, start_guard: StartGuard, network: Network, mail_server: PostfixServer
) -> None:
    """Nobody has told a server name; without identity the server sees the router."""
    guard = start_guard(
        "transparent",
        HEAD + policy(client="allowed"),
        namespace=network.router,
        port=PROXY_PORT,
    )
    mail = make_mail(ALLOWED, REFUSED, OLD)
    target = Target(network.servers()[family], 25, "clear", guard.trust)
    with network.redirect(guard.port):
        check_helo_only(
            lambda: network.client.call(lambda: by_helo(target, mail)),
            mail,
            guard,
            mail_server,
        )
    router = {"IPv4": "10.91.2.1", "IPv6": "fd91:2::1"}[family]
    copies = mail_server.maildir.copies(mail.token)
    assert all(router in copy.received for copy in copies)


def test_a_client_with_helo_only_must_encrypt_where_that_is_demanded(
    start_guard: StartGuard, loopback: Loopback
) -> None:
    guard = start_guard(loopback.reverse("starttls"), HEAD + policy())
    with smtplib.SMTP("127.0.0.1", guard.port, timeout=30) as smtp:
        assert smtp.helo(HELO)[0] == 250
        assert smtp.mail("sender@client.example.test") == (
            530,
            b"5.7.0 Must issue a STARTTLS command first",
        )
