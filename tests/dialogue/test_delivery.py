"""From the final dot to the answer: verdicts, refusals, doubts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from smtpguard.dialogue import Transaction, effects, events
from smtpguard.model.content import Edited, MemorySpool
from smtpguard.model.decision import Action
from smtpguard.model.disposition import Disposition, Outcome
from smtpguard.model.reply import Reply
from smtpguard.model.session import Leg
from smtpguard.model.settings import Settings
from smtpguard.replay.memory import MemorySession
from tests.dialogue.peers import Rules, enveloped, forget_heard, greeted, lines, session
from tests.dialogue.world import Watched


MESSAGE = b"Subject: x\r\n\r\nhi\r\n"
LARGE = (b"x" * 998 + b"\r\n") * 600
CHUNKING = b"250-mx.example\r\n250-PIPELINING\r\n250 CHUNKING\r\n"


class Pieces:
    """Content in given pieces."""

    def __init__(self, pieces: list[bytes]) -> None:
        self._pieces = pieces
        self.size = sum(map(len, pieces))
        self.reads = 0

    def chunks(self) -> Iterator[bytes]:
        yield from self._pieces


def asked_for_verdict(rules: Rules | None = None, **options: object) -> MemorySession:
    """Take a session to where its message is being judged."""
    memory = enveloped(greeted(session(rules, judge=None, **options)))
    memory.from_client(b"DATA\r\n" + MESSAGE + b".\r\n")
    return forget_heard(memory)


def judge(memory: MemorySession, disposition: Disposition | None) -> None:
    asked = memory.take(effects.AskVerdict)
    assert asked is not None
    memory.feed(events.Judged(asked.transaction.id, disposition))


UNFIT = {
    "nothing": None,
    "rejected without a reply": Disposition(Outcome.REJECTED),
    "rejected with 4yz": Disposition(Outcome.REJECTED, Reply(450, (b"x",))),
    "rejected with 250": Disposition(Outcome.REJECTED, Reply(250, (b"x",))),
    "deferred without a reply": Disposition(Outcome.DEFERRED),
    "deferred with 5yz": Disposition(Outcome.DEFERRED, Reply(550, (b"x",))),
    "deferred with 421": Disposition(Outcome.DEFERRED, Reply(421, (b"x",))),
    "discarded without a reply": Disposition(Outcome.DISCARDED),
    "discarded with 354": Disposition(Outcome.DISCARDED, Reply(354, (b"x",))),
    "discarded with 550": Disposition(Outcome.DISCARDED, Reply(550, (b"x",))),
    "quarantined without a reply": Disposition(Outcome.QUARANTINED),
    "relayed with a reply": Disposition(Outcome.RELAYED, Reply(250, (b"x",))),
    "modified without content": Disposition(Outcome.MODIFIED),
    "dropped with a reply": Disposition(Outcome.DROPPED, Reply(550, (b"x",))),
}


@pytest.mark.parametrize("disposition", UNFIT.values(), ids=UNFIT)
def test_a_verdict_that_does_not_fit_together_is_undecided(
    disposition: Disposition | None,
) -> None:
    memory = asked_for_verdict()
    judge(memory, disposition)
    heard = lines(memory.client_heard)
    assert heard == ["451 4.3.0 Message not decided, try again later"]
    assert lines(memory.upstream_heard) == ["RSET"]
    assert [record.outcome for record in memory.records] == [Outcome.DEFERRED]


def test_a_verdict_that_is_none_at_all_is_undecided() -> None:
    memory = asked_for_verdict()
    judge(memory, "relayed")  # type: ignore[arg-type]
    assert lines(memory.client_heard)[0].startswith("451 4.3.0")


@pytest.mark.parametrize("action", [Action.DROP, Action.BLOCK])
def test_a_dropped_message_closes_the_session_and_may_block_its_client(
    action: Action,
) -> None:
    rules = Rules()
    memory = asked_for_verdict(rules)
    judge(memory, Disposition(Outcome.DROPPED, rule="filenames:1", action=action))
    assert not memory.client_heard
    assert memory.closed == {Leg.CLIENT, Leg.UPSTREAM}
    [record] = memory.records
    assert (record.outcome, record.action) == (Outcome.DROPPED, action)
    blocked = [("192.0.2.1", "filenames:1", record.id)]
    assert rules.blocked == blocked * (action is Action.BLOCK)


def test_a_client_is_blocked_only_for_what_was_dropped() -> None:
    rules = Rules()
    memory = asked_for_verdict(rules)
    reply = Reply(550, (b"5.7.1 no",))
    judge(memory, Disposition(Outcome.REJECTED, reply, action=Action.BLOCK))
    assert lines(memory.client_heard) == ["550 5.7.1 no"]
    assert rules.blocked == []


def test_a_quarantined_message_is_250_and_never_goes_up() -> None:
    memory = asked_for_verdict()
    judge(memory, Disposition(Outcome.QUARANTINED, Reply(250, (b"2.0.0 kept",))))
    assert lines(memory.client_heard) == ["250 2.0.0 kept"]
    assert lines(memory.upstream_heard) == ["RSET"]


class Ordered(MemorySession):
    """Keeps the order of what is recorded and what is said."""

    __slots__ = ("order",)

    def _carry_out(self, effect: effects.Effect) -> None:
        if not hasattr(self, "order"):
            self.order: list[object] = []
        match effect:
            case effects.TransactionEnded(record):
                self.order.append(record.outcome)
            case effects.Send(Leg.CLIENT, data):
                self.order.append(data[:3])
        MemorySession._carry_out(self, effect)


def test_a_discard_is_on_record_before_its_250_is_said() -> None:
    said = Disposition(Outcome.DISCARDED, Reply(250, (b"2.0.0 ok",)))
    rules = Rules(verdict=lambda *_: said)
    memory = enveloped(greeted(session(rules, kind=Ordered)))
    memory.from_client(b"DATA\r\n" + MESSAGE + b".\r\n")
    assert isinstance(memory, Ordered)
    assert memory.order[-2:] == [Outcome.DISCARDED, b"250"]


@pytest.mark.parametrize("code", [200, 251, 252, 299])
def test_any_2yz_to_the_message_is_the_upstreams_and_told_as_250(code: int) -> None:
    """It has the message: to call that anything else would have it sent again."""
    memory = asked_for_verdict()
    judge(memory, Disposition(Outcome.RELAYED))
    memory.from_upstream(b"354 go\r\n")
    memory.from_upstream(b"%d taken\r\n" % code)
    assert lines(memory.client_heard) == ["250 taken"]


def test_the_upstreams_words_reach_the_client_line_by_line() -> None:
    memory = asked_for_verdict()
    judge(memory, Disposition(Outcome.RELAYED))
    memory.from_upstream(b"354 go\r\n250-2.0.0 two\r\n"[:8])
    memory.from_upstream(b"250-2.0.0 two\r\n250 2.0.0 lines\r\n")
    assert lines(memory.client_heard) == ["250-2.0.0 two", "250 2.0.0 lines"]


def test_a_verdict_after_its_time_changes_nothing_and_gives_the_storage_back() -> None:
    memory = asked_for_verdict()
    asked = memory.take(effects.AskVerdict)
    assert asked is not None
    content = asked.transaction.content
    assert content is not None
    memory.pass_time(241)
    assert lines(memory.client_heard)[0].startswith("451 4.3.0")
    assert content.size == len(MESSAGE)
    memory.upstream_heard.clear()
    memory.feed(events.Judged(asked.transaction.id, Disposition(Outcome.RELAYED)))
    assert not memory.upstream_heard
    assert not memory.client_heard
    assert content.size == 0


def test_a_quarantine_whose_client_is_gone_is_in_doubt() -> None:
    """In the log alone: its record is closed by then (contract 2.1)."""
    memory = asked_for_verdict()
    asked = memory.take(effects.AskVerdict)
    assert asked is not None
    memory.feed(events.Closed(Leg.CLIENT, reset=True))
    assert memory.ended
    said = Disposition(Outcome.QUARANTINED, Reply(250, (b"2.0.0 kept",)))
    memory.feed(events.Judged(asked.transaction.id, said))
    assert any("in doubt" in line for line in memory.log)


def test_storage_is_given_back_with_the_answer() -> None:
    memory = asked_for_verdict()
    asked = memory.take(effects.AskVerdict)
    assert asked is not None
    memory.feed(
        events.Judged(
            asked.transaction.id, Disposition(Outcome.REJECTED, Reply(550, (b"no",)))
        )
    )
    assert asked.transaction.content is not None
    assert asked.transaction.content.size == 0


# -- who may have the message ---------------------------------------------------------


def sent_up(*pieces: bytes, **options: Any) -> tuple[MemorySession, Transaction]:
    """Have a message of such pieces sent up after a 354, as far as it goes."""
    memory = asked_for_verdict(**options)
    asked = memory.take(effects.AskVerdict)
    assert asked is not None
    assert not asked.transaction.handed_over
    content = Pieces(list(pieces or [MESSAGE]))
    said = Disposition(Outcome.MODIFIED, content=content)
    memory.feed(events.Judged(asked.transaction.id, said))
    assert lines(memory.upstream_heard) == ["DATA"]
    assert not asked.transaction.handed_over
    memory.from_upstream(b"354 go\r\n")
    return memory, asked.transaction


def test_the_upstream_may_have_a_message_once_its_dot_is_out() -> None:
    memory, tx = sent_up()
    assert memory.upstream_heard.endswith(b"\r\n.\r\n")
    assert tx.handed_over


def test_it_has_not_got_a_message_whose_last_octets_are_not_out() -> None:
    memory, tx = sent_up(LARGE, b"end\r\n", kind=Watched)
    assert bytes(memory.upstream_heard) == LARGE
    assert not tx.handed_over
    memory.feed(events.Drained(Leg.UPSTREAM))
    assert memory.upstream_heard.endswith(b"end\r\n.\r\n")
    assert tx.handed_over


def test_it_has_not_got_a_chunk_whose_last_octets_are_not_out() -> None:
    memory = greeted(session(judge=None, kind=Watched), CHUNKING)
    enveloped(memory).from_client(b"BDAT 1 LAST\r\nx")
    asked = memory.take(effects.AskVerdict)
    assert asked is not None
    said = Disposition(Outcome.MODIFIED, content=Pieces([LARGE, b"end\r\n"]))
    memory.feed(events.Judged(asked.transaction.id, said))
    assert memory.upstream_heard.endswith(LARGE)
    assert not asked.transaction.handed_over
    memory.feed(events.Drained(Leg.UPSTREAM))
    assert memory.upstream_heard.endswith(b"end\r\n")
    assert asked.transaction.handed_over


@pytest.mark.parametrize(
    ("reply", "has"),
    [(b"250 queued\r\n", True), (b"451 later\r\n", False), (b"554 no\r\n", False)],
    ids=repr,
)
def test_what_the_upstream_says_settles_whether_it_has_it(
    reply: bytes, has: bool
) -> None:
    memory, tx = sent_up()
    memory.from_upstream(reply)
    assert tx.ended
    assert tx.handed_over is has
    assert tx.in_doubt == ""


@pytest.mark.parametrize(
    ("event", "code", "doubt"),
    [
        (events.Closed(Leg.UPSTREAM), "451 4.4.2", True),
        (events.Received(Leg.UPSTREAM, b"what\r\n"), "451 4.4.2", True),
        (events.Received(Leg.UPSTREAM, b"354 again\r\n"), "451 4.4.2", True),
        (events.Received(Leg.UPSTREAM, b"421 going\r\n"), "451 4.4.2", False),
    ],
    ids=["closed", "garbage", "nonsense", "421"],
)
def test_an_upstream_that_is_lost_may_have_it_unless_it_said_421(
    event: events.Event, code: str, doubt: bool
) -> None:
    memory, tx = sent_up()
    memory.feed(event)
    assert lines(memory.client_heard)[0].startswith(code)
    assert (tx.handed_over, bool(tx.in_doubt)) == (doubt, doubt)


def test_an_upstream_that_is_silent_may_have_it() -> None:
    memory, tx = sent_up()
    memory.pass_time(571)
    assert lines(memory.client_heard)[0].startswith("451 4.4.2")
    assert (tx.handed_over, tx.in_doubt != "") == (True, True)


def test_a_client_that_goes_does_not_change_who_has_it() -> None:
    memory, tx = sent_up()
    memory.feed(events.Closed(Leg.CLIENT, reset=True))
    assert tx.handed_over
    memory.from_upstream(b"554 no\r\n")
    assert not tx.handed_over


@pytest.mark.parametrize(
    "said",
    [
        Disposition(Outcome.DISCARDED, Reply(250, (b"2.0.0 ok",))),
        Disposition(Outcome.REJECTED, Reply(550, (b"5.7.1 no",))),
        None,
    ],
    ids=["discarded", "rejected", "undecided"],
)
def test_nobody_has_a_message_that_never_went_up(said: Disposition | None) -> None:
    memory = asked_for_verdict()
    asked = memory.take(effects.AskVerdict)
    assert asked is not None
    memory.feed(events.Judged(asked.transaction.id, said))
    assert asked.transaction.ended
    assert not asked.transaction.handed_over


def test_nobody_has_a_message_whose_data_was_refused() -> None:
    memory = asked_for_verdict()
    asked = memory.take(effects.AskVerdict)
    assert asked is not None
    memory.feed(events.Judged(asked.transaction.id, Disposition(Outcome.RELAYED)))
    memory.from_upstream(b"554 no\r\n")
    assert asked.transaction.ended
    assert not asked.transaction.handed_over


def test_nobody_has_a_message_whose_dot_a_fault_held_back() -> None:
    """The dot leaves with all that one event brings about, or not at all."""

    class Broken(Pieces):
        def chunks(self) -> Iterator[bytes]:
            self.reads += 1
            if self.reads > 2:  # checked, sent, and then recorded
                raise RuntimeError("a fault")
            return super().chunks()

    memory = asked_for_verdict(record_limit=1000)
    asked = memory.take(effects.AskVerdict)
    assert asked is not None
    said = Disposition(Outcome.MODIFIED, content=Broken([MESSAGE]))
    memory.feed(events.Judged(asked.transaction.id, said))
    with pytest.raises(RuntimeError):
        memory.from_upstream(b"354 go\r\n")
    assert lines(memory.upstream_heard) == ["DATA"]
    assert not asked.transaction.handed_over


# -- storage that fails ---------------------------------------------------------------


class Unreadable(MemorySpool):
    """A spool that fails after so many octets were read of it, counted over all."""

    left = 0

    def chunks(self) -> Iterator[bytes]:
        for chunk in super().chunks():
            if Unreadable.left <= 0:
                raise OSError(5, "Input/output error")
            Unreadable.left -= len(chunk)
            yield chunk


def unreadable(octets: int, **options: Any) -> MemorySession:
    memory = enveloped(greeted(session(new_spool=Unreadable, **options)))
    Unreadable.left = octets
    return memory


def test_a_message_that_cannot_be_read_is_451() -> None:
    memory = unreadable(0)
    memory.from_client(b"DATA\r\n" + MESSAGE + b".\r\n")
    heard = lines(memory.client_heard)
    assert heard[1:] == ["451 4.3.0 Storage failed, try again later"]
    assert lines(memory.upstream_heard) == ["RSET"]


def test_a_message_that_cannot_be_read_on_is_never_ended_upstream() -> None:
    memory = unreadable(len(MESSAGE))
    memory.from_client(b"DATA\r\n" + MESSAGE + b".\r\n")
    memory.from_upstream(b"354 go\r\n")
    heard = lines(memory.client_heard)
    assert heard[1:] == ["451 4.3.0 Storage failed, try again later"]
    assert memory.upstream_heard == b"DATA\r\n"
    assert Leg.UPSTREAM in memory.closed


def test_a_message_that_cannot_be_recorded_is_delivered_all_the_same() -> None:
    """Its final dot has gone up: what the client is told must be the upstream's."""

    class Once(MemorySpool):
        reads = 0

        def chunks(self) -> Iterator[bytes]:
            self.reads += 1
            if self.reads > 2:  # checked, sent, and then recorded
                raise OSError(5, "Input/output error")
            return super().chunks()

    edited = Once()
    edited.write(b"Subject: edited\r\n\r\n")
    memory = asked_for_verdict(record_limit=1000)
    judge(memory, Disposition(Outcome.MODIFIED, content=edited))
    memory.from_upstream(b"354 go\r\n")
    memory.from_upstream(b"250 2.0.0 queued\r\n")
    assert lines(memory.client_heard) == ["250 2.0.0 queued"]
    assert any("message not recorded" in line for line in memory.log)


