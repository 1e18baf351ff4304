"""Records, stores and messages for tests, in few words."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from smtpguard.model.session import TlsFacts
from smtpguard.policy.deliveryreader import DeliverySettings
from smtpguard.quarantine.ids import new_id
from smtpguard.quarantine.record import (
    Client,
    HeldPart,
    HeldRecipient,
    Record,
    Upstream,
)
from smtpguard.quarantine.store import Store
from smtpguard.wire import parse_mailbox
from smtpguard.wire.path import parse_mail, parse_rcpt


ROOT = Path(__file__).resolve().parents[2]
NOW = datetime(2026, 11, 24, 9, 36, 13, tzinfo=UTC)
MESSAGE = b"From: a@x.test\r\nSubject: hello\r\n\r\n.one\r\n..two\r\nthree\r\n"
DIGEST = "0" * 64


def recipient(address: str, parameters: str = "") -> HeldRecipient:
    path = parse_rcpt(f"TO:<{address}>{parameters}".encode(), smtputf8=True)
    return HeldRecipient(path, path)


def record(*addresses: str, sender: str = "a@x.test", **more: Any) -> Record:
    """Return the record of a message that was not kept yet."""
    now = more.pop("kept_at", NOW)
    path = parse_mail(f"FROM:<{sender}> SIZE=70 SMTPUTF8".encode())
    facts = {
        "id": new_id(now),
        "kept_at": now,
        "transaction": "03fda.1",
        "asked": path,
        "reverse_path": path,
        "recipients": tuple(map(recipient, addresses or ("b@y.test",))),
        "client": Client("192.0.2.1", 40000, "client.test"),
        "client_tls": TlsFacts("TLSv1.3", "TLS_AES_128_GCM_SHA256", "mx.y.test"),
        "upstream": Upstream("mx.y.test", 25, "starttls"),
        "upstream_tls": None,
        "policy": "inbound",
        "rule": "filenames:3",
        "action": "quarantine",
        "reason": '"a.exe" is "*.exe"',
        "findings": ("clamav:infected:Eicar",),
        "report": {"parts": [{"path": "1"}]},
        "subject": "hello",
        "header_from": "a@x.test",
    }
    return Record(**{**facts, **more})


def part(*addresses: str, message: str = DIGEST, **more: Any) -> Record:
    """Return the record of a part that was not kept yet."""
    held = HeldPart("1.2", ("a.exe",), "application/x-msdownload", message)
    return replace(record(*addresses, **more), part=held)


def kept(store: Store, *addresses: str, octets: bytes = MESSAGE, **more: Any) -> Record:
    return store.keep(record(*addresses, **more), [octets])


def files(folder: Path) -> set[str]:
    """Return the names of what lies in a folder, but for the index."""
    names = {path.name for path in folder.iterdir()}
    return {name for name in names if not name.startswith("index.sqlite")}


def to(port: int, **more: Any) -> DeliverySettings:
    """Return how to reach a server of these tests."""
    return DeliverySettings(
        **{"host": "127.0.0.1", "port": port, "tls": "none", **more}
    )


def boxes(*addresses: str) -> list[Any]:
    return [parse_mailbox(address) for address in addresses]


def python(code: str, *arguments: object, prefix: tuple[str, ...] = ()) -> Any:
    """Start a program in Python that has the package and these tests."""
    return subprocess.Popen(
        [*prefix, sys.executable, "-c", code, *map(str, arguments)],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": f"{ROOT / 'addons'}{os.pathsep}{ROOT}"},
    )


def output(process: Any) -> bytes:
    """Return what a program has written, once it has ended well."""
    with process:
        told: bytes = process.communicate(timeout=50)[0]
    assert process.returncode == 0
    return told
