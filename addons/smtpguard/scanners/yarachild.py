"""The process in which YARA rules are compiled and matched.

yara-x keeps the interpreter to itself while it does, for as long as a rule and a file
want it to: in the gateway's own process no session would go on meanwhile.

Reads requests from standard input: ``REQUEST``, and the octets. Answers each with one
line of JSON (``Answer``). Ends with its input.
"""

from __future__ import annotations

import json
import struct
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yara_x

from smtpguard.errors import ScanError, os_text


REQUEST = struct.Struct("!QI")
"""Number of octets, and seconds for all rules together."""
MAX_FILES = 1000
MAX_OCTETS = 32 << 20
"""Of all rule files together."""
MAX_NAMES = 9
"""Of rules that match: the first ones are told."""
LOOK_SECONDS = 2.0
"""Between looks whether the files have changed."""
_SUFFIXES = frozenset({".yar", ".yara"})
_OWN = """
rule EICAR_Test_File
{
    meta:
        description = "The test file every scanner knows (eicar.org); harmless"
    strings:
        $a = { 58 35 4F 21 50 25 40 41 50 5B 34 5C 50 5A 58 35 34 28 50 5E 29 37 43 43
               29 37 7D 24 45 49 43 41 52 2D 53 54 41 4E 44 41 52 44 2D 41 4E 54 49 56
               49 52 55 53 2D 54 45 53 54 2D 46 49 4C 45 21 24 48 2B 48 2A }
    condition:
        $a at 0 and filesize < 129
}
"""
"""As eicar.org has it: at the beginning, and at most 60 octets of blanks behind."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What is said of some octets."""

    names: tuple[str, ...] = ()
    """Of rules that match."""
    error: str = ""
    """Why they could not be matched."""
    is_late: bool = False
    """It took too long."""
    fault: str = ""
    """Of rule files that have changed; those before the change were matched."""


class Rules:
    """The rules of a file or folder, "" for the built-in ones.

    Read again where a file has changed; while one is faulty those before it stay.
    """

    def __init__(self, path: str) -> None:
        """Prepare; reads nothing yet."""
        self.fault = ""
        """With its place; "" while the files are sound."""
        self._path = path
        self._compiled: Any = None
        self._files: tuple[object, ...] | None = None
        """As they were when they were read."""
        self._looked = -LOOK_SECONDS

    def now(self) -> Any:  # noqa: ANN401 - yara-x has no types
        """Return the compiled rules. Raises ScanError where there never were any."""
        if time.monotonic() >= self._looked + LOOK_SECONDS:
            self._look()
            self._looked = time.monotonic()
        if self._compiled is None:
            raise ScanError(self.fault)
        return self._compiled

    def _look(self) -> None:
        try:
            paths = _paths(self._path)
            files = _state(paths)
            if files != self._files:
                self._files = files
                self._compiled = _compile(paths)
                self.fault = ""
        except ScanError as error:
            self.fault = str(error)


def answer(rules: Rules, octets: bytes, seconds: int) -> Answer:
    """Match octets against rules."""
    try:
        scanner = yara_x.Scanner(rules.now())
        scanner.set_timeout(seconds)
        found = scanner.scan(octets).matching_rules
    except yara_x.TimeoutError:
        return Answer(is_late=True, fault=rules.fault)
    except (yara_x.ScanError, ScanError) as error:
        return Answer(error=str(error), fault=rules.fault)
    names = tuple(rule.identifier for rule in found[:MAX_NAMES])
    return Answer(names, fault=rules.fault)


def main(path: str) -> None:
    """Answer until the end of standard input."""
    rules = Rules(path)
    requests, answers = sys.stdin.buffer, sys.stdout.buffer
    while header := requests.read(REQUEST.size):
        size, seconds = REQUEST.unpack(header)
        said = answer(rules, requests.read(size), seconds)
        answers.write(json.dumps(asdict(said)).encode() + b"\n")
        answers.flush()


def _compile(paths: list[Path]) -> Any:  # noqa: ANN401 - as above
    """Compile rule files, the built-in rules where there are none. Raises ScanError."""
    compiler = yara_x.Compiler(includes_enabled=False)
    for name, text in [_read(path) for path in paths] or [("smtpguard", _OWN)]:
        try:
            compiler.new_namespace(name)
            compiler.add_source(text, origin=name)
        except yara_x.CompileError:
            raise ScanError(_first_fault(compiler.errors())) from None
    return compiler.build()


def _first_fault(errors: list[dict[str, Any]]) -> str:
    """Return file, line, column and text of what yara-x found first."""
    first = errors[0]
    place = first["labels"][0]
    where = f"{place['code_origin']}:{place['line']}:{place['column']}"
    return f"{where}: {first['title']}: {place['text']}"


def _paths(rules: str) -> list[Path]:
    """Return the rule files of a file or folder, none for "". Raises ScanError."""
    if not rules:
        return []
    path = Path(rules)
    if not path.is_dir():
        return [path]
    inside = sorted(path.rglob("*"))
    files = [one for one in inside if one.suffix in _SUFFIXES and one.is_file()]
    if not files:
        raise ScanError(f"no rules (*.yar) in {rules}")
    return files


def _state(paths: list[Path]) -> tuple[object, ...]:
    """Return what is another where a file has changed. Raises ScanError."""
    try:
        found = [(path, path.stat()) for path in paths]
    except OSError as error:
        raise ScanError(os_text(error)) from None
    if len(found) > MAX_FILES or sum(one.st_size for _, one in found) > MAX_OCTETS:
        raise ScanError(f"more than {MAX_FILES} files or {MAX_OCTETS} octets of rules")
    return tuple(
        (path, one.st_ino, one.st_size, one.st_mtime_ns, one.st_ctime_ns)
        for path, one in found
    )


def _read(path: Path) -> tuple[str, str]:
    try:
        return str(path), path.read_text(encoding="utf-8")
    except OSError as error:
        raise ScanError(os_text(error)) from None
    except UnicodeDecodeError:
        raise ScanError(f"not UTF-8: {path}") from None
