"""Metrics of a running gateway, while its options ask for them."""

from __future__ import annotations

from typing import TYPE_CHECKING


if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from smtpguard.dialogue import TransactionRecord
    from smtpguard.metrics import Exporter, Metrics
    from smtpguard.model.scan import Verdicts
    from smtpguard.scanning import Scanners


class Monitoring:
    """Counts and serves, or does neither: who reads nothing pays nothing.

    ``scanners`` and ``gauges`` as ``Metrics`` has them.
    """

    def __init__(
        self,
        scanners: Callable[[], Scanners | None],
        gauges: Callable[[], Mapping[str, int]],
    ) -> None:
        self._asked = scanners, gauges
        self._metrics: Metrics | None = None
        self._exporter: Exporter | None = None

    def serve(self, address: tuple[str, int] | None) -> None:
        """Serve there from now on, and nowhere else; None: nowhere.

        Raises OSError; then it is served where it was. Where it moves it counts on.
        """
        old = self._exporter
        if address == (old.address if old is not None else None):
            return
        if address is None:
            self._metrics = self._exporter = None
        else:
            # Here, since it takes longer than all the rest, and few ask for it.
            from smtpguard.metrics import Exporter, Metrics  # noqa: PLC0415

            metrics = self._metrics or Metrics(*self._asked)
            self._exporter = Exporter(metrics, *address)
            self._metrics = metrics
        if old is not None:
            old.stop()

    def stop(self) -> None:
        """Serve nowhere any more."""
        self.serve(None)

    def transaction_ended(self, record: TransactionRecord) -> None:
        """Count a transaction."""
        if self._metrics is not None:
            self._metrics.transaction_ended(record)

    def scanned(self, verdicts: Verdicts) -> None:
        """Count what scanners have said to one message."""
        if self._metrics is not None:
            self._metrics.scanned(verdicts)
