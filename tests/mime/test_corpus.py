"""Mails written by others: all of them are read, none is changed.

Skipped where the corpora are not at hand. What other parsers expect of their own mails
is in ``test_mime4j``, ``test_mimekit`` and ``test_stalwart``.
"""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

from smtpguard.mime import Notice, apply, outline, parse, strip
from tests.mime.mails import mutate, shape, tiles


MAILS = {".eml", ".mbox", ".msg"}
NOTICE = Notice("gone\n")


def corpus_mails(shared: Path) -> list[Path]:
    folders = (shared / "corpus" / name for name in ("mime", "corpus", "evasion"))
    return sorted(
        path for folder in folders for path in folder.rglob("*") if path.suffix in MAILS
    )


def both_line_ends(path: Path) -> tuple[bytes, bytes]:
    raw = path.read_bytes()
    return raw, re.sub(rb"\r?\n", b"\r\n", raw)


def test_every_mail_is_tiled_and_comes_out_as_it_went_in(shared: Path) -> None:
    count = 0
    for path in corpus_mails(shared):
        for text in both_line_ends(path):
            message = parse(text)
            assert b"".join(t.span.of(text) for t in tiles(message)) == text, path
            assert b"".join(apply(message, ()).chunks()) == text, path
            assert len(outline(message)) == len(list(message.parts()))
            count += 1
    assert count > 2000


def test_line_ends_do_not_change_the_structure(shared: Path) -> None:
    """Mails with only bare LF are read as they would be once sent."""
    count = 0
    for path in corpus_mails(shared):
        raw, crlf = both_line_ends(path)
        if b"\r" not in raw:
            assert shape(parse(raw).root) == shape(parse(crlf).root), path
            count += 1
    assert count > 500


def without_part(root: object, path: str) -> object:
    """Return the shape after that part was replaced by a text part."""
    assert isinstance(root, tuple)
    rest = path.partition(".")[2]
    if not rest:
        return ("text/plain",)
    at = int(rest.partition(".")[0])
    return (*root[:at], without_part(root[at], rest), *root[at + 1 :])


def test_any_part_of_any_mail_can_be_stripped_alone(shared: Path) -> None:
    count = 0
    for path in corpus_mails(shared):
        text = both_line_ends(path)[1]
        message = parse(text)
        before = shape(message.root)
        for part in list(message.parts())[:12]:
            if part.buffer is not text:
                continue
            edits = strip(message, part, NOTICE)
            after = b"".join(apply(message, edits).chunks())
            assert shape(parse(after).root) == without_part(before, part.path), path
            start = min(edit.span.start for edit in edits)
            assert after[:start] == text[:start], path
            assert after.endswith(text[part.span.end :]), path
            count += 1
    assert count > 2000


def test_mutated_mails_are_tiled(shared: Path) -> None:
    count = 0
    for number, path in enumerate(corpus_mails(shared)):
        text = path.read_bytes()
        for seed in range(3):
            place = (number * 7919 + seed * 104_729) % 1_000_003
            changes = [
                (place, 2, b""),
                (place * 31, 0, b"\r\n--"),
                (place * 17, 3, b'";\0:'),
                (place * 7, 1, b"\n"),
            ]
            mutated = mutate(text, changes)
            message = parse(mutated)
            joined = b"".join(tile.span.of(mutated) for tile in tiles(message))
            assert joined == mutated, (path, changes)
            count += 1
    assert count > 3000


def test_real_mail_has_few_defects(shared: Path) -> None:
    """What is flagged on real mail later costs its users more than it saves them."""
    found = Counter[str]()
    folder = shared / "corpus" / "corpus"
    mails = [path for path in folder.rglob("*") if path.suffix in MAILS]
    for path in mails:
        defects = parse(both_line_ends(path)[1]).defects
        found.update({str(defect.kind) for defect in defects})
    # The files were kept with the From line of their mbox.
    del found["mbox-line"]
    assert len(mails) > 500
    assert {kind: n for kind, n in found.items() if n > 0.04 * len(mails)} == {}


@pytest.mark.parametrize(
    ("folder", "at_least"), [("hide-filename", 43), ("hide-content", 73)]
)
def test_disguised_names_are_among_the_readings(
    shared: Path, folder: str, at_least: int
) -> None:
    """noxxi/mime-is-broken: the attachment is a zip whatever its name looks like."""
    mails = sorted((shared / "corpus" / "evasion" / "noxxi" / folder).glob("*.eml"))
    seen = sum(
        any(
            ".zip" in name
            for part in parse(path.read_bytes()).parts()
            for name in part.names
        )
        for path in mails
    )
    assert seen >= at_least
