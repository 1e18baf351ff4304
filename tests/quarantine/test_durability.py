"""What a power cut or a kill leaves behind, seen from outside the process.

Named after what it is about, not after a module: ``store`` promises it.
"""

from __future__ import annotations

import os
import re
import subprocess
from typing import TYPE_CHECKING

import pytest

from smtpguard.errors import QuarantineError
from smtpguard.quarantine.index import Index, Query
from smtpguard.quarantine.store import Store
from smtpguard.quarantine.survey import whole
from tests.integration.bed.need import need, need_root, unavailable
from tests.quarantine.making import MESSAGE, files, kept, output, python


if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


# Keeps one message, then says 250. The second argument is an fsync that is left out.
KEEP = """
import os, sys
from pathlib import Path
from smtpguard.quarantine.store import Store
from tests.quarantine.making import MESSAGE, record

store, left_out = Store(Path(sys.argv[1])), int(sys.argv[2])
real, calls = os.fsync, []

def fsync(descriptor):
    calls.append(descriptor)
    if len(calls) != left_out:
        real(descriptor)

os.fsync = fsync
store.keep(record(), [MESSAGE[:20], MESSAGE[20:]])
os.write(1, b"250")
"""

DURABLE = [
    "write message",
    "fsync message",
    "write record",
    "fsync record",
    "rename message",
    "rename record",
    "fsync folder",
    "say 250",
]


def calls(folder: Path, left_out: int = 0) -> list[str]:
    """Return what one keep asks of the system, in order, each run of writes once."""
    folder.mkdir()
    log = folder.with_suffix(".strace")
    wanted = "trace=write,fsync,fdatasync,rename,renameat,renameat2"
    prefix = (need("strace"), "-f", "-y", "-qq", "-s0", "-e", wanted, "-o", str(log))
    with python(KEEP, folder, left_out, prefix=prefix) as process:
        said = process.communicate(timeout=50)[0]
    if process.returncode and not said:
        unavailable("strace cannot trace here")
    assert said == b"250"
    found: list[str] = []
    for line in log.read_text().splitlines():
        called = re.match(r"\d+ +(\w+?)(?:at2?)?\((.*)\) += \d+", line)
        assert called, line
        step = what(called[1].replace("fdatasync", "fsync"), called[2], folder)
        if step and found[-1:] != [step]:
            found.append(step)
    return found


def what(call: str, arguments: str, folder: Path) -> str:
    if call == "write" and re.match("1<", arguments):
        return "say 250"
    if call == "rename":
        # From beside the place to the place.
        names = re.findall(rf'"{re.escape(str(folder))}/([^"]+)"', arguments)
        assert len(names) == 2
        assert names[0] == f".new-{names[1]}"
    kinds = {"message": ".octets", "record": ".json", "folder": str(folder)}
    for kind, end in kinds.items():
        if re.search(rf'{re.escape(end)}[>"]', arguments):
            return f"{call} {kind}"
    return ""


@pytest.mark.real
def test_all_is_on_the_disk_before_250_is_said(tmp_path: Path) -> None:
    assert calls(tmp_path / "q") == DURABLE


@pytest.mark.real
@pytest.mark.parametrize("number", [1, 2, 3])
def test_an_fsync_that_is_left_out_is_seen(tmp_path: Path, number: int) -> None:
    """Else the test above would prove nothing."""
    syncs = [step for step in DURABLE if step.startswith("fsync")]
    found = calls(tmp_path / "q", left_out=number)
    assert found == [step for step in DURABLE if step != syncs[number - 1]]


@pytest.mark.real
def test_a_new_folder_is_on_the_disk_too(tmp_path: Path) -> None:
    log = tmp_path / "log"
    prefix = (
        need("strace"),
        "-f",
        "-y",
        "-qq",
        "-e",
        "trace=mkdir,fsync",
        "-o",
        str(log),
    )
    assert output(python(KEEP, tmp_path / "q", 0, prefix=prefix)) == b"250"
    made, synced = log.read_text().splitlines()[:2]
    assert f'mkdir("{tmp_path}/q"' in made
    assert re.search(rf"fsync\(\d+<{re.escape(str(tmp_path))}>\)", synced)


