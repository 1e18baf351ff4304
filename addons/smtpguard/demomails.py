"""The demo's rules and its mails, each with what it is to come to.

Expected outcomes are written down here by hand, from what the rules say, and the demo
fails where something else happens.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from smtpguard.demoupstream import REFUSED


if TYPE_CHECKING:
    import smtplib


RULES = """\
version: 1
domains: [demo.test]
lists:
  staff: [anna@demo.test, ben@demo.test, "refused-by-upstream@demo.test"]
scanners:
  builtin: {type: yara}
policies:
  - name: demo
    tls: {client: {starttls: required}, server: {starttls: required}}
    mail_from:
      - {match: "form@demo.test", action: allow}
      - {match: "*@demo.test", action: deny, reply: "550 5.7.1 Sender address rejected"}
      - {match: "later@partner.test", action: tempfail}
      - {match: "*", action: allow}
    rcpt_to:
      - {match: "@staff", action: allow}
      - {match: "anne@demo.test", action: rewrite, to: "anna@demo.test"}
      - {match: "*", action: deny}
    content_types:
      - {match: "application/x-msdownload", action: strip}
      - {match: "application/x-forbidden", action: deny}
      - {match: "application/x-void", action: discard}
      - {match: "*", action: scan}
    filenames:
      - {match: "*.{exe,scr,js,vbs,bat,cmd}", action: strip}
      - {match: "*", action: allow}
    antivirus: {scanner: builtin, infected: deny}
