"""The content view ``SMTP``: a session of ours, readable in mitmweb and mitmproxy.

The first message of a flow shows the session: both legs' TLS, each transaction with
envelope, outcome, rule, parts and trace, then the dialogue of both legs. A mail shows
its parts, what they were found to be, the first files in archives, what was sent
instead, its header and its text. mitmweb asks for every message of a flow again at each
update, so everything here is linear and bounded, and the record is read once for all.

What a peer has sent reaches the screen as printable characters only: control and bidi
characters are escaped (attacks P1). ``register`` makes the view known, once.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakKeyDictionary

from mitmproxy import contentviews, tcp

from smtpguard.mime import outline, outline_defects, parse
from smtpguard.proxy import sessionrecord
from smtpguard.proxy.record import OUTCOME_KEY
from smtpguard.terminal import explained, visible


if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from mitmproxy import flow

    from smtpguard.dialogue.transcript import Entry
    from smtpguard.proxy.sessionrecord import RecordedMail, SessionRecord


PRIORITY: Final = 2.0
"""Above 1: the automatic choice for our flows."""
MAX_LINE: Final = 1000
"""Characters shown of one line."""
MAX_HEADER: Final = 16 * 1024
MAX_TEXT: Final = 16 * 1024
"""Octets shown of a mail's header and of what follows it."""
MAX_TRANSCRIPT: Final = 500
MAX_TRANSACTIONS: Final = 50
MAX_ROWS: Final = 200
"""Lines shown of the dialogue, transactions, and rows of anything else."""
MAX_FILES: Final = 10
"""Files shown of each archive."""
MAX_SYMBOLS: Final = 20
"""Symbols shown of a score, those that weigh most."""

type _Parts = tuple[tuple[str, str], ...]
"""Path and SHA-256 of each part of a mail: what it is known by."""
type _Decided = Mapping[str, Mapping[str, Any]]
"""What was decided about each part, by path."""


class SmtpContentview(contentviews.Contentview):
    """Shows sessions that smtpguard has recorded."""

    def __init__(self) -> None:
        self._mails: WeakKeyDictionary[tcp.TCPMessage, RecordedMail]
        self._mails = WeakKeyDictionary()
        """Mails among the messages of the flow read last."""
        self._read: tuple[str, SessionRecord | None] = ("", None)
        self._decided: dict[_Parts, _Decided] = {}

    @property
    def name(self) -> str:
        """The name in the list of views."""
        return "SMTP"

    def render_priority(
        self,
        data: bytes,  # noqa: ARG002 - the flow tells
        metadata: contentviews.Metadata,
    ) -> float:
        """Return a priority above all others for our flows, below all for the rest."""
        found = metadata.flow is not None and OUTCOME_KEY in metadata.flow.metadata
        return PRIORITY if found else -1.0

    def prettify(self, data: bytes, metadata: contentviews.Metadata) -> str:
        """Return one message of a flow as text; the first one tells of the session."""
        shown, message = metadata.flow, metadata.tcp_message
        if not isinstance(shown, tcp.TCPFlow) or message is None:
            return "\n".join(_text(data, MAX_TEXT))
        record = self._record(shown)
        lines: list[str] = []
        if shown.messages and message is shown.messages[0]:
            lines += [*_session(shown, record), ""]
        if message in self._mails:
            lines += _mail(data, self._mails[message], self._decided)
        else:
            lines += _text(data, MAX_TEXT)
        return "\n".join(lines)

    def _record(self, shown: flow.Flow) -> SessionRecord | None:
        text = shown.metadata.get(sessionrecord.SESSION_KEY)
        if not isinstance(text, str) or not isinstance(shown, tcp.TCPFlow):
            return None
        if self._read[0] is not text:
            self._mails.clear()
            self._read = (text, _load(shown))
            self._decided = _decided(self._read[1])
            for mail in self._read[1].mails if self._read[1] else ():
                self._mails[shown.messages[mail.index]] = mail
        return self._read[1]


