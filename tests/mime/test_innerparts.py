"""Inner contents as parts of the tree."""

from __future__ import annotations

import base64

import pytest

from smtpguard.mime import Limits, Message, Notice, apply, parse, strip
from tests.mime.mails import kinds, mail, only, read


TOOL = b"MZ\x90\0 a tool of some length, so that it fills lines" * 3
BASE64 = base64.encodebytes(TOOL).decode().splitlines()
ATTACHED = (
    "Content-Type: application/octet-stream; name=a.exe",
    "Content-Transfer-Encoding: base64",
    "",
    *BASE64,
)


def paths(message: Message) -> list[str]:
    return [part.path for part in message.parts()]


def test_a_content_read_in_another_way_is_a_part_with_the_claims_of_its_leaf() -> None:
    message = read(
        "Content-Type: application/x-tool; name=a.exe",
        "Content-Transfer-Encoding: x-unknown",
        "",
        *BASE64,
    )
    inner = only(message, "1.1")
    assert (inner.content_type, inner.names) == ("application/x-tool", ("a.exe",))
    assert b"".join(inner.decoded()) == TOOL
    assert message.holder(inner) is message.root
    assert only(message, "1").is_leaf
    assert [part.path for part in message.candidates()] == ["1", "1.1"]


def test_parts_behind_the_close_delimiter_are_seen() -> None:
    """attacks M4; ClamAV: the second of two boundaries is used in the epilogue."""
    text = (
        "Content-Type: multipart/mixed; boundary=X; boundary=Y",
        "",
        "--X",
        "",
        "text",
        "--X--",
        "--Y",
        *ATTACHED,
        "--Y--",
    )
    message = read(*text)
    tool = only(message, "1.2.1")
    assert b"".join(tool.decoded()) == TOOL
    assert tool.names == ("a.exe",)
    assert "hidden-parts" in kinds(message)
    # It cannot be edited: the whole multipart goes.
    after = b"".join(apply(message, strip(message, tool, Notice("gone\n"))).chunks())
    assert after.partition(b"\r\n\r\n")[2] == b"gone\r\n"


def test_parts_before_the_first_delimiter_are_seen() -> None:
    message = read(
        "Content-Type: multipart/mixed; boundary=X",
        "",
        "--Y",
        *ATTACHED,
        "--Y--",
        "--X",
        "",
        "text",
        "--X--",
    )
    assert b"".join(only(message, "1.2.1").decoded()) == TOOL


def test_a_type_that_is_no_multipart_hides_no_parts() -> None:
    message = read(
        "Content-Type: ultipart/mixed; boundary=X", "", "--X", *ATTACHED, "--X--"
    )
    assert b"".join(only(message, "1.1.1").decoded()) == TOOL


def test_hidden_parts_are_not_looked_for_in_hidden_parts() -> None:
    """Else each level would hold all that is below it once more."""
    levels = [f"--B{level}\r\nContent-Type: text/plain\r\n" for level in range(40)]
    message = read("Content-Type: text/plain", "", *levels)
    assert len(paths(message)) < 60
    assert max(path.count(".") for path in paths(message)) <= 3


def test_inner_parts_count_as_parts_and_levels() -> None:
    text = (
        "Content-Type: application/x-tool",
        "Content-Transfer-Encoding: x-unknown",
        "",
        *BASE64,
    )
    assert paths(read(*text, limits=Limits(parts=1))) == ["1"]
    assert paths(read(*text, limits=Limits(depth=1))) == ["1"]
    # What was decoded counts with what came out.
    cost = len(mail(*BASE64)) + len(TOOL)
    small = read(*text, limits=Limits(readings=cost - 1))
    assert paths(small) == ["1"]
    assert "limit-readings" in kinds(small)
    assert paths(read(*text, limits=Limits(readings=cost))) == ["1", "1.1"]


def test_many_ways_to_read_many_parts_are_bounded() -> None:
    part = mail("--B", "Content-Transfer-Encoding: x", "", *BASE64, "").decode()
    message = read(
        "Content-Type: multipart/mixed; boundary=B",
        "",
        part * 2000,
        limits=Limits(readings=10_000),
    )
    held = sum(len(one.buffer) for one in message.parts() if one.path.count(".") > 1)
    assert held <= 10_000
    assert {"limit-readings", "limit-parts"} <= kinds(message)


