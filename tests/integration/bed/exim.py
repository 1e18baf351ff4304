"""Exim as a sending MTA: with BDAT or DATA, pipelining or on a kept connection.

It pipelines QUIT behind the last BDAT. On a TLS connection that it hands from one of
its processes to the next it then may lose the reply (``Remote host closed connection in
response to pipelined end of data``, seen with 4.96 straight to Postfix) and send the
message again: so it keeps connections here only where it does not pipeline.

A recipient that is told 452 it sends to at once, in a transaction of its own on the
same connection, if the message went by DATA; after BDAT it defers it like any other.

Debian's package conflicts with Postfix, so it runs from an unpacked folder. It insists
on a user ``Debian-exim`` and on a list of trusted configuration files under ``/etc``:
both are laid over ``/etc`` in a mount namespace of its own, the system keeps its files.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from functools import cache
from itertools import repeat
from pathlib import Path
from typing import TYPE_CHECKING

from tests.integration.bed.need import need, need_root, unavailable
from tests.integration.bed.packages import NotUnpackedError, unpacked
from tests.integration.bed.process import wait_until
from tests.integration.bed.told import Told, told_by_exim


if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.integration.bed.clients import Place
    from tests.integration.bed.mails import Mail, Target


USER = "Debian-exim"
UID = 64999

CONFIGURATION = """\
primary_hostname = client.example.test
exim_path = {binary}
spool_directory = {spool}
log_file_path = {spool}/%slog
exim_user = {user}
exim_group = {user}
never_users =
host_lookup =
keep_environment =
trusted_users = root
qualify_domain = client.example.test
log_selector = +all -pid
queue_run_in_order
message_size_limit = 50M
begin routers
returned:
  driver = redirect
  domains = client.example.test
  data = :blackhole:
relay:
  driver = manualroute
  route_list = * "<+ {host}" byname
  transport = out
  self = send
begin transports
out:
  driver = smtp
  port = {port}
  allow_localhost
  hosts_try_chunking = {chunking}
  hosts_nopass_tls = {one_each}
  hosts_avoid_pipelining = {one_by_one}
{tls}
begin retry
* * F,1h,{retry}
"""

STARTTLS = """\
  hosts_require_tls = *
  tls_verify_certificates = {trust}
  tls_verify_hosts = *
  tls_verify_cert_hostnames =
  tls_sni = {name}
"""

OVERLAY = 'mount -t overlay overlay -o "lowerdir=$1:/etc" /etc && shift && exec "$@"'


def exim_bdat(place: Place, target: Target, mails: Sequence[Mail]) -> list[Told]:
    """Send with BDAT where it is offered, pipelining, one connection each under TLS."""
    return _exim(place, target, mails, {"chunking": "*", "one_each": "*"})


def exim_data(place: Place, target: Target, mails: Sequence[Mail]) -> list[Told]:
    """Do the same with DATA, whatever the server offers."""
    return _exim(place, target, mails, {"one_each": "*"})


def exim_kept(place: Place, target: Target, mails: Sequence[Mail]) -> list[Told]:
    """Send all on one connection, with BDAT, one command at a time."""
    return _exim(place, target, mails, {"chunking": "*", "one_by_one": "*"})


def exim_retrying(place: Place, target: Target, mails: Sequence[Mail]) -> list[Told]:
    """Send as ``exim_bdat``, and again what was deferred, until nothing is left.

    Its retry rule says a second; the later queue runs force nothing.
    """
    return _exim(
        place, target, mails, {"chunking": "*", "one_each": "*", "retry": "1s"}
    )


def _exim(
    place: Place, target: Target, mails: Sequence[Mail], lists: dict[str, str]
) -> list[Told]:
    command = _command(place, target, lists)
    for mail in mails:
        # -odq: one queue run shall find them all, and route before it delivers (-qq).
        sending = ["-odq", "-oi", "-f", mail.reverse_path, "--", *mail.forward_paths]
        place.run([*command, *sending], text=mail.unix)
    place.run([*command, "-qqf"])
    log = place.folder / "spool" / "mainlog"
    ids = _ids(log)
    wait_until(
        lambda: all(map(_is_done, repeat(_text(log)), ids, mails)),
        "what became of Exim's mails",
        45,
    )
    if "retry" in lists:
        wait_until(
            lambda: _is_empty(place.run([*command, "-qq"]), log, ids), "Exim's end", 45
        )
    return told_by_exim(_text(log), ids)


def _is_empty(_printed: str, log: Path, ids: Sequence[str]) -> bool:
    """Whether nothing is left after a queue run that has ended."""
    text = _text(log)
    return all(f" {each} Completed" in text for each in ids)


def _is_done(log: str, message_id: str, mail: Mail) -> bool:
    done = re.findall(rf" {message_id} (?:=>|->|\*\*|==) (\S+)", log)
    return set(mail.forward_paths) <= set(done)


def _ids(log: Path) -> list[str]:
    return re.findall(r"(?m)^\S+ \S+ (\S+) <= .* id=bed-token-", _text(log))


def _text(log: Path) -> str:
    return log.read_text("utf-8", "replace")


def _command(place: Place, target: Target, lists: dict[str, str]) -> list[str]:
    need_root("Exim")
    need("unshare", "util-linux")
    try:
        root = unpacked("exim", "exim4-daemon-light", "exim4-base")
    except NotUnpackedError as error:
        unavailable(str(error))
    binary = root / "usr" / "sbin" / "exim4"
    if missing := _missing_libraries(binary):
        unavailable(f"Exim's libraries: {missing}")
    spool, etc = place.folder / "spool", place.folder / "etc"
    tls = STARTTLS.format(trust=target.trust, name=target.name)
    tls += "  protocol = smtps\n" if target.tls == "implicit" else ""
    configuration = place.folder / "exim.conf"
    _lay_etc(etc, configuration)
    configuration.write_text(
        CONFIGURATION.format(
            binary=binary,
            spool=spool,
            user=USER,
            host=target.host,
            port=target.port,
            chunking=lists.get("chunking", ""),
            one_each=lists.get("one_each", ""),
            one_by_one=lists.get("one_by_one", ""),
            retry=lists.get("retry", "1m"),
            tls="" if target.tls == "clear" else tls,
        ),
        "utf-8",
    )
    spool.mkdir(mode=0o750)
    shutil.chown(spool, UID, UID)
    shell = ["unshare", "--mount", "--", "sh", "-c", OVERLAY, "sh", str(etc)]
    return [*shell, str(binary), "-C", str(configuration)]


@cache
def _missing_libraries(binary: Path) -> str:
    done = subprocess.run(
        ["ldd", str(binary)], capture_output=True, text=True, timeout=20, check=False
    )
    return ", ".join(re.findall(r"(\S+) => not found", done.stdout))


def _lay_etc(folder: Path, configuration: Path) -> None:
    (folder / "exim4").mkdir(parents=True)
    (folder / "exim4" / "trusted_configs").write_text(f"{configuration}\n", "utf-8")
    for name, line in (
        ("passwd", f"{USER}:x:{UID}:{UID}::/nonexistent:/usr/sbin/nologin\n"),
        ("group", f"{USER}:x:{UID}:\n"),
    ):
        system = Path("/etc", name).read_text("utf-8").splitlines(keepends=True)
        # The bed's own line must win where the system has an Exim of its own.
        kept = [each for each in system if not each.startswith(f"{USER}:")]
        (folder / name).write_text("".join([*kept, line]), "utf-8")
