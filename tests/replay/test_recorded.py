from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from mitmproxy import tcp

from smtpguard.dialogue import events
from smtpguard.model.content import Edited, Spool
from smtpguard.model.decision import Action
from smtpguard.model.disposition import Disposition, Outcome
from smtpguard.model.envelope import Envelope
from smtpguard.model.session import Leg, SessionFacts
from smtpguard.model.settings import (
    ClientTls,
    Limits,
    ServerTls,
    Settings,
    TrustedClient,
)
from smtpguard.replay.mitmfile import read_flow
from smtpguard.replay.recorded import Result, replay, unmasked
from smtpguard.replay.recording import Say
from smtpguard.wire import replies
from tests.replay.deciders import Recorded, Rules


def again(
    session: Recorded, rules: Rules | None = None, flow: tcp.TCPFlow | None = None
) -> list[Result]:
    """Replay what was recorded, twice: the results must be the same."""
    recording = read_flow(flow or session.quit(), "x.mitm")
    results = list(replay(recording, rules or Rules()))
    assert list(replay(recording, rules or Rules())) == results
    json.dumps(results)
    return results


def same_outcomes(session: Recorded, results: list[Result]) -> None:
    """Under its own rules a recording ends as it did."""
    keys = ("transaction", "disposition", "reply", "size", "sha256", "envelope", "rule")
    recorded = [record.to_json() for record in session.memory.records]
    assert [[r[k] for k in keys] for r in results] == [
        [r[k] for k in keys] for r in recorded
    ]
    assert [r["recorded"]["disposition"] for r in results] == [
        r["disposition"] for r in recorded
    ]


def started(
    *,
    settings: Settings | None = None,
    rules: Rules | None = None,
    keywords: tuple[bytes, ...] = (b"PIPELINING",),
    **facts: Any,
) -> Recorded:
    session = Recorded(rules or Rules(settings or Settings()), **facts)
    session.greet(*keywords)
    return session


# -- under its own rules -------------------------------------------------------------


def test_several_mails_end_as_they_did() -> None:
    rules = Rules(denied=("denied@d.example",))
    session = started(rules=rules)
    session.send((b"c@d.example", b"250 ok"), (b"denied@d.example", b""))
    session.send((b"gone@d.example", b"550 5.1.1 unknown"))
    session.send((b"c@d.example", b"250 ok"), end=b"552 5.3.4 too much")
    session.send((b"c@d.example", b"250 ok"), end=b"451 4.3.0 later")
    results = again(session, rules)
    assert [r["disposition"] for r in results] == [
        "relayed",
        "rejected",
        "rejected",
        "deferred",
    ]
    same_outcomes(session, results)


def test_a_pipelined_session_ends_as_it_did() -> None:
    session = started()
    session.client(
        b"MAIL FROM:<a@b.example>",
        b"RCPT TO:<c@d.example>",
        b"RCPT TO:<e@d.example>",
        b"DATA",
    )
    session.upstream(b"250 ok", b"550 no", b"250 ok")
    session.client(b"..dot", b"", b".", b"QUIT")
    session.upstream(b"354 go")
    session.upstream(b"250 queued")
    session.upstream(b"221 bye")
    results = again(session, flow=session.finish())
    same_outcomes(session, results)
    told = [r["reply"] for r in results[0]["envelope"]["rcpt_to"]]
    assert told == ["550 no", "250 ok"]


def test_chunks_end_as_they_did() -> None:
    session = started(keywords=(b"PIPELINING", b"CHUNKING"))
    session.client(b"MAIL FROM:<a@b.example>", b"RCPT TO:<c@d.example>")
    session.upstream(b"250 ok", b"250 ok")
    session.memory.from_client(b"BDAT 12\r\nSubject: x\r\n")
    session.memory.from_client(b"BDAT 9 LAST\r\n\r\nhello\r\n")
    session.upstream(b"250 queued")
    results = again(session)
    same_outcomes(session, results)
    assert [r["command"] for r in results[0]["replies"][2:]] == [
        "BDAT 12",
        "BDAT 9 LAST",
    ]


