from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpguard.errors import ReplayError
from smtpguard.model.session import SessionFacts
from smtpguard.model.settings import ServerTls, Settings
from smtpguard.replay.memory import MemorySession
from smtpguard.replay.script import parse_script
from tests.replay.deciders import CLIENT, UPSTREAM, Rules
from tests.replay.runscript import (
    Chunking,
    octet_by_octet,
    random_pieces,
    run_script,
    whole,
)
from tests.replay.test_scriptfile import RELAYED


def run(
    text: str,
    *,
    chunking: Chunking = whole,
    settings: Settings | None = None,
    **facts: Any,
) -> MemorySession:
    values: dict[str, Any] = {
        "id": "s1",
        "client": CLIENT,
        "destination": UPSTREAM,
        **facts,
    }
    memory = MemorySession(Rules(settings or Settings()), SessionFacts(**values))
    run_script(parse_script(text, "x.smtp"), memory, chunking=chunking)
    return memory


@pytest.mark.parametrize(
    "chunking", [whole, octet_by_octet, random_pieces(1), random_pieces(2)]
)
def test_a_script_is_followed_whatever_the_segments(chunking: Chunking) -> None:
    offer = "c< 250-PIPELINING\nc< 250-STARTTLS\nc< 250 CHUNKING"
    text = RELAYED.replace("c< 250 PIPELINING...", offer)
    text += "s< QUIT\nS> 221 bye\ns< [close]\nc< [close]\n"
    memory = run(text, chunking=chunking)
    assert [str(record.outcome) for record in memory.records] == ["relayed"]


@given(st.binary(), st.integers(0, 100))
def test_random_pieces_are_the_same_octets_the_same_way(
    octets: bytes, seed: int
) -> None:
    pieces = list(random_pieces(seed)(octets))
    assert b"".join(pieces) == octets
    assert pieces == list(random_pieces(seed)(octets))


TLS = """
S> 220 hi
c< 220 hi
C> STARTTLS
s< EHLO guard.example
S> 250-hi
S> 250 STARTTLS
s< STARTTLS
S> 220 go
S> [{server}]
{told}
"""


def test_handshakes_happen_where_the_script_says_so() -> None:
    told = "c< 220 ...\nC> [tls mx.example]\nC> [close]\ns< QUIT"
    memory = run(TLS.format(server="tls", told=told), reverse_name="mx.example")
    legs = (memory.session.client_leg, memory.session.upstream_leg)
    assert [leg.tls and leg.tls.name for leg in legs] == ["mx.example"] * 2


def test_a_handshake_fails_where_the_script_says_so() -> None:
    settings = Settings(server_tls=ServerTls("required"))
    text = TLS.format(server="tls-fails no cipher", told="c< 454 ...")
    memory = run(text, settings=settings, reverse_name="mx.example")
    assert memory.session.upstream_leg.tls is None
    assert any("no cipher" in line for line in memory.log)


def test_an_upstream_that_refuses_and_one_that_closes() -> None:
    run("S> [refused]\nc< 421 ...\nc< [close]\n")
    run(
        "s< [open]\nS> 220 hi\nc< 220 hi\nS> [close]\nC> QUIT\nc< 221 ...\nc< [close]\n"
    )


def test_time_passes_where_the_script_says_so() -> None:
    run("S> [silent]\n== [wait 1000]\nc< 421 ...\ns< QUIT\nc< [close]\ns< [close]\n")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        pytest.param("S> 220 hi\nc< 220 ho\n", "x.smtp:2: wanted", id="other-octets"),
        pytest.param("S> 220 hi\nc< 299...\n", "x.smtp:2: wanted", id="other-prefix"),
        pytest.param("S> 220 hi\n", "nothing more on leg c", id="unexpected-rest"),
        pytest.param("S> 220 hi\nc< 220 hi\nc< [close]\n", "x.smtp:3", id="not-closed"),
        pytest.param("S> [dance]\n", "an event that exists", id="unknown-event"),
    ],
)
def test_what_is_not_in_the_script_fails_it(text: str, told: str) -> None:
    with pytest.raises(ReplayError, match=told):
        run(text)