def test_hidden_parts_keep_to_the_limits_too() -> None:
    text = ("Content-Type: a/b", "", "--X", *ATTACHED, "--Y", *ATTACHED)
    for depth in (1, 2, 3, 4):
        message = read(*text, limits=Limits(depth=depth))
        assert max(path.count(".") + 1 for path in paths(message)) <= depth
        # What follows the first part is odd base64 within it: one level more.
        assert ("limit-depth" in kinds(message)) == (depth < 4)
    for parts in (1, 2, 3, 4, 5):
        assert len(paths(read(*text, limits=Limits(parts=parts)))) <= parts


MESSAGE = ("Subject: inner", "MIME-Version: 1.0", *ATTACHED)


def filed(name: str, *lines: str, kind: str = "application/octet-stream") -> Message:
    octets = "".join(f"{line}\r\n" for line in lines).encode()
    return read(
        f'Content-Type: {kind}; name="{name}"',
        "Content-Transfer-Encoding: base64",
        "",
        *base64.encodebytes(octets).decode().splitlines(),
    )


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a.eml", "application/octet-stream"),
        ("A.EML", "text/plain"),
        ("a.eml. ", "image/png"),
        ("page.mht", "x-page/other"),
        ("page.mhtml", "application/x-mimearchive"),
    ],
)
def test_a_message_by_its_name_is_read_whatever_its_type_says(
    name: str, kind: str
) -> None:
    """Opened in a mail reader it shows its attachments."""
    message = filed(name, *MESSAGE, kind=kind)
    tool = only(message, "1.1")
    assert tool.names == ("a.exe",)
    assert b"".join(tool.decoded()) == TOOL
    assert message.holder(tool) is message.root
    assert kinds(message) == set()


@pytest.mark.parametrize(
    ("name", "lines"),
    [("a.txt", MESSAGE), ("a.eml", ("no field begins here", "a: b"))],
    ids=["another name", "no message"],
)
def test_what_no_reader_opens_as_a_message_is_none(
    name: str, lines: tuple[str, ...]
) -> None:
    assert paths(filed(name, *lines)) == ["1"]


def test_a_message_by_its_name_keeps_to_the_limits() -> None:
    message = filed("a.eml", *MESSAGE)
    octets = bytes(message.buffer)
    assert paths(parse(octets, Limits(depth=1))) == ["1"]
    assert "limit-depth" in kinds(parse(octets, Limits(depth=1)))
    assert "limit-decoded" in kinds(parse(octets, Limits(decoded=100)))
    assert paths(parse(octets, Limits(decoded=100))) == ["1"]


BOUNCE = (
    "Hi. This is the mail program at mx.example.",
    "--- Below this line is a copy of the message.",
    "",
    "Subject: news",
    "Content-Type: multipart/mixed; boundary=zz",
    "",
    "--zz",
    "Content-Type: text/plain",
    "",
    "Hello",
    "--zz",
    *ATTACHED,
    "--zz--",
)


@pytest.mark.parametrize(
    ("header", "kind"),
    [
        (("Subject: failure notice",), "quoted-parts"),
        (("Content-Type: text/plain; charset=utf-8",), "quoted-parts"),
        (("Content-Type: text/plain; boundary=zz",), "hidden-parts"),
        (("Content-Type: text/html",), "hidden-parts"),
        (
            ("Content-Type: text/plain", "Content-Type : multipart/mixed"),
            "hidden-parts",
        ),
        (("Content-Type: application/x-tool",), "hidden-parts"),
    ],
)
def test_a_bounce_quotes_what_elsewhere_would_be_hidden(
    header: tuple[str, ...], kind: str
) -> None:
    """Its sender is nobody: refused, it would be gone. The parts are looked at."""
    message = read(*header, "", *BOUNCE)
    found = {"hidden-parts", "quoted-parts"} & kinds(message)
    assert found == {kind}
    quoted = any(one.is_ambiguity for one in message.defects if one.kind == kind)
    assert quoted is (kind == "hidden-parts")
    tools = [part for part in message.parts() if part.names == ("a.exe",)]
    assert [b"".join(part.decoded()) for part in tools] == [TOOL]
