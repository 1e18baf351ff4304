from __future__ import annotations

import socket
import ssl
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpguard.errors import QuarantineError
from smtpguard.model.content import MemorySpool
from smtpguard.quarantine.delivery import FINAL_REPLY, Fate, Mail, Result, deliver
from smtpguard.wire.path import parse_mail, parse_rcpt
from tests.quarantine.making import MESSAGE, to
from tests.quarantine.servers import CLOSE, EVERYTHING, Server


if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tests.integration.bed.certificates import Authority


OCTETS = b"From: a@x.test\r\n\r\n\xe4\xff\r\n"


def mail(
    octets: bytes = MESSAGE,
    *recipients: str,
    sender: str = "<a@x.test>",
) -> Mail:
    content = MemorySpool()
    content.write(octets)
    paths = [
        parse_rcpt(f"TO:{one}".encode(), smtputf8=True)
        for one in recipients or ("<b@y.test>",)
    ]
    return Mail(parse_mail(f"FROM:{sender}".encode()), paths, content)


def sent(
    server: Server, what: Mail | None = None, helo: str | None = "gw.test", **more: Any
) -> list[Result]:
    found = deliver(to(server.port, **more), what or mail(), lambda _: None, helo)
    assert all("\n" not in one.text for one in found)
    return found


def fates(results: Sequence[Result]) -> list[Fate]:
    return [one.fate for one in results]


# -- octets ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "octets",
    [
        MESSAGE,
        b"",
        b".\r\n",
        b"..\r\n.\r\n.a\r\n",
        b"a\r\n.\r\nRCPT TO:<evil@y.test>\r\n",
        b"\r\n\r\n" + bytes(range(128, 256)) + b"\r\n",
        b"\r\n" + b"x" * 100_000 + b"\r\n",
        b"\r\n" + b"." * 100_000 + b"\r\n",
        b"x\r\n" + b".y\r\n" * 100_000,
    ],
    ids=range(9),
)
def test_octets_arrive_as_they_are(octets: bytes) -> None:
    with Server() as server:
        assert fates(sent(server, mail(octets))) == [Fate.SENT]
    assert server.messages == [octets]
    assert server.commands[-1] == b"quit"


@given(st.text("a.\r\n\xe4", max_size=12).map(str.encode))
def test_any_lines_arrive_as_they_are_or_are_not_sent(octets: bytes) -> None:
    plain = octets.replace(b"\r\n", b"")
    with Server() as server:
        (result,) = sent(server, mail(octets))
    if b"\r" in plain or b"\n" in plain:
        assert (result.fate, server.messages) == (Fate.FAILED, [])
    else:
        ended = octets if octets.endswith(b"\r\n") or not octets else octets + b"\r\n"
        assert (result.fate, server.messages) == (Fate.SENT, [ended])


def test_a_message_without_a_final_crlf_gains_it() -> None:
    """RFC 5321 4.1.1.4: the CRLF before the dot is the message's."""
    with Server() as server:
        assert fates(sent(server, mail(b"a: b\r\n\r\nx"))) == [Fate.SENT]
    assert server.messages == [b"a: b\r\n\r\nx\r\n"]


@pytest.mark.parametrize("octets", [b"a\n.\nb\r\n", b"a\rb\r\n", b"a\0\r\n", b"a\r"])
def test_what_two_servers_could_read_in_two_ways_is_not_sent(octets: bytes) -> None:
    with Server() as server:
        (result,) = sent(server, mail(octets))
    assert result == Result(Fate.FAILED, "it holds bare CR, bare LF or NUL")
    assert server.commands == []


# -- parameters ------------------------------------------------------------------------

ASKED = "<a@x.test> SIZE=9 BODY=8BITMIME SMTPUTF8 RET=HDRS ENVID=x AUTH=<> BY=9;R"
ASKED_RCPT = "<b@y.test> NOTIFY=NEVER ORCPT=rfc822;c@y.test X-A=b"


@pytest.mark.parametrize(
    ("keywords", "octets", "mail_line", "rcpt_line"),
    [
        (
            EVERYTHING,
            OCTETS,
            b"MAIL FROM:<a@x.test> SIZE=22 BODY=8BITMIME SMTPUTF8 RET=HDRS ENVID=x",
            b"RCPT TO:<b@y.test> NOTIFY=NEVER ORCPT=rfc822;c@y.test",
        ),
        (
            EVERYTHING,
            MESSAGE,
            b"MAIL FROM:<a@x.test> SIZE=54 SMTPUTF8 RET=HDRS ENVID=x",
            b"RCPT TO:<b@y.test> NOTIFY=NEVER ORCPT=rfc822;c@y.test",
        ),
        ((), MESSAGE, b"MAIL FROM:<a@x.test>", b"RCPT TO:<b@y.test>"),
        (
            (b"8bitmime", b"size"),
            OCTETS,
            b"MAIL FROM:<a@x.test> SIZE=22 BODY=8BITMIME",
            b"RCPT TO:<b@y.test>",
        ),
    ],
)
def test_only_what_is_offered_is_asked_for(
    keywords: tuple[bytes, ...], octets: bytes, mail_line: bytes, rcpt_line: bytes
) -> None:
    with Server(keywords) as server:
        assert fates(sent(server, mail(octets, ASKED_RCPT, sender=ASKED))) == [
            Fate.SENT
        ]
    assert server.commands[:3] == [b"ehlo gw.test", mail_line, rcpt_line]


