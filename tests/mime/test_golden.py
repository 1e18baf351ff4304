"""Golden pairs of ``tests/messages``: a mail, and the same mail after a strip.

``NAME.PATH.eml`` is stripped of the part ``PATH``; ``NAME.PATH.expected`` was written
by hand.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from smtpguard.mime import Variables, apply, deny_message, parse, strip
from tests.mime.mails import only


MESSAGES = Path(__file__).resolve().parent.parent / "messages"
MAILS = sorted(path.with_suffix(".eml") for path in MESSAGES.glob("*.expected"))
PATH = re.compile(r"\.([0-9.]+)\.eml")


def test_no_pair_is_lost() -> None:
    assert len(MAILS) >= 7
    assert all(path.is_file() and PATH.search(path.name) for path in MAILS)


@pytest.mark.parametrize("path", MAILS, ids=lambda path: path.stem)
def test_a_golden_pair_has_crlf_lines(path: Path) -> None:
    """A checkout that changes line ends would make the pairs say something else."""
    for text in (path.read_bytes(), path.with_suffix(".expected").read_bytes()):
        assert text.endswith(b"\r\n")
        assert re.search(rb"(?<!\r)\n|\r(?!\n)", text) is None


@pytest.mark.parametrize("path", MAILS, ids=lambda path: path.stem)
def test_strip_leaves_what_is_expected(path: Path) -> None:
    found = PATH.search(path.name)
    assert found is not None
    message = parse(path.read_bytes())
    part = only(message, found[1])
    filename = part.names[0] if part.names else "setup.exe"
    variables = Variables(
        reason="filenames:1", type=part.content_type, filename=filename
    )
    notice = deny_message("Removed: %(filename)s\n", variables)
    edited = apply(message, strip(message, part, notice))
    assert b"".join(edited.chunks()) == path.with_suffix(".expected").read_bytes()
