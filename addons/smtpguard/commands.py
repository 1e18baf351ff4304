"""The commands within mitmproxy, and what they print (contract 9)."""

from __future__ import annotations

from collections.abc import Sequence  # noqa: TC003 - of a command
from typing import TYPE_CHECKING, Final, Protocol

from mitmproxy import command

from smtpguard import alarms
from smtpguard.console import log_command


if TYPE_CHECKING:
    from collections.abc import Coroutine

    from smtpguard.scanning import Scanners


HEALTH: Final = {
    "closed": "is asked",
    "trial": "is asked again",
    "open": "is not asked",
}
"""What the states of a breaker mean to an administrator."""


class Gateway(Protocol):
    """What commands are about."""

    @property
    def rules_file(self) -> str:
        """The rule file that is in force."""
        ...

    @property
    def scanners(self) -> Scanners | None:
        """Who is asked, None where nobody is."""
        ...

    def reload(self) -> None:
        """Read the rule files again."""
        ...

    def begin(self, work: Coroutine[object, object, None]) -> None:
        """Begin something that nobody waits for."""
        ...


class Commands:
    """An addon that has commands and nothing else."""

    name = "smtpguard commands"

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    @command.command("smtpguard.reload")  # type: ignore[untyped-decorator]
    def reload(self) -> None:
        """Read the rule files again; the old rules stay if they have errors."""
        self._gateway.reload()

    @command.command("smtpguard.health")  # type: ignore[untyped-decorator]
    def health(self) -> Sequence[str]:
        """Tell how the scanners are that were asked, and how many alarms there were."""
        lines, scanners = [], self._gateway.scanners
        for name, address, state, reason in scanners.health() if scanners else ():
            words = [name, address or "here", HEALTH[state], reason]
            lines.append(" ".join(word for word in words if word))
        told = alarms.counts().items()
        return [*lines, *(f"alarms of {kind}: {count}" for kind, count in told)]

    @command.command("smtpguard.unblock")  # type: ignore[untyped-decorator]
    def unblock(self, address: str) -> None:
        """Let a blocked client in again, and log it."""
        self._run("unblock", address)

    @command.command("smtpguard.quarantine")  # type: ignore[untyped-decorator]
    def quarantine(self, action: str, *words: str) -> None:
        """List, show, release, delete, purge, export what is kept, or reindex.

        As ``smtpguard quarantine`` does; what it prints comes into the log.
        """
        self._run("quarantine", action, *words)

    @command.command("smtpguard.blocked")  # type: ignore[untyped-decorator]
    def blocked(self) -> None:
        """List who is blocked, in the log."""
        self._run("blocked")

    def _run(self, name: str, *words: str) -> None:
        """Run the command line of that name, by the rules in force."""
        # Behind the action of ``quarantine``, in front of what it is about.
        action, rest = (words[:1], words[1:]) if name == "quarantine" else ((), words)
        rules = ("--rules", self._gateway.rules_file)
        self._gateway.begin(log_command(name, *action, *rules, *rest))
