from __future__ import annotations

import asyncio
import ssl
import threading
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from aiosmtpd.controller import Controller

from smtpguard.errors import QuarantineError
from smtpguard.model.mailbox import Path as MailPath
from smtpguard.quarantine.delivery import Fate
from smtpguard.quarantine.record import HeldPart, HeldRecipient, State, Upstream
from smtpguard.quarantine.release import release, upstream_delivery
from smtpguard.quarantine.released import Released
from smtpguard.quarantine.store import Store
from smtpguard.quarantine.upkeep import reindex
from tests.integration.bed.process import free_port
from tests.integration.sink import Sink
from tests.quarantine.making import (
    DIGEST,
    MESSAGE,
    NOW,
    boxes,
    files,
    kept,
    output,
    part,
    python,
    record,
    to,
)
from tests.quarantine.servers import CLOSE, Server


if TYPE_CHECKING:
    from pathlib import Path

    from smtpguard.quarantine.record import Record
    from tests.integration.bed.certificates import Authority


HELD, RELEASING, RELEASED = State.HELD, State.RELEASING, State.RELEASED


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "q")


def released(
    store: Store, made: Record, server: Server, **more: Any
) -> dict[str, Fate]:
    found = release(store, made.id, to(server.port), lambda: NOW, **more)
    return {str(mailbox): result.fate for mailbox, result in found.items()}


def states(store: Store, made: Record) -> dict[str, State]:
    return {str(one.mailbox): one.state for one in store.read(made.id).recipients}


def remembered(store: Store, made: Record) -> set[str]:
    memory = Released(store.folder)
    return {
        str(one.mailbox)
        for one in store.read(made.id).recipients
        if memory.was_released(made.sha256, one.mailbox, NOW)
    }


def test_what_is_held_arrives_once_as_it_was(store: Store) -> None:
    made = kept(store, "b@y.test", "c@y.test")
    with Server() as server:
        assert released(store, made, server) == {
            "b@y.test": Fate.SENT,
            "c@y.test": Fate.SENT,
        }
        with pytest.raises(QuarantineError, match="is released already"):
            released(store, made, server)
    assert server.messages == [MESSAGE]
    assert server.commands[1:4] == [
        b"MAIL FROM:<a@x.test> SIZE=54 SMTPUTF8",
        b"RCPT TO:<b@y.test>",
        b"RCPT TO:<c@y.test>",
    ]
    assert states(store, made) == {"b@y.test": RELEASED, "c@y.test": RELEASED}
    assert remembered(store, made) == {"b@y.test", "c@y.test"}
    assert store.read(made.id).recipients[0].changed == NOW


def test_who_is_refused_is_held_on_with_the_error(store: Store) -> None:
    made = kept(store, "b@y.test", "c@y.test")
    with Server(answers={b"RCPT TO:<c@": b"452 4.2.2 full\r\n"}) as server:
        assert released(store, made, server) == {
            "b@y.test": Fate.SENT,
            "c@y.test": Fate.FAILED,
        }
    assert states(store, made) == {"b@y.test": RELEASED, "c@y.test": HELD}
    assert store.read(made.id).recipients[1].error == "452 4.2.2 full"
    assert remembered(store, made) == {"b@y.test"}
    with Server() as server:
        assert released(store, made, server) == {"c@y.test": Fate.SENT}
    assert server.messages == [MESSAGE]
    assert store.read(made.id).recipients[1].error == ""


def test_a_message_that_is_refused_is_held_on(store: Store) -> None:
    made = kept(store)
    with Server(answers={b".": b"554 5.7.1 spam\r\n"}) as server:
        assert released(store, made, server) == {"b@y.test": Fate.FAILED}
    assert states(store, made) == {"b@y.test": HELD}
    assert store.read(made.id).recipients[0].error == "554 5.7.1 spam"
    assert remembered(store, made) == set()


