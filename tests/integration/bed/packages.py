"""Debian packages that the bed uses unpacked, not installed.

Exim conflicts with Postfix, and swaks reaches IPv6 only with Perl modules that are no
part of it. ``apt-get download`` and ``dpkg -x`` put them under ``.cache/`` of the
repository, once.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path


CACHE = Path(__file__).resolve().parents[3] / ".cache"


class NotUnpackedError(RuntimeError):
    """The packages are not there and cannot be fetched; the text says why."""


def unpacked(name: str, *packages: str) -> Path:
    """Return the folder of the unpacked ``packages``, fetching them if it is missing.

    Raises ``NotUnpackedError`` without apt, dpkg or a mirror.
    """
    folder = CACHE / name
    if folder.is_dir():
        return folder
    for program in ("apt-get", "dpkg"):
        if shutil.which(program) is None:
            raise NotUnpackedError(f"{name}: {program} is not installed")
    CACHE.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE, prefix=f"{name}-") as temporary:
        work = Path(temporary)
        # As root apt downloads as user _apt, which must reach the folder.
        work.chmod(0o777)
        _run(["apt-get", "-qq", "download", *packages], work)
        root = work / "root"
        root.mkdir()
        for package in work.glob("*.deb"):
            _run(["dpkg", "-x", package.name, "root"], work)
        _drop_setuid(root)
        # Another run may have been quicker; its folder is as good.
        if not folder.exists():
            root.rename(folder)
    return folder


def _drop_setuid(root: Path) -> None:
    # The bed runs Exim as root; nobody else shall become root by a file in a cache.
    for path in root.rglob("*"):
        if path.is_file() and not path.is_symlink():
            path.chmod(path.stat().st_mode & 0o777)


def _run(command: list[str], folder: Path) -> None:
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise NotUnpackedError(f"{command[0]} takes more than 120 s") from error
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"{command[0]} failed"]
        raise NotUnpackedError(f"{' '.join(command[-2:])}: {lines[-1]}")
