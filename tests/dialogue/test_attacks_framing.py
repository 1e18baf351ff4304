"""Attacks on where a message ends: rows F1 to F4, F9 and F11 of the attack list."""

from __future__ import annotations

import itertools
import random
import re

import pytest

from smtpguard.dialogue import events
from smtpguard.model.content import Edited, Spool
from smtpguard.model.decision import Action, Decision
from smtpguard.model.disposition import Disposition, Outcome
from smtpguard.model.envelope import Envelope
from smtpguard.model.reply import Reply
from smtpguard.model.session import Leg
from smtpguard.model.settings import BareNewlines, Limits, Settings
from smtpguard.replay.memory import MemorySession
from smtpguard.wire import replies
from tests.dialogue.peers import (
    Rules,
    enveloped,
    forget_heard,
    greeted,
    lines,
    secured,
    session,
)
from tests.dialogue.world import Watched


CHUNKING = b"250-mx.example\r\n250-PIPELINING\r\n250 CHUNKING\r\n"
EVIL = (
    b"MAIL FROM:<s@evil.example>\r\nRCPT TO:<v@d.example>\r\nDATA\r\n"
    b"Subject: smuggled\r\n\r\nsmuggled"
)


def with_data(memory: MemorySession) -> MemorySession:
    """Take a greeted session behind our 354."""
    memory.from_client(b"DATA\r\n")
    assert lines(memory.client_heard) == ["354 End data with <CR><LF>.<CR><LF>"]
    return memory


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
    """Return a message as DATA sends it, written anew: line by line (RFC 5321 4.5.2)."""
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


# -- F3: chunks -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "argument",
    [
        b"-1",
        b"",
        b"x",
        b"10 FIRST",
        b"1e3",
        b"0x10",
        b"10LAST",
        b"99999999999999999999",
    ],
    ids=repr,
)
@pytest.mark.parametrize("where", ["enveloped", "greeted"])
def test_F3_a_chunk_whose_size_cannot_be_read_closes_the_session(
    where: str, argument: bytes
) -> None:
    memory = greeted(session(), CHUNKING)
    if where == "enveloped":
        enveloped(memory)
    memory.from_client(b"BDAT " + argument + b"\r\n" + EVIL)
    heard = lines(memory.client_heard)
    assert [line[:3] for line in heard] in (["501"], ["421"])
    assert memory.closed == {Leg.CLIENT, Leg.UPSTREAM}
    assert b"evil" not in memory.upstream_heard


@pytest.mark.parametrize("size", [2**33, 2**41])
def test_F3_a_chunk_beyond_all_limits_closes_the_session(size: int) -> None:
    memory = enveloped(greeted(session(), CHUNKING))
    memory.from_client(b"BDAT %d\r\n" % size + EVIL)
    assert [line[:3] for line in lines(memory.client_heard)] in (["421"], ["501"])
    assert memory.ended


def test_F3_an_empty_last_chunk_is_an_empty_message() -> None:
    memory = enveloped(greeted(session(), CHUNKING))
    memory.from_client(b"BDAT 0 LAST\r\n")
    assert bytes(memory.upstream_heard) == b"BDAT 0 LAST\r\n"


def test_F3_a_chunk_that_stalls_ends_in_421_and_is_never_delivered() -> None:
    memory = enveloped(greeted(session(), CHUNKING))
    memory.from_client(b"BDAT 10 LAST\r\nhello")
    memory.pass_time(181)
    assert lines(memory.client_heard) == ["421 4.4.2 Timeout, closing connection"]
    assert b"BDAT" not in memory.upstream_heard


def test_F3_a_chunk_after_a_message_is_out_of_place_and_consumed() -> None:
    memory = enveloped(greeted(session(), CHUNKING))
    memory.from_client(b"BDAT 5 LAST\r\nhelloBDAT 6 LAST\r\nQUIT\r\nNOOP\r\n")
    memory.from_upstream(b"250 queued\r\n")
    assert lines(memory.client_heard) == [
        "250 queued",
        "503 5.5.1 Bad sequence of commands",
        "250 2.0.0 OK",
    ]