@pytest.mark.parametrize(
    ("missing", "what", "text"),
    [
        (b"8BITMIME", mail(OCTETS), "it is 8-bit, the server has no 8BITMIME"),
        (
            b"SMTPUTF8",
            mail(MESSAGE, "<ä@y.test>"),
            "it needs SMTPUTF8, the server has none",
        ),
        (
            b"SMTPUTF8",
            mail(b"A: \xc3\xa4\r\n\r\n", sender="<a@x.test> SMTPUTF8"),
            "it needs SMTPUTF8, the server has none",
        ),
    ],
)
def test_what_cannot_be_done_without_fails(
    missing: bytes, what: Mail, text: str
) -> None:
    with Server(tuple(one for one in EVERYTHING if one != missing)) as server:
        assert sent(server, what) == [Result(Fate.FAILED, text)]
    assert server.messages == []
    with Server() as server:
        assert fates(sent(server, what)) == [Fate.SENT]


def test_addresses_outside_ascii_go_as_they_came() -> None:
    what = mail(MESSAGE, "<ü@bücher.test>", sender="<ä@x.test> SMTPUTF8")
    with Server() as server:
        assert fates(sent(server, what)) == [Fate.SENT]
    assert server.commands[1:3] == [
        "MAIL FROM:<ä@x.test> SIZE=54 SMTPUTF8".encode(),
        "RCPT TO:<ü@bücher.test>".encode(),
    ]


def test_the_null_reverse_path_stays_null() -> None:
    with Server(()) as server:
        assert fates(sent(server, mail(sender="<>"))) == [Fate.SENT]
    assert server.commands[1] == b"MAIL FROM:<>"


def test_a_server_without_ehlo_is_greeted_by_helo() -> None:
    with Server(answers={b"ehlo": b"502 5.5.1 what\r\n"}) as server:
        assert fates(sent(server)) == [Fate.SENT]
    assert server.commands[:3] == [
        b"ehlo gw.test",
        b"helo gw.test",
        b"MAIL FROM:<a@x.test>",
    ]


# -- answers ---------------------------------------------------------------------------


def test_each_recipient_has_a_result_of_its_own() -> None:
    answers = {
        b"RCPT TO:<b@": b"550 5.1.1 no\r\n",
        b"RCPT TO:<c@": b"452-4.5.3 too\r\n452 4.5.3 many\r\n",
    }
    what = mail(MESSAGE, "<b@y.test>", "<d@y.test>", "<c@y.test>", "<e@y.test>")
    accepted: list[Sequence[int]] = []
    with Server(answers=answers) as server:
        found = deliver(to(server.port), what, accepted.append)
    assert found == [
        Result(Fate.FAILED, "550 5.1.1 no"),
        Result(Fate.SENT, "250 2.0.0 queued"),
        Result(Fate.FAILED, "452 4.5.3 too / 4.5.3 many"),
        Result(Fate.SENT, "250 2.0.0 queued"),
    ]
    assert accepted == [[1, 3]]
    assert len(server.messages) == 1


def test_where_nobody_is_accepted_nothing_is_sent() -> None:
    with Server(answers={b"RCPT": b"550 5.1.1 no\r\n"}) as server:
        assert sent(server) == [Result(Fate.FAILED, "550 5.1.1 no")]
    assert server.commands[-2:] == [b"RCPT TO:<b@y.test>", b"quit"]


@pytest.mark.parametrize(
    ("begin", "answer", "text"),
    [
        (b"ehlo", b"421 4.3.2 later\r\n", "421 4.3.2 later"),
        (b"MAIL", b"451 4.7.1 later\r\n", "451 4.7.1 later"),
        (b"MAIL", b"354 what\r\n", "354 what"),
        (b"DATA", b"554 5.5.1 no\r\n", "554 5.5.1 no"),
        (b"DATA", b"250 what\r\n", "250 what"),
        (b".", b"552 5.3.4 large\r\n", "552 5.3.4 large"),
        (b".", b"451 4.3.0 later\r\n", "451 4.3.0 later"),
        (b".", b"550 \x1b[31m\r\n", "550 \\x1b[31m"),
    ],
)
def test_what_is_refused_has_failed_with_the_answer(
    begin: bytes, answer: bytes, text: str
) -> None:
    with Server(answers={begin: answer}) as server:
        assert sent(server) == [Result(Fate.FAILED, text)]


