"""How a client comes to us, and what it hears if it cannot be served."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from mitmproxy.connection import ConnectionState
from mitmproxy.proxy import commands, context, events, layer, mode_specs
from mitmproxy.test import taddons

from smtpguard.model.reply import Reply
from smtpguard.model.settings import ClientTls, Settings, TrustedClient
from smtpguard.model.settings import Refusal as PolicyRefusal
from smtpguard.proxy import entry
from smtpguard.proxy.entry import Entry, Refusal
from smtpguard.proxy.layer import INTERNAL_ERROR
from smtpguard.proxy.services import ClientGone, Drain, StopRequested
from smtpguard.wire import replies
from tests.proxy.fakes import AllowAll, FakePacing, new_services, new_session
from tests.proxy.playbook import World, make_context


class Door:
    """An entry layer in its world."""

    def __init__(self, tmp: Path, *, port: int = 25) -> None:
        self.context = make_context(server_open=False)
        self.context.server.address = ("198.51.100.1", port)
        self.world = World(self.context)
        self.services = new_services(tmp, self.world.clock)
        self.session = new_session()
        self.session.destination = ("198.51.100.1", port)
        self.layer = Entry(self.context, self.session, self.services)
        self.services.registry.entries[self.context.client.id] = self.layer

    @property
    def client(self) -> Any:
        return self.context.client

    def decide(self, decider: AllowAll | None) -> Door:
        def answer(data: Any) -> None:
            data.decider = decider

        self.world.handlers["smtp_start"] = answer
        return self

    def start(self) -> Door:
        self.world.start(self.layer)
        return self

    @property
    def registered(self) -> bool:
        return self.client.id in self.services.registry.entries


@pytest.fixture
def door(tmp_path: Path) -> Door:
    return Door(tmp_path)


def test_a_session_begins_when_somebody_answers_for_the_rules(door: Door) -> None:
    door.decide(AllowAll()).start()

    assert door.world.opened == [door.context.server]
    assert door.layer.smtp is not None
    assert [hook.name for hook in door.world.hooks] == ["smtp_start", "tcp_start"]


def test_the_clients_socket_is_tuned_before_anything_is_asked(door: Door) -> None:
    door.world.held_hooks = {"smtp_start"}
    door.start()

    pacing = door.services.pacing
    assert isinstance(pacing, FakePacing)
    assert pacing.calls == [("tune", door.client.id)]


def test_nobody_who_answers_is_421(door: Door) -> None:
    """mitmproxy swallows exceptions in hooks: this is what a crash looks like."""
    door.decide(None).start()

    assert door.world.take(door.client) == b"421 4.3.2 Service not available\r\n"
    assert door.world.is_closed(door.client)
    assert door.world.opened == []
    assert not door.registered


def test_no_answer_in_time_is_421(door: Door) -> None:
    door.world.held_hooks = {"smtp_start"}
    door.start()
    door.world.wake(entry.START_SECONDS)

    assert door.world.take(door.client).startswith(b"421 4.3.2 ")
    assert door.world.is_closed(door.client)


def test_an_answer_that_comes_too_late_begins_nothing(door: Door) -> None:
    door.world.held_hooks = {"smtp_start"}
    door.start()
    door.world.wake(entry.START_SECONDS)
    door.decide(AllowAll())
    door.world.answer(door.world.held("smtp_start"))

    assert door.world.opened == []


def test_the_start_timer_is_nothing_to_a_session_that_began(door: Door) -> None:
    door.decide(AllowAll()).start()
    door.world.wake(entry.START_SECONDS - 1)

    assert not door.world.is_closed(door.client)


def test_early_octets_wait_for_the_session(door: Door) -> None:
    door.world.held_hooks = {"smtp_start"}
    door.start()
    door.world.receive(door.client, b"EHLO early\r\n")
    (hook,) = door.world.pending
    hook.args()[0].decider = AllowAll()  # type: ignore[attr-defined]
    door.world.answer(hook)
    door.world.receive(door.context.server, b"220 mx.example ESMTP\r\n")

    assert door.world.take(door.context.server).endswith(b"EHLO early\r\n")


def test_a_client_that_floods_before_the_session_is_not_read(door: Door) -> None:
    door.world.held_hooks = {"smtp_start"}
    door.start()
    for _ in range(3):
        door.world.receive(door.client, bytes(65536))
    pacing = door.services.pacing
    assert isinstance(pacing, FakePacing)
    assert pacing.count("pause") == 2
    (hook,) = door.world.pending
    hook.args()[0].decider = AllowAll()  # type: ignore[attr-defined]
    door.world.answer(hook)

    assert pacing.count("resume") >= 1


def test_a_refusal_of_the_rules_is_the_dialogues_to_say(door: Door) -> None:
    no = Reply.make(554, "5.7.1", "not you")
    door.decide(AllowAll(PolicyRefusal(no, "blocked"))).start()

    assert door.world.take(door.client) == b"554 5.7.1 not you\r\n"
    assert door.world.is_closed(door.client)
    assert not door.registered


def test_a_loop_is_told_so_and_goes_nowhere(door: Door) -> None:
    """P4, traps 10: one connection became 4,111 descriptors."""
    door.session.loop = True
    door.decide(AllowAll(Settings(inspect=False))).start()

    assert door.world.take(door.client).startswith(b"554 5.4.6 ")
    assert door.world.opened == []


@pytest.mark.parametrize("port", [25, 465])
def test_a_reply_in_clear_is_said_only_where_it_can_be_read(
    tmp_path: Path, port: int
) -> None:
    door = Door(tmp_path, port=port).decide(None).start()

    assert bool(door.world.take(door.client)) is (port != 465)
    assert door.world.is_closed(door.client)


def test_stopping_refuses_who_has_not_begun(door: Door) -> None:
    door.world.held_hooks = {"smtp_start"}
    door.start()
    door.world.feed(StopRequested())

    assert door.world.take(door.client).startswith(b"421 4.3.2 ")


def test_a_client_that_leaves_before_the_session_is_forgotten(door: Door) -> None:
    door.world.held_hooks = {"smtp_start"}
    door.start()
    door.world.feed(ClientGone())
    door.world.answer(door.world.held("smtp_start"))

    assert not door.registered
    assert door.world.opened == []


def test_where_nobody_else_listens_the_session_begins_at_once(tmp_path: Path) -> None:
    door = Door(tmp_path)
    door.layer.services = replace(door.services, heard=frozenset(), decider=AllowAll())
    door.start()

    assert door.world.hooks == []
    assert door.world.opened == [door.context.server]


def test_a_client_that_is_refused_at_once_is_closed_when_it_can_be(
    tmp_path: Path,
) -> None:
    """mitmproxy crashes over a connection that is closed at Start (traps 2)."""
    door = Door(tmp_path)
    no = AllowAll(PolicyRefusal(Reply.make(554, "5.7.1", "not you"), "blocked"))
    door.layer.services = replace(door.services, heard=frozenset(), decider=no)
    door.start()

    assert door.world.take(door.client) == b"554 5.7.1 not you\r\n"
    assert not door.world.is_closed(door.client)
    door.world.wake(0)
    assert door.world.is_closed(door.client)
    assert not door.registered


def test_behind_another_layer_nothing_begins_at_once(tmp_path: Path) -> None:
    """socks5: the proxy's answer comes after our start."""
    door = Door(tmp_path)
    door.layer.services = replace(door.services, heard=frozenset(), decider=AllowAll())
    door.context.layers.insert(0, Speaker(door.context))
    door.start()

    assert [hook.name for hook in door.world.hooks] == ["smtp_start"]


