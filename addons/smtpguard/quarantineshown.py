"""Items of the quarantine as ``smtpguard quarantine`` shows them: a line, an object, or
all that is known. Owns words and order; what a terminal must not get is taken out by
whoever prints."""

from __future__ import annotations

from typing import TYPE_CHECKING

from smtpguard.quarantine.record import Kind, State
from smtpguard.quarantine.recordfile import argument


if TYPE_CHECKING:
    from collections.abc import Iterable

    from smtpguard.quarantine.index import Row
    from smtpguard.quarantine.record import Record
    from smtpguard.quarantine.store import Store


def row_json(row: Row) -> dict[str, object]:
    """Return a row of ``list --json``."""
    return {
        "id": row.id,
        "kept_at": row.kept_at.isoformat(),
        "kind": row.kind,
        "state": row.state,
        "sender": row.sender,
        "recipients": row.recipients,
        "size": row.size,
        "policy": row.policy,
        "rule": row.rule,
        "reason": row.reason,
        "subject": row.subject,
        "header_from": row.header_from,
        "names": row.names,
    }


def row_line(row: Row) -> str:
    """Return a row of ``list``."""
    first, *others = row.recipients or ("nobody",)
    more = f" and {len(others)} more" if others else ""
    what = ", ".join(row.names) if row.kind is Kind.PART else row.subject
    when = row.kept_at.strftime("%Y-%m-%d %H:%M:%S")
    return (
        f"{row.id}  {when}  {row.kind}  {row.state}  {row.size}  "
        f'{row.sender} -> {first}{more}  {row.rule}  "{what}"'
    )


def state_shown(store: Store, item: str, state: State) -> State:
    """Return a state as it is shown: what nobody releases any more is in doubt."""
    if state is State.RELEASING and not store.is_locked(item):
        return State.IN_DOUBT
    return state


def described(store: Store, record: Record) -> Iterable[str]:
    """Yield the lines of ``show``."""
    client, upstream, part = record.client, record.upstream, record.part
    yield f"id: {record.id}"
    yield f"kept: {record.kept_at.isoformat()}"
    yield f"kind: {record.kind}"
    yield f"state: {state_shown(store, record.id, record.state)}"
    yield f"transaction: {record.transaction}"
    yield f"why: {record.policy}, {record.rule}, {record.action}: {record.reason}"
    yield f"findings: {', '.join(record.findings) or 'none'}"
    yield f"octets: {record.size}, sha256 {record.sha256}"
    if record.kind is Kind.PART:
        assert part is not None
        yield f"part: {part.path}, {part.type}, {', '.join(part.names) or 'no name'}"
    yield f"client: [{client.address}]:{client.port}, {client.helo}"
    yield f"upstream: {upstream.host}:{upstream.port}, {upstream.tls}"
    for leg, tls in (
        ("client", record.client_tls),
        ("upstream", record.upstream_tls),
    ):
        facts = f"{tls.version}, {tls.cipher}, {tls.name}" if tls else "none"
        yield f"TLS of the {leg}: {facts}"
    yield f"From: {record.header_from}"
    yield f"Subject: {record.subject}"
    yield f"MAIL FROM:{argument(record.reverse_path)}"
    for one in record.recipients:
        line = f"RCPT TO:{argument(one.forward_path)}"
        if record.kind is not Kind.PART:
            line += f"  {state_shown(store, record.id, one.state)}"
        yield f"{line}  {one.error}".rstrip()
