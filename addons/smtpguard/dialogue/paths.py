"""MAIL and RCPT as they go upstream: paths, rewritten ones, and their parameters."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

from smtpguard.model.mailbox import Parameter
from smtpguard.wire import Capabilities, encode_xtext
from smtpguard.wire.capabilities import KNOWN_KEYWORDS


if TYPE_CHECKING:
    from smtpguard.model.decision import Decision
    from smtpguard.model.mailbox import Path


_NOT_UNITEXT = re.compile(r"[^!-*,-<>-\[\]-~\x80-\U0010ffff]")
RCPT_POSITIVE = frozenset({250, 251, 252})


def mail_line(path: Path) -> bytes:
    """Return MAIL as sent."""
    return line(b"MAIL FROM:<", path)


def rcpt_line(path: Path) -> bytes:
    """Return RCPT as sent."""
    return line(b"RCPT TO:<", path)


def line(start: bytes, path: Path) -> bytes:
    """Return a command with a path and its parameters."""
    octets = path.mailbox.octets if path.mailbox else b""
    parameters = (p.to_octets() for p in path.parameters)
    return b" ".join([start + octets + b">", *parameters]) + b"\r\n"


def rewritten_sender(path: Path, decision: Decision) -> Path:
    """Return the reverse-path as it goes up.

    ``AUTH=`` named who submitted it under the old sender, so a new one loses it
    (RFC 4954 5).
    """
    if decision.rewrite_to is None or path.mailbox is None:
        return path
    parameters = tuple(
        Parameter("AUTH", "<>") if p.keyword == "AUTH" else p for p in path.parameters
    )
    return replace(path, mailbox=decision.rewrite_to, parameters=parameters)


def rewritten_recipient(path: Path, decision: Decision, *, dsn: bool) -> Path:
    """Return the forward-path as it goes up; ``dsn`` keeps ORCPT (RFC 3461 4.2)."""
    if decision.rewrite_to is None:
        return path
    parameters = path.parameters
    if dsn and path.parameter("ORCPT") is None and path.mailbox is not None:
        parameters = (*parameters, original_recipient(path.mailbox.octets))
    return replace(path, mailbox=decision.rewrite_to, parameters=parameters)


def original_recipient(octets: bytes) -> Parameter:
    """Return ORCPT for a mailbox as the client wrote it (RFC 3461 4.2, RFC 6533 3)."""
    text = octets.decode("utf-8", "replace")
    if text.isascii():
        return Parameter("ORCPT", f"rfc822;{encode_xtext(text).decode('ascii')}")
    return Parameter("ORCPT", f"utf-8;{unitext(text)}")


def unitext(text: str) -> str:
    """Return text as utf-8-addr-unitext (RFC 6533 3)."""
    return _NOT_UNITEXT.sub(lambda found: f"\\x{{{ord(found[0]):02X}}}", text)


def offered(capabilities: Capabilities, extra: frozenset[str]) -> Capabilities:
    """Return what of the upstream's capabilities a client was offered.

    ``extra`` are the keywords that the policy passes although we do not know them.
    """
    return Capabilities(
        capabilities.domain,
        {
            keyword: parameters
            for keyword, parameters in capabilities.keywords.items()
            if keyword in KNOWN_KEYWORDS or keyword in extra
        },
    )
