"""What the protocol says about each verb, as one table.

Sources: RFC 5321 4.1.1, RFC 3207 4 (STARTTLS), RFC 4954 4 (AUTH), RFC 3030 2 (BDAT).
Rules and phases are not decided here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal


type Argument = Literal["required", "none", "any"]


@dataclass(frozen=True, slots=True)
class CommandSpec:
    """What the protocol allows for one verb."""

    verb: str
    """Upper case."""
    argument: Argument = "any"
    """Checked before the place of the command is; ``any`` is ignored, or read by the
    command itself once it is known that it may stand where it does."""
    before_tls: bool = False
    """May be sent before STARTTLS where TLS is required (RFC 3207 4)."""
    secret: bool = False
    """Its argument may hold credentials."""
    handled: bool = True
    """False is ``502 5.5.1``."""
    hostile: bool = False
    """No mail client sends it: answer and close."""


_HANDLED: Final = (
    CommandSpec("EHLO", "required", before_tls=True),
    CommandSpec("HELO", "required", before_tls=True),
    CommandSpec("STARTTLS", "none", before_tls=True),
    CommandSpec("AUTH", "required", secret=True),
    CommandSpec("MAIL"),
    CommandSpec("RCPT"),
    CommandSpec("DATA", "none"),
    CommandSpec("BDAT"),
    CommandSpec("RSET", "none", before_tls=True),
    CommandSpec("NOOP", before_tls=True),
    CommandSpec("HELP", before_tls=True),
    CommandSpec("QUIT", "none", before_tls=True),
    CommandSpec("VRFY", "required"),
    CommandSpec("ETRN"),
    CommandSpec("XCLIENT"),
)

_REFUSED: Final = ("ATRN", "BURL", "EXPN", "LHLO", "SAML", "SEND", "SOML", "TURN")
_REFUSED_PRIVATE: Final = ("VERB", "XADR", "XEXCH50", "XFORWARD", "XSTA", "XUSR")

# A browser or a form made to talk to port 25 (cross-protocol attack), the preface of
# HTTP/2, SIP, RTSP; PROXY from somebody who is not trusted with it.
_HOSTILE: Final = (
    *("CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PRI", "PUT"),
    *("TRACE", "PROPFIND", "REPORT", "SEARCH", "INVITE", "REGISTER", "DESCRIBE"),
    *("PROXY", "HTTP/1.0", "HTTP/1.1"),
)

COMMANDS: Final[dict[str, CommandSpec]] = {
    **{known.verb: known for known in _HANDLED},
    **{verb: CommandSpec(verb, handled=False) for verb in _REFUSED + _REFUSED_PRIVATE},
    **{verb: CommandSpec(verb, handled=False, hostile=True) for verb in _HOSTILE},
}
"""Every verb that is known, handled or not."""


def spec(verb: str) -> CommandSpec:
    """Return what is known of an upper-case verb; unknown ones are not handled."""
    known = COMMANDS.get(verb)
    if known is not None:
        return known
    # An SSH client speaks first: "SSH-2.0-...".
    return CommandSpec(verb, handled=False, hostile=verb.startswith("SSH-"))
