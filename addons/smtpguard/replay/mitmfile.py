"""Recorded sessions from mitmproxy's flow files (``-w FILE``).

Reads flows one at a time; what is no session of ours is passed over. One flow that
cannot be replayed does not hide the others: its error comes in its place.
"""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING

from mitmproxy import io, tcp

from smtpguard.errors import ReplayError
from smtpguard.proxy import sessionrecord
from smtpguard.proxy.record import OUTCOME_KEY
from smtpguard.replay.answers import collect
from smtpguard.replay.recording import Recording, client_steps
from smtpguard.terminal import visible


if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from smtpguard.dialogue.transcript import Entry


def read_flows(path: Path) -> Iterator[Recording | ReplayError]:
    """Yield the sessions of a flow file, or why one of them cannot be replayed.

    Raises ReplayError where the file as a whole cannot be read further.
    """
    found = False
    with path.open("rb") as opened:
        flows = iter(io.FlowReader(opened).stream())
        for number in count(1):
            try:
                read = next(flows, None)
            except Exception as error:  # noqa: BLE001 - mitmproxy trusts its files
                # Python's own says nothing.
                no_room = (
                    isinstance(error, MemoryError) and "it is too large, or damaged"
                )
                text = visible(f"{type(error).__name__}: {no_room or error}")
                raise ReplayError(f"{path}: flow {number}: {text}") from None
            if read is None:
                break
            if isinstance(read, tcp.TCPFlow) and OUTCOME_KEY in read.metadata:
                found = True
                yield from _sessions(read, f"{path}", number)
    if not found:
        raise ReplayError(f"{path}: no session recorded by smtpguard")


def read_flow(read: tcp.TCPFlow, name: str, number: int = 1) -> Recording:
    """Return the session of one flow of ours, which has this number in its file.

    Raises ReplayError where it was recorded without its dialogue, or is damaged.
    """
    try:
        record = sessionrecord.read_record(read)
    except ValueError as error:
        raise ReplayError(f"the record is damaged: {error}") from None
    if record is None:
        raise ReplayError(f"{name}: recorded without its dialogue (record: none)")
    entries = record.entries
    if record.cut:
        entries = _whole_transactions(entries)
    return Recording(
        name=name,
        session=record.session,
        legs=record.legs,
        steps=client_steps(entries),
        answers=collect(entries),
        transactions=record.transactions,
        cut=f"flow {number}" if record.cut else "",
    )


def _sessions(
    read: tcp.TCPFlow, path: str, number: int
) -> Iterator[Recording | ReplayError]:
    try:
        yield read_flow(read, path, number)
    except ReplayError as error:
        text = str(error).removeprefix(f"{path}: ")
        yield ReplayError(f"{path}: flow {number}: {text}")


def _whole_transactions(entries: tuple[Entry, ...]) -> tuple[Entry, ...]:
    """Leave out the transaction in which the recording came to its limit."""
    for place in reversed(range(len(entries))):
        entry = entries[place]
        if entry.direction == "C" and entry.octets[:4].upper() == b"MAIL":
            return entries[:place]
    return entries
