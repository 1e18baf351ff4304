from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from smtpguard.model.contents import Contents, Fact, Finding
from smtpguard.unpacking import pool as pool_module
from smtpguard.unpacking.pool import Pool


pytestmark = pytest.mark.slow


ROOT = str(Path(__file__).resolve().parents[2])
ADDONS = str(Path(pool_module.__file__).resolve().parents[2])
JOB = "tests.unpacking.planted:job"


@pytest.fixture
def pool() -> Iterator[Pool]:
    made = Pool(2, JOB)
    yield made
    made.stop()


def failed(kind: str, detail: str = "") -> Contents:
    return Contents(facts=frozenset({Fact.LIMIT}), findings=(Finding(kind, detail),))


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def open_files() -> int:
    return len([*Path("/proc/self/fd").iterdir()])


def test_what_it_is_asked_is_answered(pool: Pool) -> None:
    contents = pool.look(b"12345", ("a", "b"), 30)
    assert contents.detected == "5"
    assert [finding.kind for finding in contents.findings] == ["a", "b"]


def test_processes_are_started_when_they_are_needed_and_kept(pool: Pool) -> None:
    assert pool.pids() == ()
    first = pool.look(b"pid", (), 30).detected
    assert pool.look(b"pid", (), 30).detected == first
    assert pool.pids() == (int(first),)


@pytest.mark.parametrize(
    ("octets", "finding"),
    [
        (b"crash", failed("inspector-crashed", "SIGSEGV")),
        (b"nonsense", failed("inspector-nonsense")),
        (b"endless", failed("inspector-nonsense")),
    ],
)
def test_a_process_that_fails_is_replaced(
    pool: Pool, octets: bytes, finding: Contents
) -> None:
    before = pool.look(b"pid", (), 30).detected
    assert pool.look(octets, (), 30) == finding
    assert not is_alive(int(before))
    after = pool.look(b"pid", (), 30).detected
    assert after != before
    assert pool.pids() == (int(after),)


@pytest.mark.parametrize(
    ("octets", "kind"),
    [(b"sleep", "inspector-stalled"), (b"spin", "inspector-timeout")],
)
def test_one_that_hangs_is_killed_and_others_are_served_meanwhile(
    pool: Pool, octets: bytes, kind: str
) -> None:
    """Only the processor's time says something of what it looked at."""
    pid = int(pool.look(b"pid", (), 30).detected)
    found: list[Contents] = []
    hanging = threading.Thread(target=lambda: found.append(pool.look(octets, (), 3.0)))
    hanging.start()
    while pool._free.qsize() > 1:
        time.sleep(0.001)
    served = [pool.look(b"1", (), 30).detected for _ in range(20)]
    assert served == ["1"] * 20
    assert hanging.is_alive()
    hanging.join()
    assert found == [failed(kind)]
    assert not is_alive(pid)


def test_one_that_others_end_is_told_apart(pool: Pool) -> None:
    """That says nothing of what it looked at."""

    def ended_by(end: Callable[[], None]) -> Contents:
        found: list[Contents] = []
        pool.look(b"pid", (), 30)
        looking = threading.Thread(
            target=lambda: found.append(pool.look(b"sleep", (), 30))
        )
        looking.start()
        while pool._children[0].looks < 2:
            time.sleep(0.001)
        end()
        looking.join()
        return found[0]

    killed = ended_by(lambda: os.kill(pool.pids()[0], 9))
    assert killed == failed("inspector-killed")
    assert ended_by(pool.stop) == failed("inspector-stopped")


def test_one_that_hangs_up_and_lives_on_is_killed(pool: Pool) -> None:
    pid = int(pool.look(b"pid", (), 30).detected)
    assert pool.look(b"close", (), 1.0) == failed("inspector-crashed")
    assert not is_alive(pid)


def test_one_that_died_while_it_had_nothing_to_do_costs_nobody_an_answer(
    pool: Pool,
) -> None:
    pid = int(pool.look(b"pid", (), 30).detected)
    os.kill(pid, 9)
    while pool._children[0].process.poll() is None:
        time.sleep(0.001)
    assert pool.look(b"1", (), 30).detected == "1"


def test_nothing_leaks_over_many_crashes(pool: Pool) -> None:
    pool.look(b"crash", (), 30)
    before = open_files()
    pids = []
    for _ in range(25):
        pids.append(int(pool.look(b"pid", (), 30).detected))
        assert pool.look(b"crash", (), 30).facts == {Fact.LIMIT}
    assert open_files() == before
    assert pool.pids() == ()
    # A zombie has its number still.
    assert not any(map(is_alive, pids))


def test_a_process_is_replaced_after_many_looks(
    pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool_module, "MAX_LOOKS", 3)
    pids = [pool.look(b"pid", (), 30).detected for _ in range(6)]
    assert pids == [pids[0]] * 3 + [pids[3]] * 3
    assert pids[0] != pids[3]
    assert not is_alive(int(pids[0]))


def test_large_contents_arrive_whole(pool: Pool) -> None:
    octets = bytes(50 << 20)
    assert pool.look(octets, (), 30).detected == str(50 << 20)


