"""What one client may take: turns, and replies that it has to read."""

from __future__ import annotations

import pytest

from smtpguard.dialogue import effects, events
from smtpguard.dialogue.engine import HIGH_WATER
from smtpguard.dialogue.fairness import (
    IDLE_SECONDS,
    NAMED,
    OPENING,
    OPENINGS,
    QUEUED,
    SMALL_CHUNK,
    TURN_LINES,
    TURN_OCTETS,
)
from smtpguard.model.decision import Action, Decision
from smtpguard.model.session import Leg
from smtpguard.model.settings import Limits, Settings
from smtpguard.policy.replies import REVERSE_PATH_DENIED, UNKNOWN_RECIPIENT
from smtpguard.replay.memory import MemorySession
from tests.dialogue.peers import (
    Rules,
    enveloped,
    forget_heard,
    greeted,
    lines,
    secured,
    session,
)
from tests.dialogue.world import Watched


TOO_MANY = "421 4.7.0 Too many commands without mail"
PACED = [effects.Pace(Leg.CLIENT)]


def patient() -> MemorySession:
    """Return a session whose replies leave our buffers only when the test says so."""
    rules = Rules(Settings(limits=Limits(commands=10**6)))
    memory = greeted(session(rules, kind=Watched))
    memory.dialogue.client.taken = memory.dialogue.client.owed = 0
    return memory


def drained(memory: MemorySession) -> None:
    assert memory.pending == PACED
    memory.pending.clear()
    memory.feed(events.Drained(Leg.CLIENT))


def test_a_turn_has_so_many_lines_and_the_next_goes_on_behind_it() -> None:
    memory = patient()
    count = 2 * TURN_LINES + 10
    said = [b"VRFY x\r\n" if n % 3 else b"HELP\r\n" for n in range(count)]
    memory.from_client(b"".join(said))
    heard = []
    for left in (TURN_LINES, 10):
        told = lines(memory.client_heard)
        # The first wait for a line was begun before the turn was.
        assert TURN_LINES <= len(told) <= TURN_LINES + 1
        heard += told
        assert count - len(heard) <= left + TURN_LINES
        drained(memory)
    heard += lines(memory.client_heard)
    assert [line[:3] for line in heard] == [
        "252" if n % 3 else "214" for n in range(count)
    ]
    assert memory.pending == []


def test_a_client_that_waits_for_each_reply_has_turns_as_well() -> None:
    """Else one that sends singly and never reads would be owed more and more."""
    memory = patient()
    for _ in range(TURN_LINES + 1):
        memory.from_client(b"NOOP\r\n")
    assert memory.pending == PACED
    memory.client_heard.clear()
    memory.from_client(b"NOOP\r\n")
    assert not memory.client_heard
    drained(memory)
    assert memory.client_heard


def test_a_turn_ends_before_its_replies_grow() -> None:
    """Whatever an upstream says is owed to the client as well."""
    memory = enveloped(patient())
    said = (b"250-" + b"x" * 2000 + b"\r\n") * 20 + b"250 x\r\n"
    for _ in range(2):
        memory.client_heard.clear()
        memory.from_client(b"RCPT TO:<%d@d.example>\r\n" % len(memory.log))
        memory.log.append("")
        memory.from_upstream(said)
        assert bytes(memory.client_heard) == said
    assert 2 * len(said) > TURN_OCTETS
    memory.client_heard.clear()
    memory.from_client(b"NOOP\r\nNOOP\r\n")
    assert len(lines(memory.client_heard)) <= 1
    drained(memory)
    assert len(lines(memory.client_heard)) >= 1


def test_replies_that_wait_for_the_upstream_are_bounded_too() -> None:
    memory = enveloped(patient())
    memory.from_client(b"RCPT TO:<last@d.example>\r\n" + b"VRFY x\r\n" * 10_000)
    while memory.pending:
        drained(memory)
    assert lines(memory.client_heard) == []
    assert QUEUED <= len(memory.dialogue.client.replies) < QUEUED + TURN_LINES
    memory.from_upstream(b"250 ok\r\n")
    assert memory.client_heard.startswith(b"250 ok\r\n252 2.5.2")
    assert memory.pending == PACED


def test_a_client_that_never_reads_is_owed_little_and_closed_in_time() -> None:
    memory = patient()
    for _ in range(100):
        memory.from_client(b"NOOP\r\n" * 1000)
    assert len(memory.client_heard) <= (TURN_LINES + 1) * len(b"250 2.0.0 OK\r\n")
    assert effects.Pace(Leg.CLIENT) in memory.pending
    assert len(memory.dialogue.client.receiver) > HIGH_WATER
    memory.client_heard.clear()
    memory.pass_time(299)
    assert not memory.ended
    memory.pass_time(2)
    assert lines(memory.client_heard) == ["421 4.4.2 Timeout, closing connection"]
    assert any("client does not read its replies" in line for line in memory.log)
    assert memory.ended


