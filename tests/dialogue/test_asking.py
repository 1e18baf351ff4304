"""The rules and other addons may raise, fall silent or talk nonsense."""

from __future__ import annotations

import pytest

from smtpguard.dialogue import effects, events
from smtpguard.model.decision import Action, Decision
from smtpguard.model.disposition import Disposition, Outcome
from smtpguard.model.reply import Reply
from smtpguard.model.session import Leg
from smtpguard.model.settings import Refusal
from smtpguard.replay.memory import MemorySession
from smtpguard.wire import parse_mailbox
from tests.dialogue.peers import (
    Rules,
    connected,
    enveloped,
    forget_heard,
    greeted,
    lines,
    session,
)


UNSOUND = {
    "raises": RuntimeError("a fault of the rules"),
    "nothing": None,
    "allow with a reply": Decision(Action.ALLOW, reply=Reply(550, (b"no",))),
    "allow with an address": Decision(
        Action.ALLOW, rewrite_to=parse_mailbox("x@y.example")
    ),
    "deny without a reply": Decision(Action.DENY),
    "deny with 4yz": Decision(Action.DENY, reply=Reply(450, (b"no",))),
    "deny with 250": Decision(Action.DENY, reply=Reply(250, (b"yes",))),
    "tempfail without a reply": Decision(Action.TEMPFAIL),
    "tempfail with 5yz": Decision(Action.TEMPFAIL, reply=Reply(550, (b"no",))),
    "tempfail with 421": Decision(Action.TEMPFAIL, reply=Reply(421, (b"bye",))),
    "rewrite to nothing": Decision(Action.REWRITE),
    "an action on parts": Decision(Action.STRIP),
    "discard": Decision(Action.DISCARD),
}
each_unsound = pytest.mark.parametrize("answer", UNSOUND.values(), ids=UNSOUND)
UNDECIDED = "451 4.3.0 Message not decided, try again later"


@each_unsound
def test_mail_is_451_where_the_rules_do_not_decide(answer: Decision) -> None:
    memory = greeted(session(Rules(senders={"*": answer})))
    memory.from_client(b"MAIL FROM:<a@b.example>\r\n")
    assert lines(memory.client_heard) == [UNDECIDED]
    assert not memory.upstream_heard


@each_unsound
def test_rcpt_is_451_where_the_rules_do_not_decide(answer: Decision) -> None:
    memory = greeted(session(Rules(recipients={"*": answer})))
    memory.from_client(b"MAIL FROM:<a@b.example>\r\n")
    memory.from_upstream(b"250 ok\r\n")
    forget_heard(memory)
    memory.from_client(b"RCPT TO:<c@d.example>\r\n")
    assert lines(memory.client_heard) == [UNDECIDED]
    assert not memory.upstream_heard


@each_unsound
def test_helo_is_451_where_the_rules_do_not_decide(answer: Decision) -> None:
    memory = forget_heard(connected(session(Rules(helo_names={"*": answer}))))
    memory.from_client(b"EHLO c.example\r\n")
    assert lines(memory.client_heard) == [UNDECIDED]
    assert not memory.upstream_heard
    assert memory.session.helo == ""


def test_what_does_not_fit_is_logged_without_the_addresses_in_it() -> None:
    """A mailbox's ``repr`` would show an address beside every expression for them."""
    answer = Decision(
        Action.ALLOW, rule="mail_from:3", rewrite_to=parse_mailbox('"anna k"@d.example')
    )
    memory = greeted(session(Rules(senders={"*": answer})))
    memory.from_client(b"MAIL FROM:<a@b.example>\r\n")
    assert "rules said what does not fit here: allow by mail_from:3" in memory.log
    assert not any("anna" in text for text in memory.log)


