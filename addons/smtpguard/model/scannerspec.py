"""Scanners as the rules name them (contract 5, ``scanners:``)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


type ScannerType = Literal["clamd", "yara", "rspamd", "spamassassin"]


@dataclass(frozen=True, slots=True)
class ScannerSpec:
    """One entry of ``scanners``; two that are equal may share what they know."""

    name: str
    type: ScannerType
    addresses: tuple[str, ...] = ()
    """``unix:/path``, ``HOST:PORT`` or, of rspamd, a URL; tried in order."""
    rules: str = ""
    """Of yara: a file, or a folder of ``*.yar`` files; "" for the built-in rules."""
    timeout: float = 30.0
    """Seconds for one scan at one address, with connecting, and as many until it has
    its turn; all scans of a message are bounded beside that."""
    max_size: int = 25 << 20
    """Octets; more is not sent."""
    concurrency: int = 8
    """Scans at the same time."""
