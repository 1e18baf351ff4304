"""DATA and BDAT: taking a message in (RFC 5321 4.1.1.4, RFC 3030).

Whatever was announced is consumed to its real end, also where it is already refused:
else what follows would be read as commands. The octets are handed to ``delivery``.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from smtpguard.dialogue import delivery
from smtpguard.dialogue.envelope import out_of_place
from smtpguard.dialogue.exchange import settled
from smtpguard.dialogue.keepalive import wait_keeping
from smtpguard.dialogue.parameters import message_limit
from smtpguard.dialogue.waits import Expired, Hangup, Task
from smtpguard.errors import os_text
from smtpguard.wire import DataReader, TextReader, parse_bdat, replies


if TYPE_CHECKING:
    from collections.abc import Callable

    from smtpguard.dialogue.engine import Dialogue
    from smtpguard.dialogue.transaction import Transaction
    from smtpguard.model.reply import Reply
    from smtpguard.wire import Command


def data(d: Dialogue, _command: Command) -> Task[None]:
    """Take a message by DATA, once every RCPT before it is answered."""
    yield from settled(d)
    tx = d.transaction
    if tx is None or tx.chunks is not None or tx.binary:
        out_of_place(d, "DATA")
        return
    if not tx.envelope.standing:
        d.answer(replies.NO_VALID_RECIPIENTS)
        return
    if not opened_spool(d, tx):
        d.answer(replies.STORAGE_FAILED)
        return
    d.answer(replies.START_MAIL_INPUT)
    d.flush()
    reader = DataReader(limit=message_limit(d), normalise=normalising(tx))
    pace = Pace(d)
    while not reader.read(d.client.receiver, tx.write):
        if reader.text.overrun:
            raise Hangup(replies.LIMIT_CLOSE, "message goes on and on past its limit")
        yield from pace.more()
    tx.dotted = reader.dotted or reader.text.stray > 0
    yield from delivery.conclude(d, tx, text_refusal(d, tx, reader.text))


def bdat(d: Dialogue, command: Command) -> Task[None]:
    """Take one chunk; the last one ends the message."""
    tx = d.transaction
    if tx is None:
        yield from skip_chunk(d, command)
        yield from settled(d)
        out_of_place(d, "BDAT")
        return
    size, last = chunk_size(d, command)
    if tx.chunks is None:
        tx.chunks = TextReader(
            limit=message_limit(d), normalise=normalising(tx), binary=tx.binary
        )
        opened_spool(d, tx)
    reader = tx.chunks
    yield from consume(d, size, lambda octets: reader.write_chunk(octets, tx.write))
    yield from settled(d)
    if d.transaction is not tx:
        # MAIL was refused upstream while the chunk came in.
        out_of_place(d, "BDAT")
        return
    if reader.overrun:
        raise Hangup(replies.LIMIT_CLOSE, "message goes on and on past its limit")
    if tx.chunk_failure in {None, replies.STORAGE_FAILED}:
        if tx.storage_failure and tx.chunk_failure is None:
            note_storage(d, tx)
        tx.chunk_failure = chunk_refusal(tx, reader)
    if not last:
        d.answer(tx.chunk_failure or replies.chunk_ok(size))
        return
    reader.finish(tx.write)
    refusal = tx.chunk_failure or text_refusal(d, tx, reader)
    yield from delivery.conclude(d, tx, refusal)


def chunk_size(d: Dialogue, command: Command) -> tuple[int, bool]:
    """Return size in octets and LAST of a chunk. Raises ProtocolError with ``closes``
    where its octets cannot be told from what follows, Hangup beyond consuming."""
    size, last = parse_bdat(command.argument)
    if size > 2 * d.settings.limits.message:
        raise Hangup(replies.LIMIT_CLOSE, "chunk over any limit")
    return size, last


def skip_chunk(d: Dialogue, command: Command) -> Task[None]:
    """Consume a chunk that is not wanted, so that it is not read as commands."""
    size, _ = chunk_size(d, command)
    yield from consume(d, size, lambda _: None)


def chunk_refusal(tx: Transaction, reader: TextReader) -> Reply | None:
    """Return why a message is refused before its last chunk (RFC 3030 2)."""
    if not tx.envelope.standing:
        return replies.NO_VALID_RECIPIENTS
    if reader.too_large:
        return replies.MESSAGE_TOO_LARGE
    return replies.STORAGE_FAILED if tx.storage_failure else None


def opened_spool(d: Dialogue, tx: Transaction) -> bool:
    """Make the place for a message; False where there is none (full disk)."""
    try:
        tx.content, tx.storage_failure = d.new_spool(), ""
    except OSError as error:
        tx.storage_failure = os_text(error)
        note_storage(d, tx)
        return False
    return True


def note_storage(d: Dialogue, tx: Transaction) -> None:
    """Log that a message has no place; once a message is enough."""
    d.log(f"{tx.id}: no place for the message: {tx.storage_failure}", logging.ERROR)


def consume(d: Dialogue, size: int, write: Callable[[bytes], None]) -> Task[None]:
    """Take exactly so many octets from the client."""
    pace = Pace(d)
    left = size
    while left:
        octets = d.client.receiver.take(left)
        left -= len(octets)
        write(octets)
        if left:
            yield from pace.more()


class Pace:
    """Waiting for more of a message, with a floor under its rate (RFC 5321 4.5.3.2.5).

    The deadline is not moved by single octets: each period must bring its share.
    """

    def __init__(self, d: Dialogue) -> None:
        self._d = d
        self._begin()

    def _begin(self) -> None:
        d = self._d
        seconds = d.settings.deadlines.data
        self._until = d.now + seconds
        self._needed = d.client.octets + int(d.settings.limits.body_rate * seconds)

    def more(self) -> Task[None]:
        """Wait until more has come. Raises Hangup where it comes too slowly."""
        d = self._d
        if d.client.finished:
            raise Hangup(None, "client closed before the end of the message")
        changes = d.client.changes
        while d.client.changes == changes:
            try:
                yield from wait_keeping(
                    d, lambda: d.client.changes != changes, self._until
                )
            except Expired:
                if d.client.octets < self._needed:
                    raise Hangup(
                        replies.TIMEOUT, "message comes in too slowly"
                    ) from None
                self._begin()


def normalising(tx: Transaction) -> bool:
    """Whether bare newlines are repaired rather than refused."""
    return tx.settings.bare_newlines == "normalise"


def text_refusal(d: Dialogue, tx: Transaction, reader: TextReader) -> Reply | None:
    """Return why the octets of a whole message are refused, None if they are not."""
    if tx.storage_failure:
        note_storage(d, tx)
    if reader.too_large:
        return replies.MESSAGE_TOO_LARGE
    if tx.storage_failure:
        return replies.STORAGE_FAILED
    if reader.long_lines:
        d.log(f"{tx.id}: {reader.long_lines} lines over 998 octets")
    if not reader.stray or tx.binary:
        return None
    what = f"{reader.bare_cr} bare CR, {reader.bare_lf} bare LF, {reader.nul} NUL"
    if not normalising(tx):
        d.log(f"{tx.id}: refused for {what}")
        return replies.BARE_NEWLINE
    d.log(f"{tx.id}: normalised {what}; DKIM and S/MIME signatures break")
    return None