def test_a_helo_name_cannot_be_rewritten_by_a_rule() -> None:
    rewrite = Decision(Action.REWRITE, rewrite_to=parse_mailbox("x@y.example"))
    memory = forget_heard(connected(session(Rules(helo_names={"*": rewrite}))))
    memory.from_client(b"EHLO c.example\r\n")
    assert lines(memory.client_heard) == [UNDECIDED]


def test_undecided_recipients_do_not_count_as_rejected() -> None:
    memory = enveloped(greeted(session(Rules(recipients={"x@d.example": None}))))
    memory.from_client(b"RCPT TO:<x@d.example>\r\n" * 80)
    assert lines(memory.client_heard) == [UNDECIDED] * 80


@pytest.mark.parametrize("action", [Action.DROP, Action.BLOCK])
@pytest.mark.parametrize("table", ["helo_names", "senders", "recipients"])
def test_drop_and_block_close_without_a_word(table: str, action: Action) -> None:
    rules = Rules()
    getattr(rules, table)["*"] = Decision(action, "r:1")
    memory = forget_heard(connected(session(rules)))
    memory.from_client(b"EHLO c.example\r\n")
    if not memory.ended:
        memory.from_upstream(b"250-mx.example\r\n250 PIPELINING\r\n")
        lines(memory.client_heard)
        memory.from_client(b"MAIL FROM:<a@b.example>\r\nRCPT TO:<c@d.example>\r\n")
    assert not memory.client_heard
    assert memory.closed == {Leg.CLIENT, Leg.UPSTREAM}
    assert f"session ends: {action} by r:1" in memory.log
    told = [(one.outcome, one.action, one.rule) for one in memory.records]
    is_begun = table != "helo_names"
    assert told == [(Outcome.DROPPED, action, "r:1")] * is_begun
    identifier = memory.records[0].id if is_begun else "s1"
    is_blocked = action is Action.BLOCK
    assert rules.blocked == [("192.0.2.1", "r:1", identifier)] * is_blocked
    said = f"{identifier}: client 192.0.2.1 is blocked"
    assert (said in memory.log) == is_blocked


def test_a_client_that_cannot_be_blocked_is_dropped() -> None:
    rules = Rules(senders={"*": Decision(Action.BLOCK, "r:1")})

    def fail(*_: object) -> str:
        raise RuntimeError("no memory")

    rules.block = fail  # type: ignore[method-assign,assignment]
    memory = greeted(session(rules))
    memory.from_client(b"MAIL FROM:<a@b.example>\r\n")
    assert not memory.client_heard
    assert memory.closed == {Leg.CLIENT, Leg.UPSTREAM}
    assert "rules failed: RuntimeError: no memory" in memory.log


def test_a_recipient_that_closes_the_session_is_the_one_on_record() -> None:
    drop = Decision(Action.DROP, "rcpt_to:2")
    memory = enveloped(greeted(session(Rules(recipients={"trap@d.example": drop}))))
    memory.from_client(b"RCPT TO:<trap@d.example>\r\n")
    [record] = memory.records
    assert (record.outcome, record.rule) == (Outcome.DROPPED, "rcpt_to:2")
    told = [(one["address"], one["reply"]) for one in record.rcpt_to]
    assert told[-1] == ("trap@d.example", "")
    assert len(told) == 2


def test_the_address_that_is_blocked_is_the_real_clients() -> None:
    rules = Rules(protocol="proxy", helo_names={"*": Decision(Action.BLOCK, "r:1")})
    memory = session(rules)
    memory.start()
    memory.from_client(b"PROXY TCP4 198.51.100.7 192.0.2.9 40000 25\r\n")
    memory.opened()
    memory.from_upstream(b"220 mx.example ESMTP\r\n")
    memory.from_client(b"EHLO c.example\r\n")
    assert rules.blocked == [("198.51.100.7", "r:1", "s1")]


