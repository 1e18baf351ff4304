"""Each cell of the fail matrix by a mail over STARTTLS: what is said, what arrives.

In no cell is a mail lost, doubled by us, or let through that the rules do not let
through (contract 2 and 7).
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.integration import failures
from tests.integration.bed.process import free_port
from tests.integration.failures import (
    AS_IT_CAME,
    CELLS,
    FAILURES,
    LOCKED,
    NOTHING,
    STRIPPED,
    Cell,
)
from tests.integration.sending import sent
from tests.integration.sink import Sink
from tests.judging import TEXT_PART, attachment, lines, mixed
from tests.scanners.engines import fake


if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.integration.bed.certificates import Identity
    from tests.integration.bed.guard import Guard
    from tests.integration.conftest import StartGuard


pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

DOC = Path(__file__).parents[2] / "docs" / "failures.md"
HEAD = lines("From: a@out.example", "Subject: a cell", "Message-ID: <%d@out.example>")
FILE = attachment("report.bin")


def policy(cell: Cell) -> str:
    """Return the policy of a cell: all text is scanned, or only what is no text."""
    name = f"{cell.failure.service}-{cell.failure.name.replace(' ', '-')}"
    text = [
        f"  - name: cell-{cell.number}",
        f"    when: {{source: {cell.source}}}",
        "    tls: {client: {starttls: required}, server: {starttls: required}}",
        '    rcpt_to: [{match: "*", action: allow}]',
    ]
    if cell.failure.service == "clamd":
        rule = '{match: "*", action: scan}'
        if cell.what == "attachment":
            rule = f'{{match: "text/*", action: allow}}, {rule}'
        text.append(f"    content_types: [{rule}]")
        ending = f"{cell.failure.key}: {cell.action}"
        text.append(f"    antivirus: {{scanner: {name}, {ending}}}")
    else:
        ending = f"{cell.failure.key}: {cell.action}"
        spam = "confirmed: {at: 15, action: deny}"
        text.append(f"    spam: {{scanner: {name}, {spam}, {ending}}}")
    return "\n".join(text)


def rules(addresses: dict[str, str]) -> str:
    scanners = [
        f"  {name}: {{type: {name.split('-')[0]}, address: {where!r}, timeout: 1s}}"
        for name, where in addresses.items()
    ]
    policies = [policy(cell) for cell in CELLS]
    last = '  - {name: last, rcpt_to: [{match: "*", action: tempfail}]}'
    return "\n".join(
        ["version: 1", "scanners:", *scanners, "policies:", *policies, last, ""]
    )


@pytest.fixture(scope="module")
def sink(identity: Identity) -> Iterator[Sink]:
    with Sink(identity) as running:
        yield running


@pytest.fixture(scope="module")
def guard(start_unowned_guard: StartGuard, sink: Sink) -> Iterator[Guard]:
    with ExitStack() as stack:
        addresses = {}
        for failure in FAILURES:
            address = f"127.0.0.1:{free_port()}"
            if failure.script is not None:
                address = stack.enter_context(fake(failure.script)).address
            scheme = "http://" if failure.service == "rspamd" else ""
            name = f"{failure.service}-{failure.name.replace(' ', '-')}"
            addresses[name] = scheme + address
        running = start_unowned_guard(sink.reverse, rules(addresses))
        yield running
        assert running.stop() == 0
        assert "Traceback" not in running.log


def mail(cell: Cell) -> bytes:
    head = HEAD % cell.number
    if cell.what == "text":
        return head + lines("Content-Type: text/plain", "") + b"Hello\r\n.\r\n"
    return head + mixed(TEXT_PART, FILE)


@pytest.fixture(scope="module")
def replies(guard: Guard) -> dict[int, str]:
    """Send the mails of all cells, some at the same time."""
    with ThreadPoolExecutor(8) as pool:
        told = pool.map(
            lambda cell: sent(guard, mail(cell), cell.recipient, number=cell.number),
            CELLS,
        )
        return dict(zip((cell.number for cell in CELLS), told, strict=True))


def named(cell: Cell) -> str:
    failure = cell.failure
    return f"{failure.service}-{failure.name}-{cell.what}-{cell.action}"


@pytest.mark.parametrize("cell", CELLS, ids=named)
def test_cell(cell: Cell, replies: dict[int, str], sink: Sink) -> None:
    assert replies[cell.number].startswith(cell.end.reply), replies[cell.number]
    copies = sink.copies.get(cell.recipient, [])
    assert len(copies) == (cell.end.arrives != NOTHING)
    if not copies:
        return
    arrived, came = copies[0].message, mail(cell)
    payload = FILE.partition(b"\r\n\r\n")[2]
    match cell.end.arrives:
        case failures.AS_IT_CAME:
            assert arrived == came
        case failures.STRIPPED:
            assert arrived.startswith(came.partition(FILE)[0])
            assert arrived.endswith(came.partition(FILE)[2])
            assert payload not in arrived
            assert b"A part of this message was removed" in arrived
        case failures.LOCKED:
            assert arrived.startswith(came.partition(FILE)[0])
            assert arrived.endswith(came.partition(FILE)[2])
            assert payload not in arrived
            assert b"report.bin.clk" in arrived
        case _:
            pytest.fail(cell.end.arrives)


def test_every_end_is_in_some_cell() -> None:
    assert {cell.end.arrives for cell in CELLS} == {
        AS_IT_CAME,
        STRIPPED,
        LOCKED,
        NOTHING,
    }
    assert len(CELLS) > 100


def test_the_documented_table_is_the_one_that_is_proved() -> None:
    """Else print ``failures.table()``."""
    text = DOC.read_text(encoding="utf-8")
    assert failures.table() in text
    assert f"{len(CELLS)} cells" in text
