"""End of data (attacks F1, F3, F11): what only looks like it makes no second mail.

The Postfix behind the gateway is one that still takes a bare LF for a line end, as many
servers do (``smtpd_forbid_bare_newline = no``). That it can be fooled is shown first.
All its mail lands in one maildir, so one mail too many is seen wherever it comes from.
"""

from __future__ import annotations

import re
import ssl
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest

from tests.integration.bed.clients import stuffed
from tests.integration.raw import Wire, connect


if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.integration.bed.guard import Guard
    from tests.integration.bed.maildir import Copy
    from tests.integration.bed.postfix import PostfixServer
    from tests.integration.conftest import StartGuard, StartPostfix


pytestmark = [pytest.mark.real, pytest.mark.timeout(180)]

RULES = """\
version: 1
policies:
  - name: everything
    session: {max_recipients: upstream, bare_newlines: %s}
    rcpt_to: [{match: "*", action: allow}]
    content_types: [{match: "*", action: allow}]
"""
FOOLED = {
    "smtpd_forbid_bare_newline": "no",
    # Each refused message costs a RSET; a hundred of them in a row would end it.
    "smtpd_junk_command_limit": "100000",
}
REFUSED = "550 5.6.0 Bare CR, LF or NUL in the message"

BEFORE_DOT = (
    *(b"\n", b"\r", b"\r\n", b"\r\r\n", b"\n\r"),
    *(b"\r\0\n", b"\0\r\n", b"\r\n\0", b"\n\0"),
)
AFTER_DOT = (
    *(b"\n", b"\r", b"\r\n", b"\r\r\n", b"\n\r"),
    *(b"\r\0\n", b"\0\r\n", b"\r\n\0", b"\0\n"),
)
END_OF_DATA = b"\r\n.\r\n"
FORMS = tuple(
    form
    for before in BEFORE_DOT
    for after in AFTER_DOT
    if END_OF_DATA not in (form := before + b"." + after)
)
"""All that could be taken for the end of data and is not."""

SENDER = b"sender@client.example.test"
RECIPIENT = b"victim@own.example"
SMUGGLED = (
    b"MAIL FROM:<smuggler@evil.example>\r\n"
    b"RCPT TO:<%s>\r\n"
    b"DATA\r\n"
    b"Subject: smuggled\r\n"
    b"\r\n"
    b"I was never judged.\r\n"
) % RECIPIENT


@dataclass(frozen=True, slots=True)
class Cut:
    """A message that is sent in pieces."""

    token: str
    pieces: tuple[bytes, ...]
    """Their sum is what a client has between 354 and the final dot."""

    @property
    def text(self) -> bytes:
        return b"".join(self.pieces)


def header(token: str) -> bytes:
    return (
        f"From: <{SENDER.decode()}>\r\n"
        f"Subject: {token}\r\n"
        f"Message-ID: <{token}@client.example.test>\r\n"
        "Date: Tue, 24 Nov 2026 10:00:00 +0000\r\n"
        "\r\n"
    ).encode("ascii")


def token(form: bytes, way: str) -> str:
    return f"smuggling-{form.hex()}-{way}"


def cuts(form: bytes) -> Iterator[Cut]:
    """Yield one message with this form in all ways to segment it.

    Whole, one octet a segment, and cut once at each place within and around it.
    """
    mail = header("%s") + b"first" + form + SMUGGLED
    start = mail.index(b"first") + len(b"first")

    def cut(way: str, *places: int) -> Cut:
        named = mail.replace(b"%s", token(form, way).encode("ascii"))
        shift = len(named) - len(mail)
        edges = [0, *(place + shift for place in places), len(named)]
        return Cut(token(form, way), tuple(named[a:b] for a, b in pairwise(edges)))

    yield cut("whole")
    yield cut("octets", *range(start, start + len(form) + 1))
    for place in range(len(form) + 1):
        yield cut(f"at{place}", start + place)


@contextmanager
def session(port: int, trust: Path | None = None) -> Iterator[Wire]:
    """Greet, with ``trust`` in TLS; say QUIT in the end."""
    with connect(port) as wire:
        assert wire.reply().startswith("220 ")
        assert wire.ask(b"EHLO client.example.test").startswith("250-")
        if trust is not None:
            assert wire.ask(b"STARTTLS").startswith("220 ")
            context = ssl.create_default_context(cafile=str(trust))
            wire.start_tls(context, "127.0.0.1")
            assert wire.ask(b"EHLO client.example.test").startswith("250-")
        yield wire
        assert wire.ask(b"QUIT").startswith("221 ")
        assert wire.rest() == b""


def envelope(wire: Wire) -> None:
    wire.send(b"MAIL FROM:<%s>\r\nRCPT TO:<%s>\r\nDATA\r\n" % (SENDER, RECIPIENT))
    assert [wire.reply()[:3] for _ in range(3)] == ["250", "250", "354"]


