"""Clients that speak for themselves: swaks, curl, msmtp, smtplib.

Each sends mails to a target and returns what it was told. All verify the server's
certificate against the target's authority, so a proxy in between must be trusted on
purpose. smtplib and curl send all their mails on one connection, swaks and msmtp one
mail on each.
"""

from __future__ import annotations

import re
import smtplib
import ssl
import subprocess
from contextlib import closing, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.integration.bed.mails import Mail, Target
from tests.integration.bed.need import need, unavailable
from tests.integration.bed.packages import NotUnpackedError, unpacked
from tests.integration.bed.process import child_environment
from tests.integration.bed.told import CONNECT, MESSAGE, Told, pair, told_by_dialogue


if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from tests.integration.bed.netns import Namespace


HELO = "client.example.test"
SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Place:
    """Where a client runs."""

    folder: Path
    """For its files; a fresh one for each call."""
    namespace: Namespace | None = None

    @property
    def prefix(self) -> list[str]:
        """The words in front of a command."""
        return self.namespace.prefix if self.namespace else []

    def run(
        self,
        command: Sequence[str],
        env: dict[str, str] | None = None,
        text: bytes = b"",
    ) -> str:
        """Run a client to its end; return all it printed.

        Its exit status is not looked at: a refusal is an answer.
        """
        done = subprocess.run(
            [*self.prefix, *command],
            input=text,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=child_environment(env or {}),
            timeout=SECONDS,
            check=False,
        )
        return done.stdout.decode("utf-8", "replace")

    def call[Value](self, function: Callable[[], Value]) -> Value:
        """Call ``function`` with this place's network."""
        return self.namespace.call(function) if self.namespace else function()

    def write(self, name: str, octets: bytes) -> str:
        """Write a file; return its path."""
        path = self.folder / name
        path.write_bytes(octets)
        return str(path)


def stuffed(message: bytes) -> bytes:
    """Return ``message`` as DATA sends it, with the final dot (RFC 5321 4.5.2)."""
    return re.sub(rb"(?m)^\.", b"..", message) + b".\r\n"


def swaks(place: Place, target: Target, mails: Sequence[Mail]) -> list[Told]:
    """Send with swaks, one command at a time."""
    return [told for mail in mails for told in _swaks(place, target, mail)]


def swaks_pipelining(place: Place, target: Target, mails: Sequence[Mail]) -> list[Told]:
    """Send with swaks, MAIL to DATA in one segment where the server allows it."""
    return [
        told for mail in mails for told in _swaks(place, target, mail, "--pipeline")
    ]


def _swaks(place: Place, target: Target, mail: Mail, *options: str) -> list[Told]:
    data = place.write(f"{mail.token}.data", stuffed(mail.message))
    command = [need("swaks"), "--server", target.host, "--port", str(target.port)]
    command += ["--helo", HELO, "--from", mail.reverse_path or "<>"]
    command += ["--to", ",".join(mail.forward_paths), "--data", f"@{data}"]
    command += ["--no-data-fixup", "--suppress-data", "--timeout", "30", *options]
    if target.tls != "clear":
        command += ["--tls" if target.tls == "starttls" else "--tls-on-connect"]
        command += ["--tls-verify", "--tls-ca-path", str(target.trust)]
        command += ["--tls-sni", target.name]
    text = place.run(command, env=_swaks_environment(target))
    lines = re.findall(r"(?m)^( ->| ~>|<[-~*]{1,2}) +(\S.*)$", text)
    # The message itself shows as a command that gets no reply of its own.
    dialogue = [
        ("C" if arrow.startswith(" ") else "S", words)
        for arrow, words in lines
        if not re.match(r"\[\d+ lines sent\]", words)
    ]
    return told_by_dialogue(pair(dialogue), text, 1)


def _swaks_environment(target: Target) -> dict[str, str]:
    if ":" not in target.host:
        return {}
    try:
        root = unpacked("swaks-ipv6", "libio-socket-inet6-perl", "libsocket6-perl")
    except NotUnpackedError as error:
        unavailable(f"swaks cannot reach IPv6: {error}")
    folders = {str(path.parents[2]) for path in root.rglob("IO/Socket/INET6.pm")}
    folders |= {str(path.parent) for path in root.rglob("Socket6.pm")}
    return {"PERL5LIB": ":".join(sorted(folders))}


