from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpguard.model.reply import Reply
from smtpguard.wire import replies
from smtpguard.wire.replyqueue import ReplyQueue


def numbered(number: int) -> Reply:
    return Reply.make(250, "2.1.5", f"recipient {number}")


def test_an_empty_queue_is_settled() -> None:
    queue = ReplyQueue()
    assert (queue.settled, queue.ready()) == (True, [])


def test_F4_our_own_denial_waits_for_the_answers_before_it() -> None:
    queue = ReplyQueue()
    first = queue.open()
    queue.answer(replies.NO_VALID_RECIPIENTS)
    third = queue.open()
    assert queue.ready() == []
    first.answer(replies.RCPT_OK)
    assert queue.ready() == [replies.RCPT_OK, replies.NO_VALID_RECIPIENTS]
    assert (queue.settled, queue.ready()) == (False, [])
    third.answer(replies.RCPT_OK)
    assert queue.settled
    assert queue.ready() == [replies.RCPT_OK]
    assert queue.ready() == []


def test_what_is_answered_leaves_later_all_the_same() -> None:
    queue = ReplyQueue()
    queue.answer(replies.OK)
    assert queue.settled
    assert queue.ready() == [replies.OK]


def test_a_slot_knows_its_reply() -> None:
    queue = ReplyQueue()
    slot = queue.open()
    assert slot.reply is None
    slot.answer(replies.OK)
    assert slot.reply is replies.OK


def test_a_command_is_not_answered_twice() -> None:
    queue = ReplyQueue()
    slot = queue.open()
    slot.answer(replies.OK)
    with pytest.raises(RuntimeError, match=r"250 2\.0\.0 OK, then 221 2\.0\.0 Bye"):
        slot.answer(replies.BYE)
    assert queue.settled
    assert queue.ready() == [replies.OK]


@given(st.permutations(range(6)))
def test_replies_leave_in_the_order_of_commands(order: list[int]) -> None:
    queue = ReplyQueue()
    slots = [queue.open() for _ in order]
    left: list[Reply] = []
    for number in order:
        assert not queue.settled
        slots[number].answer(numbered(number))
        left += queue.ready()
        answered = {one for one in range(6) if slots[one].reply is not None}
        assert len(left) == next((n for n in range(6) if n not in answered), 6)
    assert left == [numbered(number) for number in range(6)]
    assert queue.settled
