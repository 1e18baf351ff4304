"""Sessions that others have recorded, as scripts (the shared corpora's SOURCES.md).

A stream is one TCP connection between a client and a server with nothing in between: so
what the client said is what the upstream heard, and the other way round. After STARTTLS
only what the capture holds in clear can be read.
"""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from smtpguard.replay.script import Script, Step


if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TLS_RECORD = b"\x16\x03"


@dataclass(frozen=True)
class Stream:
    """One recorded connection."""

    name: str
    events: tuple[tuple[bool, bytes], ...]
    """(from the client, octets) in order, up to the first record of TLS."""
    encrypted: bool
    """It goes on under TLS that nobody has decrypted."""

    @property
    def client(self) -> bytes:
        """What the client said in clear."""
        return b"".join(octets for is_client, octets in self.events if is_client)

    @property
    def server(self) -> bytes:
        """What the server said in clear."""
        return b"".join(octets for is_client, octets in self.events if not is_client)

    def script(self) -> Script:
        """Return the stream as a dialogue script."""
        return Script(self.name, {}, tuple(self._steps()))

    def _steps(self) -> Iterator[Step]:
        if not self.server:
            # One-sided: the client went on, so it was invited.
            yield Step("c", b"220 hi\r\n", 0)
            yield from _invited(self.client)
            return
        upgraded = False
        awaiting = False
        """STARTTLS was said: behind its 220 a decrypted capture goes on."""
        for number, (from_client, octets) in enumerate(self.events):
            if from_client:
                awaiting = awaiting or b"STARTTLS\r\n" in octets.upper()
                yield Step("C", octets, number)
                yield Step("s", octets, number)
                continue
            yield Step("S", octets, number)
            yield Step("c", octets, number)
            if awaiting and not upgraded and not self.encrypted:
                upgraded = True
                yield Step("S", b"tls", number, event=True)
                yield Step("C", b"tls", number, event=True)


def _invited(client: bytes) -> Iterator[Step]:
    """Yield what a client said, each line and its message answered positively."""
    head, data, rest = client.partition(b"DATA\r\n")
    if not data:
        head, data, rest = client.partition(b"data\r\n")
    for line in head.splitlines(keepends=True):
        yield Step("C", line, 0)
        yield Step("c", b"250 ok\r\n", 0)
    yield Step("C", data, 0)
    yield Step("c", b"354 go on\r\n", 0)
    yield Step("C", rest, 0)


def read_stream(path: Path) -> Stream:
    """Read one ``streams/*.json``."""
    head = json.loads(path.read_text("utf-8"))
    events: list[tuple[bool, bytes]] = []
    for event in head["events"]:
        octets = base64.b64decode(event["b64"])
        if octets.startswith(TLS_RECORD):
            return Stream(path.stem, tuple(events), encrypted=True)
        events.append((event["from"] == "client", octets))
    return Stream(path.stem, tuple(events), encrypted=False)


def stream_files(shared: Path) -> list[Path]:
    """Return the files of every recorded connection."""
    return sorted(shared.glob("corpus/sessions/*/streams/*.json"))
