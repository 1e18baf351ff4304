"""A dialogue script (``.smtp``) as a recording.

A script says what both peers say and what each must hear, so it holds all that a
recorded session does. What was meant for other rules than those it is replayed under
is taken as it stands: who said what after which answer.

Reads each leg as its receiver would: the client's lines and messages by the answers
the script has for them, the upstream's by its replies.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, cast

from smtpguard.dialogue.transcript import Direction, Entry
from smtpguard.errors import ProtocolError, ReplayError
from smtpguard.replay.answers import (
    LINE_LIMIT,
    MESSAGE_LIMIT,
    collect,
    may_introduce,
)
from smtpguard.replay.recording import Recording, client_steps
from smtpguard.wire import DataReader, Receiver, ReplyReader, parse_bdat, proxyprotocol


if TYPE_CHECKING:
    from smtpguard.replay.script import Script, Step


TLS_FACTS = {"version": "TLSv1.3", "cipher": "SCRIPT", "verified": "ok"}


def read_script(script: Script) -> Recording:
    """Return the session that a script describes.

    Raises ReplayError, with the line, where it is none: its octets are no dialogue.
    """
    reader = _Reader(script.name)
    for step in script.steps:
        try:
            reader.take(step)
        except ProtocolError as error:
            place = f"{script.name}:{step.number}"
            raise ReplayError(f"{place}: no dialogue to replay: {error}") from None
    return Recording(
        name=script.name,
        session={
            "id": "script",
            "destination": ["192.0.2.9", 25],
            "reverse_name": script.header("name"),
            "client": reader.introduced,
        },
        legs={
            "client": {"tls": {**TLS_FACTS, "name": reader.client_name}},
            "upstream": {"tls": {**TLS_FACTS, "name": script.header("name")}},
        },
        steps=client_steps(reader.entries),
        answers=collect(reader.entries),
    )


class _Reader:
    """Turns steps into the entries of a transcript."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.entries: list[Entry] = []
        self.client_name = ""
        self._client = _Speaker(self.entries, "C")
        self._upstream = _Speaker(self.entries, "s")
        self._heard = _Listener(self.entries, "c")
        self._said = _Listener(self.entries, "S")
        self._dialled = self._linked = False

    @property
    def introduced(self) -> list[str | int] | None:
        """The client that a PROXY header told of, as records hold it."""
        source = self._client.introduced
        return None if source is None else list(source)

    def take(self, step: Step) -> None:
        if step.event:
            self._take_event(step)
            return
        octets = step.octets if not step.open_ended else step.octets + b"\r\n"
        match step.direction:
            case "C":
                self._client.feed(octets)
            case "c":
                for code in self._heard.feed(octets, open_ended=step.open_ended):
                    self._client.answered(code)
            case "s":
                if not self._dialled:
                    self._link()
                if self._linked:
                    self._upstream.feed(octets)
            case "S":
                self._link()
                self._take_reply(octets)

    def _take_reply(self, octets: bytes) -> None:
        try:
            codes = self._said.feed(octets, open_ended=False)
        except ProtocolError:
            # What is no reply loses the upstream.
            self._mark("S", "closed")
            self._linked = False
            return
        for code in codes:
            self._upstream.answered(code)

    def _link(self) -> None:
        """Make the connection that a reply, handshake or refusal comes from."""
        if not self._linked:
            self._linked = self._dialled = True
            self._upstream.reset()
            self._said = _Listener(self.entries, "S")
            self._mark("s", "open")

    def _take_event(self, step: Step) -> None:
        match step.direction, step.words:
            case "s", ["open"]:
                self._linked = False
                self._link()
            case "S", ["tls"]:
                self._link()
                self._mark("S", "tls TLSv1.3")
            case "S", ["refused" | "silent" | "tls-fails", *_]:
                self._link()
                self._linked = False
            case "S", ["close" | "reset"]:
                self._mark("S", "closed")
                self._linked = False
            case "s", ["close"]:
                self._linked = False
            case "C", ["tls", *name]:
                self.client_name = "".join(name)
                self._client.reset()
                self._mark("C", "tls TLSv1.3")
            case "C", ["close"]:
                self._mark("C", "closed")
            case "C", ["reset"]:
                self._mark("C", "reset")

    def _mark(self, direction: Direction, text: str) -> None:
        self.entries.append(Entry(direction, text.encode(), "mark"))


