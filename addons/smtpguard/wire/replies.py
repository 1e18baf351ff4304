"""The replies of SMTP itself that we give, by name (RFC 5321 4.2, RFC 3463).

Owns codes and texts, so that ``dialogue`` spells none. Those of rules are in
``policy.replies``, that of a fault of ours in ``proxy.layer``. A text is short and
generic; the reason goes to the log. Texts of an upstream never pass here.
"""

from __future__ import annotations

from typing import Final

from smtpguard.model.reply import Reply


# 2yz and 3yz: done, go on.

HELP: Final = Reply.make(214, "2.0.0", "See RFC 5321")
READY_FOR_TLS: Final = Reply.make(220, "2.0.0", "Ready to start TLS")
BYE: Final = Reply.make(221, "2.0.0", "Bye")
OK: Final = Reply.make(250, "2.0.0", "OK")
RCPT_OK: Final = Reply.make(250, "2.1.5", "Recipient OK")
"""An upstream's, where there is none (``smtpguard inspect``)."""
VRFY_252: Final = Reply.make(252, "2.5.2", "Cannot VRFY, but will take the message")
START_MAIL_INPUT: Final = Reply.make(354, "", "End data with <CR><LF>.<CR><LF>")

# 421: the session ends.

UPSTREAM_UNREACHABLE: Final = Reply.make(421, "4.3.2", "Service not available")
SHUTTING_DOWN: Final = Reply.make(421, "4.3.2", "Service shutting down")
IDENTITY_UNDELIVERED: Final = Reply.make(421, "4.3.2", "Service not available")
CLOSED_BY_UPSTREAM: Final = Reply.make(421, "4.4.2", "Next server closed the session")
TIMEOUT: Final = Reply.make(421, "4.4.2", "Timeout, closing connection")
TOO_MANY_ERRORS: Final = Reply.make(421, "4.7.0", "Too many errors")
TOO_MANY_COMMANDS: Final = Reply.make(421, "4.7.0", "Too many commands without mail")
TOO_MANY_CONNECTIONS: Final = Reply.make(421, "4.7.0", "Too many connections")
LIMIT_CLOSE: Final = Reply.make(421, "4.7.0", "Limit exceeded, closing connection")

# 4yz: not now; the client keeps the message.

UNDECIDED: Final = Reply.make(451, "4.3.0", "Message not decided, try again later")
STORAGE_FULL: Final = Reply.make(452, "4.3.1", "Insufficient storage, try again later")
STORAGE_FAILED: Final = Reply.make(451, "4.3.0", "Storage failed, try again later")
SESSION_CLOSED: Final = Reply.make(451, "4.5.0", "Session closed before an answer")
"""To a command that still waits for the upstream when the session ends."""
UPSTREAM_CHANGED: Final = Reply.make(451, "4.4.1", "Next server changed its answer")
UPSTREAM_LOST: Final = Reply.make(451, "4.4.2", "Connection to next server lost")
UPSTREAM_SILENT: Final = Reply.make(451, "4.4.2", "Next server does not answer")
TLS_REQUIRED_UPSTREAM: Final = Reply.make(451, "4.7.0", "Next server has no TLS")
TOO_MANY_RECIPIENTS: Final = Reply.make(452, "4.5.3", "Too many recipients")
OTHER_RECIPIENTS: Final = Reply.make(
    452, "4.5.3", "Too many recipients, send this one by itself"
)
TOO_MANY_REJECTED: Final = Reply.make(452, "4.5.3", "Too many rejected recipients")
AUTH_UNAVAILABLE: Final = Reply.make(454, "4.7.0", "Authentication not available now")
TLS_NOT_AVAILABLE: Final = Reply.make(454, "4.7.0", "TLS not available")

# 5yz: not at all.

COMMAND_UNRECOGNISED: Final = Reply.make(500, "5.5.1", "Command unrecognised")
LINE_TOO_LONG: Final = Reply.make(500, "5.5.2", "Line too long")
BARE_NEWLINE_COMMAND: Final = Reply.make(500, "5.5.2", "Bare CR, LF or NUL in a line")
BAD_RECIPIENT: Final = Reply.make(501, "5.1.3", "Bad recipient address syntax")
BAD_SENDER: Final = Reply.make(501, "5.1.7", "Bad sender address syntax")
SYNTAX: Final = Reply.make(501, "5.5.4", "Syntax error in arguments")
BAD_PARAMETER: Final = Reply.make(501, "5.5.4", "Bad parameter value")
NOT_IMPLEMENTED: Final = Reply.make(502, "5.5.1", "Command not implemented")
BAD_SEQUENCE: Final = Reply.make(503, "5.5.1", "Bad sequence of commands")
MECHANISM_UNAVAILABLE: Final = Reply.make(504, "5.5.4", "Mechanism not available")
MUST_STARTTLS: Final = Reply.make(530, "5.7.0", "Must issue a STARTTLS command first")
AUTH_NEEDS_TLS: Final = Reply.make(538, "5.7.11", "Encryption required for this")

BARE_NEWLINE: Final = Reply.make(550, "5.6.0", "Bare CR, LF or NUL in the message")
XCLIENT_REFUSED: Final = Reply.make(550, "5.7.1", "Insufficient authorization")
IDENTITY_REQUIRED: Final = Reply.make(550, "5.7.0", "XCLIENT required first")
REQUIRETLS_NEEDED: Final = Reply.make(550, "5.7.30", "REQUIRETLS needed")
MESSAGE_TOO_LARGE: Final = Reply.make(552, "5.3.4", "Message too large")
SMTPUTF8_NEEDED: Final = Reply.make(553, "5.6.7", "SMTPUTF8 needed for this address")
CLIENT_BLOCKED: Final = Reply.make(554, "5.7.1", "No service for this address now")
"""As greeting, or as the answer to XCLIENT."""
LOOP: Final = Reply.make(554, "5.4.6", "Mail loop detected")
NO_VALID_RECIPIENTS: Final = Reply.make(554, "5.5.1", "No valid recipients")
UNSUPPORTED_PARAMETER: Final = Reply.make(555, "5.5.4", "Parameter not supported")


def chunk_ok(octets: int) -> Reply:
    """Return the 250 to a BDAT chunk of that many octets (RFC 3030 2)."""
    return Reply.make(250, "2.0.0", f"{octets} octets received")


def greeting(domain: str) -> Reply:
    """Return a 220 greeting of our own; ``domain`` is ASCII text."""
    return Reply.make(220, "", f"{domain} ESMTP")


def policy_refused(identifier: str) -> Reply:
    """Return the 550 for a message that the rules refuse; the id is in the log."""
    return Reply.make(550, "5.7.1", f"Message refused by policy (id {identifier})")


def generic(code: int, enhanced: str) -> Reply:
    """Return a reply that says no more than its codes, for a hidden upstream."""
    text = {2: "OK", 3: "Go on", 4: "Try again later"}.get(code // 100, "Refused")
    return Reply.make(code, enhanced, text)
