"""What one process counts, as Prometheus reads it, and the port where it does.

Counters are added to where something ends; gauges are asked for when somebody reads.
Whoever reads is served by a thread of its own, never by the event loop. No label holds
what a peer has sent.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    start_http_server,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

from smtpguard import alarms


if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from wsgiref.simple_server import WSGIServer

    from prometheus_client.core import Metric

    from smtpguard.dialogue import TransactionRecord
    from smtpguard.model.scan import Verdicts
    from smtpguard.scanning import Scanners


SCAN_BUCKETS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 100)
"""Seconds; a message has a hundred for all its scans."""


# Moments as further metrics, one for each counter: nobody asks for them.
disable_created_metrics()  # type: ignore[no-untyped-call]


class Metrics:
    """The metrics of one process; they begin at 0.

    ``scanners`` returns who is asked now, ``gauges`` what there is now: numbers by what
    they are of, for ``smtpguard_now``.
    """

    def __init__(
        self,
        scanners: Callable[[], Scanners | None] = lambda: None,
        gauges: Callable[[], Mapping[str, int]] = dict,
    ) -> None:
        self.registry = CollectorRegistry()
        self._transactions = Counter(
            "smtpguard_transactions",
            "Transactions that have ended.",
            ["policy", "disposition", "rule", "action"],
            registry=self.registry,
        )
        self._in_doubt = Counter(
            "smtpguard_in_doubt",
            "Transactions of which one side cannot know how they ended.",
            registry=self.registry,
        )
        self._octets = Counter(
            "smtpguard_message_octets",
            "Octets of messages, whatever became of them.",
            registry=self.registry,
        )
        self._legs = Counter(
            "smtpguard_transactions_by_tls",
            "Transactions by the version of TLS of each leg; clear is without.",
            ["leg", "version"],
            registry=self.registry,
        )
        self._scans = Histogram(
            "smtpguard_scan_seconds",
            "Time until a scanner's verdict, by kind.",
            ["scanner", "kind"],
            buckets=SCAN_BUCKETS,
            registry=self.registry,
        )
        self.registry.register(_Now(scanners, gauges))
        ProcessCollector(registry=self.registry)

    def transaction_ended(self, record: TransactionRecord) -> None:
        """Count a transaction."""
        outcome = str(record.outcome)
        self._transactions.labels(
            record.policy, outcome, record.rule, record.action
        ).inc()
        if record.in_doubt:
            self._in_doubt.inc()
        self._octets.inc(record.size)
        for leg, version in zip(
            ("client", "upstream"), record.tls.split("/"), strict=False
        ):
            self._legs.labels(leg, version).inc()

    def scanned(self, verdicts: Verdicts) -> None:
        """Count what scanners have said to one message."""
        for asked in verdicts.values():
            for one in asked:
                self._scans.labels(one.scanner, str(one.kind)).observe(one.seconds)


class _Now:
    """What is asked for when somebody reads (``prometheus_client`` collector)."""

    def __init__(
        self,
        scanners: Callable[[], Scanners | None],
        gauges: Callable[[], Mapping[str, int]],
    ) -> None:
        self._scanners = scanners
        self._gauges = gauges

    def collect(self) -> Iterator[Metric]:
        now = GaugeMetricFamily(
            "smtpguard_now", "What there is at this moment.", labels=["what"]
        )
        for what, number in self._gauges().items():
            now.add_metric([what], number)
        yield now
        up = GaugeMetricFamily(
            "smtpguard_scanner_up",
            "Whether a scanner that was asked once is asked: 1, on trial 0.5, else 0.",
            labels=["scanner", "address"],
        )
        scanners = self._scanners()
        for name, address, state, _ in scanners.health() if scanners else ():
            up.add_metric([name, address], _UP.get(state, 0.0))
        yield up
        raised = CounterMetricFamily(
            "smtpguard_alarms", "Alarms that were raised.", labels=["kind"]
        )
        for kind, count in alarms.counts().items():
            raised.add_metric([kind], count)
        yield raised


_UP = {"closed": 1.0, "trial": 0.5}


class Exporter:
    """Serves metrics over HTTP until it is stopped."""

    def __init__(self, metrics: Metrics, host: str, port: int) -> None:
        """Listen. Raises OSError."""
        self.address = (host, port)
        self._server: WSGIServer
        self._server, self._thread = start_http_server(port, host, metrics.registry)

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._server.server_port)

    def stop(self) -> None:
        """Listen no more; an answer under way is finished by its own thread."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
