"""The benchmark harness: it measures what it says, and says what it could not."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import pytest

from benchmarks import generator, run, speed
from benchmarks.crowd import send_at_once, slow_sink
from benchmarks.generator import LoadResult, UnavailableError, build, parse_result
from benchmarks.ways import WAYS, ground
from tests.integration.bed.certificates import make_authority


if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.ways import WayName


LINE = (
    "sessions_ok=30 errors=2 msgs=60 secs=0.500 sess/s=60.0 msg/s=120.0 MB/s=0.53 "
    "p50=10.50ms p95=12.00ms p99=15.25ms max=16.00ms"
)


def test_the_generators_line_is_read() -> None:
    result = parse_result(f"{LINE} firsterr=greeting (reply 421, errno None)\n")
    assert result == LoadResult(
        sessions=30,
        failed=2,
        messages=60,
        seconds=0.5,
        p50_ms=10.5,
        p99_ms=15.25,
        first_error="greeting (reply 421, errno None)",
    )
    assert (result.sessions_per_second, result.messages_per_second) == (60.0, 120.0)


def test_another_line_is_no_result() -> None:
    with pytest.raises(ValueError, match="no such option"):
        parse_result("no such option")


def measured(turn: int, way: WayName, p50: float, failed: int = 0) -> speed.Measurement:
    result = LoadResult(10, failed, 10, 1.0, p50, p50)
    return speed.Measurement(turn, "single", way, result, 1.0, 80.0)


def test_a_ratio_is_the_median_of_what_was_measured_side_by_side() -> None:
    found = [
        *(measured(0, "tls", 10.0), measured(0, "addon", 8.0)),
        # A slow minute moves both sides and leaves the ratio alone.
        *(measured(1, "tls", 40.0), measured(1, "addon", 30.0)),
        *(measured(2, "tls", 10.0), measured(2, "addon", 9.0)),
    ]
    (ratio,) = speed.ratios(found)
    assert (ratio.way, ratio.bar.what) == ("addon", "p50 of a session")
    assert ratio.rounds == (0.8, 0.75, 0.9)
    assert ratio.value == 0.8
    assert ratio.bar.holds(ratio.value)
    assert not ratio.bar.holds(0.9)


def test_a_round_with_a_failed_session_gives_no_ratio() -> None:
    found = [measured(0, "tls", 10.0), measured(0, "addon", 1.0, failed=1)]
    assert speed.ratios(found) == []


@pytest.mark.parametrize(
    ("hidden", "message"),
    [("source", "SMTPGUARD_SHARED"), ("compiler", "gcc")],
)
def test_a_missing_generator_is_named(
    hidden: str,
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if hidden == "compiler":
        (tmp_path / "bench").mkdir()
        (tmp_path / "bench" / "smtpbench.c").write_text("int main;\n", "ascii")
        monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("SMTPGUARD_SHARED", str(tmp_path))
    with pytest.raises(UnavailableError, match=message):
        build()


def test_without_a_generator_the_run_is_skipped_with_status_2(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("SMTPGUARD_SHARED", str(tmp_path))
    assert run.main([]) == 2
    assert "skipped: no load generator" in capsys.readouterr().err


@pytest.fixture(scope="module")
def built() -> generator.Generator:
    if not (generator.shared_folder() / "bench" / "smtpbench.c").exists():
        pytest.skip("the load generator's source is not under SMTPGUARD_SHARED")
    if not (shutil.which("gcc") or shutil.which("cc")):
        pytest.skip("missing: a C compiler")
    return build()


@pytest.mark.real
def test_a_quick_run_measures_direct_and_passthrough(
    built: generator.Generator, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = tmp_path / "report.json"
    arguments = ["--quick", "--rounds", "1", "--cases", "single", "--check"]
    status = run.main([*arguments, "--ways", "direct,tcp,tls", "--json", str(report)])
    assert status == 0
    found = json.loads(report.read_text("utf-8"))
    assert found["lost"] == 0
    rows = {row["way"]: row for row in found["speed"]["cases"]}
    assert list(rows) == ["direct", "tcp", "tls"]
    assert {row["failed_sessions"] for row in rows.values()} == {0}
    assert rows["direct"]["cpu_ms_per_message"] is None
    assert rows["tls"]["cpu_ms_per_message"] > 0
    assert rows["tls"]["peak_mib"] > 20
    # A passthrough that is quicker than no proxy at all would be a broken harness.
    assert rows["direct"]["p50_ms"] < rows["tls"]["p50_ms"]
    assert "mitmdump reverse:tls" in capsys.readouterr().out


@pytest.mark.real
def test_an_accepted_message_that_never_arrived_is_counted(
    built: generator.Generator, tmp_path: Path
) -> None:
    with ground(tmp_path, built) as place, place.open(WAYS["direct"]) as stand:
        place.warm(stand)
        place.accepted.append(1)
        assert place.finish() == 1


@pytest.mark.real
def test_a_slow_sink_takes_its_time_and_every_message(tmp_path: Path) -> None:
    authority = make_authority(tmp_path / "ca")
    pem = authority.issue("localhost").both
    size, rate = 400_000, 800_000
    with slow_sink(tmp_path, pem, rate, implicit=False) as port:
        result = send_at_once(port, "starttls", clients=3, octets=size, seconds=20)
    assert (result.accepted, result.failed) == (3, 0)
    assert result.seconds >= 0.4