def register() -> None:
    """Make the view known to mitmproxy; again is harmless."""
    if not isinstance(contentviews.registry.get("smtp"), SmtpContentview):
        contentviews.add(SmtpContentview())


def escape(text: str) -> str:
    """Return text of one line, printable and not too long."""
    if len(text) > MAX_LINE:
        text = f"{text[:MAX_LINE]} ... ({len(text) - MAX_LINE} more)"
    return visible(text)


def _load(shown: flow.Flow) -> SessionRecord | None:
    try:
        return sessionrecord.read_record(shown)
    except ValueError:
        return None


# -- a message -----------------------------------------------------------------------


def _text(data: bytes, limit: int) -> list[str]:
    """Return the lines of octets; what is cut is said."""
    lines = data[:limit].split(b"\r\n")
    if not lines[-1]:
        lines.pop()
    shown = [escape(line.decode("utf-8", "backslashreplace")) for line in lines]
    if len(data) > limit:
        shown.append(f"... {len(data) - limit} more octets")
    return shown


def _mail(
    data: bytes, mail: RecordedMail, judged: Mapping[_Parts, _Decided]
) -> list[str]:
    lines = [f"mail of {mail.size} octets", _sent(mail)]
    if len(data) < mail.size:
        lines[0] += f", the first {len(data)} recorded" if data else ", not recorded"
    if not data:
        return lines
    message = parse(data)
    end = message.root.body.start
    parts = outline(message)
    decided = judged.get(_known_by(parts), {})
    known = ({**part, **decided.get(part["path"], {})} for part in parts)
    lines += ["", "parts:", *_rows(map(_part_and_files, known), len(parts))]
    defects = outline_defects(message)
    if defects:
        lines += ["", "defects:"]
        lines += _rows(
            (
                f"  {each['kind']} in part {each['part']} at {each['offset']}"
                for each in defects
            ),
            len(defects),
        )
    if mail.edit is not None:
        edit = mail.edit
        gone = f"octets {edit.start} to {len(data) - edit.end}"
        lines += ["", f"sent instead of {gone}:"]
        lines += (f"  | {line}" for line in _text(edit.octets, MAX_TEXT))
    lines += ["", "header:", *_text(data[:end], MAX_HEADER)]
    return [*lines, "", "text:", *_text(data[end:], MAX_TEXT)]


def _sent(mail: RecordedMail) -> str:
    """Say what went upstream."""
    if mail.sent_size is None:
        return "not sent upstream"
    if mail.edit is None:
        return "sent upstream as it came"
    return f"sent upstream with {mail.sent_size} octets, edited"


def _part_and_files(part: Mapping[str, Any]) -> str:
    """Return a part and the first files in it, on lines of their own.

    First come those of which something is known: they are why one looks.
    """
    entries = sorted(_list(part, "entries"), key=_is_plain)
    rows = _rows(map(_file, entries), len(entries), MAX_FILES)
    return "\n".join(map(escape, (_part(part), *rows)))


def _part(part: object) -> str:
    """Return a part on one line."""
    if not isinstance(part, dict):
        return "  ?"
    kind, detected = part.get("type"), part.get("detected")
    words = [f"  {part.get('path')}", str(kind), f"{part.get('size')} octets"]
    words += [f'"{name}"' for name in _list(part, "names")]
    words += map(str, _list(part, "facts"))
    words += map(_verdict, _list(part, "verdicts"))
    if part.get("rule"):
        words.append(f"-> {part.get('action')} by {part['rule']}")
    # Last, for the names of types are long and a pane may be narrow.
    words += [f"(content: {detected})"] if detected and detected != kind else []
    return "  ".join(words)


def _verdict(verdict: object) -> str:
    """Return what a scanner said of a part, in brackets."""
    if not isinstance(verdict, dict):
        return "[?]"
    more = verdict.get("name") or verdict.get("reason")
    told = f"{verdict.get('scanner')}: {verdict.get('kind')}"
    return f"[{told}, {more}]" if more else f"[{told}]"


