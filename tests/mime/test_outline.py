from __future__ import annotations

import hashlib
import json

from smtpguard.mime import outline, outline_defects
from tests.mime.mails import read


def test_every_part_is_outlined_with_the_keys_of_the_contract() -> None:
    """contract 10."""
    message = read(
        "Content-Type: multipart/mixed; boundary=b",
        "",
        "--b",
        "",
        "x",
        "--b",
        "Content-Type: application/zip; name=a.zip",
        "Content-Transfer-Encoding: base64",
        "",
        "SGVsbG8=",
        "--b--",
    )
    found = outline(message)
    assert found[0] == {
        "path": "1",
        "type": "multipart/mixed",
        "names": [],
        "size": len(message.root.body),
        "sha256": "",
        "facts": [],
        "entries": [],
    }
    assert [item["path"] for item in found] == ["1", "1.1", "1.2"]
    assert found[2] == {
        "path": "1.2",
        "type": "application/zip",
        "names": ["a.zip"],
        "size": 5,
        "sha256": hashlib.sha256(b"Hello").hexdigest(),
        "facts": [],
        "entries": [],
    }
    assert json.loads(json.dumps(found)) == found


def test_a_message_inside_is_measured_as_a_whole() -> None:
    found = outline(read("Content-Type: message/rfc822", "", "A: b", "", "x"))
    inner = b"A: b\r\n\r\nx\r\n"
    assert found[0]["size"] == len(inner)
    assert found[0]["sha256"] == hashlib.sha256(inner).hexdigest()
    assert found[1]["size"] == 3


def test_depth_of_nesting_does_not_multiply_what_is_hashed() -> None:
    """Of containers only the outermost message has a digest; every leaf has one."""
    found = outline(read(*["Content-Type: message/rfc822", ""] * 3, "A: b", "", "x"))
    assert [bool(item["sha256"]) for item in found] == [True, False, False, True]
    assert [item["size"] for item in found][1:] == [43, 11, 3]
    assert found[3]["sha256"] == hashlib.sha256(b"x\r\n").hexdigest()


def test_messages_side_by_side_have_a_digest_each() -> None:
    part = ["--b", "Content-Type: message/rfc822", "", "A: b", "", "x"]
    head = "Content-Type: multipart/mixed; boundary=b"
    found = outline(read(head, "", *part * 11, "--b--"))
    messages = [item for item in found if item["type"] == "message/rfc822"]
    assert len(messages) == 11
    assert all(item["sha256"] for item in messages)


def test_defects_are_outlined_by_offset() -> None:
    message = read("junk", "Content-Type: multipart/mixed", "", "x")
    found = outline_defects(message)
    assert found == [
        {"kind": "malformed-field", "part": "1", "offset": 0},
        {"kind": "missing-boundary", "part": "1", "offset": 6},
    ]
    assert json.loads(json.dumps(found)) == found
