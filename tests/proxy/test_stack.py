"""A whole session in memory: real dialogue, real TLS on both legs, no sockets."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from mitmproxy.addons import tlsconfig
from mitmproxy.test import taddons

from smtpguard.model.disposition import Disposition, Outcome
from smtpguard.model.reply import Reply
from smtpguard.model.settings import ClientTls, ServerTls, Settings
from smtpguard.proxy import stack
from smtpguard.proxy.services import ClientGone
from smtpguard.proxy.spool import BUDGET_OCTETS
from tests.proxy.fakes import (
    HEARD,
    AllowAll,
    FakeRecorder,
    new_services,
    new_session,
)
from tests.proxy.peers import Authority, TlsPeer, client_peer, server_peer
from tests.proxy.playbook import World, make_context


CAPABILITIES = b"250-mx.example\r\n250-STARTTLS\r\n250-PIPELINING\r\n250 8BITMIME\r\n"
CLEAR_AGAIN = b"250-mx.example\r\n250 8BITMIME\r\n"


@pytest.fixture
def mitm(tmp_path: Path, authority: Authority) -> Iterator[taddons.context]:
    addon = tlsconfig.TlsConfig()
    with taddons.context(addon) as tctx:
        tctx.configure(
            addon,
            confdir=str(tmp_path / "conf"),
            ssl_verify_upstream_trusted_ca=str(authority.ca_file),
        )
        yield tctx


class Session:
    """Both peers of one session."""

    def __init__(
        self,
        tmp: Path,
        pem: Path,
        settings: Settings,
        *,
        heard: tuple[str, ...] = HEARD,
    ) -> None:
        self.context = make_context(server_open=False)
        self.world = World(self.context)
        self.decider = AllowAll(settings)
        self.recorders: list[FakeRecorder] = []
        services = new_services(
            tmp, self.world.clock, heard=heard, recorders=self.recorders
        )
        self.memory = services.registry.memory
        session = new_session()
        session.reverse_name = "mx.example"
        self.ended = 0
        self.stack = stack.build(
            self.context, session, self.decider, services, self._count
        )
        self.session = session
        self.client = client_peer()
        self.server = server_peer(pem)
        self.world.handlers = {
            "smtp_message": self._judge,
        }
        self.world.start(self.stack.top)

    def _count(self) -> None:
        self.ended += 1

    def _judge(self, data: Any) -> None:
        judge = data.transaction.judge
        data.disposition = judge.message(data.session, data.envelope, data.content)

    def from_server(self, octets: bytes) -> bytes:
        """Have the upstream say something; return what it is told then."""
        peer = self.server
        sent = peer.write(octets) if peer.established else octets
        self.world.receive(self.context.server, sent)
        return self.at_server()

    def at_server(self) -> bytes:
        return self._read(self.context.server, self.server)

    def from_client(self, octets: bytes) -> bytes:
        """Have the client say something; return what it is told then."""
        peer = self.client
        sent = peer.write(octets) if peer.established else octets
        self.world.receive(self.context.client, sent)
        return self.at_client()

    def at_client(self) -> bytes:
        return self._read(self.context.client, self.client)

    def _read(self, conn: Any, peer: TlsPeer) -> bytes:
        octets = self.world.take(conn)
        if not peer.established:
            return octets
        peer.feed(octets)
        found = bytes(peer.received)
        peer.received.clear()
        return found

    def shake(self, conn: Any, peer: TlsPeer, to_us: bytes = b"") -> None:
        for _ in range(10):
            if to_us:
                self.world.receive(conn, to_us)
            to_peer = self.world.take(conn)
            to_us = peer.feed(to_peer) if to_peer else b""
            if not to_us and not self.world.sent.get(conn.id):
                return
        raise AssertionError("handshake does not end")

    def encrypt_upstream(self) -> None:
        """Bring the upstream leg up, as it is before the client is greeted or after."""
        assert self.from_server(b"220 mx.example ESMTP\r\n").startswith(b"EHLO ")
        assert self.from_server(CAPABILITIES) == b"STARTTLS\r\n"
        self.world.receive(self.context.server, b"220 go\r\n")
        self.shake(self.context.server, self.server)
        assert self.server.established


@pytest.fixture
def make(mitm: taddons.context, tmp_path: Path, authority: Authority) -> Any:
    def made(settings: Settings | None = None, **options: Any) -> Session:
        pem = authority.folder / "mx.example.pem"
        return Session(tmp_path, pem, settings or Settings(), **options)

    return made


def through_starttls(session: Session) -> None:
    """Greeting, EHLO, STARTTLS and EHLO again, on both legs."""
    heard = session.from_server(b"220 mx.example ESMTP\r\n")
    greeted = session.at_client()
    assert greeted == b"220 mx.example ESMTP\r\n"
    assert heard == b""
    session.world.receive(session.context.client, b"EHLO client.example\r\n")
    assert session.at_server() == b"EHLO client.example\r\n"
    assert session.from_server(CAPABILITIES) == b"STARTTLS\r\n"
    session.world.receive(session.context.server, b"220 go\r\n")
    session.shake(session.context.server, session.server)
    again = bytes(session.server.received)
    session.server.received.clear()
    assert again == b"EHLO client.example\r\n"
    session.from_server(CLEAR_AGAIN)
    assert b"250-STARTTLS\r\n" in session.at_client()
    assert session.from_client(b"STARTTLS\r\n").startswith(b"220 ")
    session.shake(session.context.client, session.client, session.client.handshake())
    assert session.client.established


def test_a_mail_passes_with_both_legs_encrypted(make: Any) -> None:
    session: Session = make()
    through_starttls(session)
    session.from_client(b"EHLO client.example\r\n")
    told = session.at_server()
    if told:
        session.from_server(CLEAR_AGAIN)
    session.from_client(b"MAIL FROM:<a@client.example>\r\n")
    assert session.at_server() == b"MAIL FROM:<a@client.example>\r\n"
    session.from_server(b"250 2.1.0 sender fine\r\n")
    assert session.at_client().endswith(b"250 2.1.0 sender fine\r\n")
    session.from_client(b"RCPT TO:<b@example.org>\r\n")
    assert session.at_server() == b"RCPT TO:<b@example.org>\r\n"
    session.from_server(b"250 2.1.5 rcpt fine\r\n")
    assert session.from_client(b"DATA\r\n").endswith(
        b"354 End data with <CR><LF>.<CR><LF>\r\n"
    )
    session.from_client(b"Subject: hi\r\n\r\n..dot\r\n.\r\n")
    assert session.decider.judged == [b"Subject: hi\r\n\r\n.dot\r\n"]
    assert session.at_server() == b"DATA\r\n"
    sent = session.from_server(b"354 go\r\n")
    assert sent == b"Subject: hi\r\n\r\n..dot\r\n.\r\n"
    session.from_server(b"250 2.0.0 queued\r\n")
    assert session.at_client() == b"250 2.0.0 queued\r\n"

    facts = session.session
    assert facts.client_leg.tls is not None
    assert facts.upstream_leg.tls is not None
    assert facts.upstream_leg.tls.verified == "ok"
    assert "disposition=relayed" in session.world.logged()


def test_no_octet_of_a_refused_message_goes_upstream(make: Any) -> None:
    session: Session = make(Settings(server_tls=ServerTls(starttls="none")))
    session.decider.verdict = lambda: Disposition(
        Outcome.REJECTED, Reply.make(550, "5.7.1", "refused")
    )
    session.from_server(b"220 mx.example ESMTP\r\n")
    session.world.receive(
        session.context.client,
        b"EHLO c\r\nMAIL FROM:<a@c.example>\r\nRCPT TO:<b@example.org>\r\n",
    )
    assert session.at_server() == b"EHLO c\r\n"
    asked = session.from_server(CLEAR_AGAIN)
    for _ in range(2):
        asked += session.from_server(b"250 fine\r\n")
    session.at_client()
    session.from_client(b"DATA\r\n")
    told = session.from_client(b"secret\r\n.\r\n")
    assert told == b"550 5.7.1 refused\r\n"

    after = session.at_server()
    assert after == b"RSET\r\n"
    assert b"secret" not in asked + after


def test_starttls_none_for_clients_is_not_offered(make: Any) -> None:
    session: Session = make(
        Settings(
            client_tls=ClientTls(starttls="none"),
            server_tls=ServerTls(starttls="none"),
        )
    )
    session.from_server(b"220 mx.example ESMTP\r\n")
    session.world.receive(session.context.client, b"EHLO c\r\n")
    session.at_server()
    session.from_server(CAPABILITIES)

    assert b"STARTTLS" not in session.at_client()


def test_clear_octets_behind_starttls_are_discarded(make: Any) -> None:
    """CVE-2011-0411 (T1): nothing of them is answered inside TLS or goes upstream."""
    session: Session = make(Settings(server_tls=ServerTls(starttls="none")))
    session.from_server(b"220 mx.example ESMTP\r\n")
    session.world.receive(session.context.client, b"EHLO c\r\n")
    session.at_server()
    session.from_server(CLEAR_AGAIN)
    session.at_client()
    told = session.from_client(b"STARTTLS\r\nMAIL FROM:<evil@example.org>\r\n")
    assert told.startswith(b"220 ")
    assert told.count(b"\r\n") == 1
    session.shake(session.context.client, session.client, session.client.handshake())

    assert session.at_client() == b""
    assert b"evil" not in session.at_server()
    assert session.client.established


def test_a_hello_in_the_segment_of_starttls_is_not_taken(make: Any) -> None:
    """T2: whatever the client sent before our 220 is dropped, a ClientHello too."""
    session: Session = make(Settings(server_tls=ServerTls(starttls="none")))
    session.from_server(b"220 mx.example ESMTP\r\n")
    session.world.receive(session.context.client, b"EHLO c\r\n")
    session.at_server()
    session.from_server(CLEAR_AGAIN)
    session.at_client()
    hello = session.client.handshake()
    told = session.from_client(b"STARTTLS\r\n" + hello)

    assert told.startswith(b"220 ")
    assert told.count(b"\r\n") == 1
    assert session.at_server() == b""


def test_a_client_that_is_gone_ends_the_session_and_its_flow(make: Any) -> None:
    session: Session = make(Settings(server_tls=ServerTls(starttls="none")))
    session.from_server(b"220 mx.example ESMTP\r\n")
    session.world.feed(ClientGone())

    assert session.world.is_closed(session.context.server)
    assert session.ended == 1
    assert [hook.name for hook in session.world.hooks][-1] == "tcp_end"


@pytest.mark.parametrize("how", ["reset", "fault"])
def test_storage_comes_back_when_a_late_verdict_does(make: Any, how: str) -> None:
    """Ninety clients that are reset at their dot would push all mails to the disk."""
    session: Session = make(Settings(server_tls=ServerTls(starttls="none")))
    session.world.held_hooks = {"smtp_message"}
    session.from_server(b"220 mx.example ESMTP\r\n")
    session.from_client(b"EHLO c.example\r\n")
    session.from_server(b"250 mx.example\r\n")
    session.from_client(b"MAIL FROM:<a@c.example>\r\n")
    session.from_server(b"250 ok\r\n")
    session.from_client(b"RCPT TO:<b@d.example>\r\n")
    session.from_server(b"250 ok\r\n")
    assert session.memory.left == BUDGET_OCTETS
    session.from_client(b"DATA\r\nSubject: x\r\n\r\n.\r\n")
    if how == "reset":
        session.world.feed(ClientGone())
    else:
        for command in session.stack.smtp.fail(RuntimeError("planted")):
            session.world._do(command)
    assert session.memory.left < BUDGET_OCTETS
    session.world.answer(session.world.held("smtp_message"))

    assert session.ended == 1
    assert session.memory.left == BUDGET_OCTETS
    lines = [text for _, text in session.world.logs if text.startswith("tx=5f3a.1 ")]
    assert len(lines) == 1


def test_a_failed_client_handshake_leaves_nobody_hanging(make: Any) -> None:
    """Traps 1: mitmproxy swallows what follows; no QUIT upstream, flow never saved."""
    session: Session = make(Settings(server_tls=ServerTls(starttls="none")))
    session.from_server(b"220 mx.example ESMTP\r\n")
    session.world.receive(session.context.client, b"EHLO c\r\n")
    session.at_server()
    session.from_server(CLEAR_AGAIN)
    session.from_client(b"STARTTLS\r\n")
    session.world.receive(session.context.client, b"not a hello\r\n")

    assert session.world.is_closed(session.context.client)
    assert session.at_server() == b"QUIT\r\n"
    assert session.world.is_closed(session.context.server)
    assert session.ended == 1


def test_an_upstream_handshake_that_fails_is_dialled_again_in_clear(make: Any) -> None:
    """``preferred``: a new connection, since mitmproxy cannot reopen the old one."""
    session: Session = make()
    session.from_server(b"220 mx.example ESMTP\r\n")
    session.world.receive(session.context.client, b"EHLO c\r\n")
    session.at_server()
    session.from_server(CAPABILITIES)
    old = session.context.server
    session.world.receive(old, b"220 go\r\n")
    session.world.receive(old, b"I do not speak TLS after all\r\n")
    new = session.context.server
    assert new is not old
    session.world.receive(new, b"220 mx.example ESMTP\r\n")
    assert session.world.take(new) == b"EHLO c\r\n"
    session.world.receive(new, CAPABILITIES)

    assert b"250" in session.at_client()
    assert "downgrade" in session.world.logged()


@pytest.mark.parametrize("starttls", ["required", "follow"])
def test_an_upstream_handshake_that_fails_is_never_clear_where_it_must_not(
    make: Any, starttls: str
) -> None:
    session: Session = make(Settings(server_tls=ServerTls(starttls=starttls)))  # type: ignore[arg-type]
    session.from_server(b"220 mx.example ESMTP\r\n")
    session.world.receive(session.context.client, b"EHLO c\r\n")
    session.at_server()
    session.from_server(CAPABILITIES)
    if starttls == "follow":
        session.from_client(b"STARTTLS\r\n")
    old = session.context.server
    session.world.receive(old, b"220 go\r\n")
    session.world.receive(old, b"I do not speak TLS after all\r\n")
    session.from_client(b"MAIL FROM:<a@client.example>\r\n")

    everything = b"".join(
        command.data
        for command in session.world.commands
        if hasattr(command, "data") and isinstance(command.data, bytes)
    )
    assert b"MAIL FROM" not in everything


def test_other_addons_are_asked_about_commands_only_if_there_are_any(
    make: Any,
) -> None:
    settings = Settings(server_tls=ServerTls(starttls="none"))
    alone: Session = make(settings)
    alone.from_server(b"220 mx.example ESMTP\r\n")
    alone.from_client(b"NOOP\r\n")
    assert alone.world.raised("smtp_command") == []

    asked: Session = make(settings, heard=(*HEARD, "smtp_command"))
    asked.world.handlers["smtp_command"] = lambda data: setattr(data, "answer", "pass")
    asked.from_server(b"220 mx.example ESMTP\r\n")
    asked.at_client()
    assert asked.from_client(b"NOOP\r\n").startswith(b"250 ")
    assert [d.command.verb for d in asked.world.raised("smtp_command")] == ["NOOP"]


def test_an_addon_that_answers_nothing_about_a_command_defers_it(make: Any) -> None:
    settings = Settings(server_tls=ServerTls(starttls="none"))
    session: Session = make(settings, heard=(*HEARD, "smtp_command"))
    session.from_server(b"220 mx.example ESMTP\r\n")
    session.at_client()

    assert session.from_client(b"NOOP\r\n").startswith(b"451 4.3.0")
