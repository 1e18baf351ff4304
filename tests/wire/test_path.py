from __future__ import annotations

import pytest

from smtpguard.errors import ProtocolError
from smtpguard.model.mailbox import Mailbox, Parameter, Path
from smtpguard.wire import replies
from smtpguard.wire.path import parse_mail, parse_mailbox, parse_rcpt
from tests.wire.addressing import rcpt, refusal


def test_mail_has_a_path_and_parameters() -> None:
    assert parse_mail(b"FROM:<a@b.example> SIZE=1 body=8BITMIME SMTPUTF8") == Path(
        Mailbox(b"a@b.example", "a", "b.example"),
        (
            Parameter("SIZE", "1"),
            Parameter("BODY", "8BITMIME"),
            Parameter("SMTPUTF8", None),
        ),
    )


@pytest.mark.parametrize(
    "argument",
    [b"FROM:<a@b>", b"from:<a@b>", b"FROM: <a@b>", b"FROM:<a@b> ", b"FROM:<a@b>   X"],
    ids=["plain", "lower-case", "space-after-colon", "space-behind", "spaces-between"],
)
def test_spelling_that_has_one_reading_is_accepted(argument: bytes) -> None:
    assert parse_mail(argument).mailbox == Mailbox(b"a@b", "a", "b")


def test_the_null_path_is_for_mail_only() -> None:
    assert parse_mail(b"FROM:<> SIZE=1") == Path(None, (Parameter("SIZE", "1"),))
    assert refusal(b"TO:<>").reply is replies.BAD_RECIPIENT


@pytest.mark.parametrize("written", ["Postmaster", "postmaster", "POSTMASTER"])
def test_A3_postmaster_needs_no_domain(written: str) -> None:
    assert rcpt(f"<{written}>") == Mailbox(written.encode(), written, "")


def test_A3_nobody_else_goes_without_a_domain() -> None:
    assert refusal(b"TO:<root>").reply is replies.BAD_RECIPIENT
    assert refusal(b'TO:<"postmaster">').reply is replies.BAD_RECIPIENT
    assert refusal(b"FROM:<postmaster>").reply is replies.BAD_SENDER


@pytest.mark.parametrize(
    ("path", "local_part", "domain"),
    [
        ("<u@evilgood.com>", "u", "evilgood.com"),
        ("<u@good.com.evil.com>", "u", "good.com.evil.com"),
        ("<U+TAG@Good.COM>", "U+TAG", "good.com"),
    ],
)
def test_A3_parts_are_split_where_the_grammar_says(
    path: str, local_part: str, domain: str
) -> None:
    assert rcpt(path) == Mailbox(path[1:-1].encode(), local_part, domain)


A1_QUOTED = [
    pytest.param(
        b'<"foo@psres.net> ORCPT=admin@admin.com"@test.com>',
        "foo@psres.net> ORCPT=admin@admin.com",
        "test.com",
        id="bracket-and-parameter",
    ),
    pytest.param(b'<"a@evil.com x"@good.com>', "a@evil.com x", "good.com", id="space"),
    pytest.param(
        rb'<"a\"@evil.com"@good.com>', 'a"@evil.com', "good.com", id="quoted-pair"
    ),
    pytest.param(rb'<"a\\"@good.com>', "a\\", "good.com", id="backslash"),
    pytest.param(b'<""@good.com>', "", "good.com", id="empty"),
]


@pytest.mark.parametrize(("path", "local_part", "domain"), A1_QUOTED)
def test_A1_a_quoted_local_part_hides_nothing(
    path: bytes, local_part: str, domain: str
) -> None:
    assert parse_rcpt(b"TO:" + path, smtputf8=False) == Path(
        Mailbox(path[1:-1], local_part, domain)
    )


@pytest.mark.parametrize(
    "path",
    [
        b"<a@good.com>@evil.com",
        b"<a@good.com>@evil.com>",
        b'<"a@evil.com>',
        b'<"a"b@good.com>',
        b'<a"b"@good.com>',
        b'<"a"."b"@good.com>',
        b'<"a\\"@good.com>',
        b"<a@b@good.com>",
        b"<a@good.com",
        b"a@good.com",
        b"a@good.com>",
        b"<<a@good.com>>",
        b"<a@good.com>SIZE=1",
        b"<a@good.com>,<b@good.com>",
        b"< a@good.com>",
        b"<a@good.com >",
        b"<a b@good.com>",
        b"  <a@good.com>",
        b"<@good.com>",
        b"<a@>",
        b"<a>",
        b"<.a@good.com>",
        b"<a.@good.com>",
        b"<a..b@good.com>",
        b"",
    ],
)
def test_A1_what_does_not_parse_is_501(path: bytes) -> None:
    assert refusal(b"TO:" + path).reply is replies.BAD_RECIPIENT
    assert refusal(b"FROM:" + path).reply is replies.BAD_SENDER


