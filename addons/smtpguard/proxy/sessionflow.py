"""A session's flow in mitmproxy: which hooks tell of it, and when it is complete.

As mitmproxy's own TCP layer: ``tcp_start`` once, ``tcp_end`` or ``tcp_error`` once, and
in between ``tcp_message`` for a whole mail and never for a line. ``smtp_end`` comes
before the flow's end, so that what it adds is saved; what it is told of is kept only
where somebody hears it, and only so much. A fault in the record costs the record and
nothing else.
"""

from __future__ import annotations

from dataclasses import replace
from logging import getLogger
from typing import TYPE_CHECKING

from mitmproxy import flow, tcp
from mitmproxy.proxy.layers import tcp as tcp_layer

from smtpguard.proxy import hooks
from smtpguard.proxy.maillog import describe


if TYPE_CHECKING:
    from collections.abc import Callable

    from mitmproxy.proxy import commands, context

    from smtpguard.dialogue import Dialogue, TransactionRecord
    from smtpguard.proxy.services import Services


logger = getLogger(__name__)

KEPT_RECORDS = 10_000
"""Transactions of one session that ``smtp_end`` is told of."""
KEPT_ROWS = 10_000
"""Recipients, parts, findings and trace steps that these records hold together; what
does not fit is kept without parts and trace, and after what does not fit even so
nothing more is. A step takes 1 to 2 KiB, a mail may have thousands."""
UNRECORDED = 64
"""Lines that wait in the transcript until the flow is brought up to date: one flow
message for many lines, and no more memory than a mail's dialogue needs."""


class SessionFlow:
    """The flow of one session, and its record on the way."""

    def __init__(
        self,
        context: context.Context,
        dialogue: Dialogue,
        services: Services,
        on_end: Callable[[], None],
    ) -> None:
        self.flow = tcp.TCPFlow(context.client, context.server, live=True)
        self.records: list[TransactionRecord] = []
        self._rows = 0
        self._full = False
        """Nothing more is kept for ``smtp_end``."""
        self._dialogue = dialogue
        self._heard = services.heard
        self._addresses = services.options.log_addresses
        self._recorder = services.make_recorder(self.flow, services.options)
        self._on_transaction = services.transaction_ended
        self._on_end = on_end
        self._last_hook: commands.StartHook | None = None

    def start(self) -> commands.StartHook | None:
        """Return the hook that tells of a new flow, if anybody listens."""
        if "tcp_start" in self._heard:
            return tcp_layer.TcpStartHook(self.flow)
        return None

    def update(self, *, now: bool = False) -> bool:
        """Bring the flow up to date, if that is due; tell whether views should know."""
        if now or len(self._dialogue.transcript.entries) > UNRECORDED:
            return bool(self._safely(self._recorder.update, self._dialogue))
        return False

    def transaction(self, record: TransactionRecord) -> commands.StartHook | None:
        """Take a transaction's outcome; return the hook that refreshes views."""
        if "smtp_end" in self._heard:
            self._keep(record)
        self._safely(self._on_transaction, record)
        self._safely(self._recorder.transaction, record)
        if self.update(now=True) and "tcp_message" in self._heard:
            return tcp_layer.TcpMessageHook(self.flow)
        return None

    def _keep(self, record: TransactionRecord) -> None:
        """Keep a record for ``smtp_end``, cut down once there are many."""
        self._full = self._full or len(self.records) >= KEPT_RECORDS
        if self._full:
            return
        if self._rows + record.rows > KEPT_ROWS:
            record = replace(record, trace=(), report={})
        if self._rows + record.rows > KEPT_ROWS:
            self._full = True
            return
        self._rows += record.rows
        self.records.append(record)

    def end(self, error: str | None = None) -> commands.StartHook | None:
        """Complete the flow; return the first of the last hooks.

        ``after`` takes its completion and returns the next one.
        """
        if error is not None:
            self.flow.error = flow.Error(error)
        self.update(now=True)
        self._safely(self._recorder.finish, self._dialogue, error)
        if "smtp_end" in self._heard:
            session = self._dialogue.session
            data = hooks.SmtpEndData(session, self.records, self.flow)
            self._last_hook = hooks.SmtpEndHook(data)
            return self._last_hook
        return self._end_flow()

    def after(self, hook: commands.StartHook) -> commands.StartHook | None:
        """Go on after one of the last hooks; the flow's end is told when it is over."""
        if hook is not self._last_hook:
            return None
        if isinstance(hook, hooks.SmtpEndHook):
            return self._end_flow()
        self._over()
        return None

    def _end_flow(self) -> commands.StartHook | None:
        if self.flow.error is not None:
            self._last_hook = tcp_layer.TcpErrorHook(self.flow)
        elif "tcp_end" in self._heard:
            self._last_hook = tcp_layer.TcpEndHook(self.flow)
        else:
            self._over()
        return self._last_hook

    def _over(self) -> None:
        self._last_hook = None
        self.flow.live = False
        self._on_end()
        # Layers refer to each other and wait for the collector: the flow need not.
        del self.flow, self._recorder

    def _safely[**P](
        self, part: Callable[P, object], *given: P.args, **named: P.kwargs
    ) -> object:
        try:
            return part(*given, **named)
        except Exception as error:  # noqa: BLE001
            trace = describe(error, self._addresses)
            logger.error("flow not complete: %s", trace)  # noqa: TRY400 - the text says it
            return None