def test_F3_an_upstream_refusal_in_the_middle_of_chunks_shifts_no_reply() -> None:
    memory = greeted(session(), CHUNKING)
    memory.from_client(
        b"MAIL FROM:<a@b.example>\r\nRCPT TO:<c@d.example>\r\n"
        b"BDAT 6\r\nQUIT\r\nBDAT 6 LAST\r\nRSET\r\nNOOP\r\n"
    )
    memory.from_upstream(b"250 ok\r\n")
    memory.from_upstream(b"500 5.5.1 what\r\n")
    memory.from_upstream(b"250 reset\r\n")
    assert [line[:9] for line in lines(memory.client_heard)] == [
        "250 ok",
        "500 5.5.1",
        "554 5.5.1",
        "554 5.5.1",
        "250 2.0.0",
    ]


def test_F3_a_chunk_that_rules_refuse_is_consumed() -> None:
    """Another addon's refusal too: its octets are never commands."""
    memory = enveloped(greeted(session(ask_commands=False), CHUNKING))
    memory.dialogue.ask_commands = True
    memory.from_client(b"BDAT 6 LAST\r\nQUIT\r\n")
    memory.feed(events.CommandJudged(Reply(550, (b"5.7.1 no chunks",))))
    memory.dialogue.ask_commands = False
    memory.from_client(b"NOOP\r\n")
    assert lines(memory.client_heard) == ["550 5.7.1 no chunks", "250 2.0.0 OK"]


# -- F4: pipelining -------------------------------------------------------------------


def test_F4_a_whole_session_in_one_segment_is_answered_in_order() -> None:
    memory = session()
    memory.start()
    memory.from_client(
        b"EHLO c.example\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<c@d.example>\r\n"
        b"DATA\r\nSubject: x\r\n\r\n.\r\nRSET\r\nQUIT\r\n"
    )
    memory.opened()
    for reply in (
        b"220 mx",
        b"250-mx\r\n250 PIPELINING",
        b"250 a",
        b"250 c",
        b"354 go",
    ):
        memory.from_upstream(reply + b"\r\n")
    memory.from_upstream(b"250 queued\r\n")
    memory.from_upstream(b"221 bye\r\n")
    codes = [line[:3] for line in lines(memory.client_heard) if line[3:4] != "-"]
    assert codes == "220 250 250 250 354 250 250 221".split()
    assert memory.ended


def test_F4_a_text_behind_a_refused_data_is_commands_and_says_so() -> None:
    """No 354 was said, so there is no text; each line gets its reply."""
    memory = greeted(session(Rules(Settings(limits=Limits(errors=100)))))
    memory.from_client(
        b"MAIL FROM:<a@b.example>\r\nDATA\r\nSubject: x\r\n\r\nhi\r\n.\r\n"
    )
    memory.from_upstream(b"250 ok\r\n")
    heard = [line[:3] for line in lines(memory.client_heard)]
    assert heard == ["250", "554", "502", "500", "502", "500"]


def test_F4_our_denial_shifts_no_reply() -> None:
    denied = Decision(Action.DENY, reply=replies.MAILBOX_UNAVAILABLE)
    memory = greeted(session(Rules(recipients={"r1@d.example": denied})))
    rcpts = b"".join(b"RCPT TO:<r%d@d.example>\r\n" % n for n in range(3))
    memory.from_client(b"MAIL FROM:<a@b.example>\r\n" + rcpts)
    memory.from_upstream(b"250 mail\r\n")
    memory.from_upstream(b"250 r0\r\n")
    memory.from_upstream(b"250 r2\r\n")
    assert lines(memory.client_heard) == [
        "250 mail",
        "250 r0",
        "550 5.1.1 Mailbox unavailable",
        "250 r2",
    ]