# -- what is sent ----------------------------------------------------------------------


class Speaker(layer.Layer):
    """Says what the test wants."""

    def __init__(self, made: context.Context, *said: commands.Command) -> None:
        super().__init__(made)
        self.said = said

    def _handle_event(self, event: events.Event) -> layer.CommandGenerator[None]:
        yield from self.said


def says(door: Door, *said: commands.Command) -> list[commands.Command]:
    door.decide(AllowAll()).start()
    door.layer._child = Speaker(door.context, *said)
    return list(door.layer.handle_event(events.DataReceived(door.client, b"x")))


def test_what_is_sent_in_one_event_leaves_in_one_piece(door: Door) -> None:
    client, server = door.client, door.context.server
    done = says(
        door,
        commands.SendData(client, b"221 bye\r\n"),
        commands.SendData(server, b"QUIT\r\n"),
        commands.SendData(client, b"close_notify"),
    )

    assert [(c.connection, c.data) for c in done] == [  # type: ignore[attr-defined]
        (client, b"221 bye\r\nclose_notify"),
        (server, b"QUIT\r\n"),
    ]


def test_what_is_sent_leaves_before_what_follows_it(door: Door) -> None:
    closing = commands.CloseConnection(door.client)
    done = says(door, commands.SendData(door.client, b"221 bye\r\n"), closing)

    assert isinstance(done[0], commands.SendData)
    assert done[1] is closing


