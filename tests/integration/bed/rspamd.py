"""An rspamd with configuration, rules and log in a temporary folder, offline.

One ``normal`` worker with two rules of its own and GTUBE, so that a message chooses its
verdict: ``X-Test-Spam-Score: 7.5`` is its score, ``X-Test-Wait: 3`` makes it wait three
seconds. What rspamd was told of messages: ``told``.
"""

from __future__ import annotations

import json
import os
import urllib.request
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from tests.integration.bed.daemon import Daemon
from tests.integration.bed.need import need
from tests.integration.bed.process import free_port, start


if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.integration.bed.process import Process


THRESHOLDS = {"reject": 15, "add_header": 6, "greylist": 4}
"""Points from which on rspamd says each action."""

# Debian's list of top-level domains would cost 33 s of compiling at the first start.
DOMAINS = "com\nnet\norg\ntest\nexample\n"

CONFIGURATION = """\
options {{
  pidfile = "{folder}/rspamd.pid"; tempdir = "{folder}"; hs_cache_dir = "{folder}";
  control_socket = "{folder}/control.sock mode=0600"; url_tld = "{folder}/domains";
  filters = ""; one_shot = true; history_file = ""; rrd = ""; local_addrs = [];
  task_timeout = 30s;
  dns {{ nameserver = ["127.0.0.1:9"]; timeout = 0.1s; retransmits = 1; }}
}}
logging {{ type = "file"; filename = "{folder}/rspamd.log"; level = "info"; }}
worker "normal" {{ bind_socket = "127.0.0.1:{port}"; count = 1; }}
metric {{ name = "default"; actions {{ {actions} }} }}
lua = "{folder}/rules.lua"
"""

RULES = r"""
local ucl = require "ucl"

local function number(task, name)
  return tonumber(task:get_header(name) or "")
end

rspamd_config:register_symbol{
  name = "TEST_SCORE", type = "normal", score = 1.0,
  callback = function(task)
    local score = number(task, "X-Test-Spam-Score")
    if score then return true, score end
  end
}
rspamd_config:set_metric_symbol({ name = "TEST_SCORE", score = 1.0 })

rspamd_config:register_symbol{
  name = "TEST_WAIT", type = "normal", score = 0.0,
  callback = function(task)
    local seconds = number(task, "X-Test-Wait")
    if seconds then os.execute("sleep " .. seconds) end
  end
}

local function path(address)
  return address and address.addr
end

rspamd_config:register_symbol{
  name = "TEST_TOLD", type = "idempotent",
  callback = function(task)
    local rcpts = {}
    for i, each in ipairs(task:get_recipients("smtp") or {}) do
      rcpts[i] = path(each)
    end
    local ip = task:get_ip()
    local told = {
      from = path((task:get_from("smtp") or {})[1]),
      rcpts = rcpts,
      ip = ip and ip:is_valid() and ip:to_string() or "",
      helo = task:get_helo() or "",
      id = task:get_queue_id() or "",
      user = task:get_user() or "",
      tls = tostring(task:get_request_header("TLS-Version") or ""),
      size = task:get_size(),
    }
    local file = io.open("@FOLDER@/told", "a")
    file:write(ucl.to_format(told, "json-compact"), "\n")
    file:close()
  end
}
"""


class RspamdServer(Daemon):
    """A running rspamd."""

    def __init__(self, folder: Path) -> None:
        super().__init__(free_port())
        self.folder = folder

    @property
    def url(self) -> str:
        """Where it is asked; the same after ``restart``."""
        return f"http://{self.address}"

    def log_text(self) -> str:
        """Return rspamd's log."""
        path = self.folder / "rspamd.log"
        return path.read_text("utf-8", "replace") if path.exists() else ""

    def told(self) -> list[dict[str, Any]]:
        """Return what it was told of each message so far."""
        path = self.folder / "told"
        lines = path.read_text("utf-8").splitlines() if path.exists() else []
        return [json.loads(line) for line in lines]

    def _run(self) -> Process:
        # As root its files may be anywhere: it stays root.
        insecure = ["--insecure"] if os.geteuid() == 0 else []
        configuration = str(self.folder / "rspamd.conf")
        command = [need("rspamd"), "-f", *insecure, "-c", configuration]
        return start(command, self.folder / "rspamd.out")

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/ping", timeout=5) as answer:
                return bool(answer.read().strip() == b"pong")
        except OSError:
            return False


@contextmanager
def rspamd(folder: Path) -> Iterator[RspamdServer]:
    """Run an rspamd on loopback with its files in ``folder``.

    Skips the test where there is none.
    """
    need("rspamd")
    actions = " ".join(f"{name} = {points};" for name, points in THRESHOLDS.items())
    server = RspamdServer(folder)
    (folder / "domains").write_text(DOMAINS, "ascii")
    (folder / "rules.lua").write_text(RULES.replace("@FOLDER@", str(folder)), "utf-8")
    (folder / "rspamd.conf").write_text(
        CONFIGURATION.format(folder=folder, port=server.port, actions=actions), "utf-8"
    )
    try:
        server.start()
        yield server
    finally:
        server.kill()
