"""The isolated process that looks into contents, and what is spoken with it.

Archives are read by C libraries, and a hostile file may crash, stall or take one over.
So they are read in a process of their own that has: no environment, no open file but
one socket, and none that it could still open; no right to write, to start anything or
to gain rights; an end to its memory and its processor time; a timer that kills it. As
root's child it becomes nobody first. pool.py keeps such processes.

Over the socket goes, in both directions, a length of four octets (big-endian) and so
many octets of JSON; in a request as many octets of content as that says follow.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import json
import locale
import math
import os
import resource
import select
import signal
import socket
import sys
import time
from dataclasses import replace
from io import BytesIO
from typing import TYPE_CHECKING, Any

from smtpguard.model.contents import Contents, Entry, Fact, Finding
from smtpguard.unpacking import libarchivereader
from smtpguard.unpacking.archives import ArchiveLimits, look_inside


if TYPE_CHECKING:
    from collections.abc import Callable

    type Job = Callable[[bytes, tuple[str, ...], str, float], Contents]
    """Content, names, claimed type and seconds -> what was found."""


INSPECT = "smtpguard.unpacking.sandbox:inspect"
"""The job of the gateway, as ``module:function``; tests have others."""

MAX_ANSWER = 32 << 20
"""Octets; names are bounded to a part of this by ArchiveLimits."""
MAX_MEMORY = 1 << 30
"""Octets of address space. Of what a look expands 256 MiB may be held at once."""
GRACE = 2.0
"""Seconds after which a process kills itself that its keeper should have killed."""
SOFT = 0.8
"""The part of the time that is spent on looking; the rest is for the answer."""

_SOCKET = 3
_LENGTH = 4
_STEP = 1 << 20
_IDLE_CHECK_MS = 5_000
_NOBODY = 65534
_PR_SET_DUMPABLE = 4
_PR_SET_NO_NEW_PRIVS = 38


def inspect(
    octets: bytes, names: tuple[str, ...], claimed: str, seconds: float
) -> Contents:
    """Return what ``octets`` are, and what the archives in them hold."""
    from smtpguard.inspection.detect import detect  # noqa: PLC0415 - not in the parent

    seen = detect(octets, names, claimed)
    limits = replace(ArchiveLimits(), seconds=seconds * SOFT)
    inside = look_inside(octets, limits, detect, names)
    return Contents(
        seen.detected,
        seen.facts | inside.facts,
        seen.entries + inside.entries,
        tuple(dict.fromkeys(seen.findings + inside.findings)),
        seen.others,
    )


def main() -> None:
    """Run the isolated process: ``argv`` is the socket's number and the job."""
    os.dup2(int(sys.argv[1]), _SOCKET, inheritable=False)
    # Nothing else was inherited, as far as the keeper knows.
    os.closerange(_SOCKET + 1, 1 << 12)
    # libarchive needs a UTF-8 locale for names; its absence costs readings only.
    with contextlib.suppress(locale.Error):
        locale.setlocale(locale.LC_CTYPE, "C.UTF-8")
    module, _, name = sys.argv[2].partition(":")
    job: Job = getattr(importlib.import_module(module), name)
    _warm_up(job)
    lock_down(_SOCKET + 1)
    with socket.socket(fileno=_SOCKET) as channel:
        serve(channel, job)


def lock_down(files: int) -> None:
    """Give up what a look does not need, for good; ``files`` may be open at most."""
    # The first three are handed down; what is lost is lost.
    limits = {
        resource.RLIMIT_AS: MAX_MEMORY,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_FSIZE: 0,
        resource.RLIMIT_NOFILE: files,
        resource.RLIMIT_NPROC: 0,
    }
    if os.geteuid() == 0:
        # In a container without these rights the rest has to do.
        with contextlib.suppress(OSError):
            os.setgroups([])
            os.setgid(_NOBODY)
            os.setuid(_NOBODY)
    for kind, limit in limits.items():
        resource.setrlimit(kind, (limit, limit))
    with contextlib.suppress(OSError, AttributeError):
        libc = ctypes.CDLL(None)
        libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)


def serve(channel: socket.socket, job: Job) -> None:
    """Answer requests until the other side is gone."""
    keeper = os.getppid()
    waiting = select.poll()
    waiting.register(channel, select.POLLIN)
    while True:
        while not waiting.poll(_IDLE_CHECK_MS):
            # Where the keeper forked, its copies keep the socket open.
            if os.getppid() != keeper:
                return
        try:
            head = json.loads(receive_frame(channel, _STEP))
            octets = _receive(channel, head["size"])
        except EOFError:
            return
        seconds = head["seconds"]
        _limit_time(seconds)
        names = tuple(head["names"])
        contents = _done(job, octets, names, head["claimed"], seconds)
        del octets
        send_frame(channel, pack(contents))
        signal.setitimer(signal.ITIMER_REAL, 0)