"""

type Check = Callable[[bytes, tuple[str, ...]], list[str]]

CRLF = b"\r\n"
ANNA = "anna@demo.test"
ABROAD = "karl@partner.test"


@dataclass(frozen=True, slots=True)
class Mail:
    """One mail and what is to come of it."""

    title: str
    told: str
    """Regular expression for the last reply to the client, which it is to begin with.
    """
    content: bytes
    mail_from: str = ABROAD
    rcpt_to: tuple[str, ...] = (ANNA,)
    copies: int = 1
    """How many are to arrive."""
    check: Check = lambda content, rcpt_to: []  # noqa: ARG005
    """What is wrong with what arrived."""
    chunks: tuple[int, ...] = ()
    """Sizes of BDAT chunks, the last one takes the rest; () sends DATA."""
    verbatim: bytes = b""
    """Sent as it is after 354, instead of the content."""


def deliver(client: smtplib.SMTP, mail: Mail) -> str:
    """Send one mail; return the last reply as text.

    A recipient that is refused does not keep the others from their mail.
    """
    client.ehlo()
    code, text = client.mail(mail.mail_from)
    if code == 250:
        answers = [client.rcpt(address) for address in mail.rcpt_to]
        code, text = min(answers, key=lambda answer: answer[0])
    if code == 250:
        if mail.chunks:
            code, text = send_chunks(client, mail)
        elif mail.verbatim:
            code, text = send_verbatim(client, mail.verbatim)
        else:
            code, text = client.data(mail.content)
    return f"{code} {text.decode('ascii', 'replace')}"


def send_chunks(client: smtplib.SMTP, mail: Mail) -> tuple[int, bytes]:
    """Send a message by BDAT (RFC 3030); smtplib has no words for it."""
    rest = mail.content
    for size in mail.chunks:
        chunk, rest = rest[:size], rest[size:]
        client.send(b"BDAT %d\r\n%s" % (len(chunk), chunk))
        code, text = client.getreply()
        if code != 250:
            return code, text
    client.send(b"BDAT %d LAST\r\n%s" % (len(rest), rest))
    return client.getreply()


def send_verbatim(client: smtplib.SMTP, octets: bytes) -> tuple[int, bytes]:
    """Send octets after 354 that smtplib would repair."""
    code, text = client.docmd("DATA")
    if code != 354:
        return code, text
    client.send(octets)
    return client.getreply()


# -- messages ------------------------------------------------------------------------


def text(subject: str, body: str = "A line.\r\nAnother one.\r\n") -> bytes:
    """Return a plain message."""
    return (
        f"From: Karl <{ABROAD}>\r\nTo: Anna <{ANNA}>\r\nSubject: {subject}\r\n"
        f"Message-ID: <{subject.replace(' ', '-')}@partner.test>\r\n\r\n{body}"
    ).encode()


def attached(subject: str, header: str, payload: bytes) -> bytes:
    """Return a message with a text, an attachment and a picture."""
    data = base64.encodebytes(payload).replace(b"\n", CRLF)
    picture = base64.encodebytes(b"\x89PNG" + bytes(range(60))).replace(b"\n", CRLF)
    return CRLF.join(
        [
            text(subject).partition(b"\r\n\r\n")[0],
            b"MIME-Version: 1.0",
            b'Content-Type: multipart/mixed; boundary="=_demo"',
            b"",
            b"--=_demo",
            b"Content-Type: text/plain",
            b"",
            b"See the attachment.",
            b"--=_demo",
            header.encode(),
            b"Content-Transfer-Encoding: base64",
            b"",
            data + b"--=_demo",
            b'Content-Type: image/png; name="logo.png"',
            b"Content-Transfer-Encoding: base64",
            b"",
            picture + b"--=_demo--",
            b"",
        ]
    )


def unchanged(wanted: bytes) -> Check:
    """Check that a message arrived octet for octet."""
    return lambda content, _: [] if content == wanted else ["octets were changed"]


def only_attachment_gone(wanted: bytes, payload: bytes) -> Check:
    """Check that the second part is a notice and the rest is as it was."""

    def check(content: bytes, _: tuple[str, ...]) -> list[str]:
        before, after = wanted.split(b"\r\n--=_demo"), content.split(b"\r\n--=_demo")
        problems = []
        if len(after) != len(before):
            return [f"{len(after)} pieces arrived, not {len(before)}"]
        for number, (old, new) in enumerate(zip(before, after, strict=True)):
            if (old == new) == (number == 2):
                problems.append(
                    f"piece {number}: {'kept' if old == new else 'changed'}"
                )
        if base64.encodebytes(payload).splitlines()[0] in content:
            problems.append("the attachment is still there")
        if not re.search(rb"Content-Type: text/plain", after[2]):
            problems.append("there is no notice in its place")
        return problems

    return check


def for_recipients(*wanted: str) -> Check:
    """Check the envelope that arrived."""
    return lambda _, rcpt_to: [] if rcpt_to == wanted else [f"arrived for {rcpt_to}"]


PAYLOAD = b"MZ" + b"harmless, but named as if it were not" * 8
EXE = attached(
    "an executable",
    'Content-Type: application/octet-stream; name="tool.exe"',
    PAYLOAD,
)
DISGUISED = attached(
    "a disguised name",
    "Content-Type: application/octet-stream\r\n"
    'Content-Disposition: attachment; filename*0=invoice.p; filename*1="df.e";\r\n'
    "\tfilename*2*=%78%65",
    PAYLOAD,
)
TYPED = attached("a type", "Content-Type: application/x-msdownload", PAYLOAD)
FORBIDDEN = attached("forbidden", "Content-Type: application/x-forbidden", PAYLOAD)
VOID = attached("void", "Content-Type: application/x-void", PAYLOAD)
EICAR = base64.b64decode(
    "WDVPIVAlQEFQWzRcUFpYNTQoUF4pN0NDKTd9JEVJQ0FSLVNUQU5E"
    "QVJELUFOVElWSVJVUy1URVNULUZJTEUhJEgrSCo="
)
"""The test file of virus scanners; encoded, so that they leave this one alone."""
VIRUS = attached("a virus", 'Content-Type: text/x-notes; name="notes.txt"', EICAR)
PLAIN = text("a plain mail")
LAST = text("another plain mail")
DOTS = text("dots and odd spaces", ".\r\n..\r\n. \r\n\ttrailing  \r\n.end\r\n\r\n\r\n")
SIGNED = (
    b"DKIM-Signature: v=1; a=rsa-sha256; d=partner.test; s=x;\r\n\tb=abc\r\n" + PLAIN
)
SMUGGLED = (
    text("first")
    + b"\n.\r\nMAIL FROM:<karl@partner.test>\r\nRCPT TO:<ben@demo.test>\r\nDATA\r\n"
    + text("smuggled")
    + b"\r\n.\r\n"
)

MAILS: tuple[Mail, ...] = (
    Mail("a plain mail", "250 ", PLAIN, check=unchanged(PLAIN)),
    Mail("dots at line starts", "250 ", DOTS, check=unchanged(DOTS)),
    Mail("a DKIM-signed mail", "250 ", SIGNED, check=unchanged(SIGNED)),
    Mail(
        "in three BDAT chunks",
        "250 ",
        PLAIN * 3,
        chunks=(7, 200),
        check=unchanged(PLAIN * 3),
    ),
    Mail(
        "own domain from outside",
        r"550 5\.7\.1 Sender",
        PLAIN,
        "boss@demo.test",
        copies=0,
    ),
    Mail(
        "own domain, web form",
        "250 ",
        PLAIN,
        "form@demo.test",
        check=unchanged(PLAIN),
    ),
    Mail(
        "an unknown recipient",
        r"550 5\.1\.1 ",
        PLAIN,
        rcpt_to=("nobody@demo.test",),
        copies=0,
    ),
    Mail(
        "for somebody elsewhere",
        r"550 5\.7\.1 Relaying",
        PLAIN,
        rcpt_to=("x@other.test",),
        copies=0,
    ),
    Mail(
        "an old address",
        "250 ",
        PLAIN,
        rcpt_to=("anne@demo.test",),
        check=for_recipients(ANNA),
    ),
    Mail(
        "refused by the upstream", r"550 5\.2\.1 ", PLAIN, rcpt_to=(REFUSED,), copies=0
    ),
    Mail(
        "four recipients at once",
        "250 ",
        PLAIN,
        rcpt_to=("nobody@demo.test", "ben@demo.test", REFUSED, "anne@demo.test"),
        check=for_recipients("ben@demo.test", ANNA),
    ),
    Mail("an .exe attached", "250 ", EXE, check=only_attachment_gone(EXE, PAYLOAD)),
    Mail(
        "a disguised .exe",
        "250 ",
        DISGUISED,
        check=only_attachment_gone(DISGUISED, PAYLOAD),
    ),
    Mail(
        "an executable by type",
        "250 ",
        TYPED,
        check=only_attachment_gone(TYPED, PAYLOAD),
    ),
    Mail(
        "a forbidden type",
        r"550 5\.7\.1 Message refused by policy \(id \w+\.1\)$",
        FORBIDDEN,
        copies=0,
    ),
    Mail(
        "a virus",
        r"550 5\.7\.1 Message refused by policy \(id \w+\.1\)$",
        VIRUS,
        copies=0,
    ),
    Mail("a type to be discarded", "250 ", VOID, copies=0),
    Mail(
        "a sender to try later", r"451 4\.7\.1 ", PLAIN, "later@partner.test", copies=0
    ),
    Mail(
        "a smuggled second mail", r"550 5\.6\.0 ", SMUGGLED, copies=0, verbatim=SMUGGLED
    ),
    Mail("another plain mail", "250 ", LAST, check=unchanged(LAST)),
)
"""The last one would find what the smuggled one left behind."""
