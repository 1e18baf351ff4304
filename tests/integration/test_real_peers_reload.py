"""Rules that change while real mail goes through: no mail is lost, none is between two.

Each mail has one recipient that both rule files allow and one that only one of them
does, so what a client was told shows which file it was judged by.
"""

from __future__ import annotations

import re
import signal
import smtplib
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from tests.integration.bed.clients import HELO
from tests.integration.bed.mails import Mail, Target, make_mail
from tests.integration.ways import ALLOWED, HEAD, REFUSED, policy


if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.integration.bed.guard import Guard
    from tests.integration.bed.told import Told
    from tests.integration.conftest import Loopback, Send, StartGuard


pytestmark = [pytest.mark.real, pytest.mark.timeout(120)]

SOMETIMES = "sometimes@own.example"
PLAIN = HEAD + policy()
OPEN = PLAIN.replace(REFUSED, SOMETIMES)
"""Allows SOMETIMES."""
CLOSED = PLAIN
"""Does not."""
BROKEN = OPEN.replace("action: allow", "action: alow")
LOADED = "rules loaded, digest "
SWITCHES = 20


class Switch:
    """Replaces a guard's rules, as a deployment would: a new file in the old place."""

    def __init__(self, guard: Guard) -> None:
        assert guard.rules is not None
        self._guard = guard
        self._rules = guard.rules
        self._loaded = guard.log.count(LOADED)
        self._kept = guard.log.count("stay active")

    def write(self, text: str) -> None:
        new = self._rules.with_suffix(".new")
        new.write_text(text, "utf-8")
        new.replace(self._rules)

    def now(self, text: str) -> None:
        """Have the rules loaded by SIGHUP; return once they are in force."""
        self.write(text)
        self._guard.process.popen.send_signal(signal.SIGHUP)
        self.wait_loaded()

    def wait_loaded(self) -> None:
        self._loaded += 1
        self._guard.wait_log(LOADED, self._loaded)

    def in_vain(self, text: str) -> None:
        """Have rules refused by SIGHUP."""
        self.write(text)
        self._guard.process.popen.send_signal(signal.SIGHUP)
        self._kept += 1
        self._guard.wait_log("stay active", self._kept)


@pytest.fixture
def guard(start_guard: StartGuard, loopback: Loopback) -> Guard:
    return start_guard(loopback.reverse("starttls"), OPEN)


@contextmanager
def greeted(guard: Guard) -> Iterator[smtplib.SMTP]:
    with smtplib.SMTP("127.0.0.1", guard.port, HELO, timeout=30) as smtp:
        smtp.starttls()
        smtp.ehlo()
        yield smtp


def begin(smtp: smtplib.SMTP, mail: Mail) -> list[int]:
    assert smtp.mail(mail.reverse_path)[0] == 250
    return [smtp.rcpt(each)[0] for each in mail.forward_paths]


def test_a_transaction_ends_under_the_rules_that_it_began_with(
    guard: Guard, loopback: Loopback
) -> None:
    switch = Switch(guard)
    mails = [make_mail(ALLOWED, SOMETIMES) for _ in range(4)]
    with greeted(guard) as smtp:
        assert begin(smtp, mails[0]) == [250, 250]
        switch.now(CLOSED)
        # Both within the first transaction, so by the first rules.
        assert smtp.rcpt("old@own.example")[0] == 250
        assert smtp.rcpt(SOMETIMES)[0] == 250
        assert smtp.data(mails[0].message)[0] == 250
        assert begin(smtp, mails[1]) == [250, 550]
        assert smtp.data(mails[1].message)[0] == 250
        switch.in_vain(BROKEN)
        assert begin(smtp, mails[2]) == [250, 550]
        assert smtp.data(mails[2].message)[0] == 250
        # Nobody needs to send a signal: the file is watched.
        switch.write(OPEN)
        switch.wait_loaded()
        assert begin(smtp, mails[3]) == [250, 250]
        assert smtp.data(mails[3].message)[0] == 250
    assert 'unknown action "alow"' in guard.log
    loopback.server.instance.settle()
    counts = [len(loopback.server.maildir.copies(mail.token)) for mail in mails]
    assert counts == [3, 1, 1, 2]


def keep_sending(guard: Guard, ended: threading.Event) -> dict[str, list[str]]:
    """Send mails on one connection until ``ended``; who was accepted, by token."""
    accepted = {}
    with greeted(guard) as smtp:
        while not ended.is_set():
            mail = make_mail(ALLOWED, SOMETIMES)
            codes = begin(smtp, mail)
            assert codes in ([250, 250], [250, 550])
            assert smtp.data(mail.message)[0] == 250
            pairs = zip(mail.forward_paths, codes, strict=True)
            accepted[mail.token] = [path for path, code in pairs if code == 250]
    return accepted


def keep_sending_by(
    name: str, send: Send, guard: Guard, ended: threading.Event
) -> dict[str, list[str]]:
    """Do the same with a real client, five mails a call."""
    target = Target("127.0.0.1", guard.port, "starttls", guard.trust)
    accepted = {}
    while not ended.is_set():
        mails = [make_mail(ALLOWED, SOMETIMES) for _ in range(5)]
        for mail, told in zip(mails, send(name, target, *mails), strict=True):
            accepted[mail.token] = who(mail, told)
    return accepted


def who(mail: Mail, told: Told) -> list[str]:
    assert told.accepted, told.transcript
    codes = {path: told.code(path) for path in mail.forward_paths}
    assert set(codes.values()) <= {"250", "550"}, told.transcript
    return [path for path, code in codes.items() if code == "250"]


def test_under_load_no_mail_is_lost_or_doubled(
    guard: Guard, send: Send, loopback: Loopback
) -> None:
    ended = threading.Event()
    names = ("postfix", "exim-bdat", "swaks-pipelining")
    switch = Switch(guard)
    with ThreadPoolExecutor(3 + len(names)) as pool:
        loads = [pool.submit(keep_sending, guard, ended) for _ in range(3)]
        loads += [
            pool.submit(keep_sending_by, name, send, guard, ended) for name in names
        ]
        try:
            for number in range(SWITCHES):
                switch.now(CLOSED if number % 2 == 0 else OPEN)
                switch.in_vain(BROKEN)
                relayed = guard.log.count("disposition=relayed")
                guard.wait_log("disposition=relayed", relayed + 5)
        finally:
            ended.set()
        accepted = {k: v for load in loads for k, v in load.result(60).items()}
    loopback.server.instance.settle()
    found: Counter[tuple[str, str]] = Counter()
    for copy in loopback.server.maildir.copies("bed-token-"):
        token = re.search(rb"Subject: (bed-token-\d+)", copy.message)
        assert token is not None
        if token[1].decode() in accepted:
            found[token[1].decode(), copy.recipient] += 1
    assert found == Counter(
        (token, path) for token, paths in accepted.items() for path in paths
    )
    kinds = Counter(len(paths) for paths in accepted.values())
    assert kinds[1] > 5
    assert kinds[2] > 5
    assert "undecided" not in guard.log