def test_a_connection_lost_after_the_final_dot_leaves_it_in_doubt(
    store: Store,
) -> None:
    made = kept(store)
    with Server(answers={b".": CLOSE}) as server:
        assert released(store, made, server) == {"b@y.test": Fate.IN_DOUBT}
        assert states(store, made) == {"b@y.test": RELEASING}
        assert "no answer to the final dot" in store.read(made.id).recipients[0].error
        assert not store.is_locked(made.id)
        with pytest.raises(QuarantineError, match="may have been delivered; --force"):
            released(store, made, server)
    assert len(server.messages) == 1
    # It may come back through the gateway.
    assert remembered(store, made) == {"b@y.test"}
    with Server() as server:
        assert released(store, made, server, force=True) == {"b@y.test": Fate.SENT}
    assert states(store, made) == {"b@y.test": RELEASED}


def test_releasing_is_on_the_disk_before_the_final_dot_is_answered(
    store: Store,
) -> None:
    made = kept(store)
    with Server() as server:
        server.gate.clear()
        thread = threading.Thread(target=released, args=(store, made, server))
        thread.start()
        assert server.dotted.wait(10)
        assert states(store, made) == {"b@y.test": RELEASING}
        assert remembered(store, made) == {"b@y.test"}
        assert store.is_locked(made.id)
        server.gate.set()
        thread.join()
    assert states(store, made) == {"b@y.test": RELEASED}


RELEASE = """
import sys
from datetime import UTC, datetime
from pathlib import Path
from smtpguard.quarantine.release import release
from smtpguard.quarantine.store import Store
from tests.quarantine.making import to

release(Store(Path(sys.argv[1])), sys.argv[2], to(int(sys.argv[3])),
        lambda: datetime.now(UTC))
"""


def test_a_release_that_is_killed_at_the_final_dot_is_in_doubt(store: Store) -> None:
    made = kept(store)
    with Server() as server:
        server.gate.clear()
        with python(RELEASE, store.folder, made.id, server.port) as process:
            assert server.dotted.wait(20)
            process.kill()
        assert states(store, made) == {"b@y.test": RELEASING}
        assert not store.is_locked(made.id)
        with pytest.raises(QuarantineError, match="--force"):
            released(store, made, server)
    assert len(server.messages) == 1


def test_two_releases_at_once_deliver_once(store: Store) -> None:
    made = kept(store)
    ended: list[Any] = []

    def run(other: Store) -> None:
        try:
            ended.append(released(other, made, server))
        except QuarantineError as error:
            ended.append(str(error))

    with Server() as server:
        server.gate.clear()
        threads = [
            threading.Thread(target=run, args=(Store(store.folder),)) for _ in range(2)
        ]
        for thread in threads:
            thread.start()
        assert server.dotted.wait(10)
        threads[0].join(0.1)
        server.gate.set()
        for thread in threads:
            thread.join()
    assert server.messages == [MESSAGE]
    assert sorted(ended, key=str) == [
        f"{made.id}: is released already; --force sends it again",
        {"b@y.test": Fate.SENT},
    ]


def test_two_processes_that_release_at_once_deliver_once(store: Store) -> None:
    made = kept(store)
    with Server() as server:
        both = [python(RELEASE, store.folder, made.id, server.port) for _ in range(2)]
        ended = []
        for process in both:
            with process:
                process.communicate(timeout=50)
            ended.append(process.returncode)
    assert sorted(ended) == [0, 1]
    assert server.messages == [MESSAGE]


def test_one_of_several_is_released_alone(store: Store) -> None:
    made = kept(store, "b@y.test", "c@y.test")
    with Server() as server:
        found = released(store, made, server, recipients=boxes("c@y.test"))
        assert found == {"c@y.test": Fate.SENT}
        with pytest.raises(QuarantineError, match=r"is not held for d@y\.test"):
            released(store, made, server, recipients=boxes("d@y.test"))
    assert states(store, made) == {"b@y.test": HELD, "c@y.test": RELEASED}


def test_another_address_gets_it_instead(store: Store) -> None:
    made = kept(store, "b@y.test")
    with Server() as server:
        found = released(store, made, server, to=boxes("admin@y.test"))
        assert found == {"admin@y.test": Fate.SENT}
        assert states(store, made) == {"b@y.test": HELD, "admin@y.test": RELEASED}
        # Once, and whom it was meant for can still get it.
        with pytest.raises(QuarantineError, match="is released already"):
            released(store, made, server, to=boxes("admin@y.test"))
        assert released(store, made, server) == {"b@y.test": Fate.SENT}
    assert len(server.messages) == 2
    assert [one.added for one in store.read(made.id).recipients] == [False, True]


