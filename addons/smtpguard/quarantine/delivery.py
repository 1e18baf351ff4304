"""One message to one server, by SMTP, as a client (RFC 5321).

The octets go as they are: dots stuffed, the CRLF before the final dot added only where
the message has none. What a server does not offer is not asked of it; what the message
cannot do without, and the server lacks, fails before it is sent. Each recipient has a
result of its own. Once the final dot may have left, nothing but an answer says what
became of the message: without one it is in doubt, never failed.

``smtplib`` speaks; what stands in MAIL, RCPT and DATA is ours: it would stuff dots by
another reading of line ends.
"""

from __future__ import annotations

import smtplib
import ssl
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Final

from smtpguard.errors import os_text
from smtpguard.model.mailbox import Parameter
from smtpguard.model.mailbox import Path as MailPath
from smtpguard.model.reply import Reply
from smtpguard.quarantine.recordfile import argument
from smtpguard.quarantine.survey import survey
from smtpguard.wire.data import DotStuffer


if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from smtpguard.model.content import Content
    from smtpguard.policy.deliveryreader import DeliverySettings
    from smtpguard.quarantine.survey import Survey


FINAL_REPLY: Final = 600.0
"""Seconds for the answer to the final dot (RFC 5321 4.5.3.2.6)."""
MAX_TEXT: Final = 500
"""Characters of what is noted of an answer."""


class Fate(Enum):
    """What became of a message for one recipient."""

    SENT = "sent"
    FAILED = "failed"
    IN_DOUBT = "in doubt"


@dataclass(frozen=True, slots=True)
class Result:
    """What became of it, and the answer or error that says so."""

    fate: Fate
    text: str


@dataclass(frozen=True, slots=True)
class Mail:
    """What is to be sent."""

    reverse_path: MailPath
    recipients: Sequence[MailPath]
    content: Content


def deliver(
    server: DeliverySettings,
    mail: Mail,
    before_dot: Callable[[Sequence[int]], None],
    helo: str | None = None,
) -> list[Result]:
    """Send a message in one transaction; return each recipient's result, in order.

    ``before_dot`` is told the numbers of those whom the server has accepted, once
    nothing but the final dot is missing; what it raises ends the connection without
    one. ``helo`` is our name, None takes this machine's.
    """
    refused: dict[int, Result] = {}
    try:
        looked = survey(mail.content)
        if looked.stray:
            raise smtplib.SMTPException("it holds bare CR, bare LF or NUL")
        with _session(server, helo) as smtp:
            _ask_mail(smtp, server, mail, looked)
            refused = dict(_ask_rcpt(smtp, mail))
            numbers = range(len(mail.recipients))
            accepted = [number for number in numbers if number not in refused]
            if not accepted:
                return [refused[number] for number in numbers]
            result = _send(smtp, mail.content, lambda: before_dot(accepted))
    # ValueError: a password or a challenge that cannot be encoded.
    except (OSError, ValueError) as error:
        result = Result(Fate.FAILED, _text(error))
    return [refused.get(number, result) for number in range(len(mail.recipients))]


@contextmanager
def _session(server: DeliverySettings, helo: str | None) -> Iterator[smtplib.SMTP]:
    host, port, context = server.host, server.port, _context(server)
    if server.tls == "tls":
        smtp: smtplib.SMTP = smtplib.SMTP_SSL(
            host, port, helo, timeout=server.timeout, context=context
        )
    else:
        smtp = smtplib.SMTP(host, port, helo, timeout=server.timeout)
    try:
        _greet(smtp)
        if server.tls.startswith("starttls"):
            # A failed handshake ends it: what was offered is not done without.
            if smtp.has_extn("starttls"):
                smtp.starttls(context=context)
                _greet(smtp)
            elif server.tls == "starttls_required":
                raise smtplib.SMTPNotSupportedError("the server offers no STARTTLS")
        if server.user:
            _log_in(smtp, server)
        yield smtp
        with suppress(OSError):
            smtp.quit()
    finally:
        smtp.close()


def _context(server: DeliverySettings) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=server.ca or None)
    if not server.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _greet(smtp: smtplib.SMTP) -> None:
    code, text = smtp.ehlo()
    if 500 <= code <= 599:
        code, text = smtp.helo()
    _must_be_positive(code, text)


def _log_in(smtp: smtplib.SMTP, server: DeliverySettings) -> None:
    if not isinstance(smtp.sock, ssl.SSLSocket):
        raise smtplib.SMTPException("no password is told in clear")
    with Path(server.password_file).open(encoding="ascii") as file:
        smtp.login(server.user, file.readline().rstrip("\r\n"))


