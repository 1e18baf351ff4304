"""What a client was told, read from its own words: transcript or log.

Every client of the bed answers with the same value, whatever it prints.
"""

from __future__ import annotations

import re
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING


if TYPE_CHECKING:
    from collections.abc import Iterable


CONNECT = "(connect)"
MESSAGE = "(message)"
"""Stand for the commands that the greeting and the reply after the dot answer."""


@dataclass(frozen=True, slots=True)
class Told:
    """The replies to one mail."""

    recipients: dict[str, str] = field(default_factory=dict)
    """The reply to each RCPT, by forward-path: ``550 5.1.1 ...``."""
    final: str = ""
    """The reply after the message; "" where it was never sent."""
    transcript: str = ""
    """What the client printed or logged."""

    @property
    def accepted(self) -> bool:
        """Whether the client holds the message for delivered."""
        return self.final.startswith("250")

    def code(self, forward_path: str) -> str:
        """Return the reply code to a RCPT, "" where none is known."""
        return self.recipients.get(forward_path, "")[:3]


def pair(lines: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return each command with its reply.

    ``lines`` are ("C", command) and ("S", reply line) in the order of the transcript; a
    client that pipelines has several commands before their replies. The command CONNECT
    begins another connection. A reply of many lines is answered by its last. Raises
    ``ValueError`` for a reply nobody asked for.
    """
    waiting = deque([CONNECT])
    pairs = []
    for side, line in lines:
        text = line.rstrip("\r")
        if text == CONNECT:
            waiting.clear()
        if side == "C":
            waiting.append(text)
            continue
        if text[3:4] == "-":
            continue
        if not waiting:
            raise ValueError(f"a reply to no command: {text!r}")
        command = waiting.popleft()
        pairs.append((command, text))
        if command.upper() == "DATA" and text.startswith("354"):
            waiting.appendleft(MESSAGE)
    return pairs


_RCPT = re.compile(r"RCPT TO:\s*<([^>]*)>", re.IGNORECASE)


def told_by_dialogue(
    pairs: Iterable[tuple[str, str]], transcript: str, count: int
) -> list[Told]:
    """Return what a dialogue says of each of its ``count`` mails.

    Where it did not come to a mail, the last refusal answers that mail: a greeting of
    421, a STARTTLS of 454.
    """
    mails: list[Told] = []
    refusal = ""
    for command, reply in pairs:
        refusal = reply if reply[:1] in "45" else refusal
        match = _RCPT.match(command)
        if command.upper().startswith("MAIL "):
            final = "" if reply.startswith("250") else reply
            mails.append(Told({}, final, transcript))
        elif match and mails:
            mails[-1].recipients[match[1]] = reply
        elif mails and not mails[-1].final and _ends(command, reply):
            mails[-1] = Told(mails[-1].recipients, reply, transcript)
    return mails + [Told({}, refusal, transcript)] * (count - len(mails))


def _ends(command: str, reply: str) -> bool:
    """Whether this is the answer to a message, or instead of one."""
    is_data = command.upper() == "DATA"
    return command == MESSAGE or (is_data and not reply.startswith("354"))


_POSTFIX = re.compile(
    r"to=<(?P<to>[^>]*)>, (?:orig_to=<[^>]*>, )?relay=.*? status=(?P<status>\w+) "
    r"\((?P<text>.*)\)$"
)
_REFUSED = re.compile(r"refused to talk to me: (?P<reply>\d{3}.*)$")
_SAID = re.compile(r"said: (?P<reply>\d{3}.*) \(in reply to (?P<what>.*) command\)$")


def told_by_postfix(log: str, queue_ids: Iterable[str]) -> list[Told]:
    """Return what a sending Postfix logged about its messages, by queue id."""
    found = []
    for queue_id in queue_ids:
        lines = [line for line in log.splitlines() if f" {queue_id}: " in line]
        told = Told(transcript="\n".join(lines))
        for match in filter(None, map(_POSTFIX.search, lines)):
            told = _with(told, match["to"], match["text"])
        found.append(told)
    return found


def _with(told: Told, recipient: str, text: str) -> Told:
    said = _SAID.search(text)
    if said is None:
        if refused := _REFUSED.search(text):
            return Told(told.recipients, refused["reply"], told.transcript)
        reply = text if text[:3].isdigit() else ""
        told.recipients[recipient] = reply
        return Told(told.recipients, told.final or reply, told.transcript)
    if said["what"] == "RCPT TO":
        told.recipients[recipient] = said["reply"]
        return told
    return Told(told.recipients, told.final or said["reply"], told.transcript)


_EXIM = re.compile(
    r" (?P<sign>=>|->|\*\*|==) (?P<to>\S+) .*?"
    r"(?:C=\"(?P<good>[^\"]*)\"|"
    r"(?:after|\() ?(?P<what>[^:]*(?::<[^>]*>[^:]*)?): "
    r"(?P<bad>\d{3}.*?)\)?(?: DT=\S+)?$)"
)


def told_by_exim(log: str, ids: Iterable[str]) -> list[Told]:
    """Return what a sending Exim logged about its messages, by message id."""
    found = []
    for each in ids:
        lines = [line for line in log.splitlines() if f" {each} " in line]
        recipients: dict[str, str] = {}
        final = ""
        for match in filter(None, map(_EXIM.search, lines)):
            reply = match["good"] or match["bad"]
            if match["good"] or "RCPT" in match["what"]:
                recipients[match["to"]] = reply
            if match["good"] or "RCPT" not in match["what"]:
                final = final or reply
        found.append(Told(recipients, final, "\n".join(lines)))
    return found
