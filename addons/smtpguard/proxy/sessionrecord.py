r"""The record of a session as JSON: what a flow's metadata holds (contract 9).

Owns the format, both ways: ``dump`` writes what ``load`` reads. mitmproxy turns the
order of a saved dict around and drops a flow that holds a surrogate, so the whole
record is one string of ASCII with sorted keys. Octets stand in it as Latin-1 text, one
character each, so that they come back exactly. A message is the flow's message of some
index, as it is or with one edit, which holds all from the first octet that differs to
the last: of a mail with two strips far apart also what stands between them::

    {"format": 1, "mode": "full", "cut": false, "reports_cut": false, "ended": "",
     "session": {...}, "legs": {"client": {...}, "upstream": {...}},
     "transactions": [...],
     "transcript": [["C", 0.01, "EHLO client.example\r\n"],
                    ["S", 0.02, {"mark": "tls TLSv1.3"}],
                    ["C", 0.03, {"message": 5, "size": 4096}],
                    ["s", 0.04, {"message": 5, "size": 4000, "edit": [0, 9, "..."]}]]}

Knows of mitmproxy's flows where the record lies in one (``read_record``).
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, cast

from mitmproxy import tcp

from smtpguard.dialogue.transcript import Direction, Entry


if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from mitmproxy import flow


FORMAT: Final = 1
SESSION_KEY: Final = "smtpguard_session"
"""Key of the record in a flow's metadata."""

_STEP: Final = 64 * 1024
_DIRECTIONS: Final = frozenset("CcSs")

type Row = list[Any]
"""Direction, seconds since the session began, and octets, mark or message."""


@dataclass(frozen=True, slots=True)
class Edit:
    """How a mail went upstream other than it came."""

    start: int
    """Octets kept at the begin."""
    end: int
    """Octets kept at the end."""
    octets: bytes
    """What stood between them instead."""


@dataclass(frozen=True, slots=True)
class RecordedMail:
    """One mail of a session."""

    index: int
    """Of the flow's message that holds it."""
    size: int
    """Octets it had, whatever the flow kept of them."""
    sent_size: int | None = None
    """Octets that went upstream; None where it did not go."""
    edit: Edit | None = None
    """None where it went as it came."""


@dataclass(frozen=True, slots=True)
class SessionRecord:
    """One recorded session."""

    session: Mapping[str, Any]
    """``id``, ``client``, ``peer``, ``destination``, ``policy``, ``helo`` ..."""
    legs: Mapping[str, Any]
    """``client`` and ``upstream``: TLS and how it came, as ``LegFacts.to_json``."""
    transactions: tuple[Mapping[str, Any], ...]
    """Each one as ``TransactionRecord.to_json``."""
    entries: tuple[Entry, ...]
    """The transcript of both legs. ``Entry.time`` is seconds since its begin; a message
    whose ``octets`` are fewer than its ``size`` was not recorded whole."""
    mails: tuple[RecordedMail, ...]
    mode: str
    """``envelope`` or ``full``."""
    cut: bool
    """True where the transcript came to its limit and has no end."""
    reports_cut: bool
    """True where a transaction is kept without its parts and trace: too many."""
    ended: str
    """``end`` or an error; "" in a flow that was saved while the session went on."""


def line_row(direction: str, at: float, octets: bytes) -> Row:
    """Return the row of a command or a reply."""
    return [direction, at, octets.decode("latin-1")]


def mark_row(direction: str, at: float, text: str) -> Row:
    """Return the row of an event that is no octets of a peer."""
    return [direction, at, {"mark": text}]


def message_row(direction: str, at: float, index: int, size: int) -> Row:
    """Return the row of a message that is the flow's message of that index."""
    return [direction, at, {"message": index, "size": size}]


def edited_row(row: Row, original: bytes, octets: bytes) -> Row:
    """Return a message's row for octets that may differ from the ``original``."""
    if original == octets:
        return row
    start, end = common_edges(original, octets)
    text = octets[start : len(octets) - end].decode("latin-1")
    direction, at, message = row
    return [direction, at, {**message, "edit": [start, end, text]}]


def inserted(row: Row) -> int:
    """Return how many characters the edit of a message's row takes in the record."""
    edit = row[2].get("edit")
    return len(json.dumps(edit[2])) - 2 if edit else 0


def common_edges(one: bytes, other: bytes) -> tuple[int, int]:
    """Return how many octets two messages share at the begin, then at the end.

    The two never overlap in either message. Linear, with comparisons in C.
    """
    length = min(len(one), len(other))
    start = _agreeing(length, lambda a, b: one[a:b] == other[a:b])
    end = _agreeing(
        length - start,
        lambda a, b: (
            one[len(one) - b : len(one) - a] == other[len(other) - b : len(other) - a]
        ),
    )
    return start, end


