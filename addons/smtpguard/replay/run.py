"""``smtpguard replay``: files of recorded sessions through one set of rules.

The command line uses this and nothing else. A file that cannot be read at all raises
ReplayError or OSError; one session of several that cannot be replayed has a result that
says so.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from smtpguard.errors import ReplayError
from smtpguard.pipeline import PASSED
from smtpguard.policy.files import must_be_file, read_file
from smtpguard.replay.mitmfile import read_flows
from smtpguard.replay.recorded import replay
from smtpguard.replay.script import parse_script
from smtpguard.replay.scriptfile import read_script
from smtpguard.terminal import explained, visible


if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from smtpguard.model.decider import Decider
    from smtpguard.replay.recording import Recording


LATER = {".pcap", ".pcapng", ".cap"}
"""Kinds of files that this build does not read yet."""


@dataclass(frozen=True, slots=True)
class Replayed:
    """What would have become of one transaction."""

    record: Mapping[str, Any]
    """The object of contract 10; see ``recorded.replay``."""

    @property
    def passed(self) -> bool:
        """Whether the message would reach its recipients, edited or not."""
        return self.record["disposition"] in PASSED

    def to_json(self, *, explain: bool = False) -> dict[str, Any]:
        """Return the object of contract 10; its trace is filled to explain."""
        record = dict(self.record)
        if "trace" in record and not explain:
            record["trace"] = []
        return record

    def line(self) -> str:
        """Return the outcome on one line, with what was recorded where it differs."""
        record = self.record
        if record.get("error"):
            return visible(f"{record['file']}  {record['error']}")
        name = record.get("transaction") or (record.get("session") or {}).get("id", "")
        words = [record["file"], name, record["disposition"]]
        if record.get("rule"):
            words.append(f"{record['rule']} {record['action']}")
        if record.get("reply"):
            words.append(record["reply"])
        was = (record.get("recorded") or {}).get("disposition")
        if was and was != record["disposition"]:
            words.append(f"(recorded: {was})")
        return visible("  ".join(words))

    def explanation(self) -> list[str]:
        """Return the trace, a line for each rule that was tried."""
        return [explained(step) for step in self.record.get("trace", ())]


def replay_files(paths: Iterable[Path], decider: Decider) -> Iterator[Replayed]:
    """Replay every session of the files in order, one result a transaction.

    Raises ReplayError, one line with file and position, and OSError.
    """
    for path in paths:
        for recording in read_recordings(path):
            if isinstance(recording, ReplayError):
                yield _failed(path, str(recording).removeprefix(f"{path}: "))
                continue
            count = 0
            for record in replay(recording, decider):
                count += 1
                yield Replayed(record)
            if recording.cut:
                told = f"{count} transaction{'' if count == 1 else 's'}"
                yield _failed(path, f"{recording.cut}: cut after {told}")


def _failed(path: Path, error: str) -> Replayed:
    return Replayed(
        {"file": str(path), "session": None, "disposition": None, "error": error}
    )


def read_recordings(path: Path) -> Iterator[Recording | ReplayError]:
    """Yield the recorded sessions of one file. Raises ReplayError, OSError."""
    if path.suffix in LATER:
        raise ReplayError(f"{path}: {path.suffix} files are not supported yet")
    if path.suffix != ".smtp":
        must_be_file(path)
        yield from read_flows(path)
        return
    try:
        text = read_file(str(path))
    except UnicodeDecodeError as error:
        raise ReplayError(f"{path}: not UTF-8 at octet {error.start}") from None
    yield read_script(parse_script(text, str(path)))