def test_an_edit_that_cannot_be_read_is_451_and_nothing_goes_up() -> None:
    class Broken(MemorySpool):
        def chunks(self) -> Iterator[bytes]:
            raise OSError(5, "Input/output error")

    said = Disposition(Outcome.MODIFIED, content=Broken())
    memory = asked_for_verdict()
    judge(memory, said)
    heard = lines(memory.client_heard)
    assert heard == ["451 4.3.0 Storage failed, try again later"]
    assert lines(memory.upstream_heard) == ["RSET"]


def test_a_message_that_only_got_a_trace_field_is_relayed_with_it() -> None:
    traced = MemorySpool()
    traced.write(b"Received: by guard.example\r\n" + MESSAGE)
    memory = asked_for_verdict()
    judge(memory, Disposition(Outcome.RELAYED, content=traced))
    memory.from_upstream(b"354 go\r\n")
    assert memory.upstream_heard == (
        b"DATA\r\nReceived: by guard.example\r\n" + MESSAGE + b".\r\n"
    )
    memory.from_upstream(b"250 2.0.0 queued\r\n")
    assert memory.records[0].outcome is Outcome.RELAYED


# -- edits ----------------------------------------------------------------------------


def test_an_edit_of_a_binary_message_may_hold_anything() -> None:
    memory = greeted(
        session(judge=None),
        b"250-mx.example\r\n250-8BITMIME\r\n250-CHUNKING\r\n250 BINARYMIME\r\n",
    )
    memory.from_client(b"MAIL FROM:<a@b.example> BODY=BINARYMIME\r\n")
    memory.from_upstream(b"250 ok\r\n")
    memory.from_client(b"RCPT TO:<c@d.example>\r\n")
    memory.from_upstream(b"250 ok\r\n")
    memory.from_client(b"BDAT 1 LAST\r\nx")
    forget_heard(memory)
    edited = Edited(b"x", ((0, 1), b"\n\0\r"))
    judge(memory, Disposition(Outcome.MODIFIED, content=edited))
    assert bytes(memory.upstream_heard) == b"BDAT 4 LAST\r\nx\n\0\r"


def test_hidden_texts_hide_a_refusal_within_the_message_too() -> None:
    rules = Rules(Settings(hide_server=True))
    memory = enveloped(greeted(session(rules, kind=Watched)))
    memory.from_client(b"DATA\r\n" + (b"x" * 998 + b"\r\n") * 600 + b".\r\n")
    memory.from_upstream(b"354 go\r\n")
    memory.client_heard.clear()
    memory.from_upstream(b"552 5.3.4 secret.example is full\r\n")
    assert lines(memory.client_heard) == ["552 5.3.4 Refused"]
