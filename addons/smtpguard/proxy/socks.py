"""SMTP behind a SOCKS proxy: taken over when the client has said where it goes.

mitmproxy asks what is spoken when octets arrive, and in SMTP none arrive before the
server has greeted: with ``connection_strategy=lazy`` both would wait for ever, and its
own answer is a raw relay. So SMTP never comes to that question.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mitmproxy.proxy import context, events, layer
from mitmproxy.proxy.layers import modes


if TYPE_CHECKING:
    from collections.abc import Callable


type Enter = Callable[[context.Context], layer.Layer | None]
"""Returns the layer for a destination, None where it is not SMTP. Must not raise."""


class SmtpSocks(modes.Socks5Proxy):
    """mitmproxy's SOCKS layer, which hands SMTP to us and all else to mitmproxy."""

    def __init__(self, context: context.Context, enter: Enter) -> None:
        super().__init__(context)
        self._enter = enter

    def finish_start(self) -> layer.CommandGenerator[str | None]:
        """Go on after the client's request, before it is answered.

        What is entered must not speak at its start: the answer comes first.
        """
        taken = self._enter(self.context)
        if taken is None:
            return (yield from super().finish_start())
        self.child_layer = taken
        self._handle_event = taken.handle_event
        yield from taken.handle_event(events.Start())
        return None