def deliver(wire: Wire, cut: Cut) -> str:
    """Send a message by DATA; return the one reply that it gets."""
    envelope(wire)
    wire.send_apart(*cut.pieces)
    wire.send(b".\r\n")
    reply = wire.reply()
    # Had anything of it been taken for a command, this would not be the next reply.
    assert wire.ask(b"NOOP") == "250 2.0.0 OK"
    return reply


def unstuffed(text: bytes) -> bytes:
    """Take the first dot off each line that begins with one (RFC 5321 4.5.2)."""
    return (b"\r\n" + text).replace(b"\r\n.", b"\r\n")[2:]


def normalised(text: bytes) -> bytes:
    """Do what contract 3 says of ``normalise``, in its words and order."""
    becomes = {b"\n": b"\r\n", b"\r\r\n": b"\r\n", b"\r": b" ", b"\0": b""}
    return re.sub(
        rb"\r\r\n|\r\n|\n|\r|\0", lambda found: becomes.get(found[0], found[0]), text
    )


def deliver_chunks(wire: Wire, cut: Cut) -> str:
    """Send a message by BDAT, each piece a chunk; return the reply to the last one."""
    wire.send(b"MAIL FROM:<%s>\r\nRCPT TO:<%s>\r\n" % (SENDER, RECIPIENT))
    assert [wire.reply()[:3] for _ in range(2)] == ["250", "250"]
    for piece in cut.pieces[:-1]:
        wire.send(b"BDAT %d\r\n%s" % (len(piece), piece))
        assert wire.reply().startswith("250 ")
    wire.send(b"BDAT %d LAST\r\n%s" % (len(cut.pieces[-1]), cut.pieces[-1]))
    reply = wire.reply()
    assert wire.ask(b"NOOP") == "250 2.0.0 OK"
    return reply


def subject(copy: Copy) -> str:
    found = re.search(rb"(?m)^Subject: (\S+)\r$", copy.message)
    assert found is not None
    return found[1].decode("ascii")


def guard_before(
    server: PostfixServer, start_guard: StartGuard, bare_newlines: str
) -> Guard:
    port = server.endpoint("starttls").port
    return start_guard(f"reverse:tcp://127.0.0.1:{port}", RULES % bare_newlines)


@pytest.fixture
def fooled(start_postfix: StartPostfix) -> PostfixServer:
    """A Postfix that takes other ends of data than CRLF.CRLF."""
    return start_postfix("starttls", **FOOLED)


def copies(server: PostfixServer) -> list[Copy]:
    """Return all that was delivered, once nothing is under way any more."""
    server.instance.settle()
    return server.maildir.copies("")


def test_the_forms_are_many_and_none_is_the_end_of_data() -> None:
    assert len(set(FORMS)) == len(FORMS) == 75
    assert all(END_OF_DATA not in b"first" + form + SMUGGLED for form in FORMS)
    assert all(set(form) == set(b".") | set(form) & set(b"\r\n\0") for form in FORMS)


def test_f1_without_smtpguard_many_forms_make_a_second_mail(
    fooled: PostfixServer,
) -> None:
    for form in FORMS:
        with connect(fooled.endpoint("starttls").port) as wire:
            assert wire.reply().startswith("220 ")
            assert wire.ask(b"EHLO client.example.test").startswith("250-")
            envelope(wire)
            wire.send(next(cuts(form)).text + b".\r\nQUIT\r\n")
            assert wire.rest().splitlines()[-1].startswith(b"221 ")
    arrived = copies(fooled)
    smuggled = [copy for copy in arrived if copy.reverse_path.startswith("smuggler@")]
    assert len(arrived) == len(FORMS) + len(smuggled)
    assert len(smuggled) >= 5


@pytest.mark.parametrize("leg", ["clear", "starttls"])
def test_f1_no_form_however_cut_makes_a_mail(
    leg: str, fooled: PostfixServer, start_guard: StartGuard
) -> None:
    guard = guard_before(fooled, start_guard, "refuse")
    with session(guard.port, guard.trust if leg == "starttls" else None) as wire:
        count = 0
        for form in FORMS:
            for cut in cuts(form):
                assert deliver(wire, cut) == REFUSED, cut
                count += 1
        legal = Cut("legal", (header("legal"), b"no form\r\n"))
        assert deliver(wire, legal).startswith("250 ")
    assert [copy.message for copy in copies(fooled)] == [legal.text]
    assert count > 500
    assert guard.log.count(" disposition=rejected ") == count


@pytest.mark.parametrize("leg", ["clear", "starttls"])
def test_f1_a_normalised_form_however_cut_stays_in_its_one_mail(
    leg: str, fooled: PostfixServer, start_guard: StartGuard
) -> None:
    guard = guard_before(fooled, start_guard, "normalise")
    with session(guard.port, guard.trust if leg == "starttls" else None) as wire:
        sent = {}
        for form in FORMS:
            for cut in cuts(form):
                assert deliver(wire, cut).startswith("250 "), cut
                sent[cut.token] = normalised(unstuffed(cut.text))
    arrived = {subject(copy): copy.message for copy in copies(fooled)}
    assert len(copies(fooled)) == len(arrived) == len(sent) > 500
    assert arrived == sent