def test_a_session_under_tls_ends_as_it_did() -> None:
    rules = Rules(Settings(server_tls=ServerTls("required")))
    session = Recorded(rules)
    session.memory.start()
    session.memory.opened()
    session.upstream(b"220 mx.example")
    session.client(b"EHLO client.example")
    session.upstream(b"250-mx.example", b"250 STARTTLS")
    session.client(b"STARTTLS")
    session.upstream(b"220 go")
    session.memory.client_tls("mx.example")
    session.memory.upstream_tls()
    session.client(b"EHLO client.example")
    session.upstream(b"250-mx.example", b"250 AUTH PLAIN LOGIN")
    session.client(b"AUTH LOGIN")
    session.upstream(b"334 VXNlcm5hbWU6")
    session.client(b"c2VjcmV0")
    session.upstream(b"334 UGFzc3dvcmQ6")
    session.client(b"c2VjcmV0")
    session.upstream(b"235 2.7.0 yes")
    session.send((b"c@d.example", b"250 ok"))
    results = again(session, rules)
    same_outcomes(session, results)
    tls = results[0]["session"]["tls"]
    assert tls["client"]["tls"]["name"] == "mx.example"
    assert tls["upstream"]["tls"]["version"] == "TLSv1.3"


def test_implicit_tls_ends_as_it_did() -> None:
    session = Recorded(
        Rules(), destination=("192.0.2.9", 465), upstream_implicit_tls=True
    )
    session.memory.start()
    session.memory.client_tls("mx.example")
    session.memory.opened()
    session.memory.upstream_tls()
    session.upstream(b"220 mx.example")
    if session.memory.upstream_heard.startswith(b"EHLO guard"):
        session.upstream(b"250 mx.example")
    session.client(b"EHLO client.example")
    session.upstream(b"250 mx.example")
    session.send((b"c@d.example", b"250 ok"))
    results = again(session)
    same_outcomes(session, results)
    assert results[0]["session"]["tls"]["client"]["history"] == ["implicit"]


def test_a_client_behind_a_proxy_ends_as_it_did() -> None:
    rules = Rules(trusted_client=TrustedClient("proxy"))
    session = Recorded(rules)
    session.memory.start()
    session.memory.from_client(b"PROXY TCP4 198.51.100.7 192.0.2.9 7777 25\r\n")
    session.memory.opened()
    session.upstream(b"220 mx.example")
    session.client(b"EHLO client.example")
    session.upstream(b"250 mx.example")
    session.send((b"c@d.example", b"250 ok"))
    results = again(session, rules)
    same_outcomes(session, results)
    assert results[0]["session"]["client"] == ["198.51.100.7", 7777]


def test_an_edited_mail_is_judged_as_it_came() -> None:
    content = Edited(b"other\r\n", ((0, 7),))
    rules = Rules(verdict=Disposition(Outcome.MODIFIED, content=content))
    session = started(rules=rules)
    session.send((b"c@d.example", b"250 ok"))
    results = again(session, rules)
    same_outcomes(session, results)
    assert results[0]["disposition"] == "modified"


def test_an_upstream_that_went_away_goes_away_again() -> None:
    session = started()
    session.client(b"MAIL FROM:<a@b.example>", b"RCPT TO:<c@d.example>")
    session.upstream(b"250 ok", b"250 ok")
    session.client(b"DATA")
    session.client(b"hello", b".")
    session.upstream(b"354 go")
    session.upstream(b"421 4.3.2 shutting down")
    results = again(session, flow=session.finish())
    same_outcomes(session, results)
    assert results[0]["disposition"] == "deferred"


def lost(session: Recorded) -> None:
    """The upstream goes away though nothing was asked."""
    session.memory.feed(events.Closed(Leg.UPSTREAM, reset=False))
    session.update()


def not_reached(session: Recorded) -> None:
    """The upstream cannot be reached again."""
    session.memory.opened("refused")
    session.update()


