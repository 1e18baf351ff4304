"""What the isolated process does in tests in place of looking; it imports this."""

from __future__ import annotations

import ctypes
import os
import socket
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from smtpguard.model.contents import Contents, Finding
from smtpguard.unpacking.protocol import Request


def job(request: Request) -> Contents:
    """Do what the octets say; answer with their number and what came with them."""
    match request.octets:
        case b"try":
            return Contents("3", findings=tuple(map(Finding, _forbidden())))
        case b"close":
            os.close(3)
            time.sleep(60)
        case b"work":
            end = time.process_time() + 0.05
            while time.process_time() < end:
                pass
        case b"dumpable":
            return Contents(str(ctypes.CDLL(None).prctl(3, 0, 0, 0, 0)))
        case b"pid":
            return Contents(str(os.getpid()))
    _go_wrong(request.octets)
    return Contents(
        str(len(request.octets)), findings=tuple(map(Finding, request.names))
    )


def by_name(request: Request) -> Contents:
    """Do what the content's name says, whatever it holds."""
    return job(replace(request, octets=request.names[0].encode("ascii")))


def _go_wrong(how: bytes) -> None:
    match how:
        case b"crash":
            ctypes.string_at(0)
        case b"sleep":
            time.sleep(60)
        case b"spin":
            while True:
                pass
        case b"wait":
            time.sleep(2)
        case b"raise":
            raise RuntimeError
        case b"nonsense":
            os.write(3, b"\0\0\0\2{}")
        case b"endless":
            os.write(3, b"\xff\xff\xff\xff")
        case b"close":
            os.close(3)
            time.sleep(60)
        case b"memory":
            bytes(4 << 30)


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
