"""SMTP smuggling: rows F1, F2 and F11 of the attack list."""

from __future__ import annotations

import itertools
import random
import re

import pytest

from smtpguard.model.content import Edited, Spool
from smtpguard.model.disposition import Disposition, Outcome
from smtpguard.model.envelope import Envelope
from smtpguard.model.settings import BareNewlines, Settings
from smtpguard.replay.memory import MemorySession
from tests.dialogue.peers import (
    Rules,
    enveloped,
    forget_heard,
    greeted,
    lines,
    secured,
    session,
    with_data,
)


CHUNKING = b"250-mx.example\r\n250-PIPELINING\r\n250 CHUNKING\r\n"
EVIL = (
    b"MAIL FROM:<s@evil.example>\r\nRCPT TO:<v@d.example>\r\nDATA\r\n"
    b"Subject: smuggled\r\n\r\nsmuggled"
)


# -- F1: smuggling --------------------------------------------------------------------


_ENDS = [b"\n", b"\r", b"\r\n", b"\r\r\n", b"\r\n\0", b"\n\r", b"\0\r\n"]
FORMS = [
    *(
        form
        for before, after in itertools.product(_ENDS, _ENDS)
        if b"\r\n.\r\n" not in (form := before + b"." + after)
    ),
    b"\r\n\r.\r\n",
    b"\r\n.\r\0\n",
    b"\r\0\n.\r\n",
    b"\n\n.\n\n",
    b"\r\r.\r\r",
]
"""What some server somewhere has taken for the end of data, and what looks like it.
CRLF.CRLF is not among it: that is the client's own end, whatever stands before it."""

# Whatever any server could take for the end of data: a dot alone between two line ends
# of any kind, NUL and spaces overlooked.
_LENIENT_END = re.compile(rb"(?:[\r\n]\0*)\.[\0 \t]*[\r\n]")


def lenient_ends(upstream: bytes) -> int:
    """Return in how many places a lenient upstream could see the end of the data."""
    _, _, message = upstream.partition(b"DATA\r\n")
    return len(_LENIENT_END.findall(message.replace(b"\r\n", b"\n")))


def smuggle(form: bytes, mode: BareNewlines, cuts: tuple[int, ...]) -> MemorySession:
    rules = Rules(Settings(bare_newlines=mode))
    memory = with_data(enveloped(greeted(session(rules))))
    octets = b"Subject: one\r\n\r\nx" + form + EVIL + b"\r\n.\r\n"
    pieces = zip((0, *cuts), (*cuts, len(octets)), strict=True)
    for start, end in pieces:
        memory.from_client(octets[start:end])
    if memory.upstream_heard == b"DATA\r\n":
        memory.from_upstream(b"354 go\r\n")
    return memory


ODD = [b"\r\n. \r\n", b"\r\n.\t\r\n"]
"""Legal lines that look like an end to some."""


def test_F1_there_are_at_least_thirty_forms() -> None:
    assert len(set(FORMS)) == len(FORMS) >= 30


@pytest.mark.parametrize("mode", ["refuse", "normalise"])
@pytest.mark.parametrize("form", FORMS + ODD, ids=repr)
def test_F1_no_form_of_an_end_smuggles_a_second_mail(
    form: bytes, mode: BareNewlines
) -> None:
    start = len(b"Subject: one\r\n\r\nx")
    chance = random.Random(repr(form))
    everywhere = range(start - 1, start + len(form) + 2)
    cuts: list[tuple[int, ...]] = [(), *((cut,) for cut in everywhere)]
    cuts += [tuple(sorted(chance.sample(everywhere, n))) for n in (2, 3, 4) * 3]
    for cut in cuts:
        memory = smuggle(form, mode, cut)
        heard = lines(memory.client_heard)
        up = bytes(memory.upstream_heard)
        # Read by CRLF alone there is one message and its end, or none.
        assert len(memory.records) + (memory.dialogue.transaction is not None) == 1
        assert b"MAIL FROM:<s@evil.example>" not in up.partition(b"DATA\r\n")[0]
        if up.startswith(b"DATA"):
            assert heard == []
            assert form in ODD or mode == "normalise"
            assert form in ODD or lenient_ends(up) == 1
            assert up.endswith(b"\r\n.\r\n")
            assert up.count(b"\r\n.\r\n") == 1
        else:
            assert heard[0] == "550 5.6.0 Bare CR, LF or NUL in the message"
            assert up == b"RSET\r\n"


@pytest.mark.parametrize("form", FORMS, ids=repr)
def test_F1_a_refused_form_keeps_the_connection_in_step(form: bytes) -> None:
    """The message is consumed to its real end: what follows is a command again."""
    memory = smuggle(form, "refuse", ())
    assert lines(memory.client_heard)[0].startswith("550 5.6.0")
    memory.from_upstream(b"250 reset\r\n")
    memory.from_client(b"NOOP\r\n")
    assert lines(memory.client_heard) == ["250 2.0.0 OK"]


