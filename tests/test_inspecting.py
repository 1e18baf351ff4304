from __future__ import annotations

import hashlib
import tracemalloc
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from smtpguard.errors import SmtpGuardError
from smtpguard.inspected import Inspected
from smtpguard.inspecting import Inspector, Question
from smtpguard.mailfiles import Stored, Unreadable
from smtpguard.model.session import SessionFacts
from smtpguard.pipeline import Pipeline, TransactionJudge
from smtpguard.replay.memory import MemorySession
from tests.judging import (
    ALLOW,
    PLAIN,
    TEXT_PART,
    attachment,
    make_pipeline,
    mixed,
    names,
    rules,
    types,
)


if TYPE_CHECKING:
    from smtpguard.mime import Octets
    from smtpguard.model.envelope import Envelope
    from smtpguard.pipeline import Judged


STRIP = rules(names('{match: "*.exe", action: strip}'))
MAIL = mixed(TEXT_PART, attachment("tool.exe"))


def stored(octets: bytes, name: str = "a.eml") -> Stored:
    return Stored(name, octets, len(octets), hashlib.sha256(octets).hexdigest())


def ask(text: str, octets: bytes, **question: Any) -> Inspected:
    inspector = Inspector(make_pipeline(text), Question(**question))
    return inspector.message(stored(octets))


def told(result: Inspected) -> tuple[str, str, str]:
    record = result.to_json()
    return record["disposition"], record["rule"], record["reply"]


# ------------------------------------------------------------------------- the octets


def test_addresses_are_rewritten_in_the_fields_as_the_gateway_does() -> None:
    rewrite = "action: rewrite, headers: true, to:"
    text = (
        "version: 1\ndomains: [own.test]\npolicies:\n  - name: only\n"
        f'    mail_from: [{{match: "a@out.test", {rewrite} "a@in.test"}}, {ALLOW}]\n'
        f'    rcpt_to: [{{match: "*@own.test", {rewrite} "*@new.test"}}, {ALLOW}]\n'
    )
    mail = b"To: b@own.test\r\n" + PLAIN
    result = ask(text, mail, mail_from="a@out.test", rcpt_to=("b@own.test",))
    assert result.output == mail.replace(b"b@own.test", b"b@new.test").replace(
        b"a@out.test", b"a@in.test"
    )
    assert told(result) == ("modified", "mail_from:1", "250 2.0.0 OK")
    assert result.line() == "a.eml  modified  mail_from:1 rewrite"
    recipient_alone = ask(text, mail, mail_from="c@out.test", rcpt_to=("b@own.test",))
    assert told(recipient_alone)[:2] == ("modified", "rcpt_to:1")
    elsewhere = ask(text, PLAIN, mail_from="c@out.test", rcpt_to=("b@own.test",))
    assert told(elsewhere)[:2] == ("relayed", "")
    # Without an envelope nobody has asked for it.
    assert told(ask(text, mail)) == ("relayed", "", "250 2.0.0 OK")


def test_a_message_is_judged_by_its_content() -> None:
    assert told(ask(STRIP, PLAIN))[0] == "relayed"
    result = ask(STRIP, MAIL)
    assert told(result)[:2] == ("modified", "filenames:1")
    assert result.output is not None
    assert b"tool.exe" in result.output
    assert result.output != MAIL


def test_a_file_with_lf_only_is_read_as_if_sent_with_crlf() -> None:
    result = ask(STRIP, MAIL.replace(b"\r\n", b"\n"))
    assert result.octets == MAIL
    assert result.size == len(MAIL)
    assert result.sha256 == hashlib.sha256(MAIL).hexdigest()


def test_raw_leaves_every_octet() -> None:
    octets = PLAIN.replace(b"\r\n", b"\n") + b"\0\r."
    result = ask(STRIP, octets, raw=True)
    assert result.octets == octets
    assert told(result)[0] == "relayed"
    assert result.output == octets


@pytest.mark.parametrize(
    "octets",
    [
        PLAIN + b"one bare\nline\r\n",
        PLAIN + b"one bare\rline\r\n",
        PLAIN + b"a NUL \0\r\n",
        PLAIN.replace(b"\r\n", b"\n") + b"a CR\r in LF\n",
        PLAIN.replace(b"\r\n", b"\r"),
    ],
    ids=["LF", "CR", "NUL", "CR among LF", "CR only"],
)
def test_octets_that_the_gateway_refuses_are_refused(octets: bytes) -> None:
    assert told(ask(STRIP, octets)) == (
        "rejected",
        "",
        "550 5.6.0 Bare CR, LF or NUL in the message",
    )