class _Speaker:
    """Whoever sends commands: the client, or smtpguard to the upstream.

    After DATA nothing is read until its reply is there: it tells what follows.
    """

    def __init__(self, entries: list[Entry], direction: Literal["C", "s"]) -> None:
        self._entries = entries
        self._direction: Direction = cast("Direction", direction)
        self.introduced: tuple[str, int] | None = None
        """The client that a PROXY header told of."""
        self.reset()

    def reset(self) -> None:
        """Begin anew: another connection, or the same one under TLS."""
        self._receiver = Receiver()
        self._data: DataReader | None = None
        self._message = bytearray()
        self._chunk = 0
        self._last = False
        self._asks = False
        """DATA was said and is not answered."""
        self._open = 0
        """Commands and messages that are not answered."""
        self._fresh = True
        """Nothing was read yet: a PROXY header may come."""

    def feed(self, octets: bytes) -> None:
        self._receiver.feed(octets)
        while self._step():
            pass

    def answered(self, code: int) -> None:
        """Take a reply: only the one to DATA changes how octets are read."""
        self._open = max(0, self._open - 1)
        if self._asks and not self._open:
            self._asks = False
            if code == 354:
                self._data = DataReader(limit=MESSAGE_LIMIT)
            self.feed(b"")

    def _step(self) -> bool:
        if self._asks:
            return False
        if self._data is not None:
            return self._read_data(self._data)
        if self._chunk:
            return self._read_chunk()
        if self._fresh and may_introduce(self._receiver):
            return self._read_introduction()
        line = self._receiver.next_line(LINE_LIMIT)
        if line is None:
            return False
        self._fresh = False
        self._add(line + b"\r\n", "line")
        self._open += 1
        verb = line[:4].upper()
        self._asks = line.upper() == b"DATA"
        if verb == b"BDAT":
            self._chunk, self._last = parse_bdat(line[4:].strip())
            if self._last and not self._chunk:
                self._end_message()
        return True

    def _read_introduction(self) -> bool:
        header = proxyprotocol.parse(self._receiver)
        if header is None:
            return False
        self._fresh = False
        if header.source is not None:
            self.introduced = header.source
            mark = f"proxy {header.source[0]}".encode()
            self._entries.append(Entry(self._direction, mark, "mark"))
        return True

    def _read_data(self, data: DataReader) -> bool:
        if not data.read(self._receiver, self._message.extend):
            return False
        self._data = None
        self._open += 1
        if self._direction == "s":
            # As the dialogue's own transcript has it.
            self._add(b".\r\n", "line")
        self._end_message()
        return True

    def _read_chunk(self) -> bool:
        octets = self._receiver.take(self._chunk)
        self._chunk -= len(octets)
        self._message += octets
        if self._chunk:
            return False
        if self._last:
            self._end_message()
        return True

    def _end_message(self) -> None:
        self._add(bytes(self._message), "message")
        self._message.clear()

    def _add(self, octets: bytes, kind: Literal["line", "message"]) -> None:
        size = len(octets) if kind == "message" else 0
        self._entries.append(Entry(self._direction, octets, kind, size=size))


class _Listener:
    """Whoever is answered; puts whole replies into the transcript."""

    def __init__(self, entries: list[Entry], direction: Literal["c", "S"]) -> None:
        self._entries = entries
        self._direction: Direction = cast("Direction", direction)
        self._receiver = Receiver()
        self._reader = ReplyReader()
        self.greeted = False

    def feed(self, octets: bytes, *, open_ended: bool) -> list[int]:
        """Take octets; return the codes of the replies to commands that are whole."""
        if open_ended and not octets[:3].isdigit():
            octets = b"250" + octets[3:].rjust(2)
        self._receiver.feed(octets)
        codes = []
        while (reply := self._reader.next_reply(self._receiver)) is not None:
            self._entries.append(Entry(self._direction, reply.to_octets(), "line"))
            if self.greeted:
                codes.append(reply.code)
            self.greeted = True
        return codes
