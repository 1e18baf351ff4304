"""What MAIL may ask for, and what another connection has to keep."""

from __future__ import annotations

from dataclasses import replace

import pytest

from smtpguard.dialogue.parameters import (
    keeps_requiretls,
    message_limit,
    requiretls_refusal,
    size_refusal,
    still_offered,
    usable_extensions,
)
from smtpguard.model.session import TlsFacts
from smtpguard.replay.memory import MemorySession
from smtpguard.wire import parse_mail, replies
from tests.dialogue.peers import greeted, session


def knowing(*keywords: str) -> MemorySession:
    said = "".join(f"250-{keyword}\r\n" for keyword in keywords)
    return greeted(session(), f"250-mx.example\r\n{said}250 HELP\r\n".encode())


def test_without_an_upstream_nothing_can_be_asked_for() -> None:
    assert dict(usable_extensions(session().dialogue).keywords) == {}


@pytest.mark.parametrize(
    ("keyword", "limit"),
    [("SIZE 1000", 1000), ("SIZE 0", 5000), ("SIZE 6000", 5000), ("DSN", 5000)],
)
def test_the_largest_message_is_what_both_take(keyword: str, limit: int) -> None:
    memory = knowing(keyword)
    settings = memory.dialogue.settings
    ours = replace(settings, limits=replace(settings.limits, message=5000))
    memory.dialogue.settings = ours
    assert message_limit(memory.dialogue) == limit


@pytest.mark.parametrize(
    ("declared", "refused"), [(1000, False), (1001, True), (10**19, True)]
)
def test_the_smaller_limit_of_both_counts(declared: int, *, refused: bool) -> None:
    memory = knowing("SIZE 1000")
    path = parse_mail(b"FROM:<a@b.example> SIZE=%d" % declared)
    wanted = replies.MESSAGE_TOO_LARGE if refused else None
    assert size_refusal(memory.dialogue, path) is wanted


@pytest.mark.parametrize(
    ("keyword", "verified", "refused"),
    [("REQUIRETLS", "ok", False), ("REQUIRETLS", "expired", True), ("DSN", "ok", True)],
)
def test_requiretls_needs_an_upstream_that_offers_it_and_verifies(
    keyword: str, verified: str, *, refused: bool
) -> None:
    memory = knowing(keyword)
    memory.dialogue.client.secure = True
    memory.session.upstream_leg.tls = TlsFacts("TLSv1.3", "x", "mx", verified)
    path = parse_mail(b"FROM:<a@b.example> REQUIRETLS")
    wanted = replies.REQUIRETLS_NEEDED if refused else None
    assert requiretls_refusal(memory.dialogue, path) is wanted


@pytest.mark.parametrize(
    ("client", "upstream", "keeps"),
    [
        (True, TlsFacts("TLSv1.3", "x", "mx", "ok"), True),
        (False, TlsFacts("TLSv1.3", "x", "mx", "ok"), False),
        (True, TlsFacts("TLSv1.3", "x", "mx", ""), False),
        (True, None, False),
    ],
    ids=["both", "client-in-clear", "not-verified", "upstream-in-clear"],
)
def test_requiretls_is_kept_by_both_legs_or_not_at_all(
    client: bool, upstream: TlsFacts | None, keeps: bool
) -> None:
    memory = knowing("REQUIRETLS")
    memory.dialogue.client.secure = client
    memory.session.upstream_leg.tls = upstream
    assert keeps_requiretls(memory.dialogue) is keeps


@pytest.mark.parametrize(
    ("asked", "kept"),
    [("", True), (" BODY=8BITMIME", True), (" RET=HDRS", False), (" SMTPUTF8", False)],
)
def test_what_was_asked_for_must_still_be_offered(asked: str, *, kept: bool) -> None:
    memory = knowing("8BITMIME")
    path = parse_mail(f"FROM:<a@b.example>{asked}".encode())
    assert still_offered(memory.dialogue, path) is kept
