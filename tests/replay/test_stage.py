from __future__ import annotations

from typing import Any

import pytest

from smtpguard.model.reply import Reply
from smtpguard.model.session import TlsFacts
from smtpguard.model.settings import Settings, TrustedClient
from smtpguard.replay.recording import Answers, Introduce, Link, Recording, Step
from smtpguard.replay.stage import Stage, address
from tests.replay.deciders import Rules


def recording(
    *links: Link,
    steps: tuple[Step, ...] = (),
    session: dict[str, Any] | None = None,
    legs: dict[str, Any] | None = None,
) -> Recording:
    facts: dict[str, Any] = {
        "id": "s1",
        "peer": ["192.0.2.7", 4],
        "destination": ["192.0.2.9", 25],
    }
    return Recording(
        "x", {**facts, **(session or {})}, legs or {}, steps, Answers(list(links))
    )


def test_the_session_is_the_recorded_one() -> None:
    stage = Stage(
        recording(session={"reverse_name": "mx.example", "loop": True}), Rules()
    )
    assert stage.session.client == ("192.0.2.7", 4)
    assert stage.session.destination == ("192.0.2.9", 25)
    assert stage.session.reverse_name == "mx.example"
    stage.start()
    assert [reply.code for reply in stage.hear()] == [554]
    assert stage.over


def test_an_upstream_that_was_not_reached_is_not_reached() -> None:
    stage = Stage(recording(Link()), Rules())
    stage.start()
    assert [reply.code for reply in stage.hear()] == [421]


def test_a_failed_implicit_handshake_fails_again() -> None:
    failed = Link(asked_tls=True)
    stage = Stage(recording(failed, session={"upstream_implicit_tls": True}), Rules())
    stage.start()
    assert [reply.code for reply in stage.hear()] == [421]


def test_a_client_that_takes_no_part_in_a_handshake_is_gone() -> None:
    stage = Stage(recording(session={"destination": ["192.0.2.9", 465]}), Rules())
    stage.start()
    assert stage.hear() == []
    assert stage.over


def test_a_client_that_does_has_the_recorded_facts() -> None:
    facts = {"version": "TLSv1.2", "cipher": "C", "name": "sni", "verified": ""}
    stage = Stage(
        recording(
            session={"destination": ["192.0.2.9", 465]},
            legs={"client": {"tls": facts}},
        ),
        Rules(),
    )
    stage.shakes = True
    stage.start()
    assert [reply.code for reply in stage.hear()] == [220]
    assert stage.session.client_leg.tls == TlsFacts("TLSv1.2", "C", "sni")


@pytest.mark.parametrize(
    ("client", "expected"),
    [
        pytest.param(["198.51.100.7", 99], ("198.51.100.7", 99), id="ipv4"),
        pytest.param(["2001:db8::7", 99], ("2001:db8::7", 99), id="ipv6"),
        pytest.param(["unknown", 99], ("192.0.2.7", 4), id="no-address"),
    ],
)
def test_a_proxy_header_is_sent_as_it_was(
    client: list[object], expected: object
) -> None:
    stage = Stage(
        recording(steps=(Introduce(),), session={"client": client}),
        Rules(trusted_client=TrustedClient("proxy")),
    )
    stage.start()
    assert [reply.code for reply in stage.hear()] == [220]
    assert stage.session.client == expected


def test_a_proxy_header_that_is_demanded_now_tells_of_nobody_else() -> None:
    stage = Stage(recording(), Rules(trusted_client=TrustedClient("proxy")))
    stage.start()
    assert [reply.code for reply in stage.hear()] == [220]
    assert stage.session.client == ("192.0.2.7", 4)


def test_a_patient_client_waits_for_a_reply_that_comes_late() -> None:
    links = (Link(Reply.make(220, "", "hi")),)
    stage = Stage(recording(*links), Rules(Settings()))
    stage.start()
    stage.hear()
    assert stage.hear()[0].code == 421  # silent for too long itself
    assert stage.memory.now > 1200


def test_hanging_up_ends_every_session() -> None:
    stage = Stage(recording(), Rules())
    stage.start()
    stage.hang_up()
    assert stage.memory.ended
    stage.send(b"NOOP\r\n")
    stage.leave(reset=True)
    assert stage.hear() == []


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        pytest.param(["a", 1], ("a", 1), id="pair"),
        pytest.param(["::1", 1, 0, 0], ("::1", 1), id="ipv6"),
        pytest.param(None, ("192.0.2.1", 0), id="none"),
        pytest.param(["a", "b"], ("192.0.2.1", 0), id="nonsense"),
    ],
)
def test_address(value: object, expected: object) -> None:
    assert address(value) == expected
