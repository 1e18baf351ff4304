"""The demo's results: as a table for people, as JSON for programs."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from smtpguard.terminal import visible


if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from smtpguard.demomails import Mail
    from smtpguard.demoupstream import Arrived


GAP = "  "
SENT = 24
"""Columns of a title; none is longer."""
WIDE = 110
"""Columns from which on TLS versions are written out."""
FULL = 150
"""Columns that show everything; assumed where nobody knows."""


@dataclass(slots=True)
class Result:
    """What became of one mail."""

    mail: Mail
    told: str
    """The last reply to the client."""
    arrived: Sequence[Arrived] = ()
    client_tls: str = ""
    """Version, "" in clear."""
    problems: list[str] = field(default_factory=list)

    @property
    def arrival(self) -> str:
        """What arrived, in a few words."""
        if not self.arrived:
            return "nothing"
        first = self.arrived[0]
        names = ", ".join(address.partition("@")[0] for address in first.rcpt_to)
        how = "unchanged" if first.content == self.mail.content else "edited"
        count = "" if len(self.arrived) == 1 else f"{len(self.arrived)} copies, "
        return f"{count}{how}, to {names}"

    @property
    def legs(self) -> str:
        """TLS of both legs; "-" where nothing went upstream."""
        upstream = self.arrived[0].tls if self.arrived else "-"
        return f"{self.client_tls or 'clear'} / {upstream}"

    def to_json(self) -> dict[str, object]:
        """Return the result for programs."""
        return {
            "sent": self.mail.title,
            "told": self.told,
            "copies": len(self.arrived),
            "arrived": self.arrival,
            "tls": self.legs,
            "problems": self.problems,
        }


def json_lines(results: Iterable[Result]) -> Iterator[str]:
    """Yield one line a mail."""
    for result in results:
        yield json.dumps(result.to_json())


def table_lines(results: Sequence[Result], columns: int | None = None) -> Iterator[str]:
    """Yield a table as wide as the terminal, and how many are not as expected."""
    if columns is None:
        columns = shutil.get_terminal_size((FULL, 24)).columns
    widths = column_widths(columns)
    yield row(("sent", "client was told", "arrived", "TLS in / out"), widths)
    yield GAP.join("-" * width for width in widths)
    for result in results:
        legs = result.legs if columns >= WIDE else result.legs.replace("TLSv", "")
        yield row((result.mail.title, result.told, result.arrival, legs), widths)
        for problem in result.problems:
            yield f"    NOT AS EXPECTED: {visible(problem)}"
    wrong = sum(bool(result.problems) for result in results)
    yield ""
    yield f"{len(results)} mails, {wrong} not as expected."


def column_widths(columns: int) -> tuple[int, int, int, int]:
    """Return the widths of the four columns of a table as wide as that, or narrower."""
    tls = len("TLSv1.3 / TLSv1.3") if columns >= WIDE else len("TLS in / out")
    rest = max(columns - SENT - tls - 3 * len(GAP), 30)
    arrived = min(max(rest * 42 // 100, len("unchanged, to anna")), 34)
    return SENT, min(rest - arrived, 50), arrived, tls


def row(cells: Iterable[str], widths: Iterable[int]) -> str:
    """Return one line of the table; what is too long for its column is cut."""
    pairs = zip(cells, widths, strict=True)
    return GAP.join(_fitted(visible(cell), width) for cell, width in pairs).rstrip()


def _fitted(cell: str, width: int) -> str:
    return (cell if len(cell) <= width else f"{cell[: width - 2]}..").ljust(width)
