"""What is kept, when, and what becomes of it (live: ``integration``)."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from smtpguard import alarms
from smtpguard.dialogue import TransactionRecord
from smtpguard.errors import QuarantineError
from smtpguard.keeping import COPIES, KEPT, FolderKeeper, settle
from smtpguard.model.content import MemorySpool
from smtpguard.model.decision import SideActions
from smtpguard.model.disposition import Disposition, HeldContent, Outcome
from smtpguard.model.mailbox import Parameter
from smtpguard.policy.quarantinereader import QuarantineSettings
from smtpguard.quarantine.index import Index
from smtpguard.quarantine.parts import unsent_copies
from smtpguard.quarantine.record import Kind, Record, State
from smtpguard.quarantine.store import Store
from smtpguard.wire import replies
from tests.judging import NOON, make_envelope, make_session
from tests.quarantine.making import boxes


MAIL = b"Subject: =?utf-8?q?=C3=BC?=\r\nFrom: A <a@out.test>\r\n\r\nHello\r\n"
MESSAGE = Disposition(Outcome.QUARANTINED, replies.OK, rule="headers:1")
FILE = HeldContent("1.2", ("a.bin",), "x/y", lambda: iter([b"ab", b"c"]))
COPY = Disposition(Outcome.RELAYED, side=SideActions(bcc=(*boxes("c@own.test"),)))
PART = Disposition(Outcome.MODIFIED, held=(FILE,), rule="filenames:1")


@pytest.fixture
def keeper(tmp_path: Path) -> Any:
    made = FolderKeeper(QuarantineSettings(str(tmp_path / "held")), lambda: NOON)
    yield made
    made.stop()


def keep(keeper: FolderKeeper, said: Disposition) -> Disposition:
    spool = MemorySpool()
    spool.write(MAIL)
    return keeper.keep(make_session(), make_envelope(), spool, said)


def items(keeper: FolderKeeper) -> list[Record]:
    store = Store(Path(keeper.settings.folder))
    return [store.read(item) for item in store.ids()] if store.folder.is_dir() else []


def ended(kept: Disposition, outcome: Outcome, doubt: str = "") -> TransactionRecord:
    return TransactionRecord(
        "t.1", "t", "p", outcome, "", "", (), 0, "", in_doubt=doubt, report=kept.report
    )


def test_a_message_is_kept_as_it_came(keeper: FolderKeeper) -> None:
    kept = keep(keeper, MESSAGE)
    [record] = items(keeper)
    assert kept == replace(MESSAGE, report={KEPT: [record.id]})
    assert (record.sha256, record.size) == (
        hashlib.sha256(MAIL).hexdigest(),
        len(MAIL),
    )
    assert (record.subject, record.header_from) == ("\u00fc", "A <a@out.test>")
    assert record.state is State.HELD
    settle(ended(kept, Outcome.QUARANTINED))
    assert items(keeper) == [record]


@pytest.mark.parametrize(
    ("outcome", "doubt", "state"),
    [
        (Outcome.MODIFIED, "", State.KEPT),
        (Outcome.MODIFIED, "client gone after the upstream's 250", State.KEPT),
        (Outcome.DEFERRED, "upstream silent after the final dot", State.IN_DOUBT),
        (Outcome.DEFERRED, "", None),
        (Outcome.REJECTED, "", None),
    ],
)
def test_how_the_rest_ended_settles_a_part(
    keeper: FolderKeeper, outcome: Outcome, doubt: str, state: State | None
) -> None:
    kept = keep(keeper, PART)
    [record] = items(keeper)
    assert record.state is State.PENDING
    assert record.part is not None
    assert (record.part.names, record.part.type) == (("a.bin",), "x/y")
    assert record.part.message_sha256 == hashlib.sha256(MAIL).hexdigest()
    settle(ended(kept, outcome, doubt))
    assert [one.state for one in items(keeper)] == ([state] if state else [])


def test_what_a_process_left_pending_is_in_doubt_at_the_next_start(
    keeper: FolderKeeper,
) -> None:
    keep(keeper, PART)
    keeper.stop()
    again = FolderKeeper(keeper.settings, lambda: NOON)
    again.start()
    assert [one.state for one in items(again)] == [State.IN_DOUBT]
    again.stop()


def test_what_cannot_be_kept_is_put_off(tmp_path: Path, keeper: FolderKeeper) -> None:
    (tmp_path / "held").write_text("no folder")
    for said in (MESSAGE, PART):
        put_off = keep(keeper, said)
        assert (put_off.outcome, put_off.reply) == (
            Outcome.DEFERRED,
            replies.STORAGE_FAILED,
        )
        assert (put_off.held, put_off.content) == ((), None)


def test_a_full_quarantine_is_told_so(tmp_path: Path) -> None:
    small = QuarantineSettings(str(tmp_path / "held"), max_size=10)
    keeper = FolderKeeper(small, lambda: NOON)
    assert keep(keeper, MESSAGE).reply is replies.STORAGE_FULL
    assert items(keeper) == []


def test_of_several_parts_all_are_kept_or_none(keeper: FolderKeeper) -> None:
    def broken() -> Any:
        yield b"a"
        raise OSError(5, "Input/output error")

    two = replace(PART, held=(FILE, replace(FILE, chunks=broken)))
    assert keep(keeper, two).outcome is Outcome.DEFERRED
    assert items(keeper) == []
    assert keep(keeper, replace(PART, held=(FILE, FILE))).outcome is Outcome.MODIFIED
    assert len(items(keeper)) == 2


def test_what_was_kept_for_nobody_is_dropped(keeper: FolderKeeper) -> None:
    kept = keep(keeper, MESSAGE)
    keeper.drop(kept.report[KEPT])
    assert items(keeper) == []


# -- copies ----------------------------------------------------------------------------


class Sender:
    """Remembers which copies it was to send."""

    def __init__(self) -> None:
        self.sent: list[str] = []

    def send_copy(self, _: Store, item: str) -> None:
        self.sent.append(item)


@pytest.fixture
def copying(tmp_path: Path) -> Any:
    settings = QuarantineSettings(str(tmp_path / "held"))
    made = FolderKeeper(settings, lambda: NOON, Sender())  # type: ignore[arg-type]
    yield made
    made.stop()


def test_a_copy_is_of_what_goes_on(copying: FolderKeeper) -> None:
    edited = MemorySpool()
    edited.write(b"X-A: 1\r\n" + MAIL)
    kept = keep(copying, replace(COPY, outcome=Outcome.MODIFIED, content=edited))
    [record] = items(copying)
    assert kept.report == {COPIES: [record.id]}
    assert (record.kind, record.state) == (Kind.COPY, State.PENDING)
    octets = Store(Path(copying.settings.folder)).octets(record.id).read_bytes()
    assert octets == b"X-A: 1\r\n" + MAIL
    assert record.part is not None
    assert record.part.message_sha256 == hashlib.sha256(MAIL).hexdigest()


def test_a_copy_is_for_others_and_from_nobody(copying: FolderKeeper) -> None:
    keep(copying, COPY)
    [record] = items(copying)
    assert [str(one.mailbox) for one in record.recipients] == ["c@own.test"]
    assert record.reverse_path.mailbox is None
    assert str(record.asked.mailbox) == "a@out.test"


@pytest.mark.parametrize(
    ("outcome", "doubt", "state", "is_sent"),
    [
        (Outcome.RELAYED, "", State.HELD, True),
        (Outcome.RELAYED, "client gone after the upstream's 250", State.HELD, True),
        (Outcome.DEFERRED, "upstream silent after the dot", State.IN_DOUBT, False),
        (Outcome.DEFERRED, "", None, False),
        (Outcome.REJECTED, "", None, False),
    ],
)
def test_a_copy_goes_when_the_upstream_has_taken_the_message(
    copying: FolderKeeper,
    outcome: Outcome,
    doubt: str,
    state: State | None,
    is_sent: bool,
) -> None:
    kept = keep(copying, COPY)
    settle(ended(kept, outcome, doubt))
    assert [one.state for one in items(copying)] == ([state] if state else [])
    assert copying.own_mail.sent == (kept.report[COPIES] if is_sent else [])  # type: ignore[union-attr]


def test_parts_and_copies_of_one_message_are_kept_together(
    copying: FolderKeeper,
) -> None:
    both = replace(PART, side=COPY.side)
    kept = keep(copying, both)
    found = {one.kind: one.id for one in items(copying)}
    assert kept.report == {KEPT: [found[Kind.PART]], COPIES: [found[Kind.COPY]]}
    settle(ended(kept, Outcome.MODIFIED))
    assert {one.kind: one.state for one in items(copying)} == {
        Kind.PART: State.KEPT,
        Kind.COPY: State.HELD,
    }


def test_a_message_whose_copy_cannot_be_kept_is_put_off(
    tmp_path: Path, copying: FolderKeeper
) -> None:
    (tmp_path / "held").write_text("no folder")
    told = {"bcc": ["c@own.test"], "notify": ["d@own.test"]}
    side = replace(COPY.side, notify=tuple(boxes("d@own.test")))
    put_off = keep(copying, replace(COPY, side=side, report={"side": told}))
    assert (put_off.outcome, put_off.reply) == (
        Outcome.DEFERRED,
        replies.STORAGE_FAILED,
    )
    # It is no copy any more; whoever is to hear of it still is.
    assert put_off.side == replace(side, bcc=())
    assert put_off.report == {"side": {"notify": ["d@own.test"]}}


def test_a_copy_in_doubt_goes_when_the_message_comes_again(
    copying: FolderKeeper,
) -> None:
    """What goes on holds an id of ours, so the octets differ."""
    first, second = MemorySpool(), MemorySpool()
    first.write(b"X-SmtpGuard-Id: 1\r\n" + MAIL)
    second.write(b"X-SmtpGuard-Id: 2\r\n" + MAIL)
    settle(ended(keep(copying, replace(COPY, content=first)), Outcome.DEFERRED, "x"))
    kept = keep(copying, replace(COPY, content=second))
    assert len(items(copying)) == 2
    settle(ended(kept, Outcome.RELAYED))
    [record] = items(copying)
    assert [record.id] == kept.report[COPIES]


def test_copies_that_an_earlier_process_has_not_sent_are_sent(
    copying: FolderKeeper,
) -> None:
    kept = keep(copying, COPY)
    settle(ended(kept, Outcome.RELAYED))
    keep(copying, replace(MESSAGE, rule="headers:2"))
    copying.stop()
    sender = Sender()
    again = FolderKeeper(copying.settings, lambda: NOON, sender)  # type: ignore[arg-type]
    again.start()
    # Not while mitmproxy starts: what fails then would end it.
    assert sender.sent == []
    again.tidy()
    assert sender.sent == kept.report[COPIES]
    assert unsent_copies(Store(Path(copying.settings.folder))) == sender.sent
    again.stop()


def test_a_copy_does_without_nothing_that_its_message_needs(
    copying: FolderKeeper,
) -> None:
    spool, envelope = MemorySpool(), make_envelope()
    spool.write(MAIL)
    words = ("SIZE", "REQUIRETLS", "SMTPUTF8", "RET", "ENVID")
    asked = tuple(Parameter(word, None) for word in words)
    envelope.asked = replace(envelope.asked, parameters=asked)
    copying.keep(make_session(), envelope, spool, COPY)
    [record] = items(copying)
    told = [one.keyword for one in record.reverse_path.parameters]
    assert told == ["REQUIRETLS", "SMTPUTF8"]


def test_what_could_not_be_settled_is_when_it_is_tidied(
    copying: FolderKeeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = keep(copying, replace(PART, side=COPY.side))

    def full(*_: object) -> None:
        raise QuarantineError("No space left on device", full=True)

    with monkeypatch.context() as without:
        without.setattr(Store, "write", full)
        settle(ended(kept, Outcome.MODIFIED))
    assert {one.state for one in items(copying)} == {State.PENDING}
    assert alarms.counts() == {"quarantine": 2}
    copying.tidy()
    assert {one.state for one in items(copying)} == {State.KEPT, State.HELD}
    assert copying.own_mail.sent[0] == kept.report[COPIES][0]  # type: ignore[union-attr]


def test_copies_in_doubt_are_told_once(copying: FolderKeeper) -> None:
    for _ in range(2):
        settle(ended(keep(copying, COPY), Outcome.DEFERRED, "no answer"))
    copying.tidy()
    copying.tidy()
    assert alarms.counts() == {"copies": 1}
    settle(ended(keep(copying, COPY), Outcome.DEFERRED, "no answer"))
    copying.tidy()
    assert alarms.counts() == {"copies": 2}


def test_where_nothing_is_in_doubt_nobody_looks_through_the_folder(
    copying: FolderKeeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would take a tenth of a second with 20,000 items, for each mail."""
    copying.start()

    def look(*_: object) -> None:
        raise AssertionError("looked")

    monkeypatch.setattr(Index, "refresh", look)
    settle(ended(keep(copying, COPY), Outcome.RELAYED))
    monkeypatch.undo()
    assert [one.state for one in items(copying)] == [State.HELD]


def test_before_anything_was_kept_there_is_nothing_to_tidy(
    copying: FolderKeeper, caplog: pytest.LogCaptureFixture
) -> None:
    copying.tidy()
    assert caplog.messages == []