@pytest.mark.parametrize("mode", ["refuse", "normalise"])
def test_f3_no_form_across_two_chunks_makes_a_mail_of_its_own(
    mode: str, fooled: PostfixServer, start_guard: StartGuard
) -> None:
    """In a chunk no octets end the data; a form between two must not either."""
    guard = guard_before(fooled, start_guard, mode)
    with session(guard.port) as wire:
        sent = {}
        for form in FORMS:
            for cut in cuts(form):
                reply = deliver_chunks(wire, cut)
                if mode == "refuse":
                    assert reply == REFUSED, cut
                else:
                    assert reply.startswith("250 "), cut
                    sent[cut.token] = normalised(cut.text)
    arrived = copies(fooled)
    assert len(arrived) == len(sent)
    assert {subject(copy): copy.message for copy in arrived} == sent


@pytest.mark.parametrize("mode", ["refuse", "normalise"])
@pytest.mark.parametrize("upstream", ["with CHUNKING", "without CHUNKING"])
def test_f3_the_end_of_data_in_a_chunk_is_text(
    upstream: str, mode: str, start_postfix: StartPostfix, start_guard: StartGuard
) -> None:
    without = "chunking" if upstream == "without CHUNKING" else ""
    fooled = start_postfix("starttls", **FOOLED, smtpd_discard_ehlo_keywords=without)
    guard = guard_before(fooled, start_guard, mode)
    with session(guard.port) as wire:
        sent = [*cuts(END_OF_DATA)]
        for cut in sent:
            assert deliver_chunks(wire, cut).startswith("250 ")
    arrived = {subject(copy): copy.message for copy in copies(fooled)}
    assert len(copies(fooled)) == len(sent)
    assert arrived == {cut.token: cut.text for cut in sent}


# The long ones have CR, LF and dot on both sides of every seam between two pieces of
# whatever size, from network, memory or file: three octets again and again.
LEGAL_BODIES = (
    b".",
    b"..",
    b"...",
    b".\r\n.",
    b".\r\n.\r\n.\r\n.",
    b"..\r\n.\r\n...\r\n..",
    b"\r\n.\r\n",
    b"\r\n\r\n.\r\n\r\n",
    b"text\r\n.",
    b".text\r\n..text\r\n...text",
    b". \r\n.\t\r\n. .\r\n.. ..",
    b" .\r\n\t.\r\nx.\r\n",
    b".QUIT\r\nQUIT\r\n.RSET",
    b"end.\r\n.\r\n" + SMUGGLED + b".\r\nQUIT",
    b".\r\nMAIL FROM:<>\r\n.\r\nDATA\r\n.\r\n.",
    b"." * 998,
    b"." * 3000 + b"\r\n" + b"." * 1024,
    b".\r\n" * 50_000 + b"odd",
    b"x\r\n.\r\n" * 30_001,
    b"\r\n." * 300_000,
    b"\r\n." * 1_500_000,
    b"a." * 40_000 + b"\r\n." + b"." * 40_000,
    b".\xff\r\n.\x7f\r\n.\x01\x02",
    bytes(octet for octet in range(1, 256) if octet not in b"\r\n") + b"\r\n.\r\n.",
)


def legal_mails(body: bytes) -> Iterator[tuple[Callable[[Wire, Cut], str], Cut, bytes]]:
    """Yield how to send this body, in pieces, and the message that it must arrive as.

    By DATA, by DATA with one octet a segment, by BDAT with one octet a chunk.
    """
    number = LEGAL_BODIES.index(body)
    apart = ("DATA", "DATA in octets", "BDAT in octets")
    for way in apart if len(body) < 100 else ("DATA", "BDAT"):
        verb, _, octets = way.partition(" ")
        name = f"legal-{number}-{way}".replace(" ", "-")
        text = body + b"\r\n"
        if verb == "DATA":
            text = stuffed(text)[: -len(b".\r\n")]
        pieces = (text[at : at + 1] for at in range(len(text))) if octets else (text,)
        send = deliver if verb == "DATA" else deliver_chunks
        yield send, Cut(name, (header(name), *pieces)), header(name) + body + b"\r\n"


@pytest.mark.parametrize("mode", ["refuse", "normalise"])
def test_f11_legal_bodies_full_of_dots_arrive_unchanged(
    mode: str, fooled: PostfixServer, start_guard: StartGuard
) -> None:
    assert len(set(LEGAL_BODIES)) == len(LEGAL_BODIES) >= 20
    guard = guard_before(fooled, start_guard, mode)
    sent = {}
    with session(guard.port) as wire:
        for body in LEGAL_BODIES:
            for send, cut, message in legal_mails(body):
                assert send(wire, cut).startswith("250 "), cut.token
                sent[cut.token] = message
    arrived = {subject(copy): copy.message for copy in copies(fooled)}
    assert len(copies(fooled)) == len(sent) > 2 * len(LEGAL_BODIES)
    assert [name for name in sent if arrived.get(name) != sent[name]] == []
