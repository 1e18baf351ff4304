"""The sentinel: nobody comes in while nobody judges (traps 0)."""

# ruff: noqa: ASYNC110 - conditions are polled

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from mitmproxy.addonmanager import Loader
from mitmproxy.addons import proxyserver
from mitmproxy.connection import Client
from mitmproxy.proxy import context, layer, mode_specs
from mitmproxy.proxy.layers import modes
from mitmproxy.proxy.layers.http import HttpLayer, HTTPMode
from mitmproxy.test import taddons, tflow, tutils

from smtpguard.proxy.entry import Entry, Refusal
from smtpguard.proxy.moment import NobodyOnDutyError
from smtpguard.proxy.sentinel import NAME, Guard, Sentinel
from smtpguard.proxy.services import ClientGone, StopRequested
from smtpguard.proxy.socks import SmtpSocks
from tests.proxy.fakes import AllowAll, guard_options
from tests.proxy.playbook import World, make_context


class Handler:
    """As much of mitmproxy's connection handler as the sentinel touches."""

    def __init__(self, made: context.Context) -> None:
        self.layer: layer.Layer = modes.TransparentProxy(made)
        self.transports: dict[Any, Any] = {}
        self.seen: list[object] = []

    async def server_event(self, event: object) -> None:
        self.seen.append(event)


class Servers:
    """mitmproxy's listeners."""

    def __init__(self) -> None:
        self.modes: list[object] = ["listening"]

    async def update(self, new: list[object]) -> None:
        self.modes = new


class Proxyserver:
    """The addon that knows the handlers."""

    name = "proxyserver"

    def __init__(self) -> None:
        self.connections: dict[str, Handler] = {}
        self.servers = Servers()

    def arrive(self, mode: str = "transparent", port: int = 25) -> Handler:
        made = make_context(server_open=False)
        made.client.proxy_mode = mode_specs.ProxyMode.parse(mode)
        if not mode.startswith("reverse"):
            made.server.address = ("198.51.100.1", port)
        handler = Handler(made)
        self.connections[made.client.id] = handler
        return handler


class Hall:
    """A master with sentinel and proxyserver."""

    def __init__(self, tctx: taddons.context, tmp: Path) -> None:
        self.tctx = tctx
        self.tmp = tmp
        self.proxyserver = Proxyserver()
        tctx.master.addons.add(self.proxyserver)
        self.sentinel = Sentinel.get()
        self.owner = object()

    def guarded(self, **options: Any) -> Hall:
        made = guard_options(self.tmp, **options)
        self.decider = AllowAll()
        self.sentinel.on_duty(Guard(self.owner, made, self.decider))
        return self

    def arrive(self, mode: str = "transparent", port: int = 25) -> Handler:
        handler = self.proxyserver.arrive(mode, port)
        asyncio.run(self.sentinel.client_connected(client_of(handler)))
        return handler


def client_of(handler: Handler) -> Client:
    return handler.layer.context.client


@pytest.fixture
def hall(tmp_path: Path) -> Iterator[Hall]:
    with taddons.context() as tctx:
        yield Hall(tctx, tmp_path)


def test_there_is_one_sentinel_and_it_is_mitmproxys_own(hall: Hall) -> None:
    """Not part of the script: it stays when the script is taken away."""
    assert Sentinel.get() is hall.sentinel
    assert hall.sentinel in hall.tctx.master.addons.chain
    assert hall.tctx.master.addons.get(NAME) is hall.sentinel


def test_smtp_is_taken_over_before_its_first_event(hall: Hall) -> None:
    handler = hall.guarded().arrive()

    assert isinstance(handler.layer, Entry)
    assert handler.layer.context.layers == [handler.layer]
    assert client_of(handler).error is None


def test_reverse_mode_gets_its_address(hall: Hall) -> None:
    handler = hall.guarded().arrive("reverse:tcp://mx.example:2500")

    assert isinstance(handler.layer, Entry)
    assert handler.layer.context.server.address == ("mx.example", 2500)


