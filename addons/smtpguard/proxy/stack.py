"""The layers of one SMTP session, made and linked in their order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from smtpguard.dialogue import Dialogue
from smtpguard.options import default_directory
from smtpguard.proxy.layer import SmtpLayer
from smtpguard.proxy.listeners import is_quiet
from smtpguard.proxy.spool import FileSpool
from smtpguard.proxy.starttls import ClientTls, UpstreamTls
from smtpguard.proxy.tlspolicy import TlsPolicy


if TYPE_CHECKING:
    from collections.abc import Callable

    from mitmproxy.proxy import commands, context

    from smtpguard.model.decider import Decider
    from smtpguard.model.session import SessionFacts
    from smtpguard.proxy.services import Services


@dataclass(frozen=True, slots=True)
class Stack:
    """The layers, from the sockets up."""

    top: UpstreamTls
    client: ClientTls
    smtp: SmtpLayer


def build(
    context: context.Context,
    session: SessionFacts,
    decider: Decider,
    services: Services,
    on_end: Callable[[], None],
) -> Stack:
    """Make the layers of a session that is about to start."""
    options = services.options
    directory = options.spool_dir or default_directory()
    dialogue = Dialogue(
        session,
        decider,
        new_spool=lambda: FileSpool(directory, services.registry.memory),
        own_name=options.own_name,
        ask_commands="smtp_command" in services.heard,
        record_auth=options.record_auth,
        record_limit=options.record_limit if options.record == "full" else 0,
        downgrades=services.registry.downgrades,
    )
    policy = TlsPolicy(lambda: dialogue.settings, services.registry.contexts)

    def quiet(hook: commands.StartHook) -> bool:
        return is_quiet(hook, services.heard)

    # mitmproxy's ClientTLSLayer looks for the server's in the layer made before it.
    upstream = UpstreamTls(context, policy.server, quiet)
    client = ClientTls(context, policy.client, quiet)
    smtp = SmtpLayer(context, dialogue, services, upstream, on_end)
    upstream.child_layer = client
    client.child_layer = smtp
    return Stack(upstream, client, smtp)