def test_what_is_in_a_message_that_is_refused_for_its_octets_is_shown_still() -> None:
    record = ask(STRIP, MAIL + b"bare\nline\r\n").to_json()
    assert [part["path"] for part in record["parts"]] == ["1", "1.1", "1.2"]
    assert record["output_sha256"] == ""


def test_octets_are_repaired_where_the_policy_says_so() -> None:
    text = rules("session: {bare_newlines: normalise}")
    result = ask(text, PLAIN + b"bare\nline\0\r\n")
    assert told(result)[0] == "relayed"
    assert result.output == PLAIN + b"bare\r\nline\r\n"


def test_a_message_over_the_limit_of_the_policy_is_refused() -> None:
    text = rules("session: {max_message: 1024}")
    long = PLAIN + b"x" * 1000 + b"\r\n"
    wanted = ("rejected", "", "552 5.3.4 Message too large")
    assert told(ask(text, long)) == wanted
    assert told(ask(text, PLAIN))[0] == "relayed"
    # 800 octets in the file, twice as many as they would be sent.
    short = b"\n" * 800
    assert told(ask(text, short)) == wanted
    record = ask(text, long).to_json()
    assert (record["size"], record["parts"]) == (len(long), [])


def test_a_message_that_was_not_even_kept_is_refused() -> None:
    inspector = Inspector(make_pipeline(STRIP), Question())
    result = inspector.message(Stored("a", None, 10**9, "ab"))
    assert told(result) == ("rejected", "", "552 5.3.4 Message too large")
    assert (result.size, result.sha256) == (10**9, "ab")


def test_a_message_that_was_received_too_often_is_a_loop() -> None:
    """RFC 5321 6.3."""
    assert told(ask(STRIP, b"Received: x\r\n" * 101 + PLAIN)) == (
        "rejected",
        "",
        "554 5.4.6 Mail loop detected",
    )
    assert told(ask(STRIP, b"Received: x\r\n" * 100 + PLAIN))[0] == "relayed"


@pytest.mark.parametrize("octets", [b"", b"\n", b"\xff\xfe", b"no header at all"])
def test_what_is_hardly_a_message_is_judged_too(octets: bytes) -> None:
    assert told(ask(STRIP, octets))[0] == "relayed"