def test_the_options_say_which_ports_are_smtp(hall: Hall) -> None:
    hall.guarded(ports=frozenset({2626}))

    assert isinstance(hall.arrive(port=2626).layer, Entry)
    assert isinstance(hall.arrive(port=25).layer, modes.TransparentProxy)


def test_a_session_asks_whoever_is_on_duty_then(hall: Hall) -> None:
    """A connection may be kept for hours, over any number of reloads."""
    found = hall.guarded().arrive().layer
    assert isinstance(found, Entry)
    decider = found.services.decider
    assert decider is not None
    assert decider.connect(found.session) is hall.decider.settings
    hall.guarded()

    assert decider.connect(found.session) is hall.decider.settings
    hall.sentinel.off_duty(hall.owner)
    with pytest.raises(NobodyOnDutyError):
        decider.connect(found.session)


def test_other_ports_are_left_to_mitmproxy(hall: Hall) -> None:
    handler = hall.guarded().arrive(port=443)

    assert isinstance(handler.layer, modes.TransparentProxy)
    assert client_of(handler).error is None


def test_nobody_comes_in_after_the_guard_has_gone(hall: Hall) -> None:
    hall.guarded()
    hall.sentinel.off_duty(hall.owner)

    assert client_of(hall.arrive()).error


def test_reverse_mode_is_closed_before_any_guard_came(hall: Hall) -> None:
    """The port listens before the rules are loaded (traps 7)."""
    assert client_of(hall.arrive("reverse:tcp://mx.example:25")).error


def test_the_old_guard_leaving_late_does_not_take_the_new_ones_place(
    hall: Hall,
) -> None:
    hall.guarded()
    hall.sentinel.off_duty(object())

    assert client_of(hall.arrive()).error is None


def test_what_another_addon_refused_stays_refused(hall: Hall) -> None:
    hall.guarded()
    handler = hall.proxyserver.arrive()
    client_of(handler).error = "blocked"
    asyncio.run(hall.sentinel.client_connected(client_of(handler)))

    assert client_of(handler).error == "blocked"
    assert not isinstance(handler.layer, Entry)


@pytest.mark.parametrize("where", ["trusted", "handler"])
def test_an_exception_in_the_chooser_closes_the_connection(
    hall: Hall, where: str
) -> None:
    """mitmproxy would go on and relay it unread."""
    hall.guarded()
    handler = hall.proxyserver.arrive()
    client = client_of(handler)
    if where == "trusted":
        hall.decider.trusted = None  # type: ignore[method-assign, assignment]
    else:
        hall.proxyserver.connections = None  # type: ignore[assignment]
    with pytest.raises((TypeError, AttributeError)):
        asyncio.run(hall.sentinel.client_connected(client))

    assert client.error


def test_a_connection_that_mitmproxy_does_not_know_is_closed(hall: Hall) -> None:
    hall.guarded()
    client = make_context().client
    asyncio.run(hall.sentinel.client_connected(client))

    assert client.error


# -- limits ----------------------------------------------------------------------------


def test_too_many_connections_are_greeted_with_421(hall: Hall) -> None:
    hall.guarded(max_connections_per_network=1)
    first = hall.arrive()
    second = hall.arrive()

    assert isinstance(first.layer, Entry)
    assert isinstance(second.layer, Refusal)
    assert second.layer.reply.to_octets().startswith(b"421 4.7.0 ")


def test_a_place_is_free_again_after_a_client_left(hall: Hall) -> None:
    hall.guarded(max_connections_per_network=1)
    first = hall.arrive()
    asyncio.run(hall.sentinel.client_disconnected(client_of(first)))

    assert isinstance(hall.arrive().layer, Entry)


def test_a_client_that_had_to_wait_finds_nobody_on_duty_any_more(hall: Hall) -> None:
    """The rules went away meanwhile: it must not be let in under the old ones."""
    hall.guarded(max_connections_per_network=1)
    first, second = hall.arrive(), hall.proxyserver.arrive()

    async def scene() -> None:
        waiting = asyncio.create_task(hall.sentinel.client_connected(client_of(second)))
        while not hall.sentinel.registry._waiting:
            await asyncio.sleep(0)
        hall.sentinel.off_duty(hall.owner)
        await hall.sentinel.client_disconnected(client_of(first))
        await waiting

    asyncio.run(scene())
    assert client_of(second).error == "smtpguard has no rules to judge by"
    assert not isinstance(second.layer, Entry)


