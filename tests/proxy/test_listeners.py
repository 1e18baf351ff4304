"""Which hooks have a listener besides ourselves."""

from __future__ import annotations

import logging
from types import SimpleNamespace
from typing import Any

import pytest
from mitmproxy.addons import dumper, save, tlsconfig
from mitmproxy.log import LegacyLogEvents
from mitmproxy.proxy.layers import tcp, tls
from mitmproxy.test import taddons

from smtpguard.proxy.listeners import Listeners, is_quiet


class Watcher:
    """Another addon."""

    def smtp_command(self, data: Any) -> None:
        pass

    def tls_start_client(self, data: Any) -> None:
        pass


class Own:
    """One of ours."""

    def smtp_start(self, data: Any) -> None:
        pass


class Folder:
    """An addon that holds others, as a script does."""

    name = "folder"

    def __init__(self, *addons: Any) -> None:
        self.addons = addons


def test_addons_that_mitmproxy_brings_do_not_count() -> None:
    with taddons.context(tlsconfig.TlsConfig(), dumper.Dumper(), save.Save()):
        assert Listeners().heard() == frozenset()


def test_a_recording_counts_once_it_has_a_file() -> None:
    saver = save.Save()
    with taddons.context(saver):
        listeners = Listeners()
        before = listeners.heard()
        saver.stream = SimpleNamespace()  # type: ignore[assignment]
        during = listeners.heard()
        saver.stream = None

    assert before == frozenset()
    assert during == {"tcp_start", "tcp_end"}


def test_a_foreign_addon_counts() -> None:
    with taddons.context(Folder(Watcher())):
        assert Listeners().heard() == {"smtp_command", "tls_start_client"}


def test_our_own_addons_do_not_count() -> None:
    own = Own()
    with taddons.context(Folder(own, Watcher())):
        listeners = Listeners()
        stranger = listeners.heard()
        listeners.own = (own,)
        known = listeners.heard()

    assert stranger - known == {"smtp_start"}


def test_an_addon_that_comes_or_goes_is_seen() -> None:
    listeners = Listeners()
    with taddons.context() as tctx:
        before = listeners.heard()
        watcher = Watcher()
        tctx.master.addons.add(watcher)
        during = listeners.heard()
        tctx.master.addons.remove(watcher)
        after = listeners.heard()

    assert (before, after) == (frozenset(), frozenset())
    assert during == {"smtp_command", "tls_start_client"}


def test_a_name_that_is_no_function_is_no_listener() -> None:
    class Odd:
        smtp_command = "a string"

    with taddons.context() as tctx:
        tctx.master.addons.chain.append(Odd())
        assert Listeners().heard() == frozenset()


def test_only_hooks_that_may_be_left_out_are_quiet() -> None:
    heard = frozenset({"tls_start_client"})
    data: Any = None

    assert not is_quiet(tls.TlsStartClientHook(data), heard)
    assert is_quiet(tls.TlsStartServerHook(data), heard)
    assert not is_quiet(tcp.TcpErrorHook(data), heard)


@pytest.mark.parametrize("listens", [True, False])
def test_log_lines_go_to_addons_only_if_one_still_listens(listens: bool) -> None:
    class Old:
        """An addon as they were before mitmproxy 9."""

        def __init__(self) -> None:
            self.lines: list[str] = []

        if listens:

            def add_log(self, entry: Any) -> None:
                self.lines.append(entry.msg)

    old = Old()
    with taddons.context(old) as tctx:
        Listeners().spare_log_events()
        Listeners().spare_log_events()
        record = logging.LogRecord("x", logging.INFO, "x", 1, "a line", (), None)
        (handler,) = [
            one
            for one in logging.getLogger().handlers
            if isinstance(one, LegacyLogEvents) and one.master is tctx.master
        ]
        handler.handle(record)
        tctx.master.event_loop.run_until_complete(_soon())

    assert bool(old.lines) is listens


async def _soon() -> None:
    pass