@pytest.mark.parametrize("begin", [b"ehlo", b"MAIL", b"RCPT", b"DATA"])
def test_what_is_lost_before_the_final_dot_has_failed(begin: bytes) -> None:
    with Server(answers={begin: CLOSE}) as server:
        (result,) = sent(server)
    assert result.fate is Fate.FAILED
    assert "closed" in result.text
    assert server.messages == []


@pytest.mark.parametrize("answer", [CLOSE, b"what\r\n", b"350 what\r\n", b"\xff\r\n"])
def test_what_is_lost_after_the_final_dot_is_in_doubt(answer: bytes) -> None:
    """RFC 5321 4.2.5, 6.1: the server may have taken it all the same."""
    with Server(answers={b".": answer}) as server:
        assert fates(sent(server)) == [Fate.IN_DOUBT]
    assert server.messages == [MESSAGE]


def test_a_server_that_is_silent_after_the_final_dot_leaves_it_in_doubt(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert FINAL_REPLY >= 600
    monkeypatch.setattr("smtpguard.quarantine.delivery.FINAL_REPLY", 0.1)
    with Server() as server:
        server.gate.clear()
        (result,) = sent(server)
    assert result.fate is Fate.IN_DOUBT
    assert "timed out" in result.text


def test_what_was_answered_counts_whatever_comes_of_quit() -> None:
    with Server(answers={b"quit": CLOSE}) as server:
        assert fates(sent(server)) == [Fate.SENT]


def test_who_cannot_note_it_before_the_final_dot_sends_none() -> None:
    def before_dot(_: object) -> None:
        raise QuarantineError("disk full")

    with Server() as server, pytest.raises(QuarantineError, match="disk full"):
        deliver(to(server.port), mail(), before_dot)
    assert server.messages == []


def test_where_nobody_listens_it_has_failed() -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    (result,) = deliver(to(port), mail(), lambda _: None)
    assert result == Result(Fate.FAILED, "Connection refused")


def test_a_server_that_says_nothing_is_not_awaited_for_ever() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        (result,) = deliver(to(port, timeout=0.2), mail(), lambda _: None)
    assert result.fate is Fate.FAILED
    assert "timed out" in result.text


# -- TLS -------------------------------------------------------------------------------


def test_starttls_is_used_where_it_is_offered(server_tls: ssl.SSLContext) -> None:
    with Server(tls=server_tls) as server:
        assert fates(sent(server, tls="starttls")) == [Fate.SENT]
    assert server.commands[:3] == [
        b"ehlo gw.test",
        b"STARTTLS",
        b"tls ehlo gw.test",
    ]
    assert all(one.startswith(b"tls ") for one in server.commands[2:])
    with Server() as server:
        assert fates(sent(server, tls="starttls")) == [Fate.SENT]


@pytest.mark.parametrize(
    ("answers", "text"),
    [
        ({}, "the server offers no STARTTLS"),
        ({b"ehlo": b"502 5.5.1 what\r\n"}, "the server offers no STARTTLS"),
    ],
)
def test_where_starttls_is_required_nothing_goes_in_clear(
    answers: dict[bytes, bytes], text: str
) -> None:
    with Server(answers=answers) as server:
        found = sent(server, tls="starttls_required")
    assert found == [Result(Fate.FAILED, text)]
    assert not any(one.upper().startswith(b"MAIL") for one in server.commands)


@pytest.mark.parametrize("tls", ["starttls", "starttls_required"])
@pytest.mark.parametrize(
    "answer", [b"454 4.7.0 not now\r\n", b"220 go on\r\n", b"what\r\n"]
)
def test_where_starttls_fails_nothing_goes_in_clear(
    server_tls: ssl.SSLContext,
    tls: str,
    answer: bytes,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What was offered is not done without."""
    monkeypatch.setattr(Server, "_wrapped", lambda _, connection: connection)
    with Server(tls=server_tls, answers={b"STARTTLS": answer}) as server:
        assert fates(sent(server, tls=tls, timeout=2.0)) == [Fate.FAILED]
    assert server.messages == []
    assert not any(one.upper().startswith(b"MAIL") for one in server.commands)


def test_what_comes_in_clear_behind_the_220_is_discarded(
    server_tls: ssl.SSLContext,
) -> None:
    """Or it would be taken for the answer to what is asked in TLS."""
    injected = b"220 go on\r\n250-evil.test\r\n250 DSN\r\n"
    what = mail(MESSAGE, ASKED_RCPT)
    with Server((), {b"STARTTLS": injected}, server_tls) as server:
        assert fates(sent(server, what, tls="starttls")) == [Fate.SENT]
    assert server.commands[4] == b"tls RCPT TO:<b@y.test>"


def test_implicit_tls_is_there_from_the_first_octet(
    server_tls: ssl.SSLContext,
) -> None:
    with Server(tls=server_tls, implicit=True) as server:
        assert fates(sent(server, tls="tls")) == [Fate.SENT]
    assert server.commands[0] == b"tls ehlo gw.test"


@pytest.mark.parametrize(
    ("host", "ca", "fate"),
    [
        ("localhost", True, Fate.SENT),
        ("127.0.0.1", True, Fate.SENT),
        ("ip6-localhost.test", True, Fate.FAILED),
        ("localhost", False, Fate.FAILED),
    ],
)
def test_a_certificate_is_verified_where_it_is_to_be(
    server_tls: ssl.SSLContext,
    authority: Authority,
    monkeypatch: pytest.MonkeyPatch,
    *,
    host: str,
    ca: bool,
    fate: Fate,
) -> None:
    real = socket.create_connection
    monkeypatch.setattr(
        socket, "create_connection", lambda at, *more: real(("127.0.0.1", at[1]), *more)
    )
    file = str(authority.certificate) if ca else ""
    with Server(tls=server_tls) as server:
        found = sent(server, host=host, tls="starttls_required", verify=True, ca=file)
    assert fates(found) == [fate]
    assert (server.messages == []) == (fate is Fate.FAILED)
    if fate is Fate.FAILED:
        assert "certificate verify failed" in found[0].text.lower()


def test_a_file_of_authorities_that_is_missing_fails(tmp_path: Path) -> None:
    with Server() as server:
        (result,) = sent(server, ca=str(tmp_path / "none.pem"))
    assert result.fate is Fate.FAILED
    assert "No such file" in result.text


REQUIRED = mail(sender="<a@x.test> REQUIRETLS")


def test_requiretls_is_never_dropped(
    server_tls: ssl.SSLContext, authority: Authority
) -> None:
    """RFC 8689 4.2.1"""
    ca = str(authority.certificate)
    with Server((b"REQUIRETLS",), tls=server_tls) as server:
        found = sent(server, REQUIRED, tls="starttls", verify=True, ca=ca)
        assert fates(found) == [Fate.SENT]
        assert server.commands[3] == b"tls MAIL FROM:<a@x.test> REQUIRETLS"
        unverified = sent(server, REQUIRED, tls="starttls")
    with Server(tls=server_tls) as server:
        not_offered = sent(server, REQUIRED, tls="starttls", verify=True, ca=ca)
    with Server((b"REQUIRETLS",)) as server:
        in_clear = sent(server, REQUIRED)
    text = "it needs REQUIRETLS in verified TLS"
    for found in (unverified, not_offered, in_clear):
        assert found == [Result(Fate.FAILED, text)]


# -- AUTH ------------------------------------------------------------------------------


def test_a_password_is_told_in_tls(server_tls: ssl.SSLContext, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("pass word\nnote\n")
    who: dict[str, Any] = {"user": "gw", "password_file": str(tmp_path / "secret")}
    answers = {b"AUTH PLAIN AGd3AHBhc3Mgd29yZA==": b"235 2.7.0 ok\r\n"}
    with Server((b"AUTH PLAIN",), answers, tls=server_tls) as server:
        assert fates(sent(server, tls="starttls_required", **who)) == [Fate.SENT]
    with Server((b"AUTH PLAIN",), {b"AUTH": b"535 5.7.8 no\r\n"}, server_tls) as server:
        found = sent(server, tls="starttls_required", **who)
    assert found == [Result(Fate.FAILED, "535 5.7.8 no")]


def test_no_password_is_told_in_clear(tmp_path: Path) -> None:
    with Server((b"AUTH PLAIN",)) as server:
        found = sent(server, tls="starttls", user="gw", password_file="none")
    assert found == [Result(Fate.FAILED, "no password is told in clear")]
    assert not any(b"AUTH" in one for one in server.commands)


@pytest.mark.parametrize("password", [None, b"\xe4\n"])
def test_a_password_that_cannot_be_read_fails(
    server_tls: ssl.SSLContext, tmp_path: Path, password: bytes | None
) -> None:
    if password is not None:
        (tmp_path / "secret").write_bytes(password)
    who: dict[str, Any] = {"user": "gw", "password_file": str(tmp_path / "secret")}
    with Server((b"AUTH PLAIN",), tls=server_tls) as server:
        assert fates(sent(server, tls="starttls", **who)) == [Fate.FAILED]
    assert server.messages == []