# Keeps one message in a folder each, in processes that are killed: before their first
# call of the system, before their second ..., until one comes to its end.
KILLED = """
import os, signal, sys
from pathlib import Path
from smtpguard.quarantine.store import Store
from tests.quarantine.making import MESSAGE, record

def count(number):
    calls = []
    for name in ("mkdir", "open", "write", "fsync", "rename", "close", "unlink"):
        def step(*args, _real=getattr(os, name), **more):
            calls.append(None)
            if len(calls) == number:
                os.kill(os.getpid(), signal.SIGKILL)
            return _real(*args, **more)
        setattr(os, name, step)

number = ended = 0
while not ended:
    number += 1
    child = os.fork()
    if not child:
        count(number)
        Store(Path(sys.argv[1]) / str(number)).keep(record(), [MESSAGE])
        os._exit(7)
    ended = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
print(number)
"""


def test_whenever_a_process_is_killed_the_item_is_whole_or_not_there(
    tmp_path: Path,
) -> None:
    number = int(output(python(KILLED, tmp_path)))
    assert number > 15
    there = []
    for at in range(1, number + 1):
        store = Store(tmp_path / str(at))
        if not store.folder.exists():
            assert at == 1
            continue
        ids = store.ids()
        for item in ids:
            made = store.read(item)
            assert b"".join(whole(store, made).chunks()) == MESSAGE
        with Index(store) as index:
            assert index.rebuild() == []
            assert [row.id for row in index.rows(Query())] == ids
        there.append(len(ids))
        # A client sends again what nobody has accepted.
        kept(store)
        assert len(store.ids()) == len(ids) + 1
    # Not there, and from one moment on there.
    assert sorted(there) == there
    assert set(there) == {0, 1}
    assert there[-1] == 1


# -- disks -----------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Return a folder on a disk of a quarter of a MiB."""
    need_root("mounting a small disk")
    folder = tmp_path / "disk"
    folder.mkdir()
    options = ["-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)]
    done = subprocess.run([need("mount"), *options], capture_output=True, check=False)
    if done.returncode:
        unavailable(f"mount: {done.stderr.decode().strip()}")
    yield folder
    subprocess.run([need("umount"), str(folder)], check=True)


@pytest.mark.real
def test_a_full_disk_keeps_what_is_there_and_nothing_of_what_is_not(
    small_disk: Path,
) -> None:
    store = Store(small_disk / "q")
    first = kept(store)
    with pytest.raises(QuarantineError, match="No space left on device") as raised:
        kept(store, octets=b"x" * 400_000)
    assert raised.value.full
    assert store.ids() == [first.id]
    assert len(files(store.folder)) == 2
    # And once there is room again, it goes on.
    kept(store, octets=b"x" * 100_000)


@pytest.mark.real
def test_a_full_disk_is_met_at_every_point_of_keeping(small_disk: Path) -> None:
    """Each time there is one page less."""
    store = Store(small_disk / "q")
    store.folder.mkdir()
    ballast, refused = small_disk / "ballast", 0
    for pages in range(32, -1, -1):
        ballast.unlink(missing_ok=True)
        disk = os.statvfs(small_disk)
        ballast.write_bytes(bytes(disk.f_bsize * max(0, disk.f_bavail - pages)))
        try:
            made = kept(store, octets=b"x" * 20_000)
        except QuarantineError as error:
            refused += error.full
            assert files(store.folder) == set()
        else:
            store.delete(made.id)
    assert refused > 3


@pytest.mark.real
def test_a_folder_that_can_only_be_read_is_listed_and_keeps_nothing(
    small_disk: Path,
) -> None:
    store = Store(small_disk / "q")
    made = kept(store)
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    with pytest.raises(QuarantineError, match="Read-only file system") as raised:
        kept(store)
    assert not raised.value.full
    with pytest.raises(QuarantineError, match="Read-only file system"):
        store.delete(made.id)
    with Index(store) as index:
        assert index.refresh() == []
        assert [row.id for row in index.rows(Query())] == [made.id]