def _spam(spam: object) -> list[str]:
    """Return the score of a message on one line, with its symbols by weight."""
    if not isinstance(spam, dict):
        return []
    head = f"  spam   {spam.get('score')} {spam.get('category')}"
    words = f"{head} by {spam.get('scanner')}"
    symbols = spam.get("symbols")
    if not isinstance(symbols, dict) or not symbols:
        return [words]
    known = [(n, w) for n, w in symbols.items() if isinstance(w, int | float)]
    known.sort(key=lambda one: -abs(one[1]))
    told = ", ".join(f"{name} {weight:g}" for name, weight in known[:MAX_SYMBOLS])
    more = len(symbols) - MAX_SYMBOLS
    return [f"{words}: {told}" + (f" and {more} more" if more > 0 else "")]


def _is_plain(entry: object) -> bool:
    return not (isinstance(entry, dict) and entry.get("facts"))


def _file(entry: object) -> str:
    """Return a file in an archive, on one line."""
    if not isinstance(entry, dict):
        return "      ?"
    words = [f'      "{entry.get("name")}"', str(entry.get("type") or "unknown type")]
    words.append(f"{entry.get('size')} octets")
    return "  ".join((*words, *map(str, _list(entry, "facts"))))


def _decided(record: SessionRecord | None) -> dict[_Parts, _Decided]:
    """Return what was decided, by parts: the first transaction with the same counts."""
    found: dict[_Parts, _Decided] = {}
    for transaction in record.transactions if record else ():
        told = [part for part in _list(transaction, "parts") if isinstance(part, dict)]
        if _known_by(told) not in found:
            found[_known_by(told)] = {str(part.get("path")): part for part in told}
    return found


def _known_by(parts: Iterable[Mapping[str, Any]]) -> _Parts:
    return tuple((str(part.get("path")), str(part.get("sha256"))) for part in parts)


# -- a session -----------------------------------------------------------------------


def _session(shown: tcp.TCPFlow, record: SessionRecord | None) -> list[str]:
    if record is None:
        flat = (
            f"{key}: {value}"
            for key, value in sorted(shown.metadata.items())
            if key.startswith("smtpguard_") and key != sessionrecord.SESSION_KEY
        )
        return ["SMTP session", *map(escape, flat)]
    facts = record.session
    way = f"{_address(facts, 'client')} -> {_address(facts, 'destination')}"
    lines = [
        f"SMTP session {facts.get('id')}  {way}  policy {facts.get('policy') or '-'}",
        f"client    {_leg(record.legs.get('client'))}",
        f"upstream  {_leg(record.legs.get('upstream'))}",
        f"HELO      {facts.get('helo') or '-'}",
    ]
    if not record.ended:
        lines.append("still open, or cut off by the end of mitmproxy")
    lines = [escape(line) for line in lines]
    for transaction in islice(record.transactions, MAX_TRANSACTIONS):
        lines += ["", *_transaction(transaction)]
    more = len(record.transactions) - MAX_TRANSACTIONS
    if more > 0:
        lines.append(f"... {more} more transactions")
    lines += ["", "dialogue (C client, S upstream; small letters: from smtpguard):"]
    lines += _rows(map(_entry, record.entries), len(record.entries), MAX_TRANSCRIPT)
    if record.cut:
        lines.append("... the rest was not recorded: too long, or too much in memory")
    if record.reports_cut:
        lines.append(
            "... parts and trace of some transactions were not recorded: too many"
        )
    return lines


def _address(facts: Mapping[str, Any], key: str) -> str:
    match facts.get(key):
        case [host, port]:
            return f"[{host}]:{port}" if ":" in str(host) else f"{host}:{port}"
    return "-"


