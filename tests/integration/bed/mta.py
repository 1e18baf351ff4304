"""Postfix as a sending MTA: it relays all that is handed to it to one target.

Two mails of a run go over one connection: TLS connections are cached and a destination
is served one delivery at a time. A recipient that is told 452 is deferred, as by any
other 4yz, and the others of the mail are delivered; left to itself Postfix then waits
five minutes (``minimal_backoff_time``).
"""

from __future__ import annotations

import re
import subprocess
from typing import TYPE_CHECKING

from tests.integration.bed.need import need, need_root
from tests.integration.bed.postfix import instance
from tests.integration.bed.process import wait_until
from tests.integration.bed.told import Told, told_by_postfix


if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from tests.integration.bed.clients import Place
    from tests.integration.bed.mails import Mail, Target
    from tests.integration.bed.postfix import Instance


def postfix(place: Place, target: Target, mails: Sequence[Mail]) -> list[Told]:
    """Hand ``mails`` to a Postfix of their own, and wait until each is dealt with.

    A deferred mail is dealt with too: its reply is in what is returned.
    """
    return _postfix(place, target, mails, {}, _wait_told)


def postfix_retrying(place: Place, target: Target, mails: Sequence[Mail]) -> list[Told]:
    """Do the same, and wait until nothing is left, as an MTA in service would.

    What was deferred it sends again by itself after seconds, not after minutes. Not
    after one: a run through the queue in the moment in which a mail is deferred leaves
    it where it is ("skipped, still being delivered"), for good, and that moment is
    within the first second.
    """
    soon = {
        "queue_run_delay": "3s",
        "minimal_backoff_time": "3s",
        # By the connection that it has.
        "smtp_connection_cache_time_limit": "30s",
        "connection_cache_ttl_limit": "30s",
    }
    return _postfix(place, target, mails, soon, _wait_sent)


def _postfix(
    place: Place,
    target: Target,
    mails: Sequence[Mail],
    extra: Mapping[str, str],
    wait: Callable[[Instance, Mail], str],
) -> list[Told]:
    need_root("Postfix")
    need("master", "postfix")
    host = f"[{target.host}]:{target.port}"
    level = "none" if target.tls == "clear" else "verify"
    parameters = {
        "myhostname": "client.example.test",
        "mynetworks_style": "host",
        "mydestination": "",
        "relayhost": host,
        "default_transport": "smtp",
        # What would be returned to the sender ends here.
        "transport_maps": "inline:{client.example.test=discard:}",
        "smtp_tls_security_level": level,
        "smtp_tls_wrappermode": "yes" if target.tls == "implicit" else "no",
        "smtp_tls_CAfile": str(target.trust),
        "smtp_tls_verify_cert_match": target.name,
        "smtp_tls_loglevel": "1",
        "smtp_tls_connection_reuse": "yes",
        "smtp_connection_cache_destinations": "static:all",
        "smtp_destination_concurrency_limit": "1",
    }
    parameters |= extra
    with instance(place.folder / "mta", parameters, "", prefix=place.prefix) as running:
        for mail in mails:
            _submit(place, running, mail)
        ids = [wait(running, mail) for mail in mails]
        return told_by_postfix(running.log_text(), ids)


def _submit(place: Place, running: Instance, mail: Mail) -> None:
    pickup = running.folder / "queue" / "public" / "pickup"
    wait_until(pickup.exists, "Postfix's pickup")
    command = [need("sendmail", "postfix"), "-C", str(running.configuration), "-i"]
    command += ["-f", mail.reverse_path, "--", *mail.forward_paths]
    subprocess.run(
        [*place.prefix, *command],
        input=mail.unix,
        check=True,
        capture_output=True,
        timeout=30,
    )


def _wait_told(running: Instance, mail: Mail) -> str:
    """Wait until every recipient of ``mail`` has a line in the log; its queue id."""
    queue_id = running.wait_log(rf" (\w+): message-id=<{mail.token}@")[1]
    each = re.compile(rf" {queue_id}: to=<([^>]*)>,.* status=")
    wanted = set(mail.forward_paths)
    wait_until(
        lambda: wanted <= set(each.findall(running.log_text())),
        f"what became of {mail.token}",
        45,
    )
    return queue_id


def _wait_sent(running: Instance, mail: Mail) -> str:
    """Wait until no recipient of ``mail`` is left; its queue id."""
    queue_id = running.wait_log(rf" (\w+): message-id=<{mail.token}@")[1]
    running.wait_log(rf" {queue_id}: removed$", 45)
    return queue_id
