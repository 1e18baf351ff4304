"""The dialogue's questions as hooks, and what their answers mean."""

from __future__ import annotations

import pytest

from smtpguard.dialogue import effects
from smtpguard.dialogue import events as happenings
from smtpguard.model.reply import Reply
from smtpguard.proxy import hooks
from smtpguard.proxy.questions import Questions
from smtpguard.wire import parse_command, replies
from tests.proxy.fakes import new_session


NOOP = effects.AskCommand(parse_command(b"NOOP"))
NO = Reply.make(550, "5.7.1", "not this one")


@pytest.fixture
def questions() -> Questions:
    return Questions(new_session())


@pytest.mark.parametrize(
    ("answer", "reply"),
    [
        ("pass", None),
        (NO, NO),
        (None, replies.UNDECIDED),
        ("yes", replies.UNDECIDED),
        (True, replies.UNDECIDED),
    ],
    ids=["pass", "reply", "undecided", "another word", "truth"],
)
def test_only_pass_lets_a_command_go_on(
    questions: Questions, answer: object, reply: Reply | None
) -> None:
    hook = questions.ask(NOOP)
    assert isinstance(hook, hooks.SmtpCommandHook)
    hook.data.answer = answer  # type: ignore[assignment]

    assert questions.answered(hook) == happenings.CommandJudged(reply)


def test_an_answer_counts_once(questions: Questions) -> None:
    hook = questions.ask(NOOP)

    assert questions.answered(hook) is not None
    assert questions.answered(hook) is None


def test_a_hook_of_somebody_else_means_nothing(questions: Questions) -> None:
    other = Questions(new_session()).ask(NOOP)

    assert questions.answered(other) is None


def test_what_is_no_question_is_a_programming_error(questions: Questions) -> None:
    with pytest.raises(AssertionError, match="the dialogue wants"):
        questions.ask(effects.ContinueTls())