def test_a_blocked_client_behind_a_proxy_is_greeted_with_the_refusal() -> None:
    refused = Refusal(Reply(554, (b"5.7.1 blocked",)), "blocked")
    memory = session(Rules(protocol="proxy", refusal=refused))
    memory.start()
    memory.from_client(b"PROXY TCP4 198.51.100.7 192.0.2.9 40000 25\r\n")
    assert lines(memory.client_heard) == ["554 5.7.1 blocked"]
    assert memory.opens == 0
    assert memory.ended


@pytest.mark.parametrize("fault", [RuntimeError("no rules"), KeyError("x")])
def test_without_a_policy_the_client_is_greeted_with_421(fault: Exception) -> None:
    memory = session(Rules(refusal=fault))
    memory.start()
    assert lines(memory.client_heard) == ["421 4.3.2 Service not available"]
    assert memory.opens == 0
    assert memory.ended


def test_a_refused_client_is_greeted_with_the_rules_reply() -> None:
    refused = Refusal(Reply(554, (b"5.7.1 blocked",)), "blocked")
    memory = session(Rules(refusal=refused))
    memory.start()
    assert lines(memory.client_heard) == ["554 5.7.1 blocked"]
    assert memory.opens == 0


def test_a_judge_that_cannot_begin_is_451() -> None:
    rules = Rules()
    rules.begin = lambda session: 1 / 0  # type: ignore[assignment,method-assign,return-value]
    memory = greeted(session(rules))
    memory.from_client(b"MAIL FROM:<a@b.example>\r\n")
    assert lines(memory.client_heard) == [UNDECIDED]


# -- other addons ---------------------------------------------------------------------


def asked(memory: MemorySession) -> str:
    question = memory.take(effects.AskCommand)
    assert question is not None
    return question.command.verb


def test_a_command_goes_on_where_others_let_it() -> None:
    memory = forget_heard(connected(session(ask_commands=True)))
    memory.from_client(b"NOOP\r\nHELP\r\n")
    assert asked(memory) == "NOOP"
    assert not memory.client_heard
    memory.feed(events.CommandJudged(None))
    assert lines(memory.client_heard) == ["250 2.0.0 OK"]
    assert asked(memory) == "HELP"


def test_a_command_is_answered_with_what_others_say() -> None:
    memory = forget_heard(connected(session(ask_commands=True)))
    memory.from_client(b"AUTH PLAIN AHVzZXIAc2VjcmV0\r\n")
    memory.feed(events.CommandJudged(Reply(550, (b"5.7.1 not here",))))
    assert lines(memory.client_heard) == ["550 5.7.1 not here"]
    assert memory.dialogue.client.auth_seen


def test_no_answer_about_a_command_is_451_and_decides_no_later_one() -> None:
    memory = forget_heard(connected(session(ask_commands=True)))
    memory.from_client(b"NOOP\r\nHELP\r\n")
    memory.pass_time(241)
    assert lines(memory.client_heard) == [UNDECIDED]
    memory.feed(events.CommandJudged(None))
    assert not memory.client_heard
    memory.feed(events.CommandJudged(Reply(550, (b"5.7.1 no help",))))
    assert lines(memory.client_heard) == ["550 5.7.1 no help"]


@pytest.mark.parametrize("said", ["RSET x", "DATA x", "QUIT x", "VRFY", "EHLO"])
def test_others_see_a_command_whose_argument_is_wrong_too(said: str) -> None:
    """Whoever counts or refuses commands must not miss those that we refuse."""
    memory = forget_heard(connected(session(ask_commands=True)))
    memory.from_client(said.encode() + b"\r\n")
    asked = memory.take(effects.AskCommand)
    assert asked is not None
    assert asked.command.line == said.encode()
    assert not memory.client_heard
    memory.feed(events.CommandJudged(None))
    assert lines(memory.client_heard) == ["501 5.5.4 Syntax error in arguments"]


def test_verbs_that_nobody_handles_are_not_asked_about() -> None:
    memory = forget_heard(connected(session(ask_commands=True)))
    memory.from_client(b"XFOO\r\n")
    assert lines(memory.client_heard) == ["502 5.5.1 Command not implemented"]
    assert memory.take(effects.AskCommand) is None