def test_an_upstream_that_went_away_unasked_goes_away_again() -> None:
    session = started()
    session.client(b"MAIL FROM:<a@b.example>", b"RCPT TO:<c@d.example>")
    session.upstream(b"250 ok", b"250 ok")
    lost(session)
    session.client(b"DATA")
    session.client(b"hello", b".")
    not_reached(session)
    results = again(session, flow=session.finish())
    same_outcomes(session, results)
    assert results[0]["disposition"] == "deferred"


def test_an_upstream_that_went_away_within_the_message_does_so_again() -> None:
    session = started()
    session.client(b"MAIL FROM:<a@b.example>", b"RCPT TO:<c@d.example>")
    session.upstream(b"250 ok", b"250 ok")
    session.client(b"DATA")
    lost(session)
    session.client(b"hello", b".")
    not_reached(session)
    results = again(session, flow=session.finish())
    same_outcomes(session, results)
    assert results[0]["disposition"] == "deferred"


@pytest.mark.parametrize("ending", [b"\r\n", b"\n"], ids=["as-it-was", "normalised"])
@pytest.mark.parametrize("place", [1, 2, 3])
def test_an_upstream_that_went_away_between_chunks_does_so_again(
    place: int, ending: bytes
) -> None:
    settings = Settings(bare_newlines="normalise")
    session = started(settings=settings, keywords=(b"PIPELINING", b"CHUNKING"))
    session.client(b"MAIL FROM:<a@b.example>", b"RCPT TO:<c@d.example>")
    session.upstream(b"250 ok", b"250 ok")
    for number, chunk in enumerate((b"Subject: x", b"", b"a"), start=1):
        octets = chunk + ending
        last = b" LAST" if number == 3 else b""
        session.memory.from_client(b"BDAT %d%s\r\n" % (len(octets), last))
        session.update()
        if number == place:
            lost(session)
        session.memory.from_client(octets)
        session.update()
    not_reached(session)
    results = again(session, Rules(settings), flow=session.finish())
    same_outcomes(session, results)
    assert results[0]["disposition"] == "deferred"


def test_lines_are_counted_on_behind_chunks() -> None:
    session = started(keywords=(b"PIPELINING", b"CHUNKING"))
    session.client(b"MAIL FROM:<a@b.example>", b"RCPT TO:<c@d.example>")
    session.upstream(b"250 ok", b"250 ok")
    session.memory.from_client(b"BDAT 2\r\nx\r")
    session.memory.from_client(b"BDAT 1\r\n\nBDAT 0 LAST\r\n")
    session.upstream(b"250 queued")
    session.client(b"MAIL FROM:<a@b.example>", b"RCPT TO:<c@d.example>")
    session.upstream(b"250 ok", b"250 ok")
    lost(session)
    session.client(b"DATA")
    session.client(b"hello", b".")
    not_reached(session)
    results = again(session, flow=session.finish())
    same_outcomes(session, results)
    assert [r["disposition"] for r in results] == ["relayed", "deferred"]


def test_chunks_whose_octets_were_changed_are_said_as_one() -> None:
    """The record has them with CRLF alone: what stood in which chunk is not known."""
    settings = Settings(bare_newlines="normalise")
    session = started(settings=settings, keywords=(b"PIPELINING", b"CHUNKING"))
    session.client(b"MAIL FROM:<a@b.example>", b"RCPT TO:<c@d.example>")
    session.upstream(b"250 ok", b"250 ok")
    session.memory.from_client(b"BDAT 11\r\nSubject: x\n")
    session.memory.from_client(b"BDAT 8 LAST\r\n\r\nhello\n")
    session.upstream(b"250 queued")
    results = again(session, Rules(settings))
    same_outcomes(session, results)
    assert results[0]["size"] == len(b"Subject: x\r\n\r\nhello\r\n")
    assert [r["command"] for r in results[0]["replies"][2:]] == ["BDAT 21 LAST"]