def _leg(leg: object) -> str:
    """Return how a leg stood at the end, and how it came there."""
    if not isinstance(leg, dict):
        return "-"
    words = ["in clear"]
    tls = leg.get("tls")
    if isinstance(tls, dict):
        words = [f"{tls.get('version')} {tls.get('cipher')}"]
        words += [f"name {tls['name']}"] if tls.get("name") else []
        words += [f"certificate {tls['verified']}"] if tls.get("verified") else []
    history = ", ".join(map(str, _list(leg, "history")))
    return ", ".join(words) + (f"  ({history})" if history else "")


def _transaction(facts: Mapping[str, Any]) -> list[str]:
    rule = facts.get("rule")
    by = f" by {rule} ({facts.get('action')})" if rule else ""
    lines = [f"transaction {facts.get('transaction')}: {facts.get('disposition')}{by}"]
    envelope = facts.get("envelope")
    if isinstance(envelope, dict):
        lines.append(f"  from   <{envelope.get('mail_from')}>")
        recipients = _list(envelope, "rcpt_to")
        lines += _rows(map(_recipient, recipients), len(recipients))
    lines.append(f"  reply  {facts.get('reply') or 'none'}")
    lines.append(f"  size   {facts.get('size')} octets, SHA-256 {facts.get('sha256')}")
    for key in ("reason", "in_doubt"):
        if facts.get(key):
            lines.append(f"  {key.replace('_', ' ')}: {facts[key]}")
    lines += _spam(facts.get("spam"))
    kept = _list(facts, "quarantine")
    lines += _rows((f"  kept   {item}" for item in kept), len(kept))
    side = facts.get("side")
    for name, values in side.items() if isinstance(side, dict) else ():
        told = values if isinstance(values, list) else []
        lines += _rows((f"  {name} {value}" for value in told), len(told))
    findings = _list(facts, "findings")
    lines += _rows((f"  finding {each}" for each in findings), len(findings))
    parts = _list(facts, "parts")
    lines += ["  parts"] if parts else []
    lines += _rows((f"  {_part(part)}" for part in parts), len(parts))
    trace = _list(facts, "trace")
    lines += ["  trace"] if trace else []
    lines += _rows(map(_step, trace), len(trace))
    return [escape(line) for line in lines]


def _recipient(facts: object) -> str:
    if not isinstance(facts, dict):
        return "  to     ?"
    asked, address = facts.get("asked"), facts.get("address")
    rewritten = f" as <{address}>" if address != asked else ""
    rule = f"  ({facts.get('action')} by {facts['rule']})" if facts.get("rule") else ""
    return f"  to     <{asked}>{rewritten}  {facts.get('reply')}{rule}"


def _step(facts: object) -> str:
    return explained(facts) if isinstance(facts, dict) else "    ?"


def _entry(entry: Entry) -> str:
    """Return an entry of the transcript, on one line (a reply: one for each)."""
    arrow = ">" if entry.direction in "CS" else "<"
    head = f"{entry.time:9.3f} {entry.direction}{arrow}"
    if entry.kind == "mark":
        return escape(f"{head} [{entry.octets.decode('utf-8', 'backslashreplace')}]")
    if entry.kind == "message":
        known = len(entry.octets)
        part = "" if known == entry.size else f", {known} recorded"
        return f"{head} [mail of {entry.size} octets{part}]"
    lines = entry.octets.removesuffix(b"\r\n").split(b"\r\n")
    return "\n".join(
        escape(f"{head} {line.decode('utf-8', 'backslashreplace')}") for line in lines
    )


def _rows(rows: Iterable[str], count: int, limit: int = MAX_ROWS) -> list[str]:
    """Return rows up to a limit; what is left out is said."""
    shown = list(islice(rows, limit))
    return shown if count <= limit else [*shown, f"    ... {count - limit} more"]


def _list(facts: Mapping[str, Any], key: str) -> list[Any]:
    value = facts.get(key)
    return value if isinstance(value, list) else []
