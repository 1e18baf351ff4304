"""Containers for tests: right ones, and wrong ones by hand, by the page docs/clk.md."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from smtpguard.locking.container import Head, lock


KEY = bytes(range(32))
SHA256_OF_NOTHING = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


def head_of(content: bytes, **changes: Any) -> Head:
    """Return the head of a locked ``content``."""
    head = Head(
        name="Rechnung.exe",
        type="application/octet-stream",
        size=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
        reason="filenames:3",
        time="2026-11-24T09:36:13Z",
        id="03fda.1",
        payload=len(content),
    )
    return head._replace(**changes)


def locked(content: bytes, key: bytes = KEY, **changes: Any) -> bytes:
    """Return ``content`` locked."""
    return b"".join(lock([content], head_of(content, **changes), key))


def fields(content: bytes = b"", **changes: Any) -> dict[str, Any]:
    """Return the fields of a head; a change to None leaves one out."""
    made = {
        "version": 1,
        "id": "1",
        "time": "2026-11-24T09:36:13Z",
        "size": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
        "encryption": "none",
        "payload": len(content),
        "mask": KEY.hex(),
        "type": "text/plain",
        "reason": "",
        "name": "a.txt",
        **changes,
    }
    return {key: value for key, value in made.items() if value is not None}


def by_hand(
    head: bytes | dict[str, Any], content: bytes = b"", tail: bytes = b""
) -> bytes:
    """Return a container as anybody could make it, its last digest right.

    Without a line of the code that is tested; ``content`` of at most one block.
    """
    octets = json.dumps(head).encode() if isinstance(head, dict) else head
    assert len(content) <= 65_536
    stream = hashlib.shake_128(KEY + bytes(8)).digest(len(content))
    payload = bytes(a ^ b for a, b in zip(content, stream, strict=True))
    made = b"\x8fCLK\r\n\x1a\0" + len(octets).to_bytes(4, "big") + octets + payload
    return made + hashlib.sha256(made).digest() + tail
