r"""Dialogue scripts (``.smtp``): what both peers say, and what each one must hear.

One line each, in the order in which things happen::

    # comment
    name: mx.example                   a header line, anywhere
    C> EHLO client.example             the client sends this line
    s< EHLO client.example             ... and the upstream receives that
    S> 250-mx.example                  the upstream sends this line
    c< 250-mx.example                  ... and the client receives that
    C> [tls mx.example]                the client begins its TLS handshake (with SNI)
    S> [tls]                           the upstream takes part in a TLS handshake
    C> [tls-fails] / S> [tls-fails]    ... which fails on its side
    s< [open]                          a connection to the upstream is made
    S> [refused] / [silent]            it is refused / nothing is said on it
    C> [close] / [reset], S> likewise  the peer sends FIN / RST
    c< [close] / s< [close]            smtpguard closes that leg
    == [wait 31] / [stop]              so many seconds pass / the process is to end

``C`` and ``S`` are inputs, ``c`` and ``s`` are expectations. A line ends in CRLF unless
it ends in a backslash (no end at all); ``\r``, ``\n``, ``\t``, ``\0``, ``\xNN`` and
``\\`` are escapes. A trailing ``...`` in an expectation matches any rest.

Header lines are for whoever plays the script, and mean nothing to the others. ``name:``
(host of the reverse target) is read by ``scriptfile`` too; ``only: memory: REASON``
keeps a script from being played over sockets. What the tests know besides (settings,
rules, outcomes) is listed in ``tests/dialogue/peers.py``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Literal

from smtpguard.errors import ReplayError


type Direction = Literal["C", "S", "c", "s", "="]

_LINE = re.compile(r"([CScs=])([><=]) ?(.*)\Z", re.DOTALL)
_HEADER = re.compile(r"([a-z_]+): *(.*)\Z")
_ESCAPE = re.compile(rb"\\(?:x([0-9a-fA-F]{2})|(.))", re.DOTALL)
_SIMPLE = {b"r": b"\r", b"n": b"\n", b"0": b"\0", b"t": b"\t", b"\\": b"\\"}


@dataclass(frozen=True, slots=True)
class Step:
    """One line of a script."""

    direction: Direction
    octets: bytes
    """With its end; an event's words where ``event`` is true."""
    number: int
    """Line number in the file, from 1."""
    event: bool = False
    open_ended: bool = False
    """An expectation that ended in ``...``."""

    @property
    def words(self) -> list[str]:
        """The words of an event."""
        return self.octets.decode("utf-8").split()


@dataclass(frozen=True, slots=True)
class Script:
    """A parsed dialogue script."""

    name: str
    headers: dict[str, list[str]] = field(default_factory=dict)
    steps: tuple[Step, ...] = ()

    def header(self, name: str, default: str = "") -> str:
        """Return the last value of a header line."""
        return self.headers.get(name, [default])[-1]


def parse_script(text: str, name: str = "script") -> Script:
    """Parse a script. Raises ReplayError with name and line."""
    headers: dict[str, list[str]] = {}
    steps: list[Step] = []
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip() or line.startswith("#"):
            continue
        found = _LINE.match(line)
        if found is not None and _arrow_fits(found[1], found[2]):
            steps.append(_step(found[1], found[3], number, name))
        elif header := _HEADER.match(line):
            headers.setdefault(header[1], []).append(header[2].strip())
        else:
            msg = f"{name}:{number}: not a line of a dialogue script: {line!r}"
            raise ReplayError(msg)
    return Script(name, headers, tuple(steps))


def _arrow_fits(direction: str, arrow: str) -> bool:
    return {"C": ">", "S": ">", "c": "<", "s": "<", "=": "="}[direction] == arrow


def _step(direction: str, rest: str, number: int, name: str) -> Step:
    if rest.startswith("[") and rest.rstrip().endswith("]"):
        words = rest.strip()[1:-1].encode()
        return Step(direction, words, number, event=True)  # type: ignore[arg-type]
    if direction == "=":
        msg = f"{name}:{number}: only events follow =="
        raise ReplayError(msg)
    open_ended = direction in "cs" and rest.endswith("...")
    if open_ended:
        octets = unescape(rest[:-3].encode())
    elif rest.endswith("\\") and not rest.endswith("\\\\"):
        octets = unescape(rest[:-1].encode())
    else:
        octets = unescape(rest.encode()) + b"\r\n"
    return Step(direction, octets, number, open_ended=open_ended)  # type: ignore[arg-type]


def unescape(octets: bytes) -> bytes:
    """Undo the escapes of a script line."""

    def one(found: re.Match[bytes]) -> bytes:
        if found[1]:
            return bytes([int(found[1], 16)])
        return _SIMPLE.get(found[2], found[2])

    return _ESCAPE.sub(one, octets)
