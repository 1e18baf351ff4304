"""The files of others that the shared corpora have: harmless, of ClamAV's tests."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING


if TYPE_CHECKING:
    from pathlib import Path


def payloads(shared: Path) -> dict[str, bytes]:
    path = shared / "corpus" / "payloads" / "clamav-testfiles.json"
    found = json.loads(path.read_text("utf-8"))
    return {one["filename"]: base64.b64decode(one["b64"]) for one in found}