def _ask_mail(
    smtp: smtplib.SMTP, server: DeliverySettings, mail: Mail, looked: Survey
) -> None:
    parameters = [*_size(smtp, looked), *_body(smtp, looked)]
    parameters += [*_smtputf8(smtp, mail, looked), *_requiretls(smtp, server, mail)]
    parameters += _dsn(smtp, mail.reverse_path, "RET", "ENVID")
    path = MailPath(mail.reverse_path.mailbox, tuple(parameters))
    _must_be_positive(*_ask(smtp, f"MAIL FROM:{argument(path)}"))


def _ask_rcpt(smtp: smtplib.SMTP, mail: Mail) -> Iterator[tuple[int, Result]]:
    """Yield whom the server refuses."""
    for number, path in enumerate(mail.recipients):
        parameters = _dsn(smtp, path, "NOTIFY", "ORCPT")
        asked = MailPath(path.mailbox, tuple(parameters))
        code, text = _ask(smtp, f"RCPT TO:{argument(asked)}")
        if not 200 <= code <= 299:
            yield number, Result(Fate.FAILED, _told(code, text))


def _send(
    smtp: smtplib.SMTP, content: Content, before_dot: Callable[[], None]
) -> Result:
    code, text = smtp.docmd("DATA")
    if code != 354:
        raise smtplib.SMTPDataError(code, text)
    stuffer = DotStuffer()
    for chunk in content.chunks():
        smtp.send(stuffer.feed(chunk))
    before_dot()
    try:
        if smtp.sock is not None:
            smtp.sock.settimeout(FINAL_REPLY)
        smtp.send(stuffer.finish())
        code, text = smtp.getreply()
    except OSError as error:
        return Result(Fate.IN_DOUBT, f"no answer to the final dot: {_text(error)}")
    fates = {2: Fate.SENT, 4: Fate.FAILED, 5: Fate.FAILED}
    return Result(fates.get(code // 100, Fate.IN_DOUBT), _told(code, text))


# -- parameters ----------------------------------------------------------------------


def _size(smtp: smtplib.SMTP, looked: Survey) -> Iterator[Parameter]:
    if smtp.has_extn("size"):
        yield Parameter("SIZE", str(looked.size))


def _body(smtp: smtplib.SMTP, looked: Survey) -> Iterator[Parameter]:
    if looked.is_ascii:
        return
    if not smtp.has_extn("8bitmime"):
        raise smtplib.SMTPNotSupportedError("it is 8-bit, the server has no 8BITMIME")
    yield Parameter("BODY", "8BITMIME")


def _smtputf8(smtp: smtplib.SMTP, mail: Mail, looked: Survey) -> Iterator[Parameter]:
    paths = (mail.reverse_path, *mail.recipients)
    is_ascii = all(argument(path).isascii() for path in paths)
    if is_ascii and mail.reverse_path.parameter("SMTPUTF8") is None:
        return
    if smtp.has_extn("smtputf8"):
        yield Parameter("SMTPUTF8", None)
    elif not is_ascii or not looked.has_ascii_header:
        raise smtplib.SMTPNotSupportedError("it needs SMTPUTF8, the server has none")


def _requiretls(
    smtp: smtplib.SMTP, server: DeliverySettings, mail: Mail
) -> Iterator[Parameter]:
    """RFC 8689 4.2.1: nobody may drop it."""
    if mail.reverse_path.parameter("REQUIRETLS") is None:
        return
    is_sure = isinstance(smtp.sock, ssl.SSLSocket) and server.verify
    if not is_sure or not smtp.has_extn("requiretls"):
        raise smtplib.SMTPNotSupportedError("it needs REQUIRETLS in verified TLS")
    yield Parameter("REQUIRETLS", None)


def _dsn(smtp: smtplib.SMTP, path: MailPath, *keywords: str) -> list[Parameter]:
    if not smtp.has_extn("dsn"):
        return []
    return [one for one in path.parameters if one.keyword in keywords]


# -- answers -------------------------------------------------------------------------


def _ask(smtp: smtplib.SMTP, line: str) -> tuple[int, bytes]:
    smtp.send(line.encode() + b"\r\n")
    return smtp.getreply()


def _must_be_positive(code: int, text: bytes) -> None:
    if not 200 <= code <= 299:
        raise smtplib.SMTPResponseException(code, text)


def _told(code: int, text: bytes) -> str:
    return str(Reply(code, tuple(text.split(b"\n"))))[:MAX_TEXT]


def _text(error: Exception) -> str:
    if isinstance(error, smtplib.SMTPResponseException):
        text = error.smtp_error
        return _told(error.smtp_code, text.encode() if isinstance(text, str) else text)
    text = os_text(error) if isinstance(error, OSError) else str(error)
    return (text or type(error).__name__)[:MAX_TEXT]
