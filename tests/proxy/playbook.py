"""A stand-in for mitmproxy's connection handler: layers in memory, no sockets, no loop.

``World`` gives a stack of layers its events and carries its commands out as
``mitmproxy.proxy.server`` does: one event at a time, hooks and connections answered
later, closing answered by ConnectionClosed. What was sent stands in ``sent``; hooks are
answered by ``handlers`` (a missing one leaves the data as it is), or kept for the test
where their name is in ``held_hooks``.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable
from typing import Any

from mitmproxy import options
from mitmproxy.connection import Client, Connection, ConnectionState, Server
from mitmproxy.proxy import commands, context, events, layer

from smtpguard.proxy.services import Drain


class Clock:
    """A time that only tests move."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def make_context(*, server_open: bool = True) -> context.Context:
    """Return a context whose client is connected, and whose server may be."""
    client = Client(
        peername=("192.0.2.1", 50000),
        sockname=("198.51.100.1", 25),
        state=ConnectionState.OPEN,
    )
    made = context.Context(client, options.Options())
    made.options.add_option("connection_strategy", str, "eager", "")
    made.server = Server(address=("198.51.100.1", 25))
    if server_open:
        made.server.state = ConnectionState.OPEN
        made.server.timestamp_start = 1.0
    return made


class World:
    """Feeds a top layer and does what it says."""

    def __init__(self, made: context.Context, clock: Clock | None = None) -> None:
        self.context = made
        self.clock = clock or Clock()
        self.top: layer.Layer | None = None
        self.sent: defaultdict[str, bytearray] = defaultdict(bytearray)
        """By connection id: what went out and was not taken yet."""
        self.closed: list[str] = []
        self.opened: list[Server] = []
        self.open_errors: deque[str | None] = deque()
        """How the next openings end; None is well, and the default."""
        self.hooks: list[commands.StartHook] = []
        self.handlers: dict[str, Callable[[Any], None]] = {}
        self.held_hooks: set[str] = set()
        self.hold_openings = False
        self.is_partial = False
        """The top layer is not the one that mitmproxy would have."""
        self.pending: list[commands.Command] = []
        self.logs: list[tuple[int, str]] = []
        self.wakeups: list[tuple[float, commands.RequestWakeup]] = []
        self.commands: list[commands.Command] = []
        self.connections: dict[str, Connection] = {made.client.id: made.client}
        if made.server.state is not ConnectionState.CLOSED:
            self.connections[made.server.id] = made.server
        self._queue: deque[events.Event] = deque()

    # -- events in -------------------------------------------------------------------

    def start(self, top: layer.Layer) -> World:
        """Set the top layer and start it."""
        self.top = top
        return self.feed(events.Start())

    def feed(self, event: events.Event) -> World:
        """Give one event, and whatever follows from it."""
        self._queue.append(event)
        while self._queue:
            self._handle(self._queue.popleft())
        return self

    def receive(self, conn: Connection, data: bytes) -> World:
        """Have a peer send octets."""
        return self.feed(events.DataReceived(conn, data))

    def close(self, conn: Connection) -> World:
        """Have a peer send FIN."""
        conn.state &= ~ConnectionState.CAN_READ
        return self.feed(events.ConnectionClosed(conn))

    def answer(self, command: commands.Command, reply: Any = None) -> World:
        """Complete a hook or an opening that was held."""
        self.pending.remove(command)
        if isinstance(command, commands.OpenConnection):
            return self.feed(self._opened(command, reply))
        assert isinstance(command, commands.StartHook)
        return self.feed(events.HookCompleted(command))

    def wake(self, seconds: float) -> World:
        """Let time pass; whatever is due by then wakes the layer."""
        until = self.clock.now + seconds
        while due := [item for item in self.wakeups if item[0] <= until]:
            at, command = min(due, key=lambda item: item[0])
            self.wakeups.remove((at, command))
            self.clock.now = max(self.clock.now, at)
            self.feed(events.Wakeup(command))
        self.clock.now = until
        return self

    # -- what came out ---------------------------------------------------------------

    def take(self, conn: Connection) -> bytes:
        """Return what was sent to a peer since the last time."""
        return bytes(self.sent.pop(conn.id, bytearray()))

    def is_closed(self, conn: Connection) -> bool:
        """Whether we have closed the connection."""
        return conn.id in self.closed

    def raised(self, name: str) -> list[Any]:
        """Return the data objects of all hooks of that name."""
        return [hook.args()[0] for hook in self.hooks if hook.name == name]

    def held(self, name: str) -> commands.StartHook:
        """Return the one held hook of that name."""
        (found,) = [
            command
            for command in self.pending
            if isinstance(command, commands.StartHook) and command.name == name
        ]
        return found

    def logged(self) -> str:
        """Return all log lines."""
        return "\n".join(text for _, text in self.logs)

    # -- what the proxy server does ----------------------------------------------------

    def _handle(self, event: events.Event) -> None:
        assert self.top is not None
        for command in self.top.handle_event(event):
            self.commands.append(command)
            self._do(command)

    def _do(self, command: commands.Command) -> None:
        match command:
            case commands.Log():
                self.logs.append((command.level, command.message))
            case commands.RequestWakeup():
                self.wakeups.append((self.clock.now + command.delay, command))
            case commands.OpenConnection():
                assert command.connection.id not in self.connections, "opened twice"
                assert command.blocking, "nobody would hear of it"
                self.opened.append(command.connection)
                if self.hold_openings:
                    self.pending.append(command)
                else:
                    error = self.open_errors.popleft() if self.open_errors else None
                    self._queue.append(self._opened(command, error))
            case commands.StartHook():
                self._raise(command)
            case Drain() if self.is_partial:
                pass  # the entry layer's, which is not there
            case commands.ConnectionCommand():
                self._act(command)
            case _:
                raise AssertionError(f"mitmproxy does not know {command!r}")

    def _act(self, command: commands.ConnectionCommand) -> None:
        conn = command.connection
        if conn.id not in self.connections:
            return  # as mitmproxy: closed already
        match command:
            case commands.SendData():
                self.sent[conn.id] += command.data
            case commands.CloseConnection():
                assert not isinstance(command, commands.CloseTcpConnection)
                self.closed.append(conn.id)
                conn.state = ConnectionState.CLOSED
                del self.connections[conn.id]
                self._queue.append(events.ConnectionClosed(conn))
            case _:
                raise AssertionError(f"mitmproxy does not know {command!r}")

    def _raise(self, hook: commands.StartHook) -> None:
        self.hooks.append(hook)
        if hook.name in self.held_hooks:
            self.pending.append(hook)
            return
        if handler := self.handlers.get(hook.name):
            handler(hook.args()[0])
        if hook.blocking:
            self._queue.append(events.HookCompleted(hook))

    def _opened(
        self, command: commands.OpenConnection, error: str | None
    ) -> events.Event:
        server = command.connection
        if error is None:
            server.state = ConnectionState.OPEN
            server.timestamp_start = self.clock.now
            self.connections[server.id] = server
        return events.OpenConnectionCompleted(command, error)