def curl(place: Place, target: Target, mails: Sequence[Mail]) -> list[Told]:
    """Send with curl, all on one connection where it keeps it."""
    scheme = "smtps" if target.tls == "implicit" else "smtp"
    host = f"[{target.host}]" if ":" in target.host else target.host
    command = [need("curl"), "--verbose", "--silent", "--show-error"]
    for index, mail in enumerate(mails):
        command += ["--next", "--silent"] if index else []
        command += ["--url", f"{scheme}://{target.name}:{target.port}/{HELO}"]
        command += ["--resolve", f"{target.name}:{target.port}:{host}"]
        command += ["--cacert", str(target.trust), "--mail-rcpt-allowfails"]
        command += ["--ssl-reqd"] if target.tls == "starttls" else []
        command += ["--mail-from", mail.reverse_path]
        for forward_path in mail.forward_paths:
            command += ["--mail-rcpt", forward_path]
        command += ["--upload-file", place.write(f"{mail.token}.eml", mail.message)]
    text = place.run(command)
    lines = re.findall(r"(?m)^([<>]|\* Connected) (.*?)\r?$", text)
    dialogue = [
        ("S" if arrow == "<" else "C", words if arrow in "<>" else CONNECT)
        for arrow, words in lines
    ]
    return told_by_dialogue(pair(dialogue), text, len(mails))


def msmtp(place: Place, target: Target, mails: Sequence[Mail]) -> list[Told]:
    """Send with msmtp, which gives a mail up at its first refused recipient."""
    return [told for mail in mails for told in _msmtp(place, target, mail)]


def _msmtp(place: Place, target: Target, mail: Mail) -> list[Told]:
    settings = f"defaults\nset_date_header off\nset_msgid_header off\ndomain {HELO}\n"
    settings += f"account default\nhost {target.host}\nport {target.port}\ntimeout 30\n"
    if target.tls == "clear":
        settings += "tls off\n"
    else:
        starttls = "on" if target.tls == "starttls" else "off"
        settings += f"tls on\ntls_starttls {starttls}\ntls_trust_file {target.trust}\n"
        settings += f"tls_host_override {target.name}\n"
    configuration = place.write("msmtprc", settings.encode("ascii"))
    command = [need("msmtp"), f"--file={configuration}", "--debug"]
    command += [f"--from={mail.reverse_path}", "--", *mail.forward_paths]
    text = place.run(command, text=mail.unix)
    dialogue = [
        ("C" if arrow == "-->" else "S", words)
        for arrow, words in re.findall(r"(?m)^(-->|<--) (.*)$", text)
    ]
    return told_by_dialogue(pair(_msmtp_commands(dialogue)), text, 1)


def _msmtp_commands(dialogue: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Leave out the message, which msmtp shows as commands, up to its dot."""
    kept = []
    sending = False
    for side, words in dialogue:
        if side == "S" and words.startswith("354"):
            sending = True
        elif sending and side == "C":
            continue
        else:
            sending = False
        kept.append((side, words))
    return kept


def python_smtplib(place: Place, target: Target, mails: Sequence[Mail]) -> list[Told]:
    """Send with Python's smtplib, all on one connection."""
    return place.call(lambda: _smtplib(target, mails))


def _smtplib(target: Target, mails: Sequence[Mail]) -> list[Told]:
    context = ssl.create_default_context(cafile=str(target.trust))
    # smtplib sends and verifies the name it was told to connect to.
    smtp: smtplib.SMTP
    if target.tls == "implicit":
        smtp = smtplib.SMTP_SSL(context=context, local_hostname=HELO, timeout=30)
    else:
        smtp = smtplib.SMTP(local_hostname=HELO, timeout=30)
    smtp._host = target.name  # type: ignore[attr-defined]
    with closing(smtp):
        code, text = smtp.connect(target.host, target.port)
        if code != 220:
            return [Told(final=f"{code} {_text(text)}") for _ in mails]
        code, text = smtp.ehlo()
        if code != 250:
            return [Told(final=f"{code} {_text(text)}") for _ in mails]
        if target.tls == "starttls":
            smtp.starttls(context=context)
            smtp.ehlo()
        found = [_smtplib_mail(smtp, mail) for mail in mails]
        # A server that is about to stop says 421 instead, or has gone.
        with suppress(smtplib.SMTPServerDisconnected):
            smtp.docmd("QUIT")
        return found


def _smtplib_mail(smtp: smtplib.SMTP, mail: Mail) -> Told:
    pairs: list[tuple[str, tuple[int, bytes | str]]] = [
        (f"MAIL FROM:<{mail.reverse_path}>", smtp.mail(mail.reverse_path)),
        *((f"RCPT TO:<{each}>", smtp.rcpt(each)) for each in mail.forward_paths),
    ]
    if any(code == 250 for _, (code, _) in pairs[1:]):
        try:
            pairs.append((MESSAGE, smtp.data(mail.message)))
        except smtplib.SMTPDataError as error:
            pairs.append((MESSAGE, (error.smtp_code, error.smtp_error)))
    if pairs[-1][1][0] != 250:
        smtp.rset()
    dialogue = [(command, f"{code} {_text(text)}") for command, (code, text) in pairs]
    transcript = "\n".join(f"{command}\n{reply}" for command, reply in dialogue)
    return told_by_dialogue(dialogue, transcript, 1)[0]


def _text(octets: bytes | str) -> str:
    return octets if isinstance(octets, str) else octets.decode("utf-8", "replace")
