from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest

from smtpguard.model.verdict import Verdict, VerdictKind
from smtpguard.monitoring import Monitoring
from tests.integration.bed.process import free_port
from tests.test_metrics import read
from tests.test_ownmail import RECORD


if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def monitoring() -> Iterator[Monitoring]:
    found = Monitoring(lambda: None, lambda: {"sessions": 1})
    yield found
    found.stop()


def here() -> tuple[str, int]:
    return "127.0.0.1", free_port()


def is_there(address: tuple[str, int]) -> bool:
    try:
        socket.create_connection(address, 5).close()
    except ConnectionRefusedError:
        return False
    return True


def count(monitoring: Monitoring) -> None:
    monitoring.transaction_ended(RECORD)
    monitoring.scanned({"1": (Verdict("v", VerdictKind.CLEAN),)})


def transactions(address: tuple[str, int]) -> float:
    name = "smtpguard_transactions_total"
    return sum(value for key, value in read(address[1]).items() if key[0] == name)


def test_who_asks_for_nothing_gets_nothing(monitoring: Monitoring) -> None:
    count(monitoring)
    monitoring.serve(None)
    assert monitoring._metrics is None


def test_what_is_counted_is_served(monitoring: Monitoring) -> None:
    address = here()
    monitoring.serve(address)
    count(monitoring)
    assert transactions(address) == 1
    monitoring.serve(address)  # said again, it is the same
    assert transactions(address) == 1


def test_it_moves_and_counts_on(monitoring: Monitoring) -> None:
    first, second = here(), here()
    monitoring.serve(first)
    count(monitoring)
    monitoring.serve(second)
    assert not is_there(first)
    assert transactions(second) == 1
    monitoring.serve(None)
    assert not is_there(second)


def test_a_place_that_is_taken_leaves_it_where_it_was(monitoring: Monitoring) -> None:
    first = here()
    monitoring.serve(first)
    count(monitoring)
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = "127.0.0.1", other.getsockname()[1]
        with pytest.raises(OSError, match="in use"):
            monitoring.serve(taken)
    assert transactions(first) == 1