def test_A2_a_source_route_is_dropped() -> None:
    path = parse_rcpt(b"TO:<@evil.com:u@good.com>", smtputf8=False)
    assert path == Path(Mailbox(b"u@good.com", "u", "good.com"))
    path = parse_mail(b"FROM:<@a.example,@b.example:u@good.com> SIZE=1")
    assert path.mailbox == Mailbox(b"u@good.com", "u", "good.com")


@pytest.mark.parametrize("route", ["@evil.com", "@a,b:", "@:", "@a,:", "@a;", "@a b:"])
def test_A2_a_bad_source_route_is_501(route: str) -> None:
    assert refusal(f"TO:<{route}u@good.com>".encode()).reply is replies.BAD_RECIPIENT


@pytest.mark.parametrize(
    ("path", "local_part", "domain"),
    [
        ("<u%evil.com@good.com>", "u%evil.com", "good.com"),
        ("<evil.com!u@good.com>", "evil.com!u", "good.com"),
        ("<u@[10.0.0.1]>", "u", "[10.0.0.1]"),
        ("<u@[IPv6:2001:DB8::1]>", "u", "[ipv6:2001:db8::1]"),
        ("<u@good.com.>", "u", "good.com"),
        ("<u@GOOD.com>", "u", "good.com"),
        ("<u@bücher.example>", "u", "xn--bcher-kva.example"),
        ("<u@xn--bcher-kva.example>", "u", "xn--bcher-kva.example"),
        ("<u@\uff47ood.com>", "u", "good.com"),
        ("<jo\u0308rg@good.com>", "j\u00f6rg", "good.com"),
        ("<=?x?q?u=40evil.com?=@good.com>", "=?x?q?u=40evil.com?=", "good.com"),
    ],
    ids=[
        *("percent", "bang", "ipv4", "ipv6", "trailing-dot", "case", "u-label"),
        *("a-label", "full-width", "decomposed", "encoded-word"),
    ],
)
def test_A2_routing_tricks_have_one_reading(
    path: str, local_part: str, domain: str
) -> None:
    assert rcpt(path) == Mailbox(path[1:-1].encode(), local_part, domain)


@pytest.mark.parametrize(
    "path",
    [
        b"<u(c)@good.com>",
        b"<(c)u@good.com>",
        b"<u@good.com(c)>",
        b"<=?x?q?u=40evil.com=3e?=>@good.com>",
        b"<=?x?q?u@evil.com?=@good.com>",
        b"<u@good.com,v@good.com>",
        b"<u@good.com;>",
        b"<u@[10.0.0.1>",
        b"<u@[10.0.0.1]evil.com>",
        b"<u@[10.0.0.256]>",
        b"<u@[IPv6:fe80::1%eth0]>",
        b"<u@-good.com>",
        b"<u@\xef\xbc\xa0good.com>",
    ],
    ids=repr,
)
def test_A2_tricks_outside_the_grammar_are_501(path: bytes) -> None:
    assert refusal(b"TO:" + path).reply is replies.BAD_RECIPIENT


@pytest.mark.parametrize(
    "path",
    [
        b"<a\0b@x>",
        b"<a\rb@x>",
        b"<a\tb@x>",
        b'<"a\tb"@x>',
        b'<"a\\\x01"@x>',
        b"<a\x7f@x>",
        b"<a\xc2\x85b@x>",
        b"<a\xe2\x80\xa8b@x>",
        b"<a\xffb@x>",
        b"<a\xed\xa0\x80b@x>",
        b"<a\xc0\xae@x>",
        b"<a@x\xff>",
    ],
    ids=repr,
)
def test_F6_controls_and_what_is_no_utf_8_are_501(path: bytes) -> None:
    error = refusal(b"TO:" + path)
    assert error.reply is replies.BAD_RECIPIENT
    assert str(error).isascii()
    assert str(error).isprintable()


@pytest.mark.parametrize(
    "argument",
    [
        b"TO:<karl.private@b..example>",
        b"TO:karl.private@b.example",
        b"TO:<karl.private@xn--zzzzzzz--.example>",
        b"<karl.private@b.example>",
        b"TO:<a@b.example> ORCPT=rfc822;karl.private\x7f",
    ],
    ids=["dots", "brackets", "domain", "prefix", "parameter"],
)
def test_what_is_refused_is_not_quoted(argument: bytes) -> None:
    """The text goes to logs, which may have to hide addresses."""
    assert "karl" not in str(refusal(argument))
    assert "example" not in str(refusal(argument))


