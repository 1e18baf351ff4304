"""What ``smtpguard inspect`` says of one message: as JSON, as text, as a file.

Owns the keys of contract 10 and their order; programs read them, so they are all
there for every message, whatever became of it.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from smtpguard.model.decision import Action
from smtpguard.model.disposition import Disposition, Outcome
from smtpguard.pipeline import PASSED
from smtpguard.terminal import explained, visible
from smtpguard.wholefile import appear
from smtpguard.wire import replies


if TYPE_CHECKING:
    from collections.abc import Iterator


MAX_STEM = 100
"""Characters of the input's name in the name of an output."""
MAX_EDITS = 20
"""Parts and header fields that are named on a message's line."""
_DONE = {
    str(Action.STRIP): "stripped",
    str(Action.LOCK): "locked",
    str(Action.QUARANTINE): "kept",
}
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]")
_NOTHING: dict[str, Any] = {
    "ambiguous": False,
    "defects": [],
    "parts": [],
    "findings": [],
}
"""Of a message that was refused before anybody looked into it."""


@dataclass(frozen=True, slots=True)
class Inspected:
    """One message and what the rules say to it."""

    file: str
    octets: bytes | None
    """As they would have been sent; None where there are more than the policy takes."""
    size: int
    sha256: str
    policy: str
    disposition: Disposition

    @property
    def passed(self) -> bool:
        """Whether the message would reach its recipients, edited or not."""
        return self.disposition.outcome in PASSED

    @property
    def output(self) -> bytes | None:
        """The message as it would go upstream, None if it would not."""
        content = self.disposition.content
        if not self.passed:
            return None
        return self.octets if content is None else b"".join(content.chunks())

    def to_json(self, *, explain: bool = False) -> dict[str, Any]:
        """Return the object of contract 10; its trace is filled to explain."""
        said = self.disposition
        output = self.output
        return {
            "file": self.file,
            "size": self.size,
            "sha256": self.sha256,
            "policy": self.policy,
            "disposition": str(said.outcome),
            "reply": self._reply(),
            "rule": said.rule,
            "action": str(said.action) if said.action else "",
            **{key: said.report.get(key, none) for key, none in _NOTHING.items()},
            "output_sha256": "" if output is None else sha256(output),
            "spam": said.report.get("spam"),
            "trace": [step.to_json() for step in said.trace] if explain else [],
        }

    def _reply(self) -> str:
        reply = self.disposition.reply
        if reply is None:
            return str(replies.OK) if self.passed else ""
        return str(reply)

    def line(self) -> str:
        """Return the outcome on one line."""
        said = self.disposition
        words = [visible(self.file), str(said.outcome)]
        if said.rule and said.action is not Action.ALLOW:
            words.append(f"{said.rule} {said.action}")
        if said.outcome is Outcome.MODIFIED:
            edits = list(self._edits())
            words += edits[:MAX_EDITS]
            words += [f"and {len(edits) - MAX_EDITS} more"] if edits[MAX_EDITS:] else []
        if said.reply:
            words.append(str(said.reply))
        return "  ".join(words)

    def _edits(self) -> Iterator[str]:
        """Yield what was taken out of the message, added to it, locked in it."""
        said = self.disposition
        yield from (f"{name} added" for name, _ in said.side.add_header)
        yield from (f"{visible(name)} removed" for name in said.removed)
        for part in said.report.get("parts", ()):
            if part["action"] in _DONE:
                name = (part["names"] or [part["type"]])[0]
                yield f"{part['path']} {visible(name)} {_DONE[part['action']]}"

    def explanation(self) -> list[str]:
        """Return the trace, a line for each rule that was tried."""
        return [explained(step.to_json()) for step in self.disposition.trace]

    def write(self, folder: Path) -> Path | None:
        """Write the message as it would go upstream into ``folder``, if it would.

        The name is made of the input's: two inputs never have one. The file is there
        whole or not at all. Raises OSError.
        """
        output = self.output
        if output is None:
            return None
        folder.mkdir(parents=True, exist_ok=True)
        stem = Path(self.file.rpartition("#")[0] or self.file).stem[:MAX_STEM]
        safe = _UNSAFE.sub("_", stem).lstrip("._-") or "message"
        path = folder / f"{safe}-{sha256(_octets(self.file))[:16]}.eml"
        appear(path, output)
        return path


def sha256(octets: bytes) -> str:
    """Return the hexadecimal digest."""
    return hashlib.sha256(octets).hexdigest()


def _octets(name: str) -> bytes:
    return name.encode("utf-8", "surrogateescape")
