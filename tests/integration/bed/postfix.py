"""Postfix instances with configuration, queue and log in a temporary folder.

``master`` is started by itself, without the ``postfix`` script: the script's checks
take seconds, and run as a child the instance ends with the bed. ``postfix_server``
takes any mail but what ``REFUSALS`` names; ``mta`` is the sending side.
"""

from __future__ import annotations

import os
import pwd
import re
import shutil
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from tests.integration.bed.maildir import Maildir
from tests.integration.bed.process import (
    BedError,
    Process,
    dies_with_us,
    start,
    wait_until,
)


if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from tests.integration.bed.certificates import Identity


DAEMONS = "/usr/lib/postfix/sbin"

type Kind = Literal["starttls", "clear", "proxy", "submission", "smtps"]

KINDS: dict[Kind, tuple[str, ...]] = {
    "starttls": (),
    "clear": ("smtpd_tls_security_level=none",),
    "proxy": (
        "smtpd_upstream_proxy_protocol=haproxy",
        "smtpd_upstream_proxy_timeout=5s",
    ),
    "submission": ("smtpd_tls_security_level=encrypt",),
    "smtps": ("smtpd_tls_wrappermode=yes",),
}
"""How each listener differs: STARTTLS offered, no TLS, a PROXY header demanded,
STARTTLS demanded (587), TLS from the first octet (465)."""

REFUSALS = {
    "recipient": {
        "refused@": "550 5.1.1 No such mailbox here",
        "later@": "450 4.2.0 Try this mailbox later",
    },
    "data": {
        "data554@": "554 5.7.0 Not this one at DATA",
        "data451@": "451 4.3.0 Not now at DATA",
    },
    "end_of_data": {
        "end552@": "552 5.3.4 Too big after all",
        "end451@": "451 4.3.0 Not now after all",
    },
}
"""What the server refuses: recipients at RCPT, senders at DATA and after the dot."""

SERVICES = """\
pickup    unix n - n 60    1 pickup
cleanup   unix n - n -     0 cleanup
qmgr      unix n - n 300   1 qmgr
tlsmgr    unix - - n 1000? 1 tlsmgr
rewrite   unix - - n -     - trivial-rewrite
bounce    unix - - n -     0 bounce
defer     unix - - n -     0 bounce
trace     unix - - n -     0 bounce
proxymap  unix - - n -     - proxymap
smtp      unix - - n -     - smtp
error     unix - - n -     - error
retry     unix - - n -     - error
discard   unix - - n -     - discard
virtual   unix - n n -     - virtual
anvil     unix - - n -     1 anvil
scache    unix - - n -     1 scache
tlsproxy  unix - - n -     0 tlsproxy
postlog   unix-dgram n - n - 1 postlogd
"""

_SHOWN = 60
"""Lines of its log where it was waited for in vain."""
QUEUES = (
    *("active", "bounce", "corrupt", "defer", "deferred", "flush", "hold"),
    *("incoming", "private", "saved", "trace"),
)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where one listener is."""

    host: str
    port: int
    kind: Kind


@dataclass(frozen=True, slots=True)
class Instance:
    """A running Postfix."""

    folder: Path
    master: Process

    @property
    def configuration(self) -> Path:
        """The folder for ``-C`` and ``-c``."""
        return self.folder / "etc"

    def log_text(self) -> str:
        """Return Postfix's log."""
        path = self.folder / "mail.log"
        return path.read_text("utf-8", "replace") if path.exists() else ""

    def wait_log(self, pattern: str, seconds: float = 15.0) -> re.Match[str]:
        """Wait for a line of the log in which ``pattern`` is found.

        Raises ``BedError`` in vain.
        """
        search = re.compile(pattern, re.MULTILINE).search
        try:
            wait_until(
                lambda: search(self.log_text()) is not None,
                f"{pattern!r} in Postfix's log",
                seconds,
            )
        except BedError as error:
            last = self.log_text().splitlines()[-_SHOWN:]
            raise BedError("\n".join([str(error), *last])) from None
        found = search(self.log_text())
        assert found is not None
        return found

    def settle(self, seconds: float = 15.0) -> None:
        """Wait until no message is on its way: what was accepted is delivered then.

        Deferred messages do not count. Raises ``BedError`` in vain.
        """
        moving = [
            self.folder / "queue" / name for name in ("maildrop", "incoming", "active")
        ]
        wait_until(
            lambda: (
                not any(path.is_file() for each in moving for path in each.iterdir())
            ),
            "an empty queue",
            seconds,
        )


@dataclass(frozen=True, slots=True)
class PostfixServer:
    """A Postfix that takes any mail into one maildir."""

    instance: Instance
    endpoints: tuple[Endpoint, ...]
    maildir: Maildir

    def endpoint(self, kind: Kind, host: str | None = None) -> Endpoint:
        """Return the first listener of this kind, at ``host`` if one is given."""
        return next(
            each
            for each in self.endpoints
            if each.kind == kind and host in (None, each.host)
        )