def test_a_client_that_goes_at_the_end_of_its_turn_ends_the_session() -> None:
    memory = patient()
    memory.from_client(b"NOOP\r\n" * 1000)
    memory.feed(events.Closed(Leg.CLIENT, reset=True))
    assert memory.ended


def test_a_half_close_behind_many_commands_leaves_no_reply_out() -> None:
    memory = patient()
    memory.from_client(b"NOOP\r\n" * 250 + b"QUIT\r\n")
    memory.feed(events.Closed(Leg.CLIENT))
    while memory.pending:
        drained(memory)
    memory.from_upstream(b"221 bye\r\n")
    assert [line[:3] for line in lines(memory.client_heard)] == ["250"] * 250 + ["221"]


def test_the_upstream_is_kept_while_the_client_does_not_read() -> None:
    memory = enveloped(patient())
    memory.from_client(b"NOOP\r\n" * 1000)
    memory.upstream_heard.clear()
    memory.pass_time(130)
    assert memory.upstream_heard == b"NOOP\r\n"


# -- commands without a message -------------------------------------------------------


def limited(commands: int = 20) -> MemorySession:
    """Return a session with a low limit."""
    return greeted(session(Rules(Settings(limits=Limits(commands=commands)))))


CHEAP = [
    b"NOOP",
    b"RSET",
    b"VRFY x",
    b"HELP",
    b"HELO c.example",
    b"MAIL FROM:<a@b.example> SIZE=99999999",
    b"DATA",
    b"AUTH PLAIN x",
    b"XCLIENT ADDR=10.0.0.1",
]


@pytest.mark.parametrize("command", CHEAP, ids=lambda c: c[:4].decode())
def test_commands_that_bring_no_mail_end_the_session(command: bytes) -> None:
    settings = Settings(limits=Limits(commands=20, errors=1000))
    memory = greeted(session(Rules(settings)))
    # Another EHLO of them has opened the session.
    free = OPENINGS - 1 if command.split()[0].decode() in OPENING else 0
    memory.from_client((command + b"\r\n") * (20 + free))
    assert len([x for x in lines(memory.client_heard) if x[3] == " "]) == 20 + free
    assert not memory.closed
    memory.from_client(command + b"\r\n" + b"NOOP\r\n" * 100)
    assert lines(memory.client_heard) == [TOO_MANY]
    assert memory.ended
    assert "session ends: anomaly: too many commands without a message" in memory.log


def test_the_limit_is_a_hundred_and_a_client_may_always_quit() -> None:
    memory = greeted(session())
    memory.from_client(b"NOOP\r\n" * 100 + b"QUIT\r\n")
    memory.from_upstream(b"221 bye\r\n")
    assert [line[:3] for line in lines(memory.client_heard)] == ["250"] * 100 + ["221"]
    memory = greeted(session())
    memory.from_client(b"NOOP\r\n" * 101)
    assert lines(memory.client_heard)[-1] == TOO_MANY


def test_a_kept_connection_may_say_noop_for_hours() -> None:
    """Also over a network that delivers some of them late."""
    memory = greeted(session())
    for number in range(2000):
        late = 0.9 if number % 7 == 0 else -0.15
        memory.pass_time(IDLE_SECONDS / 100 + late)
        memory.from_client(b"NOOP\r\n")
    assert not memory.ended


def test_faster_than_it_is_forgotten_it_ends() -> None:
    """Two of three are forgotten where one comes in every two seconds."""
    memory = greeted(session())
    said = 0
    while not memory.ended:
        memory.pass_time(2)
        memory.from_client(b"NOOP\r\n")
        said += 1
    assert 299 <= said <= 302


def test_what_opens_a_session_does_not_count() -> None:
    memory = secured(session(Rules(Settings(limits=Limits(commands=3)))))
    memory.from_client(b"AUTH PLAIN x\r\nNOOP\r\nNOOP\r\nNOOP\r\n")
    assert lines(memory.client_heard)[1:] == ["250 2.0.0 OK"] * 3
    memory.from_client(b"NOOP\r\n")
    assert lines(memory.client_heard) == [TOO_MANY]


@pytest.mark.parametrize("refused_by", ["rules", "upstream"])
@pytest.mark.parametrize("message", [b"DATA", b"BDAT 3 LAST\r\nx"])
def test_what_is_pipelined_behind_a_refused_mail_does_not_count(
    refused_by: str, message: bytes
) -> None:
    """Each MAIL does."""
    rules = Rules(Settings(limits=Limits(commands=20)))
    if refused_by == "rules":
        rules.senders["a@b.example"] = Decision(Action.DENY, reply=REVERSE_PATH_DENIED)
    memory = greeted(session(rules))
    mail = b"MAIL FROM:<a@b.example>\r\nRCPT TO:<c@d.example>\r\n"
    for _ in range(20):
        memory.from_client(mail + message + b"\r\nRSET\r\n")
        if refused_by == "upstream":
            memory.from_upstream(b"550 no\r\n503 no MAIL\r\n")
        said = [line[:3] for line in lines(memory.client_heard)]
        assert said == ["550", "503", "503", "250"]
    memory.from_client(mail)
    assert lines(memory.client_heard) == [TOO_MANY]