def test_a_fault_in_judging_one_message_leaves_it_undecided(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As in the gateway; the messages after it are still judged."""

    def failing(
        self: TransactionJudge,
        session: SessionFacts,
        envelope: Envelope | None,
        buffer: Octets,
    ) -> Judged:
        raise RuntimeError("a bug")

    monkeypatch.setattr(TransactionJudge, "examine", failing)
    result = ask(STRIP, PLAIN)
    assert told(result)[0] == "deferred"
    assert result.disposition.reply is not None
    assert result.disposition.reply.code == 451
    assert "a bug" in result.disposition.reason
    assert result.to_json()["parts"] == []


# ----------------------------------------------------------------- session and envelope

ADDRESSES = f"""\
version: 1
domains: [own.test]
policies:
  - name: inside
    when: {{source: 10.0.0.0/8}}
    rcpt_to: [{ALLOW}]
  - name: outside
    helo: [{{match: "bad.test", action: deny}}, {ALLOW}]
    mail_from:
      - {{match: "*@own.test", action: deny, unless: {{authenticated: true}}}}
      - {{match: "later@out.test", action: tempfail}}
      - {{match: "gone@out.test", action: drop}}
      - {{match: "big@out.test", action: deny, when: {{size: {{over: 1KiB}}}}}}
      - {ALLOW}
    rcpt_to:
      - {{match: "clear@own.test", action: deny, unless: {{tls: true}}}}
      - {{match: "gone@own.test", action: drop}}
      - {{match: "<>", action: deny}}
      - {{match: "old@own.test", action: rewrite, to: "new@own.test"}}
      - {{match: "bounces@own.test", action: allow, when: {{from: "<>"}}}}
      - {{match: "bounces@own.test", action: deny}}
      - {{match: "*@own.test", action: allow}}
      - {{match: "*", action: deny}}
    content_types:
      - {{match: "*", action: discard, when: {{to: "bin@own.test"}}, on_unknown: skip}}
      - {ALLOW}
"""
DENIED_SENDER = ("rejected", "mail_from:1", "550 5.7.1 Sender address rejected")


@pytest.mark.parametrize(
    ("question", "wanted"),
    [
        ({}, ("relayed", "content_types:2", "250 2.0.0 OK")),
        ({"mail_from": "x@own.test"}, DENIED_SENDER),
        (
            {"mail_from": "x@own.test", "authenticated": True},
            ("relayed", "content_types:2", "250 2.0.0 OK"),
        ),
        (
            {"mail_from": "later@out.test"},
            ("deferred", "mail_from:2", "451 4.7.1 Try again later"),
        ),
        ({"mail_from": "gone@out.test"}, ("dropped", "mail_from:3", "")),
        ({"mail_from": "x@own.test", "rcpt_to": ("a@own.test",)}, DENIED_SENDER),
        (
            {"rcpt_to": ("x@other.test",)},
            ("rejected", "rcpt_to:8", "550 5.7.1 Relaying denied"),
        ),
        (
            {"rcpt_to": ("x@other.test", "a@own.test")},
            ("relayed", "content_types:2", "250 2.0.0 OK"),
        ),
        (
            {"rcpt_to": ("x@other.test", "clear@own.test")},
            ("rejected", "rcpt_to:8", "550 5.7.1 Relaying denied"),
        ),
        ({"rcpt_to": ("a@own.test", "gone@own.test")}, ("dropped", "rcpt_to:2", "")),
        (
            {"rcpt_to": ("old@own.test",)},
            ("relayed", "content_types:2", "250 2.0.0 OK"),
        ),
        (
            {"rcpt_to": ("clear@own.test",), "tls": True},
            ("relayed", "content_types:2", "250 2.0.0 OK"),
        ),
        (
            {"rcpt_to": ("bin@own.test",)},
            ("discarded", "content_types:1", "250 2.0.0 OK"),
        ),
        (
            {"mail_from": "<>", "rcpt_to": ("bounces@own.test",)},
            ("relayed", "content_types:2", "250 2.0.0 OK"),
        ),
        (
            {"mail_from": "", "rcpt_to": ("bounces@own.test",)},
            ("relayed", "content_types:2", "250 2.0.0 OK"),
        ),
        (
            {"mail_from": "a@out.test", "rcpt_to": ("bounces@own.test",)},
            ("rejected", "rcpt_to:6", "550 5.1.1 Mailbox unavailable"),
        ),
        ({"helo": "bad.test"}, ("rejected", "helo:1", "550 HELO name rejected")),
        (
            {"helo": "bad.test", "mail_from": "x@own.test"},
            ("rejected", "helo:1", "550 HELO name rejected"),
        ),
        (
            {"helo": "good.test"},
            ("relayed", "content_types:2", "250 2.0.0 OK"),
        ),
    ],
    ids=str,
)
def test_addresses_are_asked_in_order_where_they_are_given(
    question: dict[str, Any], wanted: tuple[str, str, str]
) -> None:
    assert told(ask(ADDRESSES, PLAIN, **question)) == wanted


def test_the_size_of_the_message_is_what_mail_would_declare() -> None:
    question: dict[str, Any] = {"mail_from": "big@out.test"}
    assert told(ask(ADDRESSES, PLAIN, **question))[0] == "relayed"
    large = PLAIN + b"x" * 990 + b"\r\n"
    assert told(ask(ADDRESSES, large, **question))[1] == "mail_from:4"


def test_the_policy_is_chosen_by_the_client_or_by_name() -> None:
    assert ask(ADDRESSES, PLAIN).policy == "outside"
    assert ask(ADDRESSES, PLAIN, client_ip="10.1.2.3").policy == "inside"
    assert ask(ADDRESSES, PLAIN, policy="inside").policy == "inside"


def test_the_trace_begins_with_the_addresses() -> None:
    result = ask(
        ADDRESSES, PLAIN, helo="x.test", mail_from="a@out.test", rcpt_to=("b@own.test",)
    )
    lists = [step.rule.partition(":")[0] for step in result.disposition.trace]
    assert list(dict.fromkeys(lists)) == [
        "helo",
        "mail_from",
        "rcpt_to",
        "content_types",
    ]


BY_DESTINATION = f"""\
version: 1
policies:
  - name: here
    when: {{destination: 198.51.100.0/24}}
    rcpt_to: [{ALLOW}]
  - name: there
    rcpt_to: [{ALLOW}]
"""


@pytest.mark.parametrize(
    ("text", "question", "names_of"),
    [
        (ADDRESSES, {"policy": "inbound"}, ["inbound", "inside, outside"]),
        (BY_DESTINATION, {}, ["--policy", "here, there"]),
        (ADDRESSES, {"mail_from": "not an address"}, ["not an address"]),
        (ADDRESSES, {"rcpt_to": ("a@own.test", "b@")}, ["b@"]),
        (ADDRESSES, {"rcpt_to": ("<>",)}, ["recipient"]),
        (ADDRESSES, {"client_ip": "localhost"}, ["localhost"]),
    ],
    ids=[
        "unknown policy",
        "policy by destination",
        "sender",
        "recipient",
        "null recipient",
        "client",
    ],
)
def test_what_cannot_be_asked_is_told_before_a_message_is_read(
    text: str, question: dict[str, Any], names_of: list[str]
) -> None:
    with pytest.raises(SmtpGuardError) as caught:
        Inspector(make_pipeline(text), Question(**question))
    assert [name for name in names_of if name not in str(caught.value)] == []


def test_a_policy_by_destination_can_be_named() -> None:
    assert ask(BY_DESTINATION, PLAIN, policy="here").policy == "here"


# ------------------------------------------------------------------------------- files


def test_files_that_cannot_be_read_stand_among_the_results(tmp_path: Path) -> None:
    (tmp_path / "1.eml").write_bytes(MAIL)
    (tmp_path / "2.eml").symlink_to(tmp_path / "nowhere")
    (tmp_path / "3.eml").write_bytes(PLAIN)
    inspector = Inspector(make_pipeline(STRIP), Question())
    results = list(inspector.paths([tmp_path]))
    assert [type(one) for one in results] == [Inspected, Unreadable, Inspected]


def test_many_files_need_the_memory_of_one(tmp_path: Path) -> None:
    count = 300
    mail = mixed(TEXT_PART, b"Content-Type: text/plain\r\n\r\n" + b"x\r\n" * 20_000)
    for number in range(count):
        (tmp_path / f"{number}.eml").write_bytes(mail)
    inspector = Inspector(make_pipeline(STRIP), Question())
    # Whatever is made once is made now.
    inspector.message(stored(mail))
    tracemalloc.start()
    try:
        passed = sum(
            isinstance(one, Inspected) and one.passed
            for one in inspector.paths([tmp_path])
        )
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert passed == count
    assert peak < 12 * len(mail) < count * len(mail) / 10


# ------------------------------------------------------------- the same as the gateway


def sent(pipeline: Pipeline, octets: bytes) -> str:
    """Send a message through the dialogue; return what the client is told."""
    session = SessionFacts("inspect", ("192.0.2.1", 1), ("198.51.100.1", 25))
    memory = MemorySession(pipeline, session)
    memory.start()
    memory.opened()
    memory.from_upstream(b"220 mx.test\r\n")
    memory.from_client(b"EHLO client.invalid\r\n")
    memory.from_upstream(b"250-mx.test\r\n250 CHUNKING\r\n")
    memory.from_client(b"MAIL FROM:<a@out.test>\r\n")
    memory.from_upstream(b"250 ok\r\n")
    memory.from_client(b"RCPT TO:<b@own.test>\r\n")
    memory.from_upstream(b"250 ok\r\n")
    memory.from_client(b"BDAT %d LAST\r\n" % len(octets) + octets)
    memory.from_upstream(b"250 2.0.0 OK\r\n")
    return memory.client_heard.decode().splitlines()[-1]


@pytest.mark.parametrize(
    "octets",
    [PLAIN, MAIL, PLAIN + b"\n\r\n", b"Received: x\r\n" * 101 + PLAIN],
    ids=["plain", "attachment", "bare LF", "loop"],
)
@pytest.mark.parametrize("action", ["allow", "strip", "deny", "tempfail", "discard"])
def test_inspect_says_what_the_gateway_does(octets: bytes, action: str) -> None:
    text = rules(
        names(f'{{match: "*.exe", action: {action}}}'),
        types('{match: "x/y", action: deny}'),
    )
    asked = ask(text, octets, mail_from="a@out.test", rcpt_to=("b@own.test",))
    # Ids differ: that of the gateway is a transaction's.
    reply = told(asked)[2].replace("(id inspect)", "(id inspect.1)")
    assert reply == sent(make_pipeline(text), octets)
