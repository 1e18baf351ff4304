"""Recipients whom content rules treat differently, and real senders (contract 5).

A program is taken out for one recipient and left to the other. Where they are kept
apart the second is told 452, and its copy comes by the sender's own retry; on the
submission port, where people wait for an answer, both get what is safe for both.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.integration.bed import clients, exim, mta
from tests.integration.bed.mails import Target
from tests.integration.bed.process import BedError
from tests.integration.sessions import sessions_of
from tests.integration.test_real_peers_parts import notice_in, with_program
from tests.integration.ways import ALLOWED, HEAD, NEW, OLD, policy


if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path
    from typing import Any

    from tests.integration.bed.guard import Guard
    from tests.integration.bed.maildir import Copy
    from tests.integration.bed.mails import Mail
    from tests.integration.bed.netns import Network
    from tests.integration.bed.postfix import PostfixServer
    from tests.integration.bed.told import Told
    from tests.integration.conftest import Loopback, Send, StartGuard

    type Sender = Callable[[clients.Place, Target, Sequence[Mail]], list[Told]]


pytestmark = [pytest.mark.real, pytest.mark.timeout(120)]

FOR_ALL = '{match: "*.exe", action: strip, name: no-programs}'
FOR_ONE = f'{{match: "*.exe", when: {{to: "{ALLOWED}"}}, action: strip}}'
LATER = "452 4.5.3 Too many recipients, send this one by itself"

SENDERS: dict[str, tuple[Sender, int]] = {
    # Connections that it takes: Exim tries at once after DATA.
    "postfix": (mta.postfix_retrying, 1),
    "exim-bdat": (exim.exim_retrying, 2),
    "exim-data": (exim.exim_data, 1),
}


def rules(session: str = "max_recipients: 50") -> str:
    text = HEAD + policy(session=session)
    assert FOR_ALL in text
    return text.replace(FOR_ALL, FOR_ONE)


def check_edited(copy: Copy, mail: Mail) -> None:
    assert b"TVqQAAMA" not in copy.message
    assert b"A part of this message was removed" in notice_in(copy.message, mail)


@pytest.fixture(scope="module")
def guard(start_unowned_guard: StartGuard, loopback: Loopback) -> Iterator[Guard]:
    """On any other port than that of submission they are kept apart by default."""
    running = start_unowned_guard(loopback.reverse("starttls"), rules())
    yield running
    assert running.stop() == 0, running.log


@pytest.mark.parametrize("name", SENDERS)
def test_each_recipient_gets_a_copy_of_its_own_once(
    name: str, guard: Guard, loopback: Loopback, fresh_folder: Callable[[], Path]
) -> None:
    sender, connections = SENDERS[name]
    target = Target("127.0.0.1", guard.port, "starttls", guard.trust)
    mail = with_program()
    try:
        (told,) = sender(clients.Place(fresh_folder()), target, [mail])
    except BedError as error:
        pytest.fail(f"{error}\n{guard.log[-6000:]}")
    loopback.server.instance.settle()
    edited, untouched = loopback.server.maildir.copies(mail.token)
    assert (edited.recipient, untouched.recipient) == (ALLOWED, NEW)
    check_edited(edited, mail)
    assert untouched.message.endswith(mail.message)
    assert {reply[:3] for reply in told.recipients.values()} == {"250"}
    sessions = sessions_of(guard, mail)
    assert len(sessions) == connections
    answers = [one for session in sessions for one in session.recipients()]
    assert [(to, reply[:9]) for to, reply in answers] == [
        (ALLOWED, "250 2.1.5"),
        (OLD, LATER[:9]),
        (OLD, "250 2.1.5"),
    ]
    assert answers[1][1] == LATER
    first, second = [one for each in sessions for one in each.record.transactions]
    assert [one["disposition"] for one in (first, second)] == ["modified", "relayed"]
    put_off = first["envelope"]["rcpt_to"][1]
    assert (put_off["asked"], put_off["rule"]) == (OLD, "differing")
    # It never went up, so nothing had to be undone there.
    for session in sessions:
        up = [line for side, line in session.said("sS") if side == "C"]
        assert "RSET" not in up
    assert " tx=" + first["transaction"] in guard.log


def submitted(
    port: int,
    start_guard: StartGuard,
    network: Network,
    mail_server: PostfixServer,
    send: Send,
) -> tuple[Mail, Told, list[Copy], list[dict[str, Any]]]:
    """Send with smtplib through a gateway to this port of the mail server."""
    mode = f"reverse:tcp://{network.mail.ipv4}:{port}"
    running = start_guard(mode, rules(), namespace=network.router)
    host = network.router.ipv4
    target = Target(host, running.port, "starttls", running.trust)
    mail = with_program()
    (told,) = send("smtplib", target, mail, namespace=network.client)
    mail_server.instance.settle()
    copies = mail_server.maildir.copies(mail.token)
    (session,) = sessions_of(running, mail)
    return mail, told, copies, [dict(one) for one in session.record.transactions]


def test_on_the_submission_port_both_get_what_is_safe_for_both(
    start_guard: StartGuard,
    network: Network,
    mail_server: PostfixServer,
    send: Send,
) -> None:
    mail, told, copies, records = submitted(
        587, start_guard, network, mail_server, send
    )
    assert told.accepted, told.transcript
    assert {reply[:3] for reply in told.recipients.values()} == {"250"}
    assert [copy.recipient for copy in copies] == [ALLOWED, NEW]
    for copy in copies:
        check_edited(copy, mail)
    (record,) = records
    assert (record["disposition"], record["action"]) == ("modified", "strip")
    assert len(record["envelope"]["rcpt_to"]) == 2


def test_on_the_port_of_mail_exchange_smtplib_is_told_to_come_again(
    start_guard: StartGuard,
    network: Network,
    mail_server: PostfixServer,
    send: Send,
) -> None:
    mail, told, copies, records = submitted(25, start_guard, network, mail_server, send)
    assert told.accepted, told.transcript
    assert told.recipients[OLD] == LATER
    (copy,) = copies
    assert copy.recipient == ALLOWED
    check_edited(copy, mail)
    assert [one["disposition"] for one in records] == ["modified"]
