"""The error taxonomy: who raises what, and who handles it.

Malformed MIME is not an error but data (``mime.defects``). A programming error stays
the builtin exception it is, and ends as "undecided", which is ``451 4.3.0``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING


if TYPE_CHECKING:
    from smtpguard.model.problem import Problem
    from smtpguard.model.reply import Reply


class SmtpGuardError(Exception):
    """Base of every error that smtpguard raises on purpose."""


class ProtocolError(SmtpGuardError):
    """A peer broke SMTP; carries the reply that tells it so.

    Raised by ``wire`` only, handled by ``dialogue`` only.
    """

    def __init__(self, text: str, reply: Reply, *, closes: bool = False) -> None:
        super().__init__(text)
        self.reply = reply
        """What to answer (or, for an upstream's fault, what to tell the client)."""
        self.closes = closes
        """True where nothing that follows can be trusted to be in step."""


class RulesError(SmtpGuardError):
    """A rule file does not load; carries every problem that was found.

    Raised by ``policy``; ends as ``OptionsError`` in the addon, exit 1 in the CLI.
    """

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = problems


class ReplayError(SmtpGuardError):
    """A recording cannot be read; the text names file and position.

    Raised by ``replay``, shown as one line by the CLI.
    """
