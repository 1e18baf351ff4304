"""What MAIL and RCPT may ask for: what we and the upstream can (RFC 5321 4.1.1.11).

Checked when the client asks, and again where another connection has to keep it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from smtpguard.dialogue.exchange import capabilities
from smtpguard.dialogue.paths import offered
from smtpguard.errors import ProtocolError
from smtpguard.wire import check_mail_parameters, replies


if TYPE_CHECKING:
    from smtpguard.dialogue.engine import Dialogue
    from smtpguard.model.mailbox import Path
    from smtpguard.model.reply import Reply
    from smtpguard.wire import Capabilities


def usable_extensions(d: Dialogue) -> Capabilities:
    """Return what of the upstream's capabilities the client may use."""
    return offered(capabilities(d), d.settings.esmtp_allow)


def message_limit(d: Dialogue) -> int:
    """Return the largest message that both we and the upstream take."""
    limit = d.settings.limits.message
    return min(limit, capabilities(d).size_limit or limit)


def keeps_requiretls(d: Dialogue) -> bool:
    """Whether both legs are encrypted and the upstream is who it should be."""
    tls = d.session.upstream_leg.tls
    return d.client.secure and tls is not None and tls.verified == "ok"


def size_refusal(d: Dialogue, path: Path) -> Reply | None:
    """Refuse a declared SIZE over our limit or the upstream's (RFC 1870 6.1)."""
    declared = path.parameter("SIZE")
    if declared is not None and int(declared.value or 0) > message_limit(d):
        return replies.MESSAGE_TOO_LARGE
    return None


def requiretls_refusal(d: Dialogue, path: Path) -> Reply | None:
    """Refuse REQUIRETLS where a leg could not keep its promise (RFC 8689 4.2.1)."""
    if path.parameter("REQUIRETLS") is None:
        return None
    if "REQUIRETLS" in capabilities(d) and keeps_requiretls(d):
        return None
    return replies.REQUIRETLS_NEEDED


def still_offered(d: Dialogue, path: Path) -> bool:
    """Whether all that MAIL asked for can be had on the new connection too."""
    try:
        check_mail_parameters(path, usable_extensions(d))
    except ProtocolError:
        return False
    return requiretls_refusal(d, path) is None
