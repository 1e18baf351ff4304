"""What the isolated process does in tests in place of looking; it imports this."""

from __future__ import annotations

import ctypes
import os
import socket
import time
from collections.abc import Callable
from pathlib import Path

from smtpguard.model.contents import Contents, Finding
from smtpguard.unpacking.archives import ArchiveLimits, look_inside


def job(
    octets: bytes, names: tuple[str, ...], claimed: str, seconds: float
) -> Contents:
    """Do what ``octets`` say; answer with their number and what came with them."""
    match octets:
        case b"crash":
            ctypes.string_at(0)
        case b"sleep":
            time.sleep(60)
        case b"spin":
            while True:
                pass
        case b"raise":
            raise RuntimeError
        case b"nonsense":
            os.write(3, b"\0\0\0\2{}")
        case b"endless":
            os.write(3, b"\xff\xff\xff\xff")
        case b"memory":
            bytes(4 << 30)
        case b"try":
            return Contents(findings=tuple(map(Finding, _forbidden())))
        case b"pid":
            return Contents(str(os.getpid()))
    return Contents(f"{len(octets)} {claimed}", findings=tuple(map(Finding, names)))


def archives(
    octets: bytes, names: tuple[str, ...], claimed: str, seconds: float
) -> Contents:
    """Look into archives, detecting nothing."""
    return look_inside(
        octets, ArchiveLimits(seconds=seconds), lambda *_: Contents(), names
    )


def _forbidden() -> list[str]:
    """Return which of the things succeed that must not."""
    attempts: dict[str, Callable[[], object]] = {
        "read": lambda: Path(__file__).read_bytes(),
        "write": lambda: Path("smtpguard-was-here").write_bytes(b"x"),
        "connect": lambda: socket.create_connection(("127.0.0.1", 9)),
        "fork": os.fork,
        "pipe": os.pipe,
        "environment": lambda: os.environ["PATH"],
    }
    done = []
    for name, attempt in attempts.items():
        try:
            attempt()
        except (OSError, KeyError):
            continue
        done.append(name)
    return done
