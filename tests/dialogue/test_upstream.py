"""The upstream's leg by itself: requests, replies, pipelining groups."""

from __future__ import annotations

import pytest

from smtpguard.dialogue.upstream import Request, Upstream
from smtpguard.model.reply import Reply
from smtpguard.wire import Capabilities


PIPELINING = Capabilities(b"mx", {"PIPELINING": ()})


class Wire:
    """An upstream whose octets are kept."""

    def __init__(self, capabilities: Capabilities | None = PIPELINING) -> None:
        self.sent: list[bytes] = []
        self.shown: list[tuple[str, bytes]] = []
        self.upstream = Upstream(
            self.sent.append,
            lambda direction, octets: self.shown.append((direction, octets)),
            opened=True,
            capabilities=capabilities,
        )

    def ask(self, octets: bytes, **fields: object) -> Request:
        request = Request(octets, 300.0, **fields)  # type: ignore[arg-type]
        self.upstream.request(request, 1.0)
        return request


def test_replies_go_to_their_requests_in_order() -> None:
    wire = Wire()
    requests = [wire.ask(b"%d\r\n" % n) for n in range(3)]
    wire.upstream.feed(b"250 a\r\n550 b\r\n2", 2.0)
    assert [request.reply and request.reply.code for request in requests] == [
        250,
        550,
        None,
    ]
    wire.upstream.feed(b"50 c\r\n", 3.0)
    assert requests[2].reply == Reply(250, (b"c",))
    assert wire.upstream.settled


def test_without_pipelining_one_command_waits_for_the_reply_to_another() -> None:
    wire = Wire(capabilities=None)
    wire.ask(b"1\r\n")
    wire.ask(b"2\r\n")
    assert wire.sent == [b"1\r\n"]
    wire.upstream.feed(b"250 a\r\n", 2.0)
    assert wire.sent == [b"1\r\n", b"2\r\n"]


def test_nothing_follows_the_last_of_a_group_before_its_reply() -> None:
    wire = Wire()
    wire.ask(b"1\r\n")
    wire.ask(b"2\r\n", group_last=True)
    wire.ask(b"3\r\n")
    assert wire.sent == [b"1\r\n", b"2\r\n"]
    wire.upstream.feed(b"250 a\r\n", 2.0)
    assert wire.sent == [b"1\r\n", b"2\r\n"]
    wire.upstream.feed(b"250 b\r\n", 3.0)
    assert wire.sent == [b"1\r\n", b"2\r\n", b"3\r\n"]


def test_the_oldest_awaited_reply_is_the_one_that_is_overdue_first() -> None:
    wire = Wire()
    due = [wire.upstream.until]
    wire.upstream.request(Request(b"1\r\n", 10.0), 1.0)
    wire.upstream.request(Request(b"2\r\n", 5.0), 1.0)
    due.append(wire.upstream.until)
    wire.upstream.feed(b"250 a\r\n", 2.0)
    assert [*due, wire.upstream.until] == [None, 10.0, 5.0]


def test_a_lost_upstream_gives_no_reply_to_what_is_asked_then() -> None:
    wire = Wire()
    wire.upstream.lose("gone")
    request = wire.ask(b"1\r\n")
    assert (request.done, request.lost, request.reply) == (True, "gone", None)
    assert wire.sent == []


def test_losing_it_answers_everything_under_way_once() -> None:
    wire = Wire()
    answered: list[str] = []
    for name in ("1", "2", "3"):
        wire.ask(
            b"x\r\n",
            group_last=name == "2",
            answered=lambda request, name=name: answered.append(name),
        )
    wire.upstream.lose("gone")
    wire.upstream.lose("gone again")
    assert answered == ["1", "2", "3"]
    assert wire.upstream.lost == "gone"
    assert wire.upstream.settled


def test_what_comes_after_the_loss_is_not_read() -> None:
    wire = Wire()
    wire.upstream.feed(b"250 nobody asked\r\n250 more\r\n", 2.0)
    assert wire.upstream.lost == "reply without a command: 250 nobody asked"
    assert wire.shown == [("S", b"250 nobody asked\r\n")]
    wire.upstream.feed(b"250 still\r\n", 3.0)
    assert len(wire.upstream.receiver) == 0


@pytest.mark.parametrize(
    ("octets", "lost"),
    [
        (b"354 go\r\n", "unexpected reply: 354 go"),
        (b"220 hi\r\n", "unexpected reply: 220 hi"),
        (b"421 4.3.2 bye\r\n", "upstream says 421 4.3.2 bye"),
        (b"what\r\n", "garbage from upstream: no reply: what"),
        (
            b"250-a\r\n251 b\r\n",
            "garbage from upstream: code 251 within a reply of 250",
        ),
        (b"250 a\n", "garbage from upstream: no reply: bare CR, bare LF or NUL"),
    ],
    ids=repr,
)
def test_nonsense_loses_it(octets: bytes, lost: str) -> None:
    wire = Wire()
    request = wire.ask(b"RCPT\r\n")
    wire.upstream.feed(octets, 2.0)
    assert wire.upstream.lost == request.lost == lost
    assert request.reply is None


@pytest.mark.parametrize("code", [400, 450, 500, 599])
def test_a_refusal_makes_sense_for_every_command(code: int) -> None:
    wire = Wire()
    request = wire.ask(b"RCPT\r\n")
    wire.upstream.feed(b"%d no\r\n" % code, 2.0)
    assert request.reply == Reply(code, (b"no",))


def test_a_refusal_within_a_message_is_kept_a_praise_is_not() -> None:
    for code, kept in [(552, True), (250, False)]:
        wire = Wire()
        wire.upstream.in_data = True
        wire.upstream.feed(b"%d x\r\n" % code, 2.0)
        assert wire.upstream.lost
        assert (wire.upstream.early_refusal is not None) is kept


@pytest.mark.parametrize(
    ("octets", "unread"),
    [
        (b"220 go\r\n", 0),
        (b"220 go\r\n2", 1),
        (b"220 go\r\n250-half\r\n", 10),
        (b"220-go\r\n220 go\r\n250-half\r\n250-x", 15),
    ],
    ids=repr,
)
def test_it_knows_how_much_came_behind_a_reply(octets: bytes, unread: int) -> None:
    """Half a reply that is already out of the buffer counts, too."""
    for pieces in ([octets], [bytes([octet]) for octet in octets]):
        wire = Wire()
        wire.ask(b"STARTTLS\r\n", positive=frozenset({220}))
        for piece in pieces:
            wire.upstream.feed(piece, 2.0)
        assert wire.upstream.unread == unread


@pytest.mark.parametrize(
    "state",
    ["gone", "in_data", "in_auth", "in_tls", "said_quit", "said_goodbye"],
)
def test_quit_is_not_said_where_it_would_be_taken_for_something_else(
    state: str,
) -> None:
    upstream = Wire().upstream
    assert upstream.takes_quit
    setattr(upstream, state, True)
    assert not upstream.takes_quit


def test_an_answer_that_is_awaited_without_a_command_shows_nothing() -> None:
    wire = Wire()
    wire.ask(b"")
    wire.ask(b"secret\r\n", shown=b"*\r\n")
    wire.ask(b".\r\n", shown=b"")
    assert wire.sent == [b"secret\r\n", b".\r\n"]
    assert wire.shown == [("s", b"*\r\n")]
