"""What is spoken between the gateway and the processes that look into archives.

Over a socket goes, in both directions, a length of four octets (big-endian) and so many
octets of JSON; behind the JSON of a request, as many octets of content as it says.
"""

from __future__ import annotations

import json
import math
import time
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING, Any

from smtpguard.model.contents import Contents, Entry, Fact, Finding


if TYPE_CHECKING:
    import socket


MAX_ANSWER = 32 << 20
"""Octets; names are bounded to a part of this by ArchiveLimits."""
MAX_REQUEST = 4 << 20
"""Octets of a request without its content: names, most of all."""

GRACE = 0.5
"""Seconds of the processor for an answer, and until a process is ended that has none.
"""

_LENGTH = 4
_STEP = 1 << 20


@dataclass(frozen=True, slots=True)
class Request:
    """What is to be looked into."""

    octets: bytes
    names: tuple[str, ...]
    seconds: float
    """Of the processor, for the look."""


def patience(seconds: float) -> float:
    """Return how long an answer is awaited for which so much of a processor is allowed.

    On a machine that has other things to do it takes longer; what takes twice as long
    is not the fault of the octets.
    """
    return 2 * (seconds + GRACE)


def send_request(channel: socket.socket, request: Request) -> None:
    """Ask for a look. Raises OSError, TimeoutError among them."""
    head = {
        "size": len(request.octets),
        "names": request.names,
        "seconds": request.seconds,
    }
    _send_frame(channel, _json(head))
    channel.sendall(request.octets)


def receive_request(channel: socket.socket) -> Request:
    """Wait for a request. Raises EOFError where the other side is gone, or OSError.

    Whoever asks is trusted: another shape raises whatever comes.
    """
    head = json.loads(_receive_frame(channel, MAX_REQUEST))
    octets = _receive(channel, head["size"])
    return Request(octets, tuple(head["names"]), head["seconds"])


def send_answer(channel: socket.socket, contents: Contents) -> None:
    """Answer a request. Raises OSError."""
    entries = [
        [
            one.path,
            one.names,
            one.size,
            one.detected,
            sorted(one.facts),
            one.sha256,
        ]
        for one in contents.entries
    ]
    findings = [[one.kind, one.detail] for one in contents.findings]
    facts = sorted(contents.facts)
    answer = [contents.detected, facts, entries, findings, contents.seconds]
    _send_frame(channel, _json(answer))


def receive_answer(channel: socket.socket, deadline: float) -> Contents:
    """Return what was found, trusting nothing of it.

    ``deadline`` is of ``time.monotonic``. Raises EOFError where the other side is gone,
    ValueError where it does not make sense or is too long, TimeoutError, OSError.
    """
    octets = _receive_frame(channel, MAX_ANSWER, deadline)
    try:
        detected, facts, entries, findings, seconds = json.loads(octets)
        return Contents(
            _text(detected),
            frozenset(map(Fact, facts)),
            tuple(map(_entry, entries)),
            tuple(Finding(_text(kind), _text(detail)) for kind, detail in findings),
            seconds=_seconds(seconds),
        )
    except (TypeError, RecursionError) as error:
        raise ValueError(str(error)) from None


def _entry(fields: Any) -> Entry:  # noqa: ANN401 - whatever JSON has there
    path, names, size, detected, facts, sha256 = fields
    if type(size) is not int or type(names) is not list:
        raise TypeError("an entry of another shape")
    return Entry(
        _text(path),
        tuple(map(_text, names)),
        size,
        _text(detected),
        frozenset(map(Fact, facts)),
        _text(sha256),
    )


def _text(value: Any) -> str:  # noqa: ANN401 - whatever JSON has there
    if type(value) is not str:
        raise TypeError("not a text")
    return value


def _seconds(value: Any) -> float:  # noqa: ANN401 - whatever JSON has there
    if type(value) is not float or not math.isfinite(value) or value < 0:
        raise TypeError("no time")
    return value


def _json(value: object) -> bytes:
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    # No reader of names lets half a character through; who asks may have some.
    return text.encode("utf-8", "replace")


def _send_frame(channel: socket.socket, octets: bytes) -> None:
    channel.sendall(len(octets).to_bytes(_LENGTH))
    channel.sendall(octets)


def _receive_frame(
    channel: socket.socket, most: int, deadline: float | None = None
) -> bytes:
    size = int.from_bytes(_receive(channel, _LENGTH, deadline))
    if size > most:
        raise ValueError(f"a message of {size} octets")
    return _receive(channel, size, deadline)


def _receive(channel: socket.socket, size: int, deadline: float | None = None) -> bytes:
    """Return ``size`` octets, held once: a BytesIO gives them away uncopied."""
    received = BytesIO()
    while (missing := size - received.tell()) > 0:
        if deadline is not None:
            channel.settimeout(max(deadline - time.monotonic(), 0.001))
        piece = channel.recv(min(missing, _STEP))
        if not piece:
            raise EOFError
        received.write(piece)
    return received.getvalue()