def test_trusted_clients_are_not_counted_by_network(hall: Hall) -> None:
    hall.guarded(max_connections_per_network=1)
    hall.decider.trusts = object()  # type: ignore[assignment]

    assert [type(hall.arrive().layer) for _ in range(3)] == [Entry] * 3


def test_sessions_have_different_ids(hall: Hall) -> None:
    hall.guarded()
    ids = []
    for _ in range(3):
        arrived = hall.arrive().layer
        assert isinstance(arrived, Entry)
        ids.append(arrived.session.id)

    assert len(set(ids)) == 3


# -- the end ---------------------------------------------------------------------------


def test_a_session_is_told_when_its_client_is_gone(hall: Hall) -> None:
    hall.guarded()
    handler = hall.arrive()
    asyncio.run(hall.sentinel.client_disconnected(client_of(handler)))

    assert [type(event) for event in handler.seen] == [ClientGone]


def test_a_client_of_somebody_else_is_told_nothing(hall: Hall) -> None:
    hall.guarded()
    handler = hall.arrive(port=443)
    asyncio.run(hall.sentinel.client_disconnected(client_of(handler)))

    assert handler.seen == []


def test_stopping_closes_the_listeners_first_and_tells_every_session(
    hall: Hall,
) -> None:
    hall.guarded()
    handler = hall.arrive()

    async def scene() -> None:
        stopping = asyncio.create_task(hall.sentinel.stop(10))
        while not handler.seen:
            await asyncio.sleep(0)
        assert hall.proxyserver.servers.modes == []
        late = hall.proxyserver.arrive()
        await hall.sentinel.client_connected(client_of(late))
        assert client_of(late).error  # nobody else comes in
        live = handler.layer
        assert isinstance(live, Entry)
        live.end()
        await hall.sentinel.client_disconnected(client_of(handler))
        await stopping

    asyncio.run(scene())
    assert isinstance(handler.seen[0], StopRequested)


def test_stopping_does_not_wait_for_ever(
    hall: Hall, caplog: pytest.LogCaptureFixture
) -> None:
    hall.guarded()
    hall.arrive()
    asyncio.run(hall.sentinel.stop(0.01))

    assert "1 SMTP sessions are cut off" in caplog.text


# -- socks5 ----------------------------------------------------------------------------


def test_smtp_behind_socks_is_taken_over(hall: Hall) -> None:
    handler = hall.guarded().arrive("socks5")
    assert isinstance(handler.layer, SmtpSocks)
    taken = handler.layer._enter(handler.layer.context)

    assert isinstance(taken, Entry)
    assert handler.layer.context.layers == [handler.layer, taken]


def test_other_ports_behind_socks_are_left_to_mitmproxy(hall: Hall) -> None:
    handler = hall.guarded().arrive("socks5", 80)
    assert isinstance(handler.layer, SmtpSocks)

    assert handler.layer._enter(handler.layer.context) is None


@pytest.mark.parametrize("why", ["off duty", "broken"])
def test_smtp_behind_socks_is_refused_if_it_cannot_be_judged(
    hall: Hall, why: str
) -> None:
    handler = hall.guarded().arrive("socks5")
    assert isinstance(handler.layer, SmtpSocks)
    if why == "broken":
        hall.decider.trusted = None  # type: ignore[method-assign, assignment]
    else:
        hall.sentinel.off_duty(hall.owner)
    taken = handler.layer._enter(handler.layer.context)

    assert isinstance(taken, Refusal)
    assert handler.layer.context.layers == [handler.layer, taken]


