"""Every way in which a scanner can fail, with every action of the rules: what follows.

``CELLS`` is the table of ``docs/failures.md``; ``test_failures`` proves each cell by a
mail over STARTTLS. What is to happen is written down by hand in ``ENDS``, from the
contract: it is no output of anything.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import groupby

from tests.integration.sending import source
from tests.scanners.engines import Fake


type Script = Callable[[Fake, socket.socket], None]

AS_IT_CAME = "arrives as it came"
STRIPPED = "arrives, a notice where the part was"
LOCKED = "arrives, the part locked"
NOTHING = ""


@dataclass(frozen=True, slots=True)
class End:
    """What the client hears, and what its recipient gets."""

    reply: str
    """How the reply begins; for people as well."""
    arrives: str = NOTHING

    def __str__(self) -> str:
        """Return the words of the table."""
        return f"`{self.reply}`, {self.arrives or 'nothing arrives'}"


REFUSED = End("550 5.7.1")
LATER = End("451 4.7.1")
ENDS = {
    "allow": End("250", AS_IT_CAME),
    "strip": End("250", STRIPPED),
    "lock": End("250", LOCKED),
    "deny": REFUSED,
    "tempfail": LATER,
    "discard": End("250", NOTHING),
}
"""Of an attachment, and of a whole message."""
TEXT_ENDS = {**ENDS, "strip": LATER, "lock": LATER}
"""Of the text of a mail, which is not replaced because it could not be scanned."""
SPAM_ENDS = {
    "allow": ENDS["allow"],
    "deny": End("550 5.7.1"),
    "tempfail": LATER,
    "discard": ENDS["discard"],
}


@dataclass(frozen=True, slots=True)
class Failure:
    """One way to fail."""

    service: str
    """As ``type`` in the rules."""
    name: str
    doc: str
    key: str
    """Of the table in the rules that has the action for it."""
    script: Script | None
    """What the fake does; None: nobody listens."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One failure under one action."""

    number: int
    failure: Failure
    what: str
    """``attachment``, ``text`` or ``message``."""
    action: str
    end: End

    @property
    def source(self) -> str:
        """The client's address, by which the policy of the cell is chosen."""
        return source(self.number)

    @property
    def recipient(self) -> str:
        """Who would get the mail."""
        return f"cell{self.number}@own.example"


# -- fakes ---------------------------------------------------------------------------


def _line(connection: socket.socket) -> bytes:
    found = bytearray()
    while not found.endswith(b"\n"):
        octet = connection.recv(1)
        if not octet:
            break
        found += octet
    return bytes(found)


def _exactly(connection: socket.socket, size: int) -> bytes:
    found = bytearray()
    while len(found) < size and (piece := connection.recv(size - len(found))):
        found += piece
    return bytes(found)


def clamd(answer: bytes | None, *, pongs: bool = True, reads: bool = True) -> Script:
    """Return a clamd that answers a scan so; None: never. ``pongs``: and a PING."""

    def script(_: Fake, connection: socket.socket) -> None:
        command = _line(connection)
        if command == b"nPING\n":
            if pongs:
                connection.sendall(b"PONG\n")
            else:
                _wait(connection)
            return
        if not reads:
            return
        while (size := int.from_bytes(_exactly(connection, 4))) > 0:
            _exactly(connection, size)
        if answer is None:
            _wait(connection)
        else:
            connection.sendall(answer)

    return script


def http(answer: bytes | None) -> Script:
    """Return an rspamd that answers a question so; None: never."""

    def script(_: Fake, connection: socket.socket) -> None:
        head = bytearray()
        while b"\r\n\r\n" not in head and (piece := connection.recv(1)):
            head += piece
        if head.startswith(b"GET /ping"):
            connection.sendall(_response(b"pong\r\n"))
            return
        length = head.lower().partition(b"content-length:")[2].split(b"\r\n")[0]
        _exactly(connection, int(length or b"0"))
        if answer is None:
            _wait(connection)
        else:
            connection.sendall(answer)

    return script