@pytest.mark.parametrize(
    ("path", "fits"),
    [
        pytest.param(b"<" + b"a" * 64 + b"@b>", True, id="local-part-64"),
        pytest.param(b"<" + b"a" * 65 + b"@b>", False, id="local-part-65"),
        pytest.param(b'<"' + b"a" * 62 + b'"@b>', True, id="quoted-64"),
        pytest.param(b'<"' + b"a" * 63 + b'"@b>', False, id="quoted-65"),
        pytest.param("<{}@b>".format("ö" * 32).encode(), True, id="utf-8-64"),
        pytest.param("<{}@b>".format("ö" * 33).encode(), False, id="utf-8-66"),
        pytest.param(
            b"<a@" + (b"b" * 50 + b".") * 4 + b"c" * 48 + b">", True, id="path-256"
        ),
        pytest.param(
            b"<a@" + (b"b" * 50 + b".") * 4 + b"c" * 49 + b">", False, id="path-257"
        ),
        pytest.param(
            b"<" + b"@r.example," * 22 + b"@s:a@b.example>", False, id="long-route"
        ),
        pytest.param(b"<a@" + b"b." * 127 + b"c>", False, id="domain-255"),
        pytest.param(b"<a@" + b"b" * 64 + b">", False, id="label-64"),
    ],
)
def test_A3_parts_and_paths_have_limits(path: bytes, fits: bool) -> None:
    if fits:
        assert rcpt(path).octets == path[1:-1]
        return
    assert refusal(b"TO:" + path).reply is replies.BAD_RECIPIENT


def test_F8_octets_outside_ascii_need_smtputf8() -> None:
    argument = b"TO:<j\xc3\xb6rg@x>"
    with pytest.raises(ProtocolError) as caught:
        parse_rcpt(argument, smtputf8=False)
    assert caught.value.reply is replies.SMTPUTF8_NEEDED
    assert parse_rcpt(argument, smtputf8=True).mailbox == Mailbox(
        b"j\xc3\xb6rg@x", "jörg", "x"
    )
    assert refusal(b"FROM:<j\xc3\xb6rg@x>").reply is replies.SMTPUTF8_NEEDED
    assert refusal(b"FROM:<a@x> X=\xc3\xb6").reply is replies.SMTPUTF8_NEEDED
    mailbox = parse_mail(b"FROM:<j\xc3\xb6rg@x> SMTPUTF8").mailbox
    assert mailbox == Mailbox(b"j\xc3\xb6rg@x", "jörg", "x")


@pytest.mark.parametrize(
    "argument",
    [b"", b"<a@b>", b"FORM:<a@b>", b"FROM <a@b>", b"FROM :<a@b>", b"TO:<a@b>"],
    ids=["empty", "no-prefix", "misspelt", "no-colon", "space-before-colon", "to"],
)
def test_without_its_prefix_an_argument_is_501(argument: bytes) -> None:
    with pytest.raises(ProtocolError) as caught:
        parse_mail(argument)
    assert caught.value.reply is replies.SYNTAX


@pytest.mark.parametrize(
    "parameter",
    ["=1", "SIZE=", "SIZE=1=2", "-X", "X_Y=1", "SI\u017fE=1", '"SIZE=1"', "<b@c>"],
)
def test_a_parameter_outside_the_grammar_is_501(parameter: str) -> None:
    argument = f"FROM:<a@b> SMTPUTF8 {parameter}".encode()
    assert refusal(argument).reply is replies.SYNTAX


def test_parameters_are_kept_as_written() -> None:
    path = parse_rcpt("TO:<a@b> ORCPT=utf-8;ö@b notify=Never".encode(), smtputf8=True)
    assert path.parameters == (
        Parameter("ORCPT", "utf-8;ö@b"),
        Parameter("NOTIFY", "Never"),
    )


@pytest.mark.parametrize(
    ("text", "mailbox"),
    [
        ("a@b.example", Mailbox(b"a@b.example", "a", "b.example")),
        ('"a b"@B.example', Mailbox(b'"a b"@B.example', "a b", "b.example")),
        (
            "jörg@bücher.example",
            Mailbox(
                "jörg@xn--bcher-kva.example".encode(), "jörg", "xn--bcher-kva.example"
            ),
        ),
        ("jörg@b.example", Mailbox("jörg@b.example".encode(), "jörg", "b.example")),
        ("a@[192.0.2.1]", Mailbox(b"a@[192.0.2.1]", "a", "[192.0.2.1]")),
    ],
    ids=["plain", "quoted", "u-label", "utf-8", "literal"],
)
def test_a_mailbox_of_a_rule_is_read_like_a_peers(text: str, mailbox: Mailbox) -> None:
    assert parse_mailbox(text) == mailbox


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a",
        "postmaster",
        "<a@b>",
        "a@b ",
        "a@b>",
        "a@b SIZE=1",
        "a@b@c",
        "@b",
        "*@b\n",
        "a@-b",
        "a\u2028@b",
    ],
)
def test_what_is_no_mailbox_raises_value_error(text: str) -> None:
    with pytest.raises(ValueError):
        parse_mailbox(text)