def test_F4_ten_thousand_pipelined_commands_neither_recurse_nor_run_away() -> None:
    memory = greeted(session())
    memory.from_client(b"NOOP\r\n" * 10_000)
    assert memory.client_heard == b"250 2.0.0 OK\r\n" * 10_000


# -- F9: ends that are none -----------------------------------------------------------


BEGUN = [b"", b"x", b"Subject: x\r\n", b"Subject: x\r\n.", b"Subject: x\r\n.\r", b"."]


@pytest.mark.parametrize("reset", [False, True], ids=["fin", "reset"])
@pytest.mark.parametrize("text", BEGUN, ids=repr)
def test_F9_a_client_that_goes_before_its_dot_has_sent_no_message(
    text: bytes, reset: bool
) -> None:
    memory = with_data(enveloped(greeted(session())))
    memory.from_client(text)
    memory.feed(events.Closed(Leg.CLIENT, reset=reset))
    assert memory.ended
    assert b"DATA" not in memory.upstream_heard
    assert memory.decider.judged == 0  # type: ignore[attr-defined]
    assert [record.outcome for record in memory.records] == [Outcome.DEFERRED]


@pytest.mark.parametrize("chunk", [b"BDAT 10 LAST\r\nhello", b"BDAT 5\r\nhello"])
def test_F9_a_client_that_goes_between_chunks_has_sent_no_message(chunk: bytes) -> None:
    memory = enveloped(greeted(session(), CHUNKING))
    memory.from_client(chunk)
    memory.feed(events.Closed(Leg.CLIENT))
    assert memory.ended
    assert b"BDAT" not in memory.upstream_heard


def test_F9_a_half_close_after_the_dot_still_gets_its_answer() -> None:
    memory = with_data(enveloped(greeted(session())))
    memory.from_client(b"x\r\n.\r\n")
    memory.feed(events.Closed(Leg.CLIENT))
    memory.from_upstream(b"354 go\r\n")
    memory.from_upstream(b"250 queued\r\n")
    assert lines(memory.client_heard) == ["250 queued"]


@pytest.mark.parametrize("early", [b"250 queued\r\n", b"354 again\r\n", b"220 hi\r\n"])
def test_F9_a_250_before_the_dot_is_no_acceptance(early: bytes) -> None:
    """In the segment of the 354, so before any octet of the message has gone up."""
    memory = with_data(enveloped(greeted(session())))
    memory.from_client(b"x\r\n.\r\n")
    memory.from_upstream(b"354 go\r\n" + early)
    assert lines(memory.client_heard)[0].startswith("451 4.4.2")
    assert b".\r\n" not in memory.upstream_heard
    assert Leg.UPSTREAM in memory.closed
    assert memory.records[0].in_doubt == ""


def test_F9_a_refusal_before_the_dot_is_the_answer_to_the_message() -> None:
    memory = with_data(enveloped(greeted(session(kind=Watched))))
    memory.from_client((b"x" * 998 + b"\r\n") * 600 + b".\r\n")
    memory.from_upstream(b"354 go\r\n")
    memory.from_upstream(b"552 5.3.4 too large for me\r\n")
    assert lines(memory.client_heard) == ["552 5.3.4 too large for me"]
    assert not memory.upstream_heard.endswith(b"\r\n.\r\n")
    assert Leg.UPSTREAM in memory.closed


def test_F9_421_at_any_point_is_a_refusal_for_now() -> None:
    for count in range(4):
        memory = greeted(session())
        said = [b"250 ok\r\n", b"250 ok\r\n", b"354 go\r\n", b"250 queued\r\n"]
        memory.from_client(
            b"MAIL FROM:<a@b.example>\r\nRCPT TO:<c@d.example>\r\nDATA\r\nx\r\n.\r\n"
        )
        for reply in [*said[:count], b"421 4.3.2 going\r\n"]:
            memory.from_upstream(reply)
        heard = [line[:3] for line in lines(memory.client_heard)]
        assert "250" not in heard[count:]
        assert not any(record.in_doubt for record in memory.records)


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
