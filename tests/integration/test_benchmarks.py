"""The benchmark harness: it measures what it says, and says what it could not."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import pytest

from benchmarks import blasts, endurance, generator, reading, run, speed
from benchmarks.crowd import send_at_once, slow_sink
from benchmarks.generator import LoadResult, UnavailableError, build, parse_result
from benchmarks.ways import WAYS, ground
from tests import bombs
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


def test_what_is_measured_without_being_asked() -> None:
    assert run._modes(None) == ["speed", "inspect"]
    assert run._modes("bombs") == ["bombs"]
    assert set(run._modes("all")) == {
        "speed",
        "inspect",
        "bombs",
        "scan",
        *endurance.CHECKS,
    }


def test_reading_is_compared_within_rounds() -> None:
    # The second round was slow for both, the third for one.
    taken: dict[reading.WayName, list[float]] = {
        "default": [0.8, 1.6, 1.3],
        "silent": [0.5, 1.0, 0.5],
        "email": [1.0, 2.0, 1.0],
    }
    row = reading._row("default", taken, 10, 2_000_000)
    assert (row["ratio"], row["ok"]) == (0.8, True)
    assert (row["mails_per_second"], row["mb_per_second"]) == (7.7, 1.54)
    taken["default"] = [1.1, 2.2, 0.9]
    assert reading._row("default", taken, 10, 2_000_000)["ok"] is False


def test_mails_with_archives_are_told_from_others() -> None:
    zipped = bombs.holding(bombs.many_entries(1))
    assert reading.holds_archive(zipped)
    assert not reading.holds_archive(bombs.holding(b"no archive"))


@pytest.mark.slow
def test_inspect_reads_the_corpus_beside_cpython(
    shared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "report.json"
    assert run.main(["inspect", "--rounds", "1", "--json", str(path)]) == 0
    rows = json.loads(path.read_text("utf-8"))["inspect"]
    assert [row["way"] for row in rows] == ["scanned", "default", "silent", "email"]
    assert {row["mails"] for row in rows} == {515}
    assert rows[3]["ratio"] == 1
    # To be three times as slow would not be a busy machine.
    assert rows[1]["ratio"] < 3
    assert "CPython" in capsys.readouterr().out


def test_without_mails_inspect_is_skipped_with_status_2(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("SMTPGUARD_SHARED", str(tmp_path))
    assert run.main(["inspect"]) == 2
    assert "skipped: no mails" in capsys.readouterr().err


@pytest.mark.slow
def test_bombs_are_measured_in_a_gateway(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    chosen = {name: bombs.BOMBS[name] for name in ("parts-50000", "gzip")}
    monkeypatch.setattr(blasts, "BOMBS", chosen)
    path = tmp_path / "report.json"
    assert run.main(["bombs", "--check", "--json", str(path)]) == 0
    parts, gzip = json.loads(path.read_text("utf-8"))["bombs"]
    assert parts["reply"].startswith("550")
    assert parts["inspector_mib"] == 0
    # It holds what it expands, up to its limit of 192 MiB.
    assert 192 < gzip["inspector_mib"] < blasts.MAX_MIB
    assert 40 < gzip["gateway_mib"] < 192
    assert "gzip" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("seconds", "mib", "reply", "ok"),
    [
        (1.0, 200.0, "550 5.7.1 no", True),
        (5.1, 200.0, "550 5.7.1 no", False),
        (1.0, 301.0, "550 5.7.1 no", False),
        (1.0, 200.0, "451 4.3.0 undecided", False),
        (1.0, 200.0, "", False),
    ],
)
def test_a_bomb_ends_decided_and_within_bounds(
    seconds: float, mib: float, reply: str, ok: bool
) -> None:
    assert blasts.Blast("x", 1.0, seconds, mib, 20.0, reply).ok is ok
    assert blasts.Blast("x", 1.0, seconds, 20.0, mib, reply).ok is ok


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
    arguments = ["speed", "--quick", "--rounds", "1", "--cases", "single"]
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
