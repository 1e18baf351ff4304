"""YARA rules by yara-x: the scanner that needs no server.

Looks at the octets of a part as they are; files in archives are not expanded for it. A
rule that matches is an infection by the name of the rule.
"""

from __future__ import annotations

import asyncio
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yara_x

from smtpguard.errors import ScanError, ScannerTimeoutError, os_text
from smtpguard.model.verdict import Verdict, VerdictKind


if TYPE_CHECKING:
    from smtpguard.model.scan import Subject


MAX_FILES = 1000
MAX_OCTETS = 32 << 20
"""Of all rule files together."""
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
        self._rules = rules
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
        await asyncio.to_thread(compiled, self._rules)

    def _matches(self, subject: Subject) -> list[str]:
        scanner = yara_x.Scanner(compiled(self._rules))
        scanner.set_timeout(max(int(self._timeout), 1))
        try:
            found = scanner.scan(b"".join(subject.chunks()))
        except yara_x.TimeoutError:
            raise ScannerTimeoutError("the rules take too long") from None
        except yara_x.ScanError as error:
            raise ScanError(str(error)) from None
        return [rule.identifier for rule in found.matching_rules]


@lru_cache(maxsize=8)
def compiled(rules: str) -> Any:  # noqa: ANN401 - yara-x has no types
    """Return the rules of a file or folder, "" for the built-in ones.

    Raises ScanError with the place of the first fault.
    """
    compiler = yara_x.Compiler()
    for name, text in _sources(rules):
        try:
            compiler.new_namespace(name)
            compiler.add_source(text, origin=name)
        except yara_x.CompileError as error:
            raise ScanError(str(error)) from None
    return compiler.build()


def _sources(rules: str) -> list[tuple[str, str]]:
    if not rules:
        return [("smtpguard", _OWN)]
    try:
        path = Path(rules)
        if path.is_dir():
            inside = sorted(path.rglob("*"))
            files = [one for one in inside if one.suffix in _SUFFIXES and one.is_file()]
        else:
            files = [path]
        if not files:
            raise ScanError(f"no rules (*.yar) in {rules}")
        if (
            len(files) > MAX_FILES
            or sum(one.stat().st_size for one in files) > MAX_OCTETS
        ):
            raise ScanError(
                f"more than {MAX_FILES} files or {MAX_OCTETS} octets: {rules}"
            )
        return [(str(one), one.read_text(encoding="utf-8")) for one in files]
    except OSError as error:
        raise ScanError(os_text(error)) from None
    except UnicodeDecodeError:
        raise ScanError(f"not UTF-8: {rules}") from None