@pytest.mark.parametrize("form", FORMS, ids=repr)
def test_F1_no_form_smuggles_a_command_out_of_a_chunk(form: bytes) -> None:
    memory = enveloped(greeted(session(), CHUNKING))
    octets = b"Subject: one\r\n\r\nx" + form + EVIL + b"\r\n"
    memory.from_client(b"BDAT %d LAST\r\n" % len(octets) + octets + b"NOOP\r\n")
    assert memory.upstream_heard == b"RSET\r\n"
    heard = lines(memory.client_heard)
    assert [line[:9] for line in heard] == ["550 5.6.0", "250 2.0.0"]


LEGAL = [
    b".x",
    b"..",
    b"...",
    b"....\r\n....",
    b".\r\n\r\n.x",
    b"x\r\n.x\r\n..x\r\n...x",
    b" .",
    b". ",
    b".\t.",
    b"a.\r\n.b",
    b"a.\r\n..\r\n.b",
    b"\r\n\r\n.y\r\n\r\n",
    b"." * 998,
    b"x" * 997 + b".",
    b"\r\n".join([b".."] * 200),
    b"\r\n".join([b".", b"..", b"...", b"...."] * 30),
    b"----.----\r\n.----",
    b"MAIL FROM:<s@evil.example>\r\nDATA\r\n..",
    b".\r\n..\r\n.\r\n..",
    b"=2E\r\n.=2E\r\n..=2E",
]


@pytest.mark.parametrize("text", LEGAL, ids=range(len(LEGAL)))
@pytest.mark.parametrize("upstream", ["DATA", "BDAT"])
@pytest.mark.parametrize("client", ["DATA", "BDAT"])
def test_F1_F11_legal_texts_full_of_dots_arrive_unchanged(
    client: str, upstream: str, text: bytes
) -> None:
    message = b"Subject: dots\r\n\r\n" + text + b"\r\n"
    offers = CHUNKING if upstream == "BDAT" else b"250 mx.example\r\n"
    memory = enveloped(greeted(session(), offers))
    if client == "DATA":
        memory.from_client(b"DATA\r\n" + stuffed(message))
    else:
        memory.from_client(b"BDAT %d LAST\r\n" % len(message) + message)
    if memory.upstream_heard == b"DATA\r\n":
        memory.from_upstream(b"354 go\r\n")
        assert memory.upstream_heard == b"DATA\r\n" + stuffed(message)
    else:
        assert (client, upstream) == ("BDAT", "BDAT")
        head = b"BDAT %d LAST\r\n" % len(message)
        assert memory.upstream_heard == head + message


def stuffed(message: bytes) -> bytes:
    """Return a message as DATA sends it, line by line (RFC 5321 4.5.2)."""
    return b"".join(
        (b"." if line.startswith(b".") else b"") + line + b"\r\n"
        for line in (*message.split(b"\r\n")[:-1],)
    ) + (b".\r\n")


# -- F2: what an edit puts into a message ---------------------------------------------


def inserting(octets: bytes) -> Rules:
    def verdict(_envelope: Envelope, content: Spool) -> Disposition:
        original = bytes(content.view())
        edited = Edited(original, ((0, len(original)), octets))
        return Disposition(Outcome.MODIFIED, content=edited)

    return Rules(verdict=verdict)


@pytest.mark.parametrize("inserted", [b"\r\n.\r\n", b".\r\n", b".\r\n.\r\n"])
def test_F2_dots_that_an_edit_inserts_are_stuffed(inserted: bytes) -> None:
    """Also where the edit begins at a line start of the original."""
    memory = with_data(enveloped(greeted(session(inserting(inserted + EVIL)))))
    memory.from_client(b"x\r\n.\r\n")
    memory.from_upstream(b"354 go\r\n")
    up = bytes(memory.upstream_heard)
    assert up.count(b"\r\n.\r\n") == 1
    assert up.endswith(b"smuggled\r\n.\r\n")


@pytest.mark.parametrize(
    "octets", [b"a\nb", b"a\rb", b"a\0b", b"\n.\n", b"x\r"], ids=repr
)
def test_F2_an_edit_that_breaks_line_ends_is_undecided(octets: bytes) -> None:
    memory = with_data(enveloped(greeted(session(inserting(octets)))))
    memory.from_client(b"x\r\n.\r\n")
    assert lines(memory.client_heard)[0].startswith("451 4.3.0")
    assert memory.upstream_heard == b"RSET\r\n"


# -- F11: the wire is stuffed, the view is not ----------------------------------------


def test_F11_the_judge_sees_the_message_without_its_stuffing() -> None:
    seen = []

    def verdict(_envelope: Envelope, content: Spool) -> Disposition:
        seen.append(bytes(content.view()))
        return Disposition(Outcome.RELAYED)

    memory = with_data(enveloped(greeted(session(Rules(verdict=verdict)))))
    memory.from_client(b"..\r\n....x\r\n..y\r\n.\r\n")
    memory.from_upstream(b"354 go\r\n")
    assert seen == [b".\r\n...x\r\n.y\r\n"]
    assert memory.upstream_heard == b"DATA\r\n..\r\n....x\r\n..y\r\n.\r\n"


def test_F11_it_is_the_same_within_tls() -> None:
    memory = forget_heard(enveloped(secured(session())))
    memory.from_client(b"DATA\r\n..\r\n.\r\n")
    memory.from_upstream(b"354 go\r\n")
    assert memory.upstream_heard == b"DATA\r\n..\r\n.\r\n"