@pytest.mark.parametrize("on_duty", [True, False])
def test_the_log_of_a_fault_behind_socks_shows_no_address(
    hall: Hall, on_duty: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing is known of what may be shown while nobody is on duty."""
    handler = hall.guarded(log_addresses="none").arrive("socks5")
    assert isinstance(handler.layer, SmtpSocks)

    def broken(_: object) -> None:
        if not on_duty:
            hall.sentinel.off_duty(hall.owner)
        raise ValueError("<anna@d.example>")

    hall.decider.trusted = broken  # type: ignore[method-assign, assignment]
    assert isinstance(handler.layer._enter(handler.layer.context), Refusal)

    assert "ValueError: <hidden>" in caplog.text
    assert "anna" not in caplog.text


def test_socks_clients_come_in_before_any_guard_and_get_no_smtp(hall: Hall) -> None:
    handler = hall.arrive("socks5")
    assert isinstance(handler.layer, SmtpSocks)

    assert client_of(handler).error is None
    assert isinstance(handler.layer._enter(handler.layer.context), Refusal)


@pytest.mark.parametrize(("port", "status"), [(25, 403), (443, None)])
def test_smtp_by_connect_is_refused(hall: Hall, port: int, status: int | None) -> None:
    """mitmproxy would relay it unread."""
    flow = tflow.tflow(req=tutils.treq(method=b"CONNECT", port=port))
    hall.sentinel.http_connect(flow)

    assert (flow.response.status_code if flow.response else None) == status


@pytest.mark.parametrize(("port", "refused"), [(25, True), (80, False)])
@pytest.mark.parametrize("method", [b"GET", b"POST"])
def test_http_to_a_port_that_is_smtp_is_refused(
    hall: Hall, method: bytes, port: int, refused: bool
) -> None:
    """A body of SMTP commands is a mail to a server that overlooks the header."""
    flow = tflow.tflow(req=tutils.treq(method=method, port=port))
    hall.sentinel.requestheaders(flow)
    hall.sentinel.requestheaders(flow)  # another addon may have killed it already

    assert bool(flow.error) is refused
    assert flow.response is None


@pytest.mark.parametrize("stream", [None, "1"], ids=["collected", "streamed"])
@pytest.mark.parametrize(
    "length", ["Content-Length: 1000000", "Transfer-Encoding: chunked"]
)
def test_no_body_reaches_a_port_that_is_smtp(
    hall: Hall, stream: str | None, length: str
) -> None:
    """mitmproxy's own layer: it streams large bodies before anybody sees them."""
    options = hall.tctx.options
    proxyserver.Proxyserver().load(Loader(hall.tctx.master))
    options.stream_large_bodies = stream
    made = make_context(server_open=False)
    made.options = options
    world = World(made)
    world.is_partial = True
    world.handlers["requestheaders"] = hall.sentinel.requestheaders
    world.start(HttpLayer(made, HTTPMode.regular))
    head = f"POST http://mail.example:25/ HTTP/1.1\r\nHost: mail.example:25\r\n{length}"
    world.receive(made.client, head.encode() + b"\r\n\r\n")
    world.receive(made.client, b"10\r\nMAIL FROM:<a@b>\n\r\n")

    assert world.opened == []
    assert world.is_closed(made.client)


# -- options of others -----------------------------------------------------------------


def test_a_misspelt_option_keeps_clients_out(
    hall: Hall, caplog: pytest.LogCaptureFixture
) -> None:
    """mitmproxy keeps it silently, and the default applies."""
    hall.tctx.options.deferred["smtpguard_rulez"] = ["x"]
    hall.guarded()

    assert "no option is called smtpguard_rulez" in caplog.text
    assert client_of(hall.arrive()).error


@pytest.mark.parametrize("value", [True, False])
def test_an_addon_that_replaces_certificates_keeps_clients_out(
    hall: Hall, value: bool, caplog: pytest.LogCaptureFixture
) -> None:
    hall.tctx.options.add_option("emudhra_enabled", bool, value, "")
    hall.guarded()

    assert bool(client_of(hall.arrive()).error) is value
    assert ("emudhra_enabled" in caplog.text) is value
