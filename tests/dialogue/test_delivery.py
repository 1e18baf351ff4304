"""From the final dot to the answer: verdicts, refusals, doubts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from smtpguard.dialogue import effects, events
from smtpguard.model.content import Edited, MemorySpool
from smtpguard.model.disposition import Disposition, Outcome
from smtpguard.model.reply import Reply
from smtpguard.model.session import Leg
from smtpguard.model.settings import Settings
from smtpguard.replay.memory import MemorySession
from tests.dialogue.peers import Rules, enveloped, forget_heard, greeted, lines, session


MESSAGE = b"Subject: x\r\n\r\nhi\r\n"


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
    """The third place of contract 2.1."""
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
    from tests.dialogue.world import Watched

    rules = Rules(Settings(hide_server=True))
    memory = enveloped(greeted(session(rules, kind=Watched)))
    memory.from_client(b"DATA\r\n" + (b"x" * 998 + b"\r\n") * 600 + b".\r\n")
    memory.from_upstream(b"354 go\r\n")
    memory.client_heard.clear()
    memory.from_upstream(b"552 5.3.4 secret.example is full\r\n")
    assert lines(memory.client_heard) == ["552 5.3.4 Refused"]