def test_data_behind_recipients_that_were_all_refused_does_not_count() -> None:
    memory = limited(20)
    for _ in range(20):
        memory.from_client(
            b"MAIL FROM:<a@b.example>\r\nRCPT TO:<c@d.example>\r\nDATA\r\nRSET\r\n"
        )
        memory.from_upstream(b"250 ok\r\n550 no\r\n")
        memory.from_upstream(b"250 reset\r\n")
        said = [line[:3] for line in lines(memory.client_heard)]
        assert said == ["250", "550", "554", "250"]
    assert not memory.ended


def test_a_reset_of_a_transaction_is_counted_by_its_mail() -> None:
    memory = limited(20)
    for _ in range(19):
        memory.from_client(b"MAIL FROM:<a@b.example>\r\nRSET\r\n")
        memory.from_upstream(b"250 ok\r\n")
        memory.from_upstream(b"250 reset\r\n")
    assert lines(memory.client_heard)[-1] == "250 2.0.0 OK"
    memory.from_client(b"RSET\r\n" * 2)
    assert lines(memory.client_heard) == ["250 2.0.0 OK", TOO_MANY]


def test_each_message_begins_the_count_anew() -> None:
    """Whatever became of it: a client whose mail is refused brought one."""
    memory = limited(10)
    for _ in range(30):
        memory.from_client(b"RSET\r\nMAIL FROM:<a@b.example>\r\n")
        memory.from_upstream(b"250 ok\r\n")
        memory.from_client(b"RCPT TO:<c@d.example>\r\n")
        memory.from_upstream(b"250 ok\r\n")
        memory.from_client(b"DATA\r\nx\ny\r\n.\r\n")
        memory.from_upstream(b"250 reset\r\n")
        assert "550 5.6.0" in lines(memory.client_heard)[-1]
    assert not memory.ended


@pytest.mark.parametrize("command", [b"RCPT TO:<c@d.example>", b"DATA", b"BDAT 0"])
def test_parts_of_mails_do_not_count_until_there_are_absurdly_many(
    command: bytes,
) -> None:
    memory = limited()
    memory.from_client(b"MAIL FROM:<a@b.example>\r\n")
    memory.from_upstream(b"550 no\r\n")
    forget_heard(memory)
    memory.from_client((command + b"\r\n") * NAMED)
    assert lines(memory.client_heard) == ["503 5.5.1 Bad sequence of commands"] * NAMED
    memory.from_client((command + b"\r\n") * 20)
    assert lines(memory.client_heard)[-1] == TOO_MANY


@pytest.mark.parametrize(
    ("size", "closed"), [(0, True), (1, True), (SMALL_CHUNK, False)]
)
def test_chunks_hardly_larger_than_their_command_count(size: int, closed: bool) -> None:
    memory = enveloped(limited())
    memory.from_client((b"BDAT %d\r\n" % size + b"x" * size) * 30)
    assert memory.ended is closed
    assert (lines(memory.client_heard)[-1] == TOO_MANY) is closed


def test_chunks_outside_a_transaction_count_and_are_consumed() -> None:
    memory = limited()
    memory.from_client(b"MAIL FROM:<a@b.example>\r\n")
    memory.from_upstream(b"550 no\r\n")
    forget_heard(memory)
    memory.dialogue.client.named = NAMED
    chunk = b"BDAT 600\r\n" + b"NOOP\r\n" * 100
    memory.from_client(chunk * 30)
    heard = lines(memory.client_heard)
    assert heard[:-1] == ["503 5.5.1 Bad sequence of commands"] * 19
    assert heard[-1] == TOO_MANY


def test_recipients_refused_by_rules_do_not_count() -> None:
    rules = Rules(Settings(limits=Limits(commands=20, rejected_recipients=10**6)))
    rules.recipients["*"] = Decision(Action.DENY, reply=UNKNOWN_RECIPIENT)
    memory = greeted(session(rules))
    memory.from_client(b"MAIL FROM:<a@b.example>\r\n")
    memory.from_upstream(b"250 ok\r\n")
    forget_heard(memory)
    memory.from_client(b"RCPT TO:<c@d.example>\r\n" * 90)
    assert lines(memory.client_heard) == ["550 5.1.1 Mailbox unavailable"] * 90