ODD = {
    "a reply that is text": Disposition(Outcome.REJECTED, "550 no"),  # type: ignore[arg-type]
    "content that is octets": Disposition(Outcome.MODIFIED, content=b"x"),  # type: ignore[arg-type]
    "no report": Disposition(Outcome.RELAYED, report=None),  # type: ignore[arg-type]
    "a trace of words": Disposition(Outcome.RELAYED, trace=("x",)),  # type: ignore[arg-type]
    "a reason that is a number": Disposition(Outcome.RELAYED, reason=1),  # type: ignore[arg-type]
    "an outcome that is text": Disposition("relayed"),  # type: ignore[arg-type]
    "no disposition": "relayed",
}


@pytest.mark.parametrize("said", ODD.values(), ids=ODD)
def test_a_verdict_with_an_odd_field_is_undecided_before_anything_goes_up(
    said: object,
) -> None:
    """On record it would raise, and that after the upstream has taken the message."""
    memory = enveloped(greeted(session(judge=None)))
    memory.from_client(b"DATA\r\nSubject: x\r\n\r\n.\r\n")
    asked = memory.take(effects.AskVerdict)
    assert asked is not None
    memory.feed(events.Judged(asked.transaction.id, said))  # type: ignore[arg-type]
    assert lines(memory.client_heard)[1:] == [
        "451 4.3.0 Message not decided, try again later"
    ]
    assert lines(memory.upstream_heard) == ["RSET"]


def asked_about_each(memory: MemorySession, refused: Reply, which: bytes) -> None:
    """Have another addon refuse the commands that begin with ``which``."""
    while (asked := memory.take(effects.AskCommand)) is not None:
        no = asked.command.line.startswith(which)
        memory.feed(events.CommandJudged(refused if no else None))


def asking_session() -> MemorySession:
    memory = connected(session(Rules(), ask_commands=True))
    for said, heard in (
        (b"EHLO c.example", b"250 mx.example"),
        (b"MAIL FROM:<a@b.example>", b"250 ok"),
        (b"RCPT TO:<c@d.example>", b"250 ok"),
    ):
        memory.from_client(said + b"\r\n")
        asked_about_each(memory, Reply(451), b"none")
        memory.from_upstream(heard + b"\r\n")
    return forget_heard(memory)


def test_a_message_without_one_of_its_chunks_is_no_message() -> None:
    """RFC 3030 2: a chunk that failed fails the message."""
    memory = asking_session()
    later = Reply.make(451, "4.7.1", "Later")
    for chunk in (b"BDAT 4\r\nA: b", b"BDAT 6\r\n\r\nnot ", b"BDAT 5 LAST\r\npaid\n"):
        memory.from_client(chunk)
        asked_about_each(memory, later, b"BDAT 6")
    assert lines(memory.upstream_heard) == ["RSET"]
    memory.from_upstream(b"250 ok\r\n")
    assert lines(memory.client_heard) == [
        "250 2.0.0 4 octets received",
        "451 4.7.1 Later",
        "503 5.5.1 Bad sequence of commands",
    ]
    assert [str(record.outcome) for record in memory.records] == ["deferred"]


def test_a_refused_rset_leaves_no_envelope_for_the_next_mail() -> None:
    memory = asking_session()
    memory.from_client(b"RSET\r\n")
    asked_about_each(memory, Reply.make(451, "4.7.1", "Later"), b"RSET")
    assert lines(memory.client_heard) == ["451 4.7.1 Later"]
    assert lines(memory.upstream_heard) == ["RSET"]
    memory.from_upstream(b"250 ok\r\n")
    memory.from_client(b"MAIL FROM:<other@b.example>\r\n")
    asked_about_each(memory, Reply(451), b"none")
    assert lines(memory.upstream_heard) == ["MAIL FROM:<other@b.example>"]
