"""Payloads of others: attached, locked by the rules, and unlocked by who received them.

Between the two is nothing of ours: the mail is read as any mail reader would.
"""

from __future__ import annotations

import base64
import email
import hashlib
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pyrage
import pytest

from smtpguard import cli
from smtpguard.locking import unlock
from smtpguard.model.disposition import Outcome
from tests.inspection.payloads import payloads
from tests.judging import (
    TEXT_PART,
    judge_message,
    lines,
    mixed,
    names,
    octets,
    rules,
)


if TYPE_CHECKING:
    from collections.abc import Callable


IDENTITY = pyrage.x25519.Identity.generate()


def attached(content: bytes, name: str) -> bytes:
    """Return a part as a mail program makes it, that tells nothing of the content."""
    head = lines(
        "Content-Type: application/octet-stream",
        f'Content-Disposition: attachment; filename="{name}"',
        "Content-Transfer-Encoding: base64",
        "",
    )
    body = base64.encodebytes(content).replace(b"\n", b"\r\n")
    return head + body.removesuffix(b"\r\n")


def received(mail: bytes, folder: Path) -> None:
    """Save the containers in a mail, under the names that it has for them."""
    for part in email.message_from_bytes(mail).walk():
        if part.get_content_type() == "application/x-smtpguard-locked":
            content, name = part.get_payload(decode=True), part.get_filename()
            assert isinstance(content, bytes)
            assert name is not None
            assert name.endswith(".clk")
            folder.joinpath(name).write_bytes(content)


def by_command(folder: Path, out: Path, keys: Path) -> int:
    return cli.main(["unlock", str(folder), "-o", str(out), "--identity", str(keys)])


def by_single_file(folder: Path, out: Path, _keys: Path) -> int:
    words = [sys.executable, "-I", "-S", unlock.__file__, str(folder), "-o", str(out)]
    return subprocess.run(words, check=False, capture_output=True).returncode


@pytest.mark.parametrize(
    ("restore", "lock_settings"),
    [
        pytest.param(by_command, "", id="the command"),
        pytest.param(
            by_command,
            f"lock: {{recipient: {IDENTITY.to_public()}}}",
            id="the command, for an administrator",
        ),
        pytest.param(by_single_file, "", id="the single file"),
    ],
)
def test_every_payload_comes_back_as_it_was_sent(
    restore: Callable[[Path, Path, Path], int],
    lock_settings: str,
    shared: Path,
    tmp_path: Path,
) -> None:
    sent = payloads(shared)
    assert len(sent) == 35
    mail = mixed(TEXT_PART, *(attached(sent[name], name) for name in sent))
    settings = [lock_settings] if lock_settings else []
    text = rules(names('{match: "*.*", action: lock}'), *settings)
    said = judge_message(text, mail)
    assert said.outcome is Outcome.MODIFIED
    keys = tmp_path / "keys.txt"
    keys.write_text(f"{IDENTITY}\n")
    folder, out = tmp_path / "received", tmp_path / "out"
    folder.mkdir()
    received(octets(said), folder)
    assert len([*folder.iterdir()]) == len(sent)
    assert restore(folder, out, keys) == 0
    digests = {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in out.iterdir()
    }
    assert digests == {
        name: hashlib.sha256(content).hexdigest() for name, content in sent.items()
    }