def test_who_waits_too_long_is_told(pool: Pool) -> None:
    threads = [
        threading.Thread(target=pool.look, args=(b"sleep", (), 2.0)) for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    while pool._free.qsize():
        time.sleep(0.001)
    assert pool.look(b"1", (), 0.05) == failed("inspector-busy")
    for thread in threads:
        thread.join()


def test_nobody_waits_longer_than_told(pool: Pool) -> None:
    began = time.monotonic()
    assert pool.look(b"sleep", (), 30, 1.0) == failed("inspector-stalled")
    assert time.monotonic() - began < 20
    assert pool.look(b"1", (), 30, 0.0) == failed("inspector-busy")


def test_what_waits_is_bounded(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool_module, "MAX_WAITING", 0)
    assert pool.look(b"1", (), 30) == failed("inspector-busy")


def test_without_time_nothing_is_begun(pool: Pool) -> None:
    assert pool.look(b"1", (), 0.0) == failed("inspector-busy")
    assert pool.look(b"1", (), -1.0) == failed("inspector-busy")


def test_stop_ends_all_and_later_looks_at_once(pool: Pool) -> None:
    found: list[Contents] = []
    looking = threading.Thread(
        target=lambda: found.append(pool.look(b"sleep", (), 60.0))
    )
    looking.start()
    pool.look(b"1", (), 30)
    while len(pool.pids()) < 2:
        time.sleep(0.001)
    pids = pool.pids()
    pool.stop()
    looking.join(timeout=20)
    assert found == [failed("inspector-stopped")]
    assert not any(map(is_alive, pids))
    assert pool.look(b"1", (), 30) == failed("inspector-stopped")
    assert pool.pids() == ()


def test_a_process_that_cannot_be_started_is_a_finding(
    pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = open_files()
    monkeypatch.setattr(sys, "executable", "/nonexistent/python")
    assert pool.look(b"1", (), 30) == failed("inspector-failed", "FileNotFoundError")
    monkeypatch.undo()
    assert open_files() == before
    assert pool.look(b"1", (), 30).detected == "1"


def test_a_job_that_cannot_be_imported_is_a_finding() -> None:
    broken = Pool(1, "tests.unpacking.planted:nothing")
    contents = broken.look(b"1", (), 30)
    broken.stop()
    assert contents == failed("inspector-crashed", "exit status 1")


def test_it_inherits_nothing_that_is_open(pool: Pool) -> None:
    with socket.socket() as extra:
        os.set_inheritable(extra.fileno(), True)
        pid = int(pool.look(b"pid", (), 30).detected)
        inherited = {one.name for one in Path(f"/proc/{pid}/fd").iterdir()}
        assert inherited == {"0", "1", "2", "3"}


FORKING = """
import os, threading, time
from smtpguard.unpacking.pool import Pool
pool = Pool(1, "tests.unpacking.planted:job")
first = pool.look(b"pid", (), 30).detected
looking = threading.Thread(target=pool.look, args=(b"wait", (), 30))
looking.start()
while pool._free.qsize():
    time.sleep(0.001)
child = os.fork()
if child == 0:
    second = pool.look(b"pid", (), 30).detected
    pool.stop()
    os._exit(0 if second not in ("", first) else 1)
assert os.waitpid(child, 0)[1] == 0
looking.join()
assert pool.look(b"pid", (), 30).detected == first
pool.stop()
"""


def run(code: str, *options: str, **environment: str) -> str:
    """Return what a program prints that has been started like the gateway."""
    done = subprocess.run(
        [sys.executable, *options, code],
        capture_output=True,
        text=True,
        check=False,
        env={"PYTHONPATH": os.pathsep.join([ADDONS, ROOT]), **environment},
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_a_fork_has_processes_of_its_own() -> None:
    # Python warns of what is tried here: a fork where there are threads.
    run(FORKING, "-W", "ignore", "-c")


LOOP = """
import asyncio, threading
from smtpguard.unpacking.pool import Pool

async def main():
    pool = Pool(2, "tests.unpacking.planted:job")
    looks = [asyncio.to_thread(pool.look, b"crash", (), 30) for _ in range(8)]
    looks += [asyncio.to_thread(pool.look, b"123", (), 30) for _ in range(8)]
    other = await asyncio.create_subprocess_exec("true")
    found = await asyncio.gather(*looks)
    await other.wait()
    await asyncio.to_thread(pool.stop)
    print([one.detected or one.findings[0].kind for one in found])

asyncio.run(main())
"""


def test_it_serves_the_threads_of_an_event_loop_that_has_children_as_well() -> None:
    expected = ["inspector-crashed"] * 8 + ["3"] * 8
    assert run(LOOP, "-c", PATH=os.environ["PATH"]).strip() == str(expected)


def test_a_process_outlives_the_thread_that_started_it(pool: Pool) -> None:
    """PR_SET_PDEATHSIG would end it."""
    found: list[str] = []
    thread = threading.Thread(
        target=lambda: found.append(pool.look(b"pid", (), 30).detected)
    )
    thread.start()
    thread.join()
    assert [pool.look(b"pid", (), 30).detected] == found


def test_what_the_environment_says_is_not_believed(
    pool: Pool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sitecustomize.py").write_text("raise SystemExit(9)")
    (tmp_path / "json.py").write_text("raise SystemExit(9)")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend("")
    assert pool.look(b"try", (), 30) == Contents("3")