def _response(body: bytes, status: bytes = b"200 OK") -> bytes:
    head = b"HTTP/1.1 %s\r\nConnection: close\r\nContent-Length: %d\r\n\r\n"
    return head % (status, len(body)) + body


def _wait(connection: socket.socket) -> None:
    """Say nothing until the peer has gone."""
    connection.settimeout(30)
    with suppress(OSError):
        while connection.recv(4096):
            time.sleep(0)


# -- the table -----------------------------------------------------------------------

CLAMD = (
    Failure("clamd", "gone", "nobody listens", "unavailable", None),
    Failure("clamd", "frozen", "answers nobody", "error", clamd(None, pongs=False)),
    Failure("clamd", "mute", "answers others, not this scan", "error", clamd(None)),
    Failure("clamd", "killed", "ends while it reads", "error", clamd(b"", reads=False)),
    Failure("clamd", "silent", "ends without an answer", "error", clamd(b"")),
    Failure("clamd", "cut", "ends within its answer", "error", clamd(b"stream: O")),
    Failure("clamd", "garbage", "answers nonsense", "error", clamd(b"banana\n")),
    Failure(
        "clamd", "twice", "answers twice", "error", clamd(b"stream: OK\nstream: OK\n")
    ),
    Failure(
        "clamd",
        "fault",
        "tells of an error",
        "error",
        clamd(b"stream: Can't allocate memory ERROR\n"),
    ),
    Failure(
        "clamd",
        "too long",
        "takes no more",
        "oversize",
        clamd(b"INSTREAM size limit exceeded. ERROR\n"),
    ),
    Failure(
        "clamd",
        "locked",
        "cannot look into it",
        "encrypted",
        clamd(b"stream: Heuristics.Encrypted.Zip FOUND\n"),
    ),
    Failure(
        "clamd", "virus", "finds a virus", "infected", clamd(b"stream: Eicar FOUND\n")
    ),
)
RSPAMD = (
    Failure("rspamd", "gone", "nobody listens", "unavailable", None),
    Failure("rspamd", "mute", "never answers", "error", http(None)),
    Failure("rspamd", "killed", "ends without an answer", "error", http(b"")),
    Failure(
        "rspamd", "broken", "answers no JSON", "error", http(_response(b'{"score": 1,'))
    ),
    Failure("rspamd", "void", "answers no score", "error", http(_response(b"{}"))),
    Failure(
        "rspamd",
        "fault",
        "HTTP status 500",
        "error",
        http(_response(b"", b"500 Internal Server Error")),
    ),
    Failure(
        "rspamd",
        "cut",
        "ends within its answer",
        "error",
        http(_response(b'{"score": 0}')[:-3]),
    ),
)
FAILURES = (*CLAMD, *RSPAMD)


def _cells() -> Iterator[Cell]:
    number = 0
    for failure in FAILURES:
        tables = [("message", SPAM_ENDS)]
        if failure.service == "clamd":
            tables = [("attachment", ENDS)]
            if failure.key not in ("infected", "encrypted"):
                tables.append(("text", TEXT_ENDS))
        for what, ends in tables:
            for action, end in ends.items():
                number += 1
                yield Cell(number, failure, what, action, end)


CELLS = tuple(_cells())


def table() -> str:
    """Return the table of ``docs/failures.md``."""
    lines = []
    for (service, what), cells in groupby(
        sorted(CELLS, key=lambda cell: (cell.failure.service, cell.what)),
        key=lambda cell: (cell.failure.service, cell.what),
    ):
        found = list(cells)
        actions = list(dict.fromkeys(cell.action for cell in found))
        lines += [f"### {service}: {what}", ""]
        words = " | ".join(f"`{action}`" for action in actions)
        lines.append(f"| what it does | key | {words} |")
        lines.append(f"|---|---|{'---|' * len(actions)}")
        for failure, row in groupby(found, key=lambda cell: cell.failure):
            ends = " | ".join(str(cell.end) for cell in row)
            lines.append(f"| {failure.doc} | `{failure.key}` | {ends} |")
        lines.append("")
    return "\n".join(lines)
