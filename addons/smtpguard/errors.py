"""The error taxonomy: what is raised on purpose, by whom, and who handles it.

Malformed MIME is not an error but data (``mime.defects``). A programming error stays
the builtin exception it is: where rules or a judge raise it, it ends as "undecided"
(``451 4.3.0``), in our own layers as ``421 4.3.0`` (contract 2.2). What a package
raises for itself alone is not here (``dialogue.waits``, ``policy.patterns`` ...).
"""

from __future__ import annotations

from typing import TYPE_CHECKING


if TYPE_CHECKING:
    from smtpguard.model.problem import Problem
    from smtpguard.model.reply import Reply


def os_text(error: OSError) -> str:
    """Return what went wrong and where, without the number: ``No space left on device
    (/var/tmp)``."""
    words = error.strerror or str(error)
    return f"{words} ({error.filename})" if error.filename else words


class SmtpGuardError(Exception):
    """Base of the errors that leave their package.

    Raised itself by ``inspecting``, ``workers`` and ``authority`` for what cannot be
    done as it was asked; the CLI prints its text and exits with 2.
    """


class ProtocolError(SmtpGuardError):
    """A peer broke SMTP; carries the reply that tells the client so.

    Raised by ``wire`` for what cannot be read, by ``dialogue`` for what may not stand
    where it stands. ``dialogue`` answers it; ``replay``, which reads what was said
    once, takes it for something that is no command or reply.
    """

    def __init__(self, text: str, reply: Reply, *, closes: bool = False) -> None:
        super().__init__(text)
        self.reply = reply
        """What to answer; of an upstream's fault, what its loss means to the client."""
        self.closes = closes
        """True where nothing that follows can be trusted to be in step."""


class InspectorError(SmtpGuardError):
    """Whoever looks into archives could not, by a fault of ours: undecided.

    Raised by ``looking``; ends as every error of a judge does, ``451 4.3.0``.
    """


class ScanError(SmtpGuardError):
    """A scanner gave no whole, well-formed answer; the text says what it did.

    Raised by ``scanners``, whose ``base.guard`` makes a verdict of it: never clean.
    """


class ScannerUnavailableError(ScanError):
    """A scanner could not be asked at all: nothing is said of the content."""


class ScannerDiedError(ScanError):
    """A scanner took a content and ended without an answer; the content may be why."""


class ScannerTimeoutError(ScanError):
    """A scanner did not answer in time."""


class RulesError(SmtpGuardError):
    """A rule file does not load; carries every problem that was found.

    Raised by ``policy``, and by ``loading`` for certificates that are of no use. Ends
    as ``OptionsError`` in the addon at start, in the log at a reload, as a line for
    each problem in the CLI.
    """

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = problems


class QuarantineError(SmtpGuardError):
    """Something cannot be kept, read or released; the text names item or file.

    Raised by ``quarantine``. Where a message was to be kept, nobody has it then, and
    the client is told 451, or 452 4.3.1 where it is ``full``; the CLI prints the text.
    """

    def __init__(self, text: str, *, full: bool = False) -> None:
        super().__init__(text)
        self.full = full
        """There is no room: on the disk, or within ``max_size``."""


class NotReleasedError(QuarantineError):
    """There is nothing to release: it has gone already, or may have."""


class BlockError(SmtpGuardError):
    """A client cannot be blocked, or let in again; the text says why.

    Raised by ``blocking``. The gateway logs it and goes on: blocking is no promise; the
    CLI prints the text.
    """


class ReplayError(SmtpGuardError):
    """A recording or script cannot be read, or smtpguard says something else than it.

    The text names file and place. Raised by ``replay``, shown as one line by the CLI.
    """