@pytest.mark.parametrize("size", [20, 21, 10**12])
def test_chunks_of_no_message_are_made_up_to_a_bound(size: int) -> None:
    """A damaged record may announce what no memory holds."""
    settings = Settings(limits=Limits(message=20))
    session = started(settings=settings, keywords=(b"PIPELINING", b"CHUNKING"))
    session.client(b"MAIL FROM:<a@b.example>", b"RCPT TO:<c@d.example>")
    session.upstream(b"250 ok", b"250 ok")
    for _ in range(2):
        session.memory.from_client(b"BDAT 20\r\n" + b"x" * 20)
    session.client(b"RSET")
    session.upstream(b"250 ok")
    recording = read_flow(session.quit(), "x.mitm")
    steps = list(recording.steps)
    assert steps[4] == Say(b"BDAT 20\r\n", told=replies.MESSAGE_TOO_LARGE)
    steps[4] = replace(steps[4], octets=b"BDAT %d\r\n" % size)
    (result,) = replay(replace(recording, steps=tuple(steps)), Rules(settings))
    if size == 20:
        assert result["reply"] == str(session.memory.records[0].reply)
        assert "error" not in result
    else:
        assert "more than any message may have" in result["error"]


def test_a_client_that_left_within_its_mail_leaves_again() -> None:
    session = started()
    session.client(b"MAIL FROM:<a@b.example>", b"RCPT TO:<c@d.example>")
    session.upstream(b"250 ok", b"250 ok")
    session.client(b"DATA")
    session.client(b"half a mess")
    session.memory.feed(events.Closed(Leg.CLIENT, reset=True))
    (result,) = again(session, flow=session.finish())
    (record,) = session.memory.records
    assert result["disposition"] == str(record.outcome) == "deferred"


def test_a_mail_over_the_limit_is_over_it_again() -> None:
    settings = Settings(limits=Limits(message=20))
    session = started(settings=settings)
    session.send((b"c@d.example", b"250 ok"), body=b"x" * 30)
    results = again(session, Rules(settings))
    assert results[0]["disposition"] == "rejected"
    assert results[0]["reply"] == str(session.memory.records[0].reply)


def test_noise_and_unknown_verbs_are_said_again() -> None:
    session = started()
    session.client(b"FROBNICATE x", b"STARTTLS\t", b"MAIL nonsense")
    session.send((b"c@d.example", b"250 ok"))
    results = again(session)
    relayed = [r for r in results if r["disposition"] == "relayed"]
    assert [r["transaction"] for r in relayed] == ["s1.1"]


# -- under other rules ---------------------------------------------------------------


def test_a_recipient_that_is_refused_now_ends_the_transaction() -> None:
    session = started()
    session.send((b"c@d.example", b"250 ok"))
    session.send((b"e@d.example", b"250 ok"))
    results = again(session, Rules(denied=("c@d.example",)))
    assert [r["disposition"] for r in results] == ["rejected", "relayed"]
    assert results[0]["reply"] == "550 5.1.1 Mailbox unavailable"
    assert results[0]["recorded"]["disposition"] == "relayed"
    assert [r["command"] for r in results[0]["replies"]] == [
        "MAIL FROM:<a@client.example>",
        "RCPT TO:<c@d.example>",
        "DATA",
        "RSET",
    ]


def test_a_recipient_that_is_allowed_now_is_agreed_to_by_the_upstream() -> None:
    rules = Rules(denied=("denied@d.example",))
    session = started(rules=rules)
    session.send((b"c@d.example", b"250 ok"), (b"denied@d.example", b""))
    (result,) = again(session, Rules())
    told = {r["asked"]: r["reply"] for r in result["envelope"]["rcpt_to"]}
    assert told == {"c@d.example": "250 ok", "denied@d.example": "250 2.0.0 OK"}


