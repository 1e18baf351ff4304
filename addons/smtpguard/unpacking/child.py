"""The isolated process that looks into archives.

Archives are read by C libraries, and a hostile file may crash, stall or take one over.
So they are read in a process of their own that has: no environment, no open file but
one socket, and none that it could still open; no right to write, to start anything or
to gain rights; an end to its memory and its processor time; a timer that kills it. As
root's child it becomes nobody first. ``pool`` keeps such processes.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
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
from typing import TYPE_CHECKING

from smtpguard.model.contents import Contents, Fact, Finding
from smtpguard.unpacking import libarchivereader
from smtpguard.unpacking.archives import ArchiveLimits, look_inside
from smtpguard.unpacking.protocol import (
    GRACE,
    Request,
    patience,
    receive_request,
    send_answer,
)


if TYPE_CHECKING:
    from collections.abc import Callable

    type Job = Callable[[Request], Contents]


MAX_MEMORY = 1 << 30
"""Octets of address space. Of what a look expands 256 MiB may be held at once."""
LATE = 2.0
"""Seconds after which a process kills itself that its keeper should have killed."""
SOFT = 0.8
"""The part of the time that is spent on looking; the rest is for the answer."""

_SOCKET = 3
_IDLE_CHECK_MS = 5_000
_NOBODY = 65534
_PR_SET_DUMPABLE = 4
_PR_SET_NO_NEW_PRIVS = 38


def look(request: Request) -> Contents:
    """Return what archives hold: the job of the gateway. Tests have others."""
    limits = replace(ArchiveLimits(), seconds=request.seconds * SOFT)
    return look_inside(request.octets, request.names, limits)


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
    _warm_up()
    lock_down(_SOCKET + 1)
    with socket.socket(fileno=_SOCKET) as channel:
        serve(channel, job)


def lock_down(files: int) -> None:
    """Give up what a look does not need, for good; ``files`` may be open at most."""
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
    """Answer requests until the other side is gone.

    That is seen by its end of the socket. Where the keeper forked, the copies keep it
    open: so the parent is looked at, too. PR_SET_PDEATHSIG would not do: it speaks when
    the thread ends that started this process, and judging threads end at any time.
    """
    keeper = os.getppid()
    waiting = select.poll()
    waiting.register(channel, select.POLLIN)
    while True:
        while not waiting.poll(_IDLE_CHECK_MS):
            if os.getppid() != keeper:
                return
        try:
            request = receive_request(channel)
        except EOFError:
            return
        _limit_time(request.seconds)
        began = time.process_time()
        contents = _done(job, request)
        del request
        spent = time.process_time() - began
        send_answer(channel, replace(contents, seconds=spent))
        for timer in (signal.ITIMER_REAL, signal.ITIMER_PROF):
            signal.setitimer(timer, 0)


def _done(job: Job, request: Request) -> Contents:
    # Whatever goes wrong in there, somebody waits for an answer.
    try:
        return job(request)
    except Exception as error:  # noqa: BLE001
        finding = Finding("inspector-failed", type(error).__name__)
        return Contents(facts=frozenset({Fact.LIMIT}), findings=(finding,))


def _limit_time(seconds: float) -> None:
    """Have the kernel end this process, by SIGPROF when its share of the processor is
    used up, and by SIGALRM where its keeper does not."""
    signal.setitimer(signal.ITIMER_PROF, seconds + GRACE)
    signal.setitimer(signal.ITIMER_REAL, patience(seconds) + LATE)
    processor = math.ceil(time.process_time() + seconds + LATE)
    resource.setrlimit(resource.RLIMIT_CPU, (processor, resource.RLIM_INFINITY))


def _warm_up() -> None:
    """Load what a first look would load: later no file can be opened."""
    libarchivereader.warm_up()
    for encoding in ("cp437", "cp1252", "utf-16-le", "mac_roman"):
        "".encode(encoding)
    for octets in (b"PK\x05\x06" + bytes(18), b"!<arch>\n", b"\x1f\x8b\x08"):
        look(Request(octets, ("a",), 1.0))
