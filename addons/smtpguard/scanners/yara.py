"""YARA rules by yara-x: the scanner that needs no server.

Looks at the octets of a part as they are; files in archives are not expanded for it. A
rule that matches is an infection by the name of the rule. A file that includes another
is refused: all files of a folder are read anyway, and what else it names is not ours.
"""

from __future__ import annotations

import asyncio
import threading
import time
from logging import getLogger
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yara_x

from smtpguard.errors import ScanError, ScannerTimeoutError, os_text
from smtpguard.model.verdict import Verdict, VerdictKind


if TYPE_CHECKING:
    from smtpguard.model.scan import Subject


logger = getLogger(__name__)

MAX_FILES = 1000
MAX_OCTETS = 32 << 20
"""Of all rule files together."""
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


class Yara:
    """Rules of one file or folder, or the built-in ones."""

    def __init__(self, name: str, rules: str, max_size: int, timeout: float) -> None:
        """Prepare; the rules are read when they are first needed."""
        self._name = name
        self._rules = Rules(rules)
        self._max_size = max_size
        self._timeout = timeout

    async def scan(self, subject: Subject) -> Verdict:
        """Return whether a rule matches (``base.Scanner``)."""
        if subject.size > self._max_size:
            reason = f"{subject.size} octets are more than {self._max_size}"
            return Verdict(self._name, VerdictKind.OVERSIZE, reason=reason)
        names = await asyncio.to_thread(self._matches, subject)
        if not names:
            return Verdict(self._name, VerdictKind.CLEAN)
        return Verdict(self._name, VerdictKind.INFECTED, names[0], ", ".join(names[:9]))

    async def ping(self) -> None:
        """Say whether the rules can be used. Raises ScanError."""
        await asyncio.to_thread(self._rules.now)

    def _matches(self, subject: Subject) -> list[str]:
        scanner = yara_x.Scanner(self._rules.now())
        scanner.set_timeout(max(int(self._timeout), 1))
        try:
            found = scanner.scan(b"".join(subject.chunks()))
        except yara_x.TimeoutError:
            raise ScannerTimeoutError("the rules take too long") from None
        except yara_x.ScanError as error:
            raise ScanError(str(error)) from None
        return [rule.identifier for rule in found.matching_rules]


class Rules:
    """The rules of a file or folder, "" for the built-in ones; for any thread.

    Read again where a file has changed; while one is faulty those before it stay.
    """

    def __init__(self, path: str) -> None:
        """Prepare; reads nothing yet."""
        self._path = path
        self._lock = threading.Lock()
        self._compiled: Any = None
        self._fault = ""
        self._files: tuple[object, ...] | None = None
        """As they were when they were read."""
        self._looked = -LOOK_SECONDS

    def now(self) -> Any:  # noqa: ANN401 - yara-x has no types
        """Return the compiled rules.

        Raises ScanError with the place of the first fault, where there never were any.
        """
        # Whoever has rules does not wait for him who compiles others.
        if self._lock.acquire(blocking=self._compiled is None):
            try:
                if time.monotonic() >= self._looked + LOOK_SECONDS:
                    self._look()
                    self._looked = time.monotonic()
            finally:
                self._lock.release()
        if self._compiled is None:
            raise ScanError(self._fault)
        return self._compiled

    def _look(self) -> None:
        fault = self._fault
        try:
            paths = _paths(self._path)
            files = _state(paths)
            if files == self._files:
                return
            self._files = files
            self._compiled = _compile(paths)
            self._fault = ""
        except ScanError as error:
            self._fault = str(error)
            if self._compiled is not None and self._fault != fault:
                logger.error("rules not read again: %s", self._fault)  # noqa: TRY400
        else:
            if self._path:
                logger.info("rules read: %s", self._path)


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
