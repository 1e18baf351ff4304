"""Our tree beside that of stalwart's mail-parser, for its own test mails.

Compared are the nesting, the types, where each header, body and part begins and ends,
where each field does, and what each leaf holds. Skipped where the corpora are not at
hand.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from smtpguard.mime import Message, Part, parse
from smtpguard.mime.charsets import decode
from tests.mime.mails import content, kinds


PREFIX = (
    "inexact-delimiter",
    (
        "stalwart takes a line that begins with a boundary for its delimiter, whatever "
        "follows; we want the whole line"
    ),
)
INNERMOST = (
    "missing-close-boundary",
    (
        "a delimiter of the multipart around ends those within it (RFC 2046 5.1.2); "
        "stalwart looks for the innermost boundary alone"
    ),
)
REPEATED = (
    "repeated-boundary",
    (
        "of a multipart with the boundary of the one around it we leave the parts to "
        "the outer one, stalwart gives them to the inner one"
    ),
)
GLUED = (
    "duplicate-content-type",
    (
        "the delimiter before the first inner part is missing: stalwart reads no inner "
        "part, we read the second one, and the empty one behind the last delimiter"
    ),
)
DIFFERENCES = {
    "malformed/000": (
        "missing-header-end",
        (
            "no part has an empty line behind its header: stalwart reads none of them, "
            "we read each up to the next delimiter"
        ),
    ),
    "malformed/001": INNERMOST,
    "malformed/003": REPEATED,
    "malformed/004": PREFIX,
    "malformed/007": PREFIX,
    "malformed/008": INNERMOST,
    "malformed/009": INNERMOST,
    "malformed/012": INNERMOST,
    "malformed/013": REPEATED,
    "malformed/014": (
        "missing-close-boundary",
        "a last delimiter with nothing behind it: we read an empty part, stalwart none",
    ),
    "malformed/016": PREFIX,
    "malformed/019": REPEATED,
    "malformed/020": GLUED,
    "malformed/021": GLUED,
    "malformed/022": (
        "malformed-field",
        (
            "a message/rfc822 without a single field: stalwart takes it for a file "
            "alone, we for a message too"
        ),
    ),
}
"""Mail -> what we report, and why our tree is another one, with either line end."""


def expected(shared: Path) -> Iterator[tuple[str, dict[str, Any], Message]]:
    """Yield name, expected parse and our reading, with LF and with CRLF."""
    folder = shared / "corpus" / "mime" / "stalwart-mail-parser"
    for path in sorted(folder.rglob("*.json")):
        number = path.name.partition(".")[0]
        octets = path.with_name(f"{number}.eml").read_bytes().replace(b"\r\n", b"\n")
        if path.name.endswith(".crlf.json"):
            octets = octets.replace(b"\n", b"\r\n")
        name = f"{path.parent.name}/{number}"
        yield name, json.loads(path.read_text("utf-8")), parse(octets)


def content_type(part: dict[str, Any], default: str) -> str:
    for field in part["headers"]:
        if field["name"] == "content_type" and "ContentType" in field["value"]:
            found = field["value"]["ContentType"]
            return f"{found['c_type']}/{found['c_subtype']}".lower()
    return default


def expected_tree(
    message: dict[str, Any], index: int = 0, default: str = "text/plain"
) -> object:
    """Return type, beginning of header and body, end, and the same of each child."""
    part = message["parts"][index]
    ((kind, value),) = part["body"].items()
    claimed = content_type(part, default)
    inner: list[object] = []
    if kind == "Multipart":
        digest = claimed == "multipart/digest"
        child_default = "message/rfc822" if digest else "text/plain"
        inner = [expected_tree(message, one, child_default) for one in value]
    elif kind == "Message":
        inner = [expected_tree(value)]
    place = part["offset_header"], part["offset_body"], part["offset_end"]
    return (claimed, *place, *inner)


def children(part: Part) -> tuple[Part, ...]:
    """Return what is meant to be in a part; a message may be encoded."""
    return part.children + (part.decoded_parts if part.is_message else ())


def tree(part: Part) -> object:
    place = part.span.start, part.body.start, part.span.end
    return (part.content_type, *place, *map(tree, children(part)))


def both(
    message: dict[str, Any], part: Part, index: int = 0
) -> Iterator[tuple[dict[str, Any], Part]]:
    """Yield each part of two trees of one shape."""
    theirs = message["parts"][index]
    yield theirs, part
    ((kind, value),) = theirs["body"].items()
    if kind == "Multipart":
        for one, child in zip(value, children(part), strict=True):
            yield from both(message, child, one)
    elif kind == "Message":
        (child,) = children(part)
        yield from both(value, child)


def charset(part: dict[str, Any]) -> str:
    for field in part["headers"]:
        if field["name"] == "content_type" and "ContentType" in field["value"]:
            for attribute in field["value"]["ContentType"]["attributes"] or ():
                if attribute["name"] == "charset":
                    return str(attribute["value"])
    return ""


def holds(part: Part, theirs: dict[str, Any]) -> bool:
    """Say whether what stalwart reads in a leaf is what we, or somebody, read there."""
    ((kind, value),) = theirs["body"].items()
    readings = [content(one) for one in (part, *part.decoded_parts)]
    if kind in ("Text", "Html"):
        return value in [decode(octets, charset(theirs)) for octets in readings]
    return bytes(value) in readings


def test_the_structure_is_what_stalwart_expects_of_its_mails(shared: Path) -> None:
    seen = Counter(name for name, *_ in expected(shared))
    differing = Counter(
        name
        for name, message, ours in expected(shared)
        if tree(ours.root) != expected_tree(message)
    )
    assert len(seen) == 32
    assert set(seen.values()) == {2}
    assert differing == dict.fromkeys(DIFFERENCES, 2)


def test_every_field_is_where_stalwart_expects_it(shared: Path) -> None:
    count = 0
    for name, message, ours in expected(shared):
        if name in DIFFERENCES:
            continue
        for theirs, part in both(message, ours.root):
            keys = ("offset_field", "offset_start", "offset_end")
            wanted = [tuple(field[key] for key in keys) for field in theirs["headers"]]
            found = [
                (f.span.start, f.value_span.start, f.span.end) for f in part.fields
            ]
            assert found == wanted, (name, part.path)
            count += len(wanted)
    assert count > 300


def test_every_leaf_holds_what_stalwart_expects(shared: Path) -> None:
    count = 0
    for name, message, ours in expected(shared):
        if name in DIFFERENCES:
            continue
        for theirs, part in both(message, ours.root):
            if not theirs["body"].keys() & {"Multipart", "Message"}:
                assert holds(part, theirs), (name, part.path)
                count += 1
    assert count > 90


def test_each_difference_is_reported(shared: Path) -> None:
    for name, _, ours in expected(shared):
        if name in DIFFERENCES:
            assert DIFFERENCES[name][0] in kinds(ours), name
