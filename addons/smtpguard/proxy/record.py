"""A session as mitmproxy shows and saves it: dialogue -> ``TCPFlow`` (contract 9).

Owns the flow's messages (the client's leg, decrypted, one message for each change of
direction and one for each mail), its metadata, comment and marker. Costs time linear in
the session and bounded memory: what it has taken is taken out of the dialogue's
transcript, mails and dialogue each have a limit, so have all flows of the process
(``allowance``), and a refresh of the view, which makes mitmweb count the whole flow
anew, is asked for the more rarely the longer the flow is.

Everything it puts into a flow survives saving: strings without surrogates, octets as
``bytes``, the record as one JSON string (``sessionrecord``). Secrets of AUTH never come
here: the dialogue has masked them.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from logging import getLogger
from typing import TYPE_CHECKING, Any, Final

from mitmproxy import tcp

from smtpguard.dialogue.record import rows_of
from smtpguard.model.disposition import Outcome
from smtpguard.model.session import Leg
from smtpguard.proxy import sessionrecord
from smtpguard.proxy.allowance import RECORDINGS_OCTETS, Allowance
from smtpguard.proxy.spool import Budget
from smtpguard.terminal import visible


if TYPE_CHECKING:
    from collections.abc import Callable

    from smtpguard.dialogue import Dialogue, TransactionRecord
    from smtpguard.dialogue.transcript import Entry
    from smtpguard.model.session import SessionFacts
    from smtpguard.options import GuardOptions
    from smtpguard.proxy.sessionrecord import Row


logger = getLogger(__name__)

COALESCED_OCTETS: Final = 16 * 1024
"""From here on a flow message grows no more, so that joining stays linear."""
MAIL_OCTETS: Final = 16 * 1024 * 1024
"""What is kept of all mails of one session together."""
DIALOGUE_OCTETS: Final = 2 * 1024 * 1024
"""Commands and replies that are kept of one session."""
DIALOGUE_ROWS: Final = 30_000
"""Lines, marks and mails that are kept of one session: of two thousand mails."""
ROW_OCTETS: Final = 512
"""What one of them takes beside its octets: a row, its JSON, often a flow message."""
REPORT_OCTETS: Final = 2048
"""What a transaction's record takes, and again each of its parts and trace steps; all
their text comes on top, once as it is and once as JSON."""
REPORTED_ROWS: Final = 20_000
"""Parts and trace steps that the records of one session's transactions tell of; a
transaction with more than what is left of them is kept without."""
REPORTED_OCTETS: Final = 16 * 1024 * 1024
"""What they take as JSON, likewise."""
REFRESH_SECONDS: Final = 2.0
ROWS_A_SECOND: Final = 500
"""Each refresh writes the whole record, some microseconds a row."""
DISTINCT: Final = 100
"""Values that a flat key lists before it ends in ``...``."""

OUTCOME_KEY: Final = "smtpguard_outcome"
"""In the metadata of every flow of ours, from the first moment on."""

MARKERS: Final = {
    Outcome.RELAYED: ":white_check_mark:",
    Outcome.MODIFIED: ":scissors:",
    Outcome.REJECTED: ":no_entry:",
    Outcome.DEFERRED: ":hourglass:",
    Outcome.QUARANTINED: ":lock:",
    Outcome.DISCARDED: ":wastebasket:",
    Outcome.DROPPED: ":boom:",
}
IN_DOUBT_MARKER: Final = ":question:"
_GRAVITY: Final = {
    outcome: rank
    for rank, outcome in enumerate(
        (
            Outcome.RELAYED,
            Outcome.MODIFIED,
            Outcome.DEFERRED,
            Outcome.REJECTED,
            Outcome.QUARANTINED,
            Outcome.DISCARDED,
            Outcome.DROPPED,
        )
    )
}


class Recorder:
    """Puts one session into its flow while it goes on.

    ``flow`` is new and has no messages; ``clock`` gives seconds since 1970;
    ``mail_octets`` is what is kept of all mails of the session, ``budget`` what all
    recordings of the process may hold.
    """

    def __init__(
        self,
        flow: tcp.TCPFlow,
        options: GuardOptions,
        *,
        clock: Callable[[], float] = time.time,
        mail_octets: int = MAIL_OCTETS,
        budget: Budget | None = None,
    ) -> None:
        self.flow = flow
        self._mode = options.record
        self._mail_limit = options.record_limit
        self._mails_limit = mail_octets
        self._allowance = Allowance(flow, budget or Budget(RECORDINGS_OCTETS))
        self._clock = clock
        self._origin: float | None = None
        """The dialogue's time when the session began."""
        self._offset = 0.0
        """From the dialogue's time to seconds since 1970."""
        self._peer = flow.client_conn.peername[:2]
        self._rows: list[Row] = []
        self._parts: list[bytes] = []
        """Octets of the last flow message while it may grow."""
        self._growing: tcp.TCPMessage | None = None
        self._grown = 0
        self._dialogue_octets = 0
        self._mail_octets = 0
        self._cut = False
        self._starved = False
        """The process's memory for recordings was used up."""
        self._mail = -1
        """Index of the last mail among the flow's messages."""
        self._transactions: list[dict[str, Any]] = []
        self._reported = 0
        """Rows of reports that are kept, and their octets."""
        self._reported_octets = 0
        self._reports_cut = False
        self._outcomes: Counter[Outcome] = Counter()
        self._seen: dict[str, dict[str, None]] = {}
        self._changed = False
        self._refreshed = 0.0
        flow.metadata[OUTCOME_KEY] = ""

    @property
    def record_limit(self) -> int:
        """Octets of the next mail that the dialogue's transcript has to keep."""
        if self._mode != "full" or self._cut:
            return 0
        left = max(0, self._mails_limit - self._mail_octets)
        return min(self._mail_limit, left, self._allowance.left)

    def update(self, dialogue: Dialogue) -> bool:
        """Take what is new; call it once for each group of events.

        Returns whether it is time to refresh views of the flow.
        """
        taken, dialogue.transcript.entries = dialogue.transcript.entries, []
        if self._origin is None:
            self._origin = taken[0].time if taken else dialogue.now
            self._offset = self._clock() - dialogue.now
            self._refreshed = self._origin
        if self._mode != "none":
            for entry in taken:
                self._take(entry)
            self._settle()
        dialogue.record_limit = self.record_limit
        self._changed |= bool(taken)
        wait = max(REFRESH_SECONDS, len(self._rows) / ROWS_A_SECOND)
        if not self._changed or dialogue.now - self._refreshed < wait:
            return False
        self._changed = False
        self._refreshed = dialogue.now
        self._write(dialogue)
        return True

    def transaction(self, record: TransactionRecord) -> None:
        """Take the record of a transaction that has ended."""
        self._changed = True
        self._outcomes[record.outcome] += 1
        self._list("outcome", record.outcome)
        self._list("rule", record.rule)
        self._list("policy", record.policy)
        metadata = self.flow.metadata
        if self._mode != "none":
            self._list("from", record.mail_from or "<>")
        if record.in_doubt:
            metadata["smtpguard_in_doubt"] = visible(record.in_doubt)
        gravest = max(self._outcomes, key=lambda outcome: _GRAVITY[outcome])
        doubt = "smtpguard_in_doubt" in metadata
        self.flow.marked = IN_DOUBT_MARKER if doubt else MARKERS[gravest]
        self.flow.comment = self._comment(record)
        if self._mode != "none":
            # Last: a report that another addon made may be no JSON.
            self._keep(record.to_json())

    def finish(self, dialogue: Dialogue, error: str | None = None) -> None:
        """Take the rest and write the record; the session has ended."""
        self.update(dialogue)
        if not self._outcomes:
            self.flow.comment = visible(error) if error else "no message"
        self._write(dialogue, visible(error or "end"))

    # -- the transcript --------------------------------------------------------------

    def _take(self, entry: Entry) -> None:
        if self._cut or not self._has_room(entry):
            return
        if entry.kind == "message":
            self._take_mail(entry)
            return
        at = self._at(entry.time)
        if entry.kind == "mark":
            text = visible(entry.octets.decode("utf-8", "replace"))
            self._rows.append(sessionrecord.mark_row(entry.direction, at, text))
            return
        self._rows.append(sessionrecord.line_row(entry.direction, at, entry.octets))
        if entry.direction in "Cc":
            self._say(entry)

    def _has_room(self, entry: Entry) -> bool:
        """Charge what an entry takes; cut the dialogue off where that is too much."""
        octets = 0 if entry.kind == "message" else len(entry.octets)
        self._dialogue_octets += octets
        full = (
            self._dialogue_octets > DIALOGUE_OCTETS or len(self._rows) >= DIALOGUE_ROWS
        )
        self._cut = full or not self._charge(ROW_OCTETS + octets)
        return not self._cut

    def _charge(self, octets: int) -> bool:
        """Take memory for what is to be kept; where there is none, tell it once."""
        if self._allowance.take(octets):
            return True
        if not self._starved:
            self._starved = True
            text = "%s: not recorded whole: all recordings hold %d MiB"
            where = self._peer[0]
            logger.warning(text, where, RECORDINGS_OCTETS // 2**20)
        return False

    def _say(self, entry: Entry) -> None:
        """Add to the flow's last message, or begin one."""
        from_client = entry.direction == "C"
        growing = self._growing
        if (
            growing is None
            or growing.from_client != from_client
            or self._grown > COALESCED_OCTETS
        ):
            self._settle()
            growing = tcp.TCPMessage(from_client, b"", self._wall(entry.time))
            self.flow.messages.append(growing)
            self._growing, self._parts, self._grown = growing, [], 0
        self._parts.append(entry.octets)
        self._grown += len(entry.octets)

    def _settle(self) -> None:
        """Give the growing message all that belongs to it."""
        if self._growing is not None and len(self._parts) > 0:
            self._growing.content = b"".join(self._parts)
            self._parts = [self._growing.content]

    def _take_mail(self, entry: Entry) -> None:
        at = self._at(entry.time)
        self._settle()
        self._growing = None
        if entry.direction == "C":
            octets = entry.octets[: self.record_limit]
            if not self._charge(len(octets)):
                octets = b""
            self._mail = len(self.flow.messages)
            self._mail_octets += len(octets)
            self.flow.messages.append(
                tcp.TCPMessage(True, octets, self._wall(entry.time))
            )
        row = sessionrecord.message_row(entry.direction, at, self._mail, entry.size)
        if entry.direction == "s" and self._mail >= 0 and not entry.same:
            original = self.flow.messages[self._mail].content
            octets = entry.octets[: max(len(original), self.record_limit)]
            row = sessionrecord.edited_row(row, original, octets)
            self._mail_octets += sessionrecord.inserted(row)
            self._charge(sessionrecord.inserted(row))
        self._rows.append(row)

    def _at(self, now: float) -> float:
        return round(now - (self._origin or 0.0), 3)

    def _wall(self, now: float) -> float:
        return now + self._offset

    # -- what the flow says of itself ------------------------------------------------

    def _list(self, key: str, value: str) -> None:
        """Add a value to a flat key, which filters (``~meta``) can match."""
        seen = self._seen.setdefault(key, {})
        if not value or value in seen or len(seen) > DISTINCT:
            return
        full = len(seen) == DISTINCT
        seen["..." if full else visible(value)] = None
        self.flow.metadata[f"smtpguard_{key}"] = " ".join(seen)

    def _keep(self, transaction: dict[str, Any]) -> None:
        if self._cut:
            return
        rows = rows_of({key: transaction.get(key) for key in ("parts", "trace")})
        octets = len(json.dumps(transaction))
        fits = (
            self._reported + rows <= REPORTED_ROWS
            and self._reported_octets + octets <= REPORTED_OCTETS
        )
        if fits and self._charge(REPORT_OCTETS * (1 + rows) + 2 * octets):
            self._reported += rows
            self._reported_octets += octets
        else:
            self._reports_cut = True
            transaction |= {key: [] for key in ("parts", "trace") if key in transaction}
            if not self._charge(REPORT_OCTETS + 2 * len(json.dumps(transaction))):
                self._cut = True
                return
        self._transactions.append(transaction)

    def _comment(self, record: TransactionRecord) -> str:
        words = [str(record.outcome)]
        if record.rule:
            words.append(record.rule)
        if self._mode != "none":
            words.append(f"<{record.mail_from[:80]}>")
            taken = sum(rcpt["reply"].startswith("2") for rcpt in record.rcpt_to)
            asked = len(record.rcpt_to)
            count = f"{taken}" if taken == asked else f"{taken} of {asked}"
            words.append(f"-> {count} rcpt{'' if asked == 1 else 's'}")
        if record.in_doubt:
            words.append("(in doubt)")
        last = visible(" ".join(words))
        total = self._outcomes.total()
        if total == 1:
            return last
        counts = ", ".join(f"{n} {outcome}" for outcome, n in self._outcomes.items())
        return f"{total} messages ({counts}), last: {last}"

    def _write(self, dialogue: Dialogue, ended: str = "") -> None:
        session = dialogue.session
        self._list("policy", session.policy)
        if self._mode == "none":
            return
        self.flow.metadata["smtpguard_client"] = visible(session.client[0])
        head = {
            "mode": self._mode,
            "cut": self._cut,
            "reports_cut": self._reports_cut,
            "ended": ended,
            "session": self._session(session, dialogue.own_name),
            "legs": {leg.value: session.leg(leg).to_json() for leg in Leg},
            "transactions": self._transactions,
        }
        record = sessionrecord.dump(head, self._rows)
        self.flow.metadata[sessionrecord.SESSION_KEY] = record

    def _session(self, session: SessionFacts, own_name: bytes) -> dict[str, Any]:
        return {
            "id": session.id,
            "began": round(self._wall(self._origin or 0.0), 3),
            "peer": list(self._peer),
            "client": list(session.client),
            "destination": list(session.destination),
            "listener": session.listener,
            "reverse_name": session.reverse_name,
            "implicit_tls": session.implicit_tls,
            "upstream_implicit_tls": session.upstream_implicit_tls,
            "loop": session.loop,
            "helo": session.helo,
            "esmtp": session.esmtp,
            "authenticated": session.authenticated,
            "policy": session.policy,
            "own_name": own_name.decode("ascii", "replace"),
        }