@contextmanager
def postfix_server(
    folder: Path,
    identity: Identity,
    endpoints: Sequence[Endpoint],
    *,
    prefix: Sequence[str] = (),
    extra: Mapping[str, str] | None = None,
) -> Iterator[PostfixServer]:
    """Start a receiving Postfix on ``endpoints``; it ends with the context.

    ``extra`` overrides parameters (``smtpd_forbid_bare_newline``). XCLIENT is allowed
    from the bed's addresses.
    """
    owner = pwd.getpwnam("postfix")
    mail = folder / "mail"
    parameters = {
        "mydestination": "",
        "local_recipient_maps": "",
        "mynetworks": "127.0.0.0/8 [::1]/128 10.91.0.0/16 [fd91::]/16",
        "smtpd_authorized_xclient_hosts": "$mynetworks",
        # Else it would forgive a client in mynetworks everything.
        "smtpd_forbid_bare_newline_exclusions": "",
        "smtpd_relay_restrictions": "reject_unauth_destination",
        # The message must stay as it came also from a client in mynetworks.
        "local_header_rewrite_clients": "",
        "virtual_mailbox_domains": "static:ok",
        "virtual_mailbox_base": str(mail),
        "virtual_mailbox_maps": "static:inbox/",
        "virtual_uid_maps": f"static:{owner.pw_uid}",
        "virtual_gid_maps": f"static:{owner.pw_gid}",
        "virtual_mailbox_limit": "0",
        "message_size_limit": "52428800",
        "smtpd_tls_cert_file": str(identity.certificate),
        "smtpd_tls_key_file": str(identity.key),
        "smtpd_tls_security_level": "may",
        "smtpd_tls_loglevel": "1",
        "smtpd_tls_received_header": "yes",
        "smtpd_client_connection_count_limit": "0",
        "smtpd_peername_lookup": "no",
        "smtpd_recipient_restrictions": _refuse(folder, "recipient"),
        "smtpd_data_restrictions": _refuse(folder, "data"),
        "smtpd_end_of_data_restrictions": _refuse(folder, "end_of_data"),
    }
    listeners = "".join(_listener(each) for each in endpoints)
    with instance(
        folder, parameters | dict(extra or {}), listeners, prefix=prefix
    ) as running:
        mail.mkdir()
        shutil.chown(mail, "postfix", "postfix")
        running.master.wait_listening(*(each.port for each in endpoints))
        yield PostfixServer(running, tuple(endpoints), Maildir(mail / "inbox"))


@contextmanager
def instance(
    folder: Path,
    parameters: Mapping[str, str],
    listeners: str,
    *,
    prefix: Sequence[str] = (),
) -> Iterator[Instance]:
    """Start a Postfix; ``listeners`` are lines of ``master.cf``."""
    base = {
        "compatibility_level": "3.6",
        "queue_directory": str(folder / "queue"),
        "data_directory": str(folder / "data"),
        "command_directory": "/usr/sbin",
        "daemon_directory": DAEMONS,
        "mail_owner": "postfix",
        "setgid_group": "postdrop",
        "maillog_file": str(folder / "mail.log"),
        "maillog_file_prefixes": str(folder),
        "inet_protocols": "all",
        "myhostname": "mail.example.test",
        "mydomain": "example.test",
        "alias_maps": "",
        "alias_database": "",
        "smtp_dns_support_level": "disabled",
        "smtp_host_lookup": "native",
        "disable_dns_lookups": "yes",
        "default_process_limit": "50",
        "in_flow_delay": "0",
    }
    _make_folders(folder)
    configuration = folder / "etc"
    lines = [f"{name} = {value}\n" for name, value in {**base, **parameters}.items()]
    _write(configuration / "main.cf", "".join(lines))
    _write(configuration / "master.cf", listeners + SERVICES)
    command = [f"{DAEMONS}/master", "-c", str(configuration), "-d"]
    master = start(command, folder / "master.log", prefix=prefix)
    try:
        with dies_with_us(master):
            yield Instance(folder, master)
    finally:
        master.stop()


def _make_folders(folder: Path) -> None:
    # As postfix-files(5) lists them; master starts without its script's checks.
    for name in ("", "etc", "data", "queue", "queue/pid"):
        (folder / name).mkdir(parents=True, mode=0o755)
        (folder / name).chmod(0o755)
    for name in QUEUES:
        (folder / "queue" / name).mkdir(mode=0o700)
        shutil.chown(folder / "queue" / name, "postfix")
    for name, mode in (("maildrop", 0o730), ("public", 0o710)):
        (folder / "queue" / name).mkdir()
        (folder / "queue" / name).chmod(mode)
        shutil.chown(folder / "queue" / name, "postfix", "postdrop")
    shutil.chown(folder / "data", "postfix")


def _write(path: Path, text: str) -> None:
    path.write_text(text, "utf-8")
    # Postfix waits two seconds for a file that was written just now to become stable.
    old = path.stat().st_mtime - 60
    os.utime(path, (old, old))


def _listener(endpoint: Endpoint) -> str:
    host = f"[{endpoint.host}]" if ":" in endpoint.host else endpoint.host
    options = "".join(f" -o {option}" for option in KINDS[endpoint.kind])
    name = f"-o syslog_name=postfix/{endpoint.kind}"
    return f"{host}:{endpoint.port} inet n - n - - smtpd {name}{options}\n"


def _refuse(folder: Path, stage: str) -> str:
    table = folder.with_name(f"{folder.name}-{stage}.regexp")
    lines = [
        f"/^{re.escape(start_of_address)}/ {reply}\n"
        for start_of_address, reply in REFUSALS[stage].items()
    ]
    _write(table, "".join(lines))
    what = "recipient" if stage == "recipient" else "sender"
    return f"check_{what}_access regexp:{table}"
