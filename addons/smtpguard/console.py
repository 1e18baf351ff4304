"""The command line within mitmproxy: what it prints comes into the log.

In a process of its own, as somebody would call it: a release may take minutes, and the
sessions go on meanwhile. It ends with the gateway.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from pathlib import Path

from smtpguard.terminal import visible


logger = logging.getLogger(__name__)

MAX_TOLD = 256 * 1024
"""Octets of what it prints that are shown."""
_CHUNK = 64 * 1024
_FOLDER = str(Path(__file__).resolve().parents[1])


async def log_command(*words: str) -> None:
    """Run ``smtpguard WORDS`` and log what it says, as errors where it fails."""
    folders = (_FOLDER, *(one for one in sys.path if Path(one).is_absolute()))
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", "smtpguard", *words),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(folders)},
    )
    assert process.stdout is not None
    told, size = bytearray(), 0
    try:
        while chunk := await process.stdout.read(_CHUNK):
            size += len(chunk)
            told += chunk[: MAX_TOLD - len(told)]
        status = await process.wait()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    level = logging.ERROR if status else logging.INFO
    for line in told.decode("utf-8", "backslashreplace").splitlines():
        logger.log(level, "%s: %s", words[0], visible(line))
    if size > MAX_TOLD:
        logger.warning("%s: %d octets more: left out", words[0], size - MAX_TOLD)