def _agreeing(length: int, same: Callable[[int, int], bool]) -> int:
    """Return the largest n up to ``length`` for which ``same(0, n)``, in steps."""
    at = 0
    while at < length and same(at, min(at + _STEP, length)):
        at = min(at + _STEP, length)
    low, high = at, min(at + _STEP, length)
    while low < high:
        middle = (low + high + 1) // 2
        if same(at, middle):
            low = middle
        else:
            high = middle - 1
    return low


def dump(head: Mapping[str, Any], rows: Sequence[Row]) -> str:
    """Return the record; ``head`` is everything but format and transcript."""
    return json.dumps(
        {**head, "format": FORMAT, "transcript": rows},
        sort_keys=True,
        separators=(",", ":"),
    )


def load(text: str, contents: Sequence[bytes]) -> SessionRecord:
    """Read a record; ``contents`` are the octets of the flow's messages.

    Raises ValueError where it is no record, or one of another format.
    """
    try:
        head = json.loads(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if not isinstance(head, dict):
        raise ValueError("not an object")  # noqa: TRY004 - one error for all
    if head.get("format") != FORMAT:
        raise ValueError(f"format {head.get('format')!r} is not known")
    rows = _typed(head, "transcript", list)
    return SessionRecord(
        session=_typed(head, "session", dict),
        legs=_typed(head, "legs", dict),
        transactions=tuple(
            _checked(each, dict, "transaction")
            for each in _typed(head, "transactions", list)
        ),
        entries=tuple(_entry(row, number, contents) for number, row in enumerate(rows)),
        mails=_mails(rows),
        mode=_typed(head, "mode", str),
        cut=_typed(head, "cut", bool),
        # A record without it has all reports.
        reports_cut=_checked(head.get("reports_cut", False), bool, "reports_cut"),
        ended=_typed(head, "ended", str),
    )


def read_record(read: flow.Flow) -> SessionRecord | None:
    """Return the record in a flow, None where it holds none.

    Raises ValueError where it is damaged.
    """
    text = read.metadata.get(SESSION_KEY)
    if text is None:
        return None
    if not isinstance(text, str) or not isinstance(read, tcp.TCPFlow):
        raise ValueError("no text")  # noqa: TRY004 - one error for all
    try:
        return load(text, [bytes(message.content) for message in read.messages])
    except TypeError as error:
        raise ValueError(str(error)) from None


def _entry(row: object, number: int, contents: Sequence[bytes]) -> Entry:
    match row:
        case [str(direction), int() | float() as at, what] if direction in _DIRECTIONS:
            side = cast("Direction", direction)
        case _:
            raise ValueError(f"row {number} of the transcript cannot be read")
    try:
        match what:
            case str(text):
                return Entry(side, text.encode("latin-1"), "line", at)
            case {"mark": str(mark)}:
                return Entry(side, mark.encode(), "mark", at)
            case {"message": int(index), "size": int(size), "edit": list(edit)}:
                octets = _edit(_content(contents, index), edit)
                return Entry(side, octets, "message", at, size)
            case {"message": int(index), "size": int(size)}:
                return Entry(side, _content(contents, index), "message", at, size)
    except UnicodeEncodeError:
        pass
    raise ValueError(f"row {number} of the transcript cannot be read")


def _mails(rows: Sequence[Row]) -> tuple[RecordedMail, ...]:
    """Return the mails of rows that were read already."""
    mails: dict[int, RecordedMail] = {}
    for row in rows:
        match row:
            case ["C", _, {"message": int(index), "size": int(size)}]:
                mails[index] = RecordedMail(index, size)
            case ["s", _, {"message": int(index), "size": int(size), **rest}]:
                if index in mails:
                    edit = _edit_of(rest.get("edit"))
                    mails[index] = replace(mails[index], sent_size=size, edit=edit)
    return tuple(mails.values())


def _edit_of(edit: object) -> Edit | None:
    match edit:
        case [int(start), int(end), str(text)]:
            return Edit(start, end, text.encode("latin-1"))
    return None


def _content(contents: Sequence[bytes], index: int) -> bytes:
    if not 0 <= index < len(contents):
        raise ValueError(f"the flow has no message {index}")
    return contents[index]


def _edit(original: bytes, edit: list[Any]) -> bytes:
    match edit:
        case [int(start), int(end), str(text)] if start >= 0 and end >= 0:
            if start + end <= len(original):
                tail = original[len(original) - end :]
                return original[:start] + text.encode("latin-1") + tail
    raise ValueError("an edit does not fit its message")


def _typed[T](head: Mapping[str, Any], key: str, kind: type[T]) -> T:
    return _checked(head.get(key), kind, key)


def _checked[T](value: object, kind: type[T], what: str) -> T:
    if not isinstance(value, kind):
        raise ValueError(f"{what} is no {kind.__name__}")  # noqa: TRY004
    return value