def test_a_drain_is_asked_for_after_what_was_sent(door: Door) -> None:
    drain = Drain(door.context.server)
    done = says(door, commands.SendData(door.context.server, b"x"), drain)

    pacing = door.services.pacing
    assert isinstance(pacing, FakePacing)
    assert pacing.drains == [drain]
    assert [type(command) for command in done] == [commands.SendData]


def test_what_was_sent_before_a_fault_still_leaves(door: Door) -> None:
    class Breaking(Speaker):
        def _handle_event(self, event: events.Event) -> layer.CommandGenerator[None]:
            yield commands.SendData(self.context.client, b"250 ok\r\n")
            explode()

    door.decide(AllowAll()).start()
    door.layer._child = Breaking(door.context)
    door.world.receive(door.client, b"x")

    assert door.world.take(door.client).startswith(b"250 ok\r\n")
    assert door.world.is_closed(door.client)


# -- not inspected ---------------------------------------------------------------------


def test_what_is_not_inspected_is_tunnelled_and_logged(door: Door) -> None:
    door.decide(AllowAll(Settings(inspect=False, policy="partner"))).start()
    door.world.receive(door.client, b"\x16\x03\x01 whatever")
    door.world.receive(door.context.server, b"220 in clear\r\n")

    assert door.world.take(door.context.server) == b"\x16\x03\x01 whatever"
    assert door.world.take(door.client) == b"220 in clear\r\n"
    assert "not inspected: session 5f3a" in door.world.logged()
    assert "policy partner" in door.world.logged()


def test_early_octets_go_through_the_tunnel_too(door: Door) -> None:
    door.world.held_hooks = {"smtp_start"}
    door.start()
    door.world.receive(door.client, b"early")
    (hook,) = door.world.pending
    hook.args()[0].decider = AllowAll(Settings(inspect=False))  # type: ignore[attr-defined]
    door.world.answer(hook)

    assert door.world.take(door.context.server) == b"early"


def test_a_trusted_clients_policy_is_not_guessed_before_it_told_whom_it_is(
    door: Door,
) -> None:
    decider = AllowAll(Settings(inspect=False))
    decider.trusts = TrustedClient("xclient")
    door.decide(decider).start()

    assert door.layer.smtp is not None


def test_a_tunnel_is_closed_when_the_process_ends(door: Door) -> None:
    door.decide(AllowAll(Settings(inspect=False))).start()
    door.world.feed(StopRequested())

    assert door.world.is_closed(door.client)
    assert door.world.is_closed(door.context.server)


def test_a_tunnel_whose_client_is_gone_is_forgotten(door: Door) -> None:
    door.decide(AllowAll(Settings(inspect=False))).start()
    door.world.feed(ClientGone())

    assert not door.registered


# -- faults ----------------------------------------------------------------------------


class BrokenError(Exception):
    """What a bug would raise."""


def explode(*_: Any, **__: Any) -> Any:
    raise BrokenError("\x1b[2J <anna@d.example>")


