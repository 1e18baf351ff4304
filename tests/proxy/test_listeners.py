"""Which hooks have a listener."""

from __future__ import annotations

from typing import Any

from mitmproxy.addons import dumper, tlsconfig
from mitmproxy.proxy.layers import tls
from mitmproxy.test import taddons

from smtpguard.proxy.hooks import SmtpMessageData, SmtpMessageHook
from smtpguard.proxy.listeners import Listeners, is_quiet


class Watcher:
    """Another addon."""

    def smtp_command(self, data: Any) -> None:
        pass

    def tls_start_client(self, data: Any) -> None:
        pass


class Folder:
    """An addon that holds others, as a script does."""

    name = "folder"

    def __init__(self, *addons: Any) -> None:
        self.addons = addons


def test_addons_that_mitmproxy_brings_do_not_count() -> None:
    with taddons.context(tlsconfig.TlsConfig(), dumper.Dumper()):
        assert Listeners().heard() == frozenset()


def test_a_foreign_addon_counts() -> None:
    with taddons.context(Folder(Watcher())):
        assert Listeners().heard() == {"smtp_command", "tls_start_client"}


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
    message: SmtpMessageData = data
    assert not is_quiet(SmtpMessageHook(message), heard)
