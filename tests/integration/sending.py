"""Mails over STARTTLS from an address of one's own, by which a policy is chosen."""

from __future__ import annotations

import smtplib
import ssl
from typing import TYPE_CHECKING


if TYPE_CHECKING:
    from tests.integration.bed.guard import Guard


def source(number: int) -> str:
    """Return a loopback address, another one for each number."""
    return f"127.0.{1 + number // 200}.{1 + number % 200}"


def sent(
    guard: Guard,
    mail: bytes,
    *recipients: str,
    number: int = 0,
    helo: str = "client.example",
    sender: str = "a@out.example",
) -> str:
    """Return the last reply to a mail, of DATA or of what was refused before."""
    context = ssl.create_default_context(cafile=str(guard.trust))
    with smtplib.SMTP(
        "127.0.0.1", guard.port, timeout=60, source_address=(source(number), 0)
    ) as client:
        client.starttls(context=context)
        client.ehlo(helo)
        client.mail(sender)
        answers = [client.rcpt(recipient) for recipient in recipients]
        code, text = min(answers, key=lambda answer: answer[0])
        if code == 250:
            code, text = client.data(mail)
    return f"{code} {text.decode()}"
