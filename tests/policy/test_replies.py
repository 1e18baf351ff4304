from __future__ import annotations

import pytest

from smtpguard.model.decision import Action
from smtpguard.model.reply import Reply
from smtpguard.policy import replies
from smtpguard.policy.replies import MAX_REPLY_LINE, parse_reply
from tests.policy.rulefiles import context, node, told


@pytest.mark.parametrize(
    ("text", "action", "wire"),
    [
        ("550 5.7.1 No", Action.DENY, b"550 5.7.1 No\r\n"),
        ("571 5.7.1 No", Action.DENY, None),
        ("571 No", Action.DENY, None),
        ("450 4.7.10 Encryption needed", Action.TEMPFAIL, None),
        ("554 5.7.1 5.7.1 No", Action.DENY, b"554 5.7.1 5.7.1 No\r\n"),
        ("550 9.9.9 No", Action.DENY, b"550 9.9.9 No\r\n"),
    ],
)
def test_a_reply_is_sent_as_it_is_written(
    text: str, action: Action, wire: bytes | None
) -> None:
    octets = parse_reply(text, action).to_octets()
    assert octets == (wire or f"{text}\r\n".encode())


def test_the_longest_reply_fits_a_line() -> None:
    text = "550 5.7.1 " + "x" * (MAX_REPLY_LINE - 12)
    assert len(parse_reply(text, Action.DENY).to_octets()) == MAX_REPLY_LINE
    with pytest.raises(ValueError, match="513 octets"):
        parse_reply(text + "x", Action.DENY)


@pytest.mark.parametrize("code", [200, 221, 250, 354, 421, 450, 499])
def test_deny_answers_5yz_only(code: int) -> None:
    with pytest.raises(ValueError):
        parse_reply(f"{code} No", Action.DENY)


@pytest.mark.parametrize("code", [200, 221, 250, 354, 421, 500, 550, 571])
def test_tempfail_answers_4yz_but_421(code: int) -> None:
    with pytest.raises(ValueError):
        parse_reply(f"{code} No", Action.TEMPFAIL)


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            "550",
            "550 ",
            "550 5.7.1",
            "550 5.7.1 ",
            "No",
            "55 x",
            "5500 x",
            "650 x",
        ),
        *(
            "550-x",
            "550  ",
            "550 4.7.1",
            "550 5.7.1 ü",
            "550 x\r\ny",
            "550 x\ty",
            "550\tx",
        ),
        *("550 4.7.1 x", "550 2.0.0 x", " 550 x", "550 x\x7f", "550 x\u0660"),
    ],
)
def test_what_must_not_be_sent_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        parse_reply(text, Action.DENY)


def test_our_own_replies_obey_the_same_rules() -> None:
    ours = [one for one in vars(replies).values() if isinstance(one, Reply)]
    assert len(ours) == 8
    for reply in ours:
        action = Action.DENY if reply.is_permanent else Action.TEMPFAIL
        text = reply.to_octets().decode("ascii").removesuffix("\r\n")
        assert parse_reply(text, action) == reply


def test_a_reply_is_read_as_text() -> None:
    found = context()
    assert replies.REPLY.read(node('"550 x"'), found) == "550 x"
    assert replies.REPLY.read(node("[a]"), found) is None
    assert told(found) == ["bad-type"]