def send_request(
    channel: socket.socket,
    octets: bytes,
    names: tuple[str, ...],
    claimed: str,
    seconds: float,
) -> None:
    """Ask for a look. Raises OSError, TimeoutError among them."""
    head = {
        "size": len(octets),
        "names": names,
        "claimed": claimed,
        "seconds": seconds,
    }
    send_frame(channel, json.dumps(head).encode("ascii"))
    channel.sendall(octets)


def send_frame(channel: socket.socket, octets: bytes) -> None:
    """Send one message. Raises OSError."""
    channel.sendall(len(octets).to_bytes(_LENGTH))
    channel.sendall(octets)


def receive_frame(
    channel: socket.socket, most: int, deadline: float | None = None
) -> bytes:
    """Return one message of ``most`` octets at most.

    ``deadline`` is of ``time.monotonic``. Raises EOFError where the other side is gone,
    ValueError where there are more octets, TimeoutError, OSError.
    """
    size = int.from_bytes(_receive(channel, _LENGTH, deadline))
    if size > most:
        raise ValueError(f"a message of {size} octets")
    return _receive(channel, size, deadline)


def pack(contents: Contents) -> bytes:
    """Return ``contents`` as the JSON of an answer."""
    entries = [
        [
            one.path,
            list(one.names),
            one.size,
            one.detected,
            sorted(one.facts),
            one.sha256,
        ]
        for one in contents.entries
    ]
    findings = [[one.kind, one.detail] for one in contents.findings]
    answer = [
        contents.detected,
        sorted(contents.facts),
        entries,
        findings,
        list(contents.others),
    ]
    return json.dumps(answer, separators=(",", ":")).encode("ascii")


def unpack(octets: bytes) -> Contents:
    """Return the contents that an answer tells of, trusting nothing of it.

    Raises ValueError.
    """
    try:
        detected, facts, entries, findings, others = json.loads(octets)
        return Contents(
            _text(detected),
            frozenset(map(Fact, facts)),
            tuple(map(_entry, entries)),
            tuple(Finding(_text(kind), _text(detail)) for kind, detail in findings),
            tuple(map(_text, others)),
        )
    except (TypeError, RecursionError) as error:
        raise ValueError(str(error)) from None


def _entry(fields: Any) -> Entry:  # noqa: ANN401 - whatever JSON has there
    path, names, size, detected, facts, sha256 = fields
    if type(size) is not int or type(names) is not list:
        raise TypeError("an entry of another shape")
    return Entry(
        _text(path),
        tuple(map(_text, names)),
        size,
        _text(detected),
        frozenset(map(Fact, facts)),
        _text(sha256),
    )


def _text(value: Any) -> str:  # noqa: ANN401
    if type(value) is not str:
        raise TypeError("not a text")
    return value


def _receive(channel: socket.socket, size: int, deadline: float | None = None) -> bytes:
    """Return ``size`` octets, held once: a BytesIO gives them away uncopied."""
    received = BytesIO()
    while (missing := size - received.tell()) > 0:
        if deadline is not None:
            channel.settimeout(max(deadline - time.monotonic(), 0.001))
        piece = channel.recv(min(missing, _STEP))
        if not piece:
            raise EOFError
        received.write(piece)
    return received.getvalue()


def _done(
    job: Job, octets: bytes, names: tuple[str, ...], claimed: str, seconds: float
) -> Contents:
    # Whatever goes wrong in there, somebody waits for an answer.
    try:
        return job(octets, names, claimed, seconds)
    except Exception as error:  # noqa: BLE001
        finding = Finding("inspector-failed", type(error).__name__)
        return Contents(facts=frozenset({Fact.LIMIT}), findings=(finding,))


def _limit_time(seconds: float) -> None:
    """Have the kernel end this process where its keeper does not."""
    end = seconds + GRACE
    signal.setitimer(signal.ITIMER_REAL, end)
    processor = math.ceil(time.process_time() + end)
    resource.setrlimit(resource.RLIMIT_CPU, (processor, resource.RLIM_INFINITY))


def _warm_up(job: Job) -> None:
    """Load what a first look would load: later no file can be opened."""
    libarchivereader.warm_up()
    for encoding in ("cp437", "cp1252", "utf-16-le", "mac_roman"):
        "".encode(encoding)
    if f"{job.__module__}:{job.__name__}" == INSPECT:
        for octets in (b"PK\x05\x06" + bytes(18), b"\xd0\xcf\x11\xe0", b"text"):
            job(octets, ("a",), "", 1.0)
