"""A mitmproxy script that has each session judged by the rules of one dialogue script.

Which script a session plays is told by the address its client comes from: 127.1.A.B
plays number A * 250 + B of all scripts. What a script says about the session itself
(destination, name of the reverse target) is put into its facts, so that a script says
the same over sockets as in memory.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from smtpguard.replay.script import Script, parse_script
from tests.dialogue.peers import TRANSCRIPTS, script_rules, script_session


if TYPE_CHECKING:
    from pathlib import Path

    from smtpguard.proxy.hooks import SmtpStartData


READY = "dialogue scripts are ready"
FILES = sorted(TRANSCRIPTS.glob("*.smtp"))
"""The scripts in the order in which they are numbered."""


def source_address(number: int) -> str:
    """Return the address from which the client of a script comes."""
    return f"127.1.{number // 250}.{number % 250 + 1}"


def number_of(address: str) -> int:
    """Return which script a client's address stands for."""
    *_, high, low = address.split(".")
    return int(high) * 250 + int(low) - 1


def read(path: Path) -> Script:
    """Read a script."""
    return parse_script(path.read_text("utf-8"), path.name)


class Scripted:
    """Answers for the rules, after smtpguard has."""

    def running(self) -> None:
        """Tell that sessions can begin: smtpguard, loaded before, is on duty."""
        logging.getLogger(__name__).info(READY)

    def smtp_start(self, data: SmtpStartData) -> None:
        """Judge this session by its script."""
        path = FILES[number_of(data.session.client[0])]
        script = read(path)
        facts = script_session(script).session
        session = data.session
        session.id = path.stem
        session.client, session.destination = facts.client, facts.destination
        session.reverse_name = facts.reverse_name
        data.decider = script_rules(script)


addons = [Scripted()]
