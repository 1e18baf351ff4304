"""Every session that others have recorded, through the dialogue (acceptance: Sessions).

The client says what it said, the upstream answers what the server answered. What the
client is told must be what it was told, or stand in the tables below with the words of
contract that ask for it.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pytest

from smtpguard.errors import ReplayError
from smtpguard.replay.recorded import _Client
from smtpguard.replay.recording import Recording, Say
from smtpguard.replay.script import Script
from smtpguard.replay.scriptfile import read_script
from smtpguard.replay.stage import Stage
from smtpguard.wire import Receiver, ReplyReader
from tests.replay.corpus import Stream, read_stream, stream_files
from tests.replay.deciders import Rules
from tests.replay.runscript import octet_by_octet, random_pieces, whole


if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from smtpguard.model.reply import Reply
    from smtpguard.replay.recorded import Result
    from tests.replay.runscript import Chunking


STREAMS = 45
"""Connections in the corpora; a missing file must not make this test easier."""

AUTH_IN_CLEAR = "AUTH over a clear leg only if a rule allows it (3, AUTH)"
UNKNOWN_VERB = "verbs we do not parse are 502 5.5.1 (3, other keywords and verbs)"
NO_RECIPIENT = "DATA without a standing RCPT is 554 5.5.1 No valid recipients (3, DATA)"
GRAMMAR = "unparsable is 501; RFC 5321 grammar, never guesses (5, Match)"
NO_HELO = "one reading of SMTP: MAIL needs the HELO that was refused (2.5, 3)"
RECIPIENTS = "100 recipients, 452 4.5.3 for the rest (3, limits)"
LOOP = "more than 100 Received fields is 554 5.4.6 (3, trace and loops)"
ONLY_CRLF = "only the client's own CRLF.CRLF ends DATA (2.5)"
BARE_CR = "bare CR in a command: 500 and close (3, anomalies)"
BAD_BDAT = "a chunk whose size cannot be read closes the session (3, BDAT; 2.5)"
GAP = "the capture has a gap: the chunk never ends, nothing is accepted (2.1)"

DIVERGENCES: dict[str, dict[tuple[str, int | None, int | None], tuple[int, str]]] = {
    "pcap__smtp-data-250.0": {("AUTH", 235, 538): (1, AUTH_IN_CLEAR)},
    "pcap__smtp-data-521.0": {("AUTH", 334, 538): (1, AUTH_IN_CLEAR)},
    "smtp.0": {("AUTH", 334, 538): (1, AUTH_IN_CLEAR)},
    "pcap__smtp-nospaces.0": {("MAIL", 250, 503): (1, NO_HELO)},
    "smtp__rfc3030-bdat-nonascii.0": {("MAIL", 250, 501): (1, GRAMMAR)},
    "smtp-mail-transactions-invalid.0": {
        ("HELLO,", 500, 502): (3, UNKNOWN_VERB),
        ("DATA", 503, 554): (2, NO_RECIPIENT),
    },
    "smtp__smtp-many-addresses.0": {
        ("RCPT", 250, 452): (500, RECIPIENTS),
        ("DATA", 250, 554): (1, LOOP),
    },
}
"""Verb, recorded code, our code: how often, and why. All else must be the same."""

OUT_OF_STEP: dict[str, tuple[list[int], list[int], str]] = {
    "pcap__smtp-subject-windows.0": (
        [220, 250, 250, 250, 354, 250, 500],
        [220, 250, 250, 250, 354],
        ONLY_CRLF,
    ),
    "in-smtp-pcap__smtp_requests_full.0": (
        [220, 250, 250, 250, 250, 250, 503, 221, 421],
        [220, 250, 250, 250, 250, 500],
        BARE_CR,
    ),
    "smtp__smtp-bdat-cmd-chunk-size-overflow.0": (
        [220, 250, 250, 250, 521],
        [220, 250, 250, 250, 500],
        BARE_CR,
    ),
    "smtp__smtp-bdat-cmd-chunk-size-overflow2.0": (
        [220, 250, 250, 250, 521],
        [220, 250, 250, 250, 500],
        BARE_CR,
    ),
    "smtp__smtp-bdat-cmd-negative-chunk-size.0": (
        [220, 250, 250, 250, 521],
        [220, 250, 250, 250, 500],
        BARE_CR,
    ),
    "smtp__smtp-bdat-cmd-invalid.0": (
        [220, 250, 250, 250, 521],
        [220, 250, 250, 250, 501],
        BAD_BDAT,
    ),
    "smtp__smtp-bdat-cmd-invalid.1": (
        [220, 250, 250, 250, 521],
        [220, 250, 250, 250, 501],
        BAD_BDAT,
    ),
    "smtp__smtp-bdat-cmd-invalid.2": (
        [220, 250, 250, 250, 521],
        [220, 250, 250, 250, 501],
        BAD_BDAT,
    ),
    "smtp__smtp-bdat-gap.0": (
        [220, 250, 250, 250, 250, 250, 354, 250, 221],
        [220, 250, 250, 250],
        GAP,
    ),
}
"""Sessions in which the two no longer mean the same octets: all codes, then and now."""


class Comparing(_Client):
    """Notes what each command was told, then and now."""

    def __init__(self, recording: Recording, rules: Rules) -> None:
        super().__init__(recording, rules)
        self.compared: Counter[tuple[str, int | None, int | None]] = Counter()
        self._said: list[tuple[bytes, Reply | None]] = []

    def _exchange(self, line: bytes, chunk: bytes = b"") -> Reply | None:
        reply = super()._exchange(line, chunk)
        self._said.append((line, reply))
        return reply

    def _say(self, step: Say) -> Iterator[Result]:
        first, begun = self.at - 1, len(self._said)
        yield from super()._say(step)
        steps = (s for s in self.steps[first : self.at] if isinstance(s, Say))
        for said, (line, reply) in zip(steps, self._said[begun:], strict=False):
            if said.octets[:4] == line[:4]:
                now = self.told if said.verb == "DATA" else reply
                self.compared[said.verb, _code(said.told), _code(now)] += 1


class Raw(Stage):
    """Takes the client's octets as they are, whatever they mean."""

    def _answer_upstream(self) -> bool:
        entries = self.memory.dialogue.transcript.entries
        self.upstream.mail = sum(
            entry.direction == "C" and entry.octets[:4].upper() == b"MAIL"
            for entry in entries
        )
        return super()._answer_upstream()