@pytest.mark.parametrize("asked", ["trusted", "connect"])
@pytest.mark.parametrize(
    ("port", "said"), [(25, b"421 4.3.2 Service not available\r\n"), (465, b"")]
)
def test_rules_that_raise_end_the_connection(
    tmp_path: Path, port: int, said: bytes, asked: str
) -> None:
    """A client that begins with TLS could not read a reply in clear."""
    door = Door(tmp_path, port=port)
    decider = AllowAll()
    setattr(decider, asked, explode)
    door.decide(decider).start()

    assert door.world.take(door.client) == said
    assert door.world.is_closed(door.client)
    assert door.world.opened == []
    assert not door.registered
    assert "rules failed: Traceback" in door.world.logged()
    assert "\x1b" not in door.world.logged()


@pytest.mark.parametrize("where", ["rules", "layers", "last words"])
def test_the_log_of_a_fault_shows_no_address(
    tmp_path: Path, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    door = Door(tmp_path)
    options = replace(door.services.options, log_addresses="none")
    door.layer.services = replace(door.services, options=options)
    decider = AllowAll()
    if where == "rules":
        decider.connect = explode  # type: ignore[method-assign]
    door.decide(decider).start()
    if where != "rules":
        assert door.layer._stack is not None
        broken = ["handle_event", *(["send_data"] if where == "last words" else [])]
        for name in broken:
            monkeypatch.setattr(door.layer._stack.client, name, explode)
        door.world.receive(door.context.server, b"220 mx.example ESMTP\r\n")

    failures = [text for level, text in door.world.logs if level == logging.ERROR]
    assert len(failures) == (2 if where == "last words" else 1)
    assert all("BrokenError: \\x1b[2J <hidden>" in text for text in failures)
    assert "anna" not in door.world.logged()


def test_last_words_that_break_are_logged_and_what_was_said_stands(
    door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A layer may break after it has said half: it is not unsaid, and all goes on."""
    door.decide(AllowAll()).start()
    client, layers = door.client, door.layer._stack
    assert layers is not None
    flow = layers.smtp.session_flow.flow

    def half(_: bytes) -> layer.CommandGenerator[None]:
        yield commands.SendData(client, b"421 half")
        explode()

    monkeypatch.setattr(layers.client, "send_data", half)
    monkeypatch.setattr(layers.client, "handle_event", explode)
    door.world.receive(client, b"EHLO a\r\n")

    assert door.world.take(client) == b"421 half"
    assert "SMTP connection failed: Traceback" in door.world.logged()
    assert "SMTP connection not ended in order: Traceback" in door.world.logged()
    assert door.world.closed.count(client.id) == 1
    assert not flow.live
    assert not door.registered


def test_a_session_that_cannot_be_broken_off_ends_its_flow_all_the_same(
    door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    door.decide(AllowAll()).start()
    layers = door.layer._stack
    assert layers is not None
    flow = layers.smtp.session_flow.flow
    monkeypatch.setattr("smtpguard.proxy.salvage.break_off", explode)
    monkeypatch.setattr(layers.top, "handle_event", explode)
    door.world.receive(door.client, b"EHLO a\r\n")

    assert "SMTP connection not ended in order: Traceback" in door.world.logged()
    assert [hook.name for hook in door.world.hooks][-1] == "tcp_error"
    assert flow.error is not None
    assert flow.error.msg == "smtpguard failed: BrokenError"
    assert not flow.live
    assert door.world.closed.count(door.client.id) == 1
    assert not door.registered


def test_a_flow_that_cannot_be_ended_keeps_no_connection_open(
    door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    door.decide(AllowAll()).start()
    layers = door.layer._stack
    assert layers is not None

    def broken(_: object) -> layer.CommandGenerator[None]:
        yield from explode()

    monkeypatch.setattr(layers.smtp, "end", broken)
    monkeypatch.setattr(layers.top, "handle_event", explode)
    door.world.receive(door.client, b"EHLO a\r\n")

    assert door.world.closed.count(door.client.id) == 1
    assert not door.registered


@pytest.mark.parametrize("port", [25, 465])
def test_a_fault_before_the_session_is_told_only_where_it_can_be_read(
    tmp_path: Path, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    door = Door(tmp_path, port=port)
    monkeypatch.setattr("smtpguard.proxy.stack.build", explode)
    door.decide(AllowAll()).start()

    said = door.world.take(door.client)
    assert said == (b"" if port == 465 else INTERNAL_ERROR.to_octets())
    assert door.world.is_closed(door.client)
    assert not door.registered


@pytest.mark.parametrize("port", [25, 465])
@pytest.mark.parametrize(
    "broken",
    ["starttls.ClientTls.handle_event", "sessionflow.SessionFlow.start"],
    ids=["TLS layer", "SMTP layer"],
)
def test_a_fault_before_a_handshake_that_comes_first_is_not_told_in_clear(
    tmp_path: Path, port: int, broken: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    door = Door(tmp_path, port=port)
    monkeypatch.setattr(f"smtpguard.proxy.{broken}", explode)
    door.decide(AllowAll()).start()

    said = door.world.take(door.client)
    assert said == (b"" if port == 465 else INTERNAL_ERROR.to_octets())
    assert door.world.is_closed(door.client)
    assert not door.registered


@pytest.mark.parametrize("implicit", ["true", "false"])
def test_the_policy_says_whether_a_fault_could_be_read_in_clear(
    tmp_path: Path, implicit: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It knows better than the port, whose meaning it may change."""
    door = Door(tmp_path, port=25 if implicit == "true" else 465)
    settings = Settings(client_tls=ClientTls(implicit=implicit))
    step = "client_handshake" if implicit == "true" else "usable"
    monkeypatch.setattr(f"smtpguard.dialogue.opening.{step}", explode)
    door.decide(AllowAll(settings)).start()
    if implicit == "false":
        door.layer.session.upstream_implicit_tls = False
        door.world.receive(door.context.server, b"220 mx.example ESMTP\r\n")

    said = door.world.take(door.client)
    assert said == (b"" if implicit == "true" else INTERNAL_ERROR.to_octets())
    assert door.world.is_closed(door.client)


@pytest.mark.parametrize("where", ["send_data", "handle_event"])
def test_a_fault_in_a_tls_layer_closes_both_legs_and_ends_the_flow(
    door: Door, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In mitmproxy: "has crashed!", and both sockets stay open."""
    door.decide(AllowAll()).start()
    assert door.layer._stack is not None
    monkeypatch.setattr(door.layer._stack.client, where, explode)
    door.world.receive(door.context.server, b"220 mx.example ESMTP\r\n")
    door.world.receive(door.client, b"EHLO a\r\n")

    assert door.world.closed.count(door.client.id) == 1
    assert door.world.closed.count(door.context.server.id) == 1
    assert [hook.name for hook in door.world.hooks][-1] == "tcp_error"
    assert not door.registered


def test_the_flow_of_broken_layers_is_ended_after_smtp_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    door = Door(tmp_path)
    door.services = replace(door.services, heard=frozenset({"smtp_end", "smtp_start"}))
    door.layer.services = door.services
    door.decide(AllowAll()).start()
    assert door.layer._stack is not None
    flow = door.layer._stack.smtp.session_flow.flow
    monkeypatch.setattr(door.layer._stack.top, "handle_event", explode)
    door.world.receive(door.client, b"EHLO a\r\n")

    names = [hook.name for hook in door.world.hooks]
    assert names[-2:] == ["smtp_end", "tcp_error"]
    assert not flow.live


def test_nothing_reaches_broken_layers_any_more(
    door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    door.decide(AllowAll()).start()
    assert door.layer._stack is not None
    monkeypatch.setattr(door.layer._stack.top, "handle_event", explode)
    door.world.receive(door.client, b"EHLO a\r\n")
    before = len(door.world.commands)
    door.world.receive(door.client, b"EHLO a\r\n").feed(ClientGone())

    assert door.world.commands[before:] == []


# -- which connections are SMTP --------------------------------------------------------


def arriving(
    mode: str, address: tuple[str, int] | None, transport: str = "tcp"
) -> context.Context:
    made = make_context(server_open=False)
    made.client.proxy_mode = mode_specs.ProxyMode.parse(mode)
    made.client.transport_protocol = transport  # type: ignore[assignment]
    made.server.address = address
    return made


PORTS = frozenset({25, 465})
MX = ("198.51.100.1", 25)


@pytest.mark.parametrize(
    ("mode", "address", "smtp"),
    [
        ("transparent", MX, True),
        ("transparent", ("198.51.100.1", 465), True),
        ("transparent", ("198.51.100.1", 443), False),
        ("transparent", None, False),
        ("wireguard", MX, True),
        ("local", MX, True),
        ("reverse:tcp://mx.example:2500", None, True),
        ("reverse:tls://mx.example:465", None, True),
        ("reverse:https://www.example", None, False),
        ("regular", MX, False),
        ("socks5", MX, False),
    ],
)
def test_mode_and_port_tell_what_is_smtp(
    mode: str, address: tuple[str, int] | None, smtp: bool
) -> None:
    assert entry.is_smtp(arriving(mode, address), PORTS) is smtp


def test_udp_is_never_smtp() -> None:
    assert not entry.is_smtp(arriving("transparent", MX, "udp"), PORTS)


@pytest.mark.parametrize(
    ("mode", "address", "wanted"),
    [
        ("transparent", MX, (MX, "", False)),
        ("transparent", ("::ffff:198.51.100.1", 25), (MX, "", False)),
        (
            "transparent",
            ("198.51.100.1", 465),
            (("198.51.100.1", 465), "", True),
        ),
        (
            "reverse:tcp://mx.example:25",
            None,
            (("mx.example", 25), "mx.example", False),
        ),
        (
            "reverse:tls://mx.example:2525",
            None,
            (("mx.example", 2525), "mx.example", True),
        ),
        (
            "reverse:tcp://mx.example:465",
            None,
            (("mx.example", 465), "mx.example", True),
        ),
    ],
)
def test_the_facts_of_a_session(
    mode: str,
    address: tuple[str, int] | None,
    wanted: tuple[tuple[str, int], str, bool],
) -> None:
    made = arriving(mode, address)
    with taddons.context():
        facts = entry.describe_session(made, "5f3a")

    found = facts.destination, facts.reverse_name, facts.upstream_implicit_tls
    assert found == wanted
    assert facts.client == ("192.0.2.1", 50000)
    assert facts.listener == mode
    assert facts.local == made.client.sockname[:2]
    assert made.server.address is not None


@pytest.mark.parametrize(
    ("local", "loop"),
    [
        (("198.51.100.1", 25), True),
        (("::ffff:198.51.100.1", 25), True),
        (("::ffff:c633:6401", 25), True),
        (("198.51.100.1", 8080), False),
        (("10.0.0.1", 25), False),
        (None, False),
    ],
    ids=["same", "mapped", "mapped in hex", "redirected", "other host", "unknown"],
)
def test_a_destination_that_is_the_socket_itself_is_a_loop(
    local: tuple[str, int] | None, loop: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(entry, "local_address", lambda _: local)

    assert entry.is_loop(arriving("transparent", MX)) is loop


@pytest.mark.parametrize(
    ("address", "plain"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("::FFFF:C000:201", "192.0.2.1"),
        ("fe80::1%eth0", "fe80::1"),
        ("2001:DB8:0::1", "2001:db8::1"),
        ("mx.example", "mx.example"),
        ("", ""),
    ],
)
def test_addresses_are_told_in_one_form(address: str, plain: str) -> None:
    assert entry.plain_address(address) == plain


# -- refusals --------------------------------------------------------------------------


def test_a_refusal_is_said_and_both_legs_are_closed() -> None:
    made = make_context(server_open=True)
    world = World(made)
    world.start(Refusal(made, replies.TOO_MANY_CONNECTIONS))
    assert world.take(made.client) == b""  # in socks5 mode that is not the time
    world.wake(0)

    assert world.take(made.client) == replies.TOO_MANY_CONNECTIONS.to_octets()
    assert world.is_closed(made.client)
    assert world.is_closed(made.server)


def test_what_a_refused_client_says_is_not_heard() -> None:
    made = make_context(server_open=False)
    world = World(made)
    world.start(Refusal(made, replies.TOO_MANY_CONNECTIONS))
    world.receive(made.client, b"EHLO\r\n")
    world.feed(events.ConnectionClosed(made.client))

    assert [type(command) for command in world.commands] == [commands.RequestWakeup]
    assert made.client.state is ConnectionState.OPEN