def test_who_was_named_once_gets_nothing_unasked(store: Store) -> None:
    made = kept(store, "b@y.test")
    with Server(answers={b"RCPT": b"450 4.2.0 later\r\n"}) as server:
        released(store, made, server, to=boxes("admin@y.test"))
    with Server() as server:
        assert released(store, made, server) == {"b@y.test": Fate.SENT}
        assert released(store, made, server, to=boxes("admin@y.test")) == {
            "admin@y.test": Fate.SENT
        }


def test_octets_that_are_damaged_are_not_sent(store: Store) -> None:
    made = kept(store)
    store.octets(made.id).write_bytes(MESSAGE + b"x")
    with (
        Server() as server,
        pytest.raises(QuarantineError, match="not those that were kept"),
    ):
        released(store, made, server)
    assert server.commands == []


def test_a_part_is_not_released(store: Store) -> None:
    made = store.keep(part(), [b"MZ"])
    with Server() as server, pytest.raises(QuarantineError, match="exported"):
        released(store, made, server)


@pytest.mark.parametrize("place", ["write", "remember"])
def test_what_cannot_be_noted_is_not_sent(
    store: Store, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    """A full disk at the worst moment."""
    made = kept(store)

    def fail(*_: object) -> None:
        raise QuarantineError("No space left on device", full=True)

    where = Store if place == "write" else Released
    with Server() as server, monkeypatch.context() as patch:
        patch.setattr(where, place, fail)
        with pytest.raises(QuarantineError, match="No space left"):
            released(store, made, server)
    assert server.messages == []
    assert states(store, made) == {"b@y.test": HELD}
    assert remembered(store, made) == set()
    assert len(files(store.folder) - {"released"}) == 2


def test_what_was_sent_and_cannot_be_noted_is_in_doubt(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = kept(store)
    real, calls = Store.write, []

    def second_fails(self: Store, record: Record) -> None:
        calls.append(record)
        if len(calls) == 2:
            raise QuarantineError("No space left on device")
        real(self, record)

    monkeypatch.setattr(Store, "write", second_fails)
    with Server() as server, pytest.raises(QuarantineError, match="No space left"):
        released(store, made, server)
    assert server.messages == [MESSAGE]
    assert states(store, made) == {"b@y.test": RELEASING}


def test_without_delivery_it_goes_where_it_was_meant_for(store: Store) -> None:
    with Server() as server:
        made = kept(store, upstream=Upstream("127.0.0.1", server.port, "starttls"))
        found = release(store, made.id, None, lambda: NOW, helo="gw.test")
    assert [one.fate for one in found.values()] == [Fate.SENT]
    assert server.commands[0] == b"ehlo gw.test"
    assert server.messages == [MESSAGE]


def test_where_the_session_had_tls_the_release_has_it() -> None:
    asked = upstream_delivery(Upstream("mx.test", 26, "starttls_required"))
    assert (asked.host, asked.port, asked.tls) == ("mx.test", 26, "starttls_required")
    assert not asked.verify


def test_what_is_not_there_is_not_released(store: Store) -> None:
    made = kept(store)
    store.delete(made.id)
    with Server() as server, pytest.raises(QuarantineError, match="is not in the quar"):
        released(store, made, server)


def test_a_forced_release_that_fails_leaves_what_was_there_before(
    store: Store,
) -> None:
    """Else one who has it, or may have it, would be sent it again unasked."""
    made = kept(store, "b@y.test", "c@y.test")
    with Server(answers={b".": CLOSE}) as server:
        released(store, made, server, recipients=boxes("b@y.test"))
    with Server() as server:
        released(store, made, server, recipients=boxes("c@y.test"))
    for begin in (b"RCPT", b".", b"MAIL"):
        with Server(answers={begin: b"550 5.7.1 no\r\n"}) as server:
            found = released(store, made, server, force=True)
        assert set(found.values()) == {Fate.FAILED}
        assert states(store, made) == {"b@y.test": RELEASING, "c@y.test": RELEASED}
        assert remembered(store, made) == {"b@y.test", "c@y.test"}
        errors = {one.error for one in store.read(made.id).recipients}
        assert errors == {"550 5.7.1 no"}


def test_the_case_of_an_address_does_not_matter(store: Store) -> None:
    made = kept(store, "b@y.test", "B@Y.test", "c@y.test")
    with Server() as server:
        released(store, made, server, recipients=boxes("b@Y.TEST"))
    assert server.commands[2:4] == [b"RCPT TO:<b@y.test>", b"RCPT TO:<B@Y.test>"]
    assert [one.state for one in store.read(made.id).recipients] == [
        RELEASED,
        RELEASED,
        HELD,
    ]


# -- real servers ----------------------------------------------------------------------

LETTER = (
    b"From: a@x.test\r\nSubject: =?utf-8?q?=C3=A4?=\r\n\r\n"
    b".\r\n..\r\n.a\r\n\xe4\xf6\xfc\xff \x80\r\n" + b"x" * 990 + b"\r\n\r\n.\r\n"
)


class Keeper:
    """A handler of aiosmtpd that keeps what it gets."""

    def __init__(self) -> None:
        self.got: list[tuple[str, list[str], bytes, bool, list[str]]] = []

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        await asyncio.sleep(0)
        self.got.append(
            (
                envelope.mail_from,
                envelope.rcpt_tos,
                envelope.original_content,
                session.ssl is not None,
                envelope.mail_options,
            )
        )
        return "250 2.0.0 kept"


@pytest.mark.real
def test_aiosmtpd_gets_it_once_by_starttls(
    store: Store, server_tls: ssl.SSLContext, authority: Authority
) -> None:
    made = kept(store, "b@y.test", "c@y.test", octets=LETTER)
    keeper = Keeper()
    controller = Controller(
        keeper,
        hostname="127.0.0.1",
        port=free_port(),
        tls_context=server_tls,
        require_starttls=True,
        ready_timeout=10,
    )
    controller.start()
    try:
        ca = str(authority.certificate)
        server = to(controller.port, tls="starttls_required", verify=True, ca=ca)
        found = release(store, made.id, server, lambda: NOW)
        with pytest.raises(QuarantineError, match="is released already"):
            release(store, made.id, server, lambda: NOW)
    finally:
        controller.stop()
    assert {one.text for one in found.values()} == {"250 2.0.0 kept"}
    ((sender, recipients, octets, in_tls, options),) = keeper.got
    assert (sender, recipients) == ("a@x.test", ["b@y.test", "c@y.test"])
    assert octets == LETTER
    assert in_tls
    assert f"SIZE={len(LETTER)}" in options
    assert "BODY=8BITMIME" in options


@pytest.mark.real
def test_a_strict_server_gets_lines_of_any_length(
    store: Store, authority: Authority
) -> None:
    octets = LETTER + b"." * 100_000 + b"\r\n.no end"
    made = kept(store, octets=octets)
    with Sink(authority.issue("sink.test")) as sink:
        found = release(
            store, made.id, to(sink.port, tls="starttls_required"), lambda: NOW
        )
    assert [one.fate for one in found.values()] == [Fate.SENT]
    (copy,) = sink.copies["b@y.test"]
    assert copy.message == octets + b"\r\n"
    assert sink.ill_stuffed == 0


def test_the_output_of_a_release_is_empty(store: Store) -> None:
    """The program of these tests itself says nothing that could hide a failure."""
    made = kept(store)
    with Server() as server:
        told = output(python(RELEASE, store.folder, made.id, server.port))
    assert told == b""
    assert states(store, made) == {"b@y.test": RELEASED}
    assert replace(store.read(made.id), recipients=()) == replace(made, recipients=())


def test_a_copy_that_was_sent_lets_no_message_go(store: Store) -> None:
    """Nobody has held the message, and nobody let it go."""
    path = MailPath(boxes("ceo@y.test")[0])
    made = replace(
        record(),
        part=HeldPart("", (), "message/rfc822", DIGEST, State.KEPT),
        recipients=(HeldRecipient(path, path),),
    )
    item = store.keep(made, [MESSAGE])
    with Server() as server:
        release(store, item.id, to(server.port), lambda: NOW)
    assert server.messages == [MESSAGE]
    assert path.mailbox is not None
    assert not Released(store.folder).was_released(item.sha256, path.mailbox, NOW)
    reindex(store)
    assert not Released(store.folder).was_released(item.sha256, path.mailbox, NOW)