def _code(reply: Reply | None) -> int | None:
    return reply.code if reply else None


def codes(octets: bytes) -> list[int]:
    receiver, reader, found = Receiver(), ReplyReader(), []
    receiver.feed(octets)
    while (reply := reader.next_reply(receiver)) is not None:
        found.append(reply.code)
    return found


def readable(stream: Stream) -> Recording:
    """Return as much of a stream as two sides in step would understand."""
    steps = stream.script().steps
    for end in range(len(steps), -1, -1):
        try:
            return read_script(Script(stream.name, {}, steps[:end]))
        except ReplayError:
            continue
    raise AssertionError("nothing at all cannot be wrong")


def play_raw(stream: Stream, chunking: Chunking = whole) -> tuple[Raw, list[int]]:
    """Feed the client's octets; return what it was told before it hung up."""
    stage = Raw(readable(stream), Rules())
    stage.shakes = True
    stage.start()
    for from_client, octets in stream.events:
        if from_client:
            for segment in chunking(octets):
                stage.send(segment)
    told = codes(bytes(stage.memory.client_heard))
    stage.hang_up()
    return stage, told


@pytest.fixture(scope="module")
def streams(shared: Path) -> list[Stream]:
    return [read_stream(path) for path in stream_files(shared)]


def test_all_recorded_sessions_are_here(streams: list[Stream]) -> None:
    assert len(streams) == STREAMS
    names = {stream.name for stream in streams}
    assert DIVERGENCES.keys() | OUT_OF_STEP.keys() <= names


def test_every_answer_is_the_recorded_one_or_stands_in_the_table(
    streams: list[Stream],
) -> None:
    compared = 0
    for stream in streams:
        if stream.name in OUT_OF_STEP or not stream.server:
            continue
        client = Comparing(read_script(stream.script()), Rules())
        list(client.play())
        differing = {
            key: count for key, count in client.compared.items() if key[1] != key[2]
        }
        # The captures that break off have no answer to their last commands.
        differing = {key: n for key, n in differing.items() if key[1] is not None}
        wanted = DIVERGENCES.get(stream.name, {})
        assert differing == {key: count for key, (count, _) in wanted.items()}, (
            stream.name
        )
        assert client.compared, stream.name
        compared += client.compared.total()
    assert compared > 700


def test_sessions_out_of_step_are_told_what_the_table_says(
    streams: list[Stream],
) -> None:
    for stream in streams:
        if stream.name in OUT_OF_STEP:
            was, now, _reason = OUT_OF_STEP[stream.name]
            assert codes(stream.server) == was, stream.name
            assert play_raw(stream)[1] == now, stream.name


def test_one_sided_captures_are_agreed_to(streams: list[Stream]) -> None:
    """Nobody knows what the server said: everything the client asks is granted."""
    one_sided = [stream for stream in streams if not stream.server]
    assert len(one_sided) == 3
    for stream in one_sided:
        _, told = play_raw(stream)
        assert told[:5] == [220, 250, 250, 250, 354], stream.name
        assert all(code < 400 for code in told), stream.name


@pytest.mark.parametrize(
    "chunking",
    [whole, octet_by_octet, random_pieces(7)],
    ids=["whole", "octets", "random"],
)
def test_no_session_crashes_or_stays_open_whatever_the_segments(
    streams: list[Stream], chunking: Chunking
) -> None:
    for stream in streams:
        if chunking is octet_by_octet and len(stream.client) > 20_000:
            continue
        stage, told = play_raw(stream, chunking)
        assert stage.memory.ended, stream.name
        assert told == play_raw(stream)[1], stream.name
        accepted = [
            record
            for record in stage.memory.records
            if str(record.outcome) in {"relayed", "modified"}
        ]
        finals = stream.client.count(b"\r\n.\r\n") + stream.client.count(b" LAST\r\n")
        assert len(accepted) <= finals, stream.name


def test_sessions_under_tls_that_nobody_decrypted_stop_at_the_handshake(
    streams: list[Stream],
) -> None:
    encrypted = [stream for stream in streams if stream.encrypted]
    assert len(encrypted) == 2
    for stream in encrypted:
        stage, told = play_raw(stream)
        assert told == codes(stream.server) == [220, 250, 220], stream.name
        assert stage.session.client_leg.tls is not None
        assert stage.memory.records == []
