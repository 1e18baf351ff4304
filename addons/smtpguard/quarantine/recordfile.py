"""A record as JSON, and back: one object, its keys the fields of ``record``.

Paths stand as MAIL and RCPT would have them (``<a@b.test> SIZE=100``), and are read by
the grammar that read them first. Reading is strict: what is missing, unknown or of
another type makes the file a damaged one, never a record with something guessed.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime
from typing import Any, Final

from smtpguard.errors import ProtocolError, QuarantineError
from smtpguard.model.mailbox import Path
from smtpguard.model.session import TlsFacts
from smtpguard.quarantine.ids import is_id
from smtpguard.quarantine.record import (
    Client,
    HeldPart,
    HeldRecipient,
    Record,
    State,
    Upstream,
)
from smtpguard.wire.path import parse_rcpt


VERSION: Final = 1
MAX_OCTETS: Final = 16 * 1024 * 1024
"""Of one record; the report of a message with a thousand parts has a tenth."""

_SHA256: Final = re.compile("[0-9a-f]{64}")
_NULL: Final = "<>"

type _Read = Callable[[Any], Any]
"""Returns what a value of JSON means. Raises ValueError."""


def to_octets(record: Record) -> bytes:
    """Return a record as its file holds it: ASCII, so that any text can be in it.

    Raises QuarantineError for a record that could not be read again as it is.
    """
    try:
        made = {"version": VERSION, **_plain(record)}
        octets = json.dumps(made, indent=1, allow_nan=False).encode("ascii") + b"\n"
    except (TypeError, ValueError, RecursionError) as error:
        raise QuarantineError(f"{record.id}: no JSON holds it: {error}") from None
    again = from_octets(octets, record.id)
    if _envelope(again) != _envelope(record):
        raise QuarantineError(f"{record.id}: its envelope cannot be written")
    return octets


def from_octets(octets: bytes, name: str) -> Record:
    """Return the record of a file; ``name`` is the file's, for errors.

    Raises QuarantineError, whatever the octets are.
    """
    try:
        return Record(**_object(_read(octets), _RECORD))
    except (ValueError, RecursionError) as error:
        raise QuarantineError(f"{name}: damaged record: {error}") from None


def _read(octets: bytes) -> dict[str, Any]:
    if len(octets) > MAX_OCTETS:
        raise ValueError(f"more than {MAX_OCTETS} octets")
    found: dict[str, Any] = _of(dict)(
        json.loads(octets, parse_constant=_finite, parse_float=_finite)
    )
    version = found.pop("version", None)
    if type(version) is not int or version != VERSION:
        raise ValueError(f"not of version {VERSION}")
    return found


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text} is no number of JSON")
    return number


def _envelope(record: Record) -> tuple[object, ...]:
    return record.asked, record.reverse_path, record.recipients


def argument(path: Path) -> str:
    """Return a path with its parameters as MAIL and RCPT have it."""
    address = path.mailbox.octets if path.mailbox else b""
    words = [b"<%s>" % address, *(one.to_octets() for one in path.parameters)]
    return b" ".join(words).decode()


def _plain(value: Any) -> Any:  # noqa: ANN401 - of any field
    """Return a value as JSON has it."""
    if isinstance(value, Path):
        return argument(value)
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat()
    if isinstance(value, tuple):
        return [_plain(one) for one in value]
    if is_dataclass(value):
        return {one.name: _plain(getattr(value, one.name)) for one in fields(value)}
    return value


# -- reading -------------------------------------------------------------------------


def _object(value: Any, readers: Mapping[str, _Read]) -> dict[str, Any]:  # noqa: ANN401 - likewise
    """Return the fields of an object that has just these keys."""
    if odd := _of(dict)(value).keys() ^ readers.keys():
        raise ValueError(f"{min(odd)!a} is missing or unknown")
    found = {}
    for name, read in readers.items():
        try:
            found[name] = read(value[name])
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None
    return found


def _made(kind: Callable[..., Any], readers: Mapping[str, _Read]) -> _Read:
    return lambda value: kind(**_object(value, readers))


def _or_null(read: _Read) -> _Read:
    return lambda value: None if value is None else read(value)


def _each(read: _Read) -> _Read:
    def read_all(value: Any) -> tuple[Any, ...]:  # noqa: ANN401 - likewise
        return tuple(read(one) for one in _of(list)(value))

    return read_all


def _of(kind: type) -> _Read:
    def read(value: Any) -> Any:  # noqa: ANN401 - likewise
        if type(value) is not kind:  # true is an int to Python, and none to us
            raise ValueError(f"not of type {kind.__name__}")
        return value

    return read


def _text(value: Any) -> str:  # noqa: ANN401 - likewise
    """Return a text that can be encoded: half a surrogate pair is written out."""
    text: str = _of(str)(value)
    return text.encode("utf-8", "backslashreplace").decode()


def _count(value: Any) -> int:  # noqa: ANN401 - likewise
    if not 0 <= _of(int)(value) < 2**63:
        raise ValueError("out of range")
    return int(value)


def _time(value: Any) -> datetime:  # noqa: ANN401 - likewise
    found = datetime.fromisoformat(_of(str)(value))
    if found.tzinfo is None:
        raise ValueError("a time without a zone")
    try:
        return found.astimezone(UTC)
    except OverflowError as error:
        raise ValueError(str(error)) from None


def _path(value: Any) -> Path:  # noqa: ANN401 - likewise
    written = str(_of(str)(value))
    is_null = written.startswith(_NULL)
    if is_null:
        written = f"<postmaster>{written.removeprefix(_NULL)}"
    try:
        found = parse_rcpt(b"TO:" + written.encode(), smtputf8=True)
    except ProtocolError as error:
        raise ValueError(str(error)) from None
    return Path(None, found.parameters) if is_null else found


def _forward_path(value: Any) -> Path:  # noqa: ANN401 - likewise
    path = _path(value)
    if path.mailbox is None:
        raise ValueError("no recipient")
    return path


def _matching(holds: Callable[[str], object], what: str) -> _Read:
    def read(value: Any) -> str:  # noqa: ANN401 - likewise
        text = _text(value)
        if not holds(text):
            raise ValueError(f"not {what}")
        return text

    return read


def _state(*allowed: State) -> _Read:
    return lambda value: State(_matching(allowed.__contains__, "a state here")(value))


_DIGEST: Final = _matching(_SHA256.fullmatch, "a SHA-256")
_TLS: Final = _or_null(
    _made(TlsFacts, dict.fromkeys(("version", "cipher", "name", "verified"), _text))
)
_RECIPIENT: Final = {
    "asked": _forward_path,
    "forward_path": _forward_path,
    "state": _state(State.HELD, State.RELEASING, State.RELEASED),
    "error": _text,
    "changed": _or_null(_time),
    "added": _of(bool),
}
_PART: Final = {
    "path": _text,
    "names": _each(_text),
    "type": _text,
    "message_sha256": _DIGEST,
    "state": _state(State.PENDING, State.KEPT, State.IN_DOUBT),
    "owner": _text,
}
_CLIENT: Final = {
    "address": _text,
    "port": _count,
    "helo": _text,
    "authenticated": _of(bool),
}
_UPSTREAM_TLS: Final = ("none", "starttls", "starttls_required", "tls")
_UPSTREAM: Final = {
    "host": _text,
    "port": _count,
    "tls": _matching(_UPSTREAM_TLS.__contains__, "a way of TLS"),
}
_RECORD: Final[Mapping[str, _Read]] = {
    "id": _matching(is_id, "an id"),
    "kept_at": _time,
    "transaction": _text,
    "asked": _path,
    "reverse_path": _path,
    "recipients": _each(_made(HeldRecipient, _RECIPIENT)),
    "client": _made(Client, _CLIENT),
    "client_tls": _TLS,
    "upstream": _made(Upstream, _UPSTREAM),
    "upstream_tls": _TLS,
    **dict.fromkeys(("policy", "rule", "action", "reason"), _text),
    "findings": _each(_text),
    "report": _of(dict),
    **dict.fromkeys(("subject", "header_from"), _text),
    "part": _or_null(_made(HeldPart, _PART)),
    "size": _count,
    "sha256": _DIGEST,
}
