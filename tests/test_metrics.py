from __future__ import annotations

import re
import socket
import threading
import urllib.request
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from prometheus_client.parser import text_string_to_metric_families

from smtpguard import alarms
from smtpguard.metrics import Exporter, Metrics
from smtpguard.model.disposition import Outcome
from smtpguard.model.verdict import Verdict, VerdictKind
from tests.conftest import ROOT
from tests.judging import PreparedScanners
from tests.test_ownmail import RECORD


if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def metrics() -> Metrics:
    return Metrics(PreparedScanners, lambda: {"sessions": 3, "copies waiting": 1})


@pytest.fixture
def exporter(metrics: Metrics) -> Iterator[Exporter]:
    found = Exporter(metrics, "127.0.0.1", free_port())
    yield found
    found.stop()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def read(port: int) -> dict[tuple[str, ...], float]:
    """Return samples as Prometheus would read them, by name and the values of labels in
    the order of their names."""
    url = f"http://127.0.0.1:{port}/metrics"
    with urllib.request.urlopen(url, timeout=10) as answer:
        text = answer.read().decode()
    families = text_string_to_metric_families(text)
    samples = [one for family in families for one in family.samples]
    return {
        (one.name, *(one.labels[label] for label in sorted(one.labels))): one.value
        for one in samples
    }


def test_transactions_are_counted_by_outcome_and_rule(
    metrics: Metrics, exporter: Exporter
) -> None:
    denied = replace(RECORD, tls="TLSv1.3/clear", size=10)
    relayed = replace(
        *(denied,), outcome=Outcome.RELAYED, rule="", action="", in_doubt="x", size=5
    )
    for record in (denied, denied, relayed):
        metrics.transaction_ended(record)
    found = read(exporter.port)
    name = "smtpguard_transactions_total"
    assert found[name, "deny", "rejected", "inbound", "filenames:3"] == 2
    assert found[name, "", "relayed", "inbound", ""] == 1
    assert found["smtpguard_in_doubt_total",] == 1
    assert found["smtpguard_message_octets_total",] == 25
    legs = "smtpguard_transactions_by_tls_total"
    assert found[legs, "client", "TLSv1.3"] == found[legs, "upstream", "clear"] == 3


def test_scans_are_measured_by_scanner_and_kind(
    metrics: Metrics, exporter: Exporter
) -> None:
    slow = Verdict("v", VerdictKind.CLEAN, seconds=0.2)
    quick = Verdict("v", VerdictKind.CLEAN, seconds=0.004)
    gone = Verdict("w", VerdictKind.UNAVAILABLE, seconds=0.0)
    metrics.scanned({"1": (gone, quick), "2": (slow,)})
    found = read(exporter.port)
    assert found["smtpguard_scan_seconds_count", "clean", "v"] == 2
    assert found["smtpguard_scan_seconds_sum", "clean", "v"] == pytest.approx(0.204)
    assert found["smtpguard_scan_seconds_bucket", "clean", "0.005", "v"] == 1
    assert found["smtpguard_scan_seconds_bucket", "clean", "0.25", "v"] == 2
    assert found["smtpguard_scan_seconds_count", "unavailable", "w"] == 1


def test_what_there_is_now_is_asked_when_somebody_reads(exporter: Exporter) -> None:
    alarms.raise_alarm("scanners", "x")
    found = read(exporter.port)
    assert found["smtpguard_now", "sessions"] == 3
    assert found["smtpguard_now", "copies waiting"] == 1
    assert found["smtpguard_scanner_up", "unix:/v", "v"] == 0
    assert found["smtpguard_alarms_total", "scanners"] == 1
    assert found["process_resident_memory_bytes",] > 1 << 20
    alarms.raise_alarm("scanners", "x")
    assert read(exporter.port)["smtpguard_alarms_total", "scanners"] == 2


def test_without_scanners_there_is_nothing_to_tell_of_them() -> None:
    exporter = Exporter(Metrics(), "127.0.0.1", free_port())
    try:
        names = {name for name, *_ in read(exporter.port)}
    finally:
        exporter.stop()
    assert "smtpguard_scanner_up" not in names


def test_where_it_has_stopped_nobody_listens(metrics: Metrics) -> None:
    exporter = Exporter(metrics, "127.0.0.1", free_port())
    port = exporter.port
    exporter.stop()
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", port), 1).close()
    assert not any("HTTP" in one.name for one in threading.enumerate())


def test_a_port_that_is_taken_is_an_error(metrics: Metrics) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as other,
        pytest.raises(OSError, match="in use"),
    ):
        Exporter(metrics, "127.0.0.1", other.getsockname()[1])


def test_the_page_names_every_metric(metrics: Metrics, exporter: Exporter) -> None:
    """docs/deployment.md, Monitoring."""
    metrics.transaction_ended(replace(RECORD, tls="TLSv1.3/clear"))
    metrics.scanned({"1": (Verdict("v", VerdictKind.CLEAN),)})
    alarms.raise_alarm("copies", "x")
    url = f"http://127.0.0.1:{exporter.port}/metrics"
    with urllib.request.urlopen(url, timeout=10) as answer:
        families = [*text_string_to_metric_families(answer.read().decode())]
    ours = [one for one in families if one.name.startswith("smtpguard_")]
    served = {
        f"{one.name}_total" if one.type == "counter" else one.name: {
            label for sample in one.samples for label in sample.labels if label != "le"
        }
        for one in ours
    }
    page = (ROOT / "docs" / "deployment.md").read_text("utf-8")
    told = {
        name: set(re.findall(r"`(\w+)`", labels))
        for name, labels in re.findall(
            r"^  \| `(smtpguard_\w+)` \| ([^|]*) \|", page, re.MULTILINE
        )
    }
    assert told == served