def test_a_mail_command_that_is_refused_now_has_a_result_all_the_same() -> None:
    session = started()
    session.send((b"c@d.example", b"250 ok"))
    session.send((b"e@d.example", b"250 ok"))
    settings = Settings(client_tls=ClientTls("required"))
    results = again(session, Rules(settings))
    assert [r["disposition"] for r in results] == ["rejected", "rejected"]
    assert results[0]["reply"].startswith("530 5.7.0")
    assert results[0]["recorded"]["disposition"] == "relayed"
    assert len(results[0]["replies"]) == 1


def test_a_verdict_of_now_is_the_result() -> None:
    session = started()
    session.send((b"c@d.example", b"250 ok"))
    (result,) = again(
        session, Rules(verdict=Disposition(Outcome.DROPPED, action=Action.DROP))
    )
    assert result["disposition"] == "dropped"
    assert result["replies"][-1] == {"command": "message", "reply": ""}


def test_transactions_behind_a_dropped_connection_are_named() -> None:
    session = started()
    session.send((b"c@d.example", b"250 ok"))
    session.send((b"c@d.example", b"250 ok"))
    dropped, unreached = again(session, Rules(verdict=Disposition(Outcome.DROPPED)))
    assert dropped["disposition"] == "dropped"
    assert unreached["disposition"] == "deferred"
    assert unreached["reason"] == "the session ended before"
    assert unreached["recorded"]["disposition"] == "relayed"


def test_a_judge_that_raises_is_451() -> None:
    class Broken(Rules):
        def message(
            self, session: SessionFacts, envelope: Envelope, content: Spool
        ) -> Disposition:
            raise RuntimeError

    session = started()
    session.send((b"c@d.example", b"250 ok"))
    (result,) = again(session, Broken())
    assert result["reply"].startswith("451 4.3.0")


# -- what is not known ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "told"),
    [
        pytest.param({"mode": "envelope"}, "0 of 21 octets of it", id="envelope"),
        pytest.param({"limit": 5}, "5 of 21 octets of it", id="cut"),
    ],
)
def test_a_mail_that_was_not_recorded_whole_is_not_guessed(
    options: dict[str, Any], told: str
) -> None:
    session = started(**options)
    session.send((b"c@d.example", b"250 ok"))
    session.send((b"d@d.example", b"250 ok"))
    results = again(session)
    assert [r["disposition"] for r in results] == [None, None]
    assert told in results[0]["error"]
    assert results[0]["recorded"]["disposition"] == "relayed"


def test_what_is_refused_before_its_mail_needs_no_mail() -> None:
    session = started(mode="envelope")
    session.send((b"c@d.example", b"250 ok"))
    (result,) = again(session, Rules(denied=("c@d.example",)))
    assert result["disposition"] == "rejected"
    assert "error" not in result


def test_a_mail_that_was_never_sent_is_not_guessed() -> None:
    rules = Rules(denied=("c@d.example",))
    session = started(rules=rules)
    session.client(b"MAIL FROM:<a@b.example>")
    session.upstream(b"250 ok")
    session.client(b"RCPT TO:<c@d.example>", b"DATA", b"RSET")
    session.upstream(b"250 ok")
    (result,) = again(session, Rules())
    assert result["disposition"] is None
    assert "no message here" in result["error"]


def test_a_mail_that_was_too_large_is_unknown_under_a_larger_limit() -> None:
    session = started(settings=Settings(limits=Limits(message=20)))
    session.send((b"c@d.example", b"250 ok"), body=b"x" * 30)
    (result,) = again(session, Rules())
    assert "20 of more than 20 octets" in result["error"]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        pytest.param(b"*\r\n", b"Kg==\r\n", id="continued"),
        pytest.param(b"AUTH PLAIN *\r\n", b"AUTH PLAIN Kg==\r\n", id="initial"),
        pytest.param(b"AUTH LOGIN\r\n", b"AUTH LOGIN\r\n", id="mechanism-alone"),
        pytest.param(b"NOOP *\r\n", b"NOOP *\r\n", id="another-verb"),
    ],
)
def test_a_masked_secret_has_a_stand_in(line: bytes, said: bytes) -> None:
    assert unmasked(line) == said
