"""What the dialogue asks others: its effects as hooks, their answers as its events.

An answer counts once and only for the session it was asked in. A verdict is waited for
after the session's end as well: until then the judge reads the message's storage.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from smtpguard.dialogue import effects
from smtpguard.dialogue import events as happenings
from smtpguard.model.reply import Reply
from smtpguard.proxy import hooks
from smtpguard.wire import replies


if TYPE_CHECKING:
    from collections.abc import Callable

    from mitmproxy.proxy import commands

    from smtpguard.model.session import SessionFacts


class Questions:
    """The open questions of one session."""

    def __init__(self, session: SessionFacts) -> None:
        self._session = session
        self._open: dict[commands.StartHook, Callable[[Any], happenings.Event]] = {}

    def ask(self, effect: effects.Effect) -> commands.StartHook:
        """Return the hook to raise for an effect."""
        match effect:
            case effects.AskVerdict():
                return self._ask_verdict(effect)
            case effects.AskCommand(command):
                return self._note(
                    hooks.SmtpCommandHook(
                        hooks.SmtpCommandData(self._session, command)
                    ),
                    lambda data: _command_judged(data.answer),
                )
            case _:
                raise AssertionError(f"the dialogue wants {effect!r}")

    def answered(self, hook: commands.StartHook) -> happenings.Event | None:
        """Return what a completed hook means; None if it is none of ours."""
        to_event = self._open.pop(hook, None)
        return to_event(hook.args()[0]) if to_event else None

    def _ask_verdict(self, effect: effects.AskVerdict) -> commands.StartHook:
        transaction = effect.transaction
        assert transaction.content is not None
        data = hooks.SmtpMessageData(
            self._session, transaction, transaction.envelope, transaction.content
        )
        return self._note(
            hooks.SmtpMessageHook(data),
            lambda data: happenings.Judged(transaction.id, data.disposition),
        )

    def _note(
        self, hook: commands.StartHook, to_event: Callable[[Any], happenings.Event]
    ) -> commands.StartHook:
        self._open[hook] = to_event
        return hook


def _command_judged(answer: object) -> happenings.CommandJudged:
    """Read what other addons said about a command; nothing sensible is 451."""
    if answer == "pass":
        return happenings.CommandJudged(None)
    reply = answer if isinstance(answer, Reply) else replies.UNDECIDED
    return happenings.CommandJudged(reply)
