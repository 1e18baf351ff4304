"""What rules are asked about: facts as values, gathered by the caller.

Nothing here is looked up: no clock, no network, no parsing of messages. A fact that is
None is not known (yet), and a condition that needs it is neither true nor false.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING


if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from smtpguard.model.contents import Doubt, Entry, Fact
    from smtpguard.model.envelope import Envelope
    from smtpguard.model.mailbox import Path
    from smtpguard.model.session import SessionFacts
    from smtpguard.policy.truth import Truth


def declared_size(path: Path) -> int | None:
    """Return the size MAIL declared (RFC 1870), None without one."""
    parameter = path.parameter("SIZE")
    value = parameter.value if parameter else None
    return int(value) if value and value.isascii() and value.isdigit() else None


@dataclass(frozen=True, slots=True)
class PartFacts:
    """One leaf part of a message, or an attached message as a whole."""

    content_type: str
    """``type/subtype`` as claimed; ``text/plain`` where nothing was claimed."""
    names: tuple[str, ...] = ()
    """What readers take for the part's file name, as written; () for none. How file
    systems and eyes take those is for ``filenames``."""
    detected: tuple[str, ...] = ()
    """``type/subtype`` by content, several of a polyglot; () where none is known."""
    facts: frozenset[Fact] = frozenset()
    entries: tuple[Entry, ...] = ()
    """What archives in it hold, archives in archives included."""
    path: str = ""
    """Of the part, for traces."""
    why: Mapping[Doubt, str] = field(default_factory=dict)
    """What of it is not sure, and why: there a policy's settings speak as well."""
    is_only_encrypted: bool = False
    """Whether what was not looked at is encrypted, and nothing else."""
    is_locked: bool = False
    """Whether it is a valid container, which ``lock`` leaves where it is."""


@dataclass(frozen=True, slots=True)
class FieldFacts:
    """One header field of the message itself."""

    name: str
    """As written."""
    values: tuple[str, ...]
    """Every reading of its value, unfolded; the decoded one first."""


@dataclass(frozen=True, slots=True)
class MessageFacts:
    """One whole message of a transaction."""

    session: SessionFacts
    envelope: Envelope | None
    """None where only a file is inspected: its paths are not known."""
    header_from: tuple[str, ...] | None
    """Addresses of the From fields (``local-part@domain``, no display names);
    None where the header section cannot be read."""
    size: int
    """Octets of the message as received."""
    now: datetime | None = None
    """Local time; None where the time is not known."""
    classes: dict[int, dict[tuple[Truth, ...], Path | None]] = field(
        default_factory=dict, compare=False, repr=False
    )
    """Kept by ``Policy``: one recipient of each class, found once for all parts."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What one condition may look at; built by ``Policy`` for each question."""

    session: SessionFacts
    reverse_path: Path | None = None
    """As the client gave it; None before MAIL."""
    forward_path: Path | None = None
    """The recipient in question, as the client gave it."""
    header_from: tuple[str, ...] | None = None
    size: int | None = None
    """Octets: of the message, or as MAIL's SIZE= declared."""
    now: datetime | None = field(default=None)
