"""Our tree beside the byte offsets that MimeKit expects for its own mbox files.

Skipped where the corpora are not at hand.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from smtpguard.mime import Part, parse


DIFFERENCES = {
    ("1.1", "end"): (
        "the line end of the inner close delimiter stands directly before the outer "
        "delimiter: MimeKit gives it to the second, we leave it with the first"
    ),
    ("1.2", "body"): (
        "the empty line behind the header stands directly before the delimiter: "
        "MimeKit takes it for the delimiter's line end, we for the end of the header"
    ),
    ("1.2", "end"): "as its body",
}
"""Part and place -> why another octet, of one line end: of the second mail of issue1189
alone, with either line end."""


def expected_mails(shared: Path) -> Iterator[tuple[str, dict[str, Any], bytes]]:
    """Yield name, offsets and octets of each mail, with LF and with CRLF."""
    folder = shared / "corpus" / "mime" / "mimekit" / "mbox"
    for path in sorted(folder.glob("*-offsets.json")):
        name, _, end = path.name.removesuffix("-offsets.json").rpartition(".")
        mbox = (folder / f"{name}.mbox.eml").read_bytes().replace(b"\r\n", b"\n")
        if end == "dos":
            mbox = mbox.replace(b"\n", b"\r\n")
        for number, mail in enumerate(json.loads(path.read_text()), 1):
            octets = mbox[mail["beginOffset"] : mail["endOffset"]]
            yield f"{name}.{end}#{number}", mail, octets


def expected_places(
    body: dict[str, Any], base: int, path: str = "1"
) -> Iterator[tuple[str, str, object]]:
    """Yield path, what, and where or which of each part."""
    yield path, "type", body["mimeType"].lower()
    yield path, "begin", body["beginOffset"] - base
    yield path, "body", body["headersEndOffset"] - base
    yield path, "end", body["endOffset"] - base
    children = [body["message"]["body"]] if "message" in body else body.get("children")
    for number, child in enumerate(children or (), 1):
        yield from expected_places(child, base, f"{path}.{number}")


def places(part: Part) -> Iterator[tuple[str, str, object]]:
    yield part.path, "type", part.content_type
    yield part.path, "begin", part.span.start
    yield part.path, "body", part.body.start
    yield part.path, "end", part.span.end
    for child in part.children:
        yield from places(child)


def test_every_part_is_where_mimekit_expects_it(shared: Path) -> None:
    mails = parts = 0
    for name, mail, octets in expected_mails(shared):
        wanted = {
            (path, what): where
            for path, what, where in expected_places(mail["body"], mail["beginOffset"])
        }
        found = {
            (path, what): where for path, what, where in places(parse(octets).root)
        }
        assert found.keys() == wanted.keys(), name
        differing = {key for key in wanted if found[key] != wanted[key]}
        is_known = name in {"issue1189.unix#2", "issue1189.dos#2"}
        assert differing == (set(DIFFERENCES) if is_known else set()), name
        line_end = 2 if b"\r\n" in octets else 1
        for key in differing:
            assert found[key] == wanted[key] + line_end  # type: ignore[operator]
        mails += 1
        parts += len(wanted) // 4
    assert (mails, parts) == (66, 238)
