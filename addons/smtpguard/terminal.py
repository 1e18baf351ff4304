"""Text for a terminal, a log or a page: what others have written, and the trace.

Owns how what does not print is shown, and the one line of a rule that was tried, so
that ``inspect``, ``replay`` and the content view say it alike; and how a line of a log
is written. Must not know who asks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any


if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import IO


def visible(text: str) -> str:
    """Return text without controls, bidi marks and surrogates: those are escaped."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def explained(step: Mapping[str, Any]) -> str:
    """Return a step of a trace on one line; ``step`` is as ``TraceStep.to_json``.

    It may come from a file: what is missing in it is left out.
    """
    match step.get("matched"):
        case True:
            mark = "yes"
        case False:
            mark = "no "
        case _:
            mark = "?  "
    part = f" part {step['part']}" if step.get("part") else ""
    place = f"  ({step['place']})" if step.get("place") else ""
    reason = step.get("reason", "")
    return visible(f"    {mark} {step.get('rule', '')}{part}  {reason}{place}")


def say(file: IO[str], text: str) -> None:
    """Write text and the end of its line in one piece: others may write there as well.

    So a file that processes share has it whole, a pipe up to 4,096 octets of it
    (PIPE_BUF); of more, pieces may stand between those of others. Raises OSError.
    """
    file.write(f"{text}\n")
    file.flush()
