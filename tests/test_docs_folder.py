"""docs/ says nothing that is not so: replies, limits, tests, commands, files."""

from __future__ import annotations

import importlib
import json
import re
import shlex
import subprocess
from dataclasses import fields, replace
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mitmproxy
import pytest
from mitmproxy.addons import dumper, proxyserver, save, script
from mitmproxy.proxy.mode_specs import ProxyMode
from mitmproxy.test import taddons
from mitmproxy.tools import cmdline

from smtpguard import policy
from smtpguard.cli import parser
from smtpguard.dialogue.record import TransactionRecord
from smtpguard.inspecting import Inspector, Question
from smtpguard.mailfiles import Stored
from smtpguard.model.disposition import Outcome
from smtpguard.model.reply import Reply
from smtpguard.model.settings import Deadlines, Limits
from smtpguard.options import OPTIONS
from smtpguard.pipeline import Pipeline
from smtpguard.policy import document
from smtpguard.policy import replies as rule_replies
from smtpguard.proxy import layer, maillog
from smtpguard.wire import replies
from tests.integration.bed.need import need, need_root


if TYPE_CHECKING:
    from collections.abc import Callable


ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
PAGES = {path.name: path.read_text("utf-8") for path in sorted(DOCS.glob("*.md"))}
CONTRACT, ATTACKS = PAGES["contract.md"], PAGES["attacks.md"]
HOST, DEPLOYMENT = PAGES["mitmproxy.md"], PAGES["deployment.md"]

IDS = [
    f"{letter}{number}"
    for letter, last in {"T": 8, "F": 12, "A": 4, "P": 4}.items()
    for number in range(1, last + 1)
]
ROWS = {
    found[1]
    for path in (ROOT / "tests" / "transcripts").glob("row-*.smtp")
    if (found := re.search(r"^row: *(\S+)", path.read_text("utf-8"), re.MULTILINE))
}
"""The rows that dialogue scripts are about."""
METADATA = {"outcome", "rule", "policy", "from", "client", "in_doubt", "session"}
"""Keys of a flow's metadata, behind ``smtpguard_``."""
UNITS = {
    "KiB": 1024,
    "MiB": 1024**2,
    "octets": 1,
    "s": 1,
    "": 1,
}


def blocks(kind: str, text: str = DEPLOYMENT) -> list[str]:
    return re.findall(rf"^```{kind}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def section(text: str, title: str) -> str:
    """Return what stands under a heading, up to the next of its level or above."""
    found = re.search(rf"^(#+) {re.escape(title)}\n", text, re.MULTILINE)
    assert found, title
    rest = text[found.end() :]
    after = re.search(rf"^#{{1,{len(found[1])}}} ", rest, re.MULTILINE)
    return rest[: after.start()] if after else rest


def rows(text: str, first: str) -> list[list[str]]:
    """Return the rows of the tables whose head begins with ``first``."""
    found, reading = [], False
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split(" | ")]
        if not line.lstrip().startswith("|"):
            reading = False
        elif cells[0] == first:
            reading = True
        elif reading and not cells[0].startswith("---"):
            found.append(cells)
    return found


def code(text: str) -> list[str]:
    """Return what stands in backticks outside blocks."""
    return re.findall(r"`([^`\n]+)`", re.sub(r"(?ms)^```.*?^```$", "", text))


@cache
def sources(folder: str) -> str:
    paths = sorted((ROOT / folder).rglob("*.py"))
    return "\n".join(path.read_text("utf-8") for path in paths)


@cache
def known_tests() -> frozenset[str]:
    pattern = r"^(?:async )?def (test_\w+)"
    return frozenset(re.findall(pattern, sources("tests"), re.MULTILINE))


def named_tests(text: str) -> list[str]:
    return re.findall(r"`(test_\w+)`", text)


# ------------------------------------------------------------------- links, citations


def anchors(path: Path) -> set[str]:
    text = path.read_text("utf-8")
    heads = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    made = {re.sub(r"[^\w -]", "", head.lower()).replace(" ", "-") for head in heads}
    return made | set(re.findall(r'<a id="([\w-]+)">', text))


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", PAGES[page]):
        name, _, anchor = target.partition("#")
        there = DOCS / name if name else DOCS / page
        if not there.exists() or (anchor and anchor not in anchors(there)):
            broken.append(target)
    assert broken == []


def test_sections_are_those_that_are_cited() -> None:
    numbers = {
        page: re.findall(r"^## (\d+)\. ", PAGES[page], re.MULTILINE) for page in PAGES
    }
    assert numbers["contract.md"] == [str(n) for n in range(1, 12)]
    assert numbers["mitmproxy.md"] == [str(n) for n in range(11)]


def test_whatever_code_and_tests_cite_is_here() -> None:
    text = sources("addons") + sources("tests") + sources("benchmarks")
    second = section(CONTRACT, "2. Promises, in order of precedence")
    promises = re.findall(r"^(\d)\. \*\*", second, re.MULTILINE)
    known = {
        *re.findall(r"^## (\d+)\. ", CONTRACT, re.MULTILINE),
        *(f"2.{number}" for number in promises),
    }
    cited = re.findall(r"contract(?:\.md)? (\d+(?:\.\d+)?)", text)
    assert len(cited) > 20
    assert set(cited) - known == set()
    traps = re.findall(r"\btraps(?:\.md)? (\d+(?:, \d+)*)", text)
    assert {n for each in traps for n in each.split(", ")} - {
        str(n) for n in range(11)
    } == set()
    attacks = re.findall(r"attacks?(?:\.md)? ([TFAMP]\d+)", text)
    assert set(attacks) - {row[0] for row in rows(ATTACKS, "id")} == set()


@pytest.mark.parametrize("page", PAGES)
def test_no_page_leads_out_of_the_repository(page: str) -> None:
    assert re.findall(r"shared/|\.\./\.\.", PAGES[page]) == []


@pytest.mark.parametrize("page", PAGES)
def test_only_options_and_metadata_that_exist_are_named(page: str) -> None:
    named = set(re.findall(r"\bsmtpguard_(\w+)", PAGES[page]))
    known = {option.name.removeprefix("smtpguard_") for option in OPTIONS}
    # test_metrics holds those against what is served.
    metrics = set(re.findall(r"^  \| `smtpguard_(\w+)` \|", PAGES[page], re.MULTILINE))
    assert named - known - METADATA - metrics == set()


@pytest.mark.parametrize("page", PAGES)
def test_only_keys_of_the_rule_language_are_named(page: str) -> None:
    policies: Any = document.ROOT.schema()["properties"]["policies"]
    known = policies["items"]["properties"]
    for top, rest in re.findall(r"`(session|tls)\.([\w.]+)", PAGES[page]):
        at = known[top]
        for word in rest.strip(".").split("."):
            at = at["properties"][word]


# ---------------------------------------------------------------------------- replies


def replies_of_ours() -> set[str]:
    modules = (replies, rule_replies)
    found = {
        str(value)
        for module in modules
        for value in vars(module).values()
        if isinstance(value, Reply)
    }
    return found | {
        str(layer.INTERNAL_ERROR),
        str(replies.chunk_ok(86)),
        str(replies.greeting("mx.example")),
        str(replies.policy_refused("5f3a.2")),
        str(replies.generic(550, "5.1.1")),
    }


def quoted(text: str) -> list[str]:
    return [one for one in code(text) if re.match(r"[2-5]\d\d (?!\w+$)", one)]


@pytest.mark.parametrize("page", ["contract.md", "deployment.md"])
def test_every_reply_that_is_quoted_is_one_that_is_sent(page: str) -> None:
    ours = replies_of_ours()
    codes = {" ".join(reply.split(" ")[:2]) for reply in ours}
    found = quoted(PAGES[page])
    assert len(found) >= 3
    assert [one for one in found if one not in ours | codes] == []


NEVER_SAID = {
    str(replies.RCPT_OK): "`smtpguard inspect` puts it in the upstream's place",
}


def in_use(name: str, module: str) -> bool:
    """Whether any module but its own names a reply."""
    own = Path(module).name
    texts = (
        path.read_text("utf-8")
        for path in (ROOT / "addons").rglob("*.py")
        if not str(path).endswith(f"{Path(module).parent.name}/{own}")
    )
    pattern = rf"\breplies\.{name}\b" if "wire" in module else rf"\b{name}\b"
    return any(re.search(pattern, text) for text in texts)


def test_every_reply_that_is_in_use_has_its_row() -> None:
    table = rows(section(CONTRACT, "3. The dialogue"), "reply")
    listed = [cells[0].strip("`") for cells in table]
    assert len(listed) > 40
    assert len(set(listed)) == len(listed)
    used = {
        str(value)
        for module in (replies, rule_replies)
        for name, value in vars(module).items()
        if isinstance(value, Reply) and in_use(name, str(module.__file__))
    }
    assert len(used) > 40
    lacking = [one for one in used if not any(row.startswith(one) for row in listed)]
    assert sorted(lacking) == sorted(NEVER_SAID)


# -------------------------------------------------------------- rows, limits, deadlines


def test_every_row_of_the_dialogue_has_anchor_and_scripts() -> None:
    told = re.findall(r'<a id="([\w-]+)"></a>`([\w-]+)` \|', CONTRACT)
    assert len(told) > 20
    assert [anchor for anchor, row in told if anchor != row] == []
    assert {row for _, row in told} == ROWS


def amount(text: str) -> float:
    number, _, unit = text.partition(" ")
    return float(number.replace(",", "")) * UNITS[unit]


@pytest.mark.parametrize(
    ("first", "defaults"), [("limit", Limits()), ("deadline", Deadlines())]
)
def test_limits_and_deadlines_are_those_of_the_settings(
    first: str, defaults: Limits | Deadlines
) -> None:
    told = {cells[0].strip("`"): amount(cells[1]) for cells in rows(CONTRACT, first)}
    names = [field.name for field in fields(defaults)]
    assert told == {name: getattr(defaults, name) for name in names}


CONSTANTS = [
    pytest.param(name.strip("`"), value, id=name.strip("`"))
    for page in (CONTRACT, DEPLOYMENT)
    for name, value, *_ in rows(page, "bound")
]


@pytest.mark.parametrize(("name", "value"), CONSTANTS)
def test_bounds_are_those_of_the_code(name: str, value: str) -> None:
    module, _, constant = name.rpartition(".")
    found = getattr(importlib.import_module(f"smtpguard.{module}"), constant)
    assert found == amount(value)


@pytest.mark.parametrize(
    "text",
    [cells[0].strip("`") for cells in rows(CONTRACT, "`in_doubt`")]
    + ["clear: not offered", "clear: not wanted", "not inspected"],
)
def test_what_records_and_logs_say_is_what_they_say(text: str) -> None:
    assert text in sources("addons")


def test_inspect_prints_the_object_of_section_10() -> None:
    (shown,) = blocks("json", CONTRACT)
    rules = 'version: 1\npolicies: [{name: x, rcpt_to: [{match: "*", action: deny}]}]\n'
    ruleset = policy.load("x.yaml", {"x.yaml": rules}.__getitem__)
    inspector = Inspector(Pipeline(ruleset, lambda: datetime.now(UTC)), Question())
    octets = b"Content-Type: text/plain\r\nContent-Type: a/b\r\n\r\nx\r\n"
    made = inspector.message(Stored("a.eml", octets, len(octets), "")).to_json()
    told = json.loads(shown)
    assert list(told) == list(made)
    for name in ("parts", "defects"):
        assert list(told[name][0]) == list(made[name][0])


# ---------------------------------------------------------------------------- attacks


@pytest.mark.parametrize("attack", IDS)
def test_every_attack_has_its_line_and_tests_of_its_name(attack: str) -> None:
    (row,) = (cells for cells in rows(ATTACKS, "id") if cells[0] == attack)
    own = [name for name in named_tests(row[-1]) if f"_{attack}_" in name]
    assert own
    assert any(name.startswith(f"test_{attack}_") for name in known_tests())


def test_attacks_on_mime_are_listed_with_their_tests_alone() -> None:
    listed = [cells for cells in rows(ATTACKS, "id") if cells[0].startswith("M")]
    assert all(named_tests(cells[-1]) for cells in listed)
    assert len(rows(ATTACKS, "id")) == len(IDS) + len(listed)


@pytest.mark.parametrize("page", ["attacks.md", "mitmproxy.md"])
def test_every_test_that_is_named_exists(page: str) -> None:
    named = named_tests(PAGES[page])
    assert len(named) > 80
    assert sorted(set(named) - known_tests()) == []


# ------------------------------------------------------------------------------- host


def test_the_facts_are_about_the_mitmproxy_that_is_here() -> None:
    assert HOST.startswith("# Facts about mitmproxy 12.2\n")
    assert version("mitmproxy").startswith("12.2.")


def test_files_of_mitmproxy_that_are_named_exist() -> None:
    named = set(re.findall(r"`mitmproxy/([\w/]+\.py)`", HOST))
    assert len(named) > 5
    folder = Path(mitmproxy.__path__[0])
    assert [name for name in named if not (folder / name).is_file()] == []


def test_facts_are_numbered_by_their_section() -> None:
    for number in range(11):
        title = re.search(rf"^## ({number}\. .*)$", HOST, re.MULTILINE)
        assert title
        found = [cells[0] for cells in rows(section(HOST, title[1]), "#")]
        assert found == [f"{number}.{n + 1}" for n in range(len(found))]


def test_facts_have_a_test_or_say_that_they_have_none() -> None:
    bare = [
        cells[0]
        for cells in rows(HOST, "#")
        if cells[-1] != "-" and not named_tests(cells[-1])
    ]
    assert bare == []


# ------------------------------------------------------------------------- deployment


@pytest.mark.parametrize(
    ("number", "told"), [(0, []), (1, ["no-identity"])], ids=["reverse", "transparent"]
)
def test_rules_load_with_no_warning_but_the_one_that_is_told(
    number: int, told: list[str]
) -> None:
    text = blocks("yaml")[number]
    problems = policy.check("rules.yaml", {"rules.yaml": text}.__getitem__)
    assert [problem.slug for problem in problems] == told
    assert all(f"[{slug}]" in DEPLOYMENT for slug in told)


def test_no_block_of_rules_is_left_out() -> None:
    assert len(blocks("yaml")) == 3


def check_smtpguard(words: list[str]) -> None:
    arguments = parser().parse_args(words)
    for mode in getattr(arguments, "mode", ()):
        ProxyMode.parse(mode)
    known = {option.name for option in OPTIONS}
    for setting in getattr(arguments, "set", ()):
        assert setting.partition("=")[0] in known


def check_mitmdump(words: list[str]) -> None:
    known = {option.name for option in OPTIONS} | {"confdir", "flow_detail"}
    addons = (script.ScriptLoader(), save.Save(), proxyserver.Proxyserver())
    with taddons.context(*addons, dumper.Dumper()) as context:
        found = cmdline.mitmdump(context.options).parse_args(words)
        assert set(context.options.keys()) >= {"flow_detail", "confdir"}
    for mode in found.mode:
        ProxyMode.parse(mode)
    for path in found.scripts:
        assert (ROOT / path.removeprefix("/opt/smtpguard/")).is_file()
    assert {setting.partition("=")[0] for setting in found.setoptions} <= known


CHECKS: dict[str, Callable[[list[str]], None]] = {
    "smtpguard": check_smtpguard,
    "mitmdump": check_mitmdump,
}
COMMANDS = [
    *(line[2:] for block in blocks("console") for line in block.splitlines()),
    *re.findall(r"^ExecStart=(.+)$", DEPLOYMENT, re.MULTILINE),
]


def test_commands_of_ours_are_ones_that_would_run() -> None:
    ours = [shlex.split(one) for one in COMMANDS if "smtpguard " in one.split("--")[0]]
    ours = [words for words in ours if Path(words[0]).name in CHECKS]
    assert len(ours) >= 5
    for program, *words in ours:
        CHECKS[Path(program).name](words)


def test_the_log_line_is_that_of_the_log_and_every_field_has_its_row() -> None:
    record = TransactionRecord(
        id="03fda.1",
        session="03fda",
        policy="inbound",
        outcome=Outcome.MODIFIED,
        reply="250 2.0.0 Queued",
        mail_from="a@x.test",
        rcpt_to=(
            {"address": "anna@demo.test", "reply": "250 2.1.5 OK"},
            {"address": "bob@other.test", "reply": "550 5.7.1 Relaying denied"},
        ),
        size=212,
        sha256="",
        rule="filenames:1",
        action="strip",
        reason='"a.exe" is "*.exe"',
        duration=0.004,
        client="198.51.100.7",
        tls="TLSv1.3/clear",
    )
    (shown,) = blocks("text")
    assert shown.strip().partition("] ")[2] == maillog.line(record, "full")
    written = set(re.findall(r'\("(\w+)", ', sources("addons/smtpguard/proxy")))
    told = [cells[0].strip("`") for cells in rows(DEPLOYMENT, "field")]
    assert set(told) - written == set()
    verdicts = [{"scanner": "clamav", "kind": "infected", "name": "Eicar"}]
    report = {"parts": [{"verdicts": verdicts}], "quarantine": ["id"]}
    report["copies"] = ["id"]
    whole = replace(record, in_doubt="x", report=report)
    line = maillog.line(whole, "full")
    assert set(told) == set(re.findall(r"(?:^| )(\w+)=", re.sub(r'"[^"]*"', "", line)))


@pytest.mark.parametrize(
    "text", [cells[0].strip("`") for cells in rows(DEPLOYMENT, "text")]
)
def test_texts_to_watch_for_are_texts_of_the_log(text: str) -> None:
    assert text in sources("addons")


@pytest.mark.real
@pytest.mark.parametrize("number", [0, 1], ids=["one-process", "two-processes"])
def test_nftables_takes_the_rules(number: int, tmp_path: Path) -> None:
    nft = need("nft", "nftables")
    need_root("nft, to check rules,")
    file = tmp_path / "smtpguard.nft"
    file.write_text(blocks("nft")[number])
    done = subprocess.run(
        [nft, "-c", "-f", str(file)], capture_output=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, b"")


def units(folder: Path) -> Path:
    """Write the units; return the service. What they start is not installed here."""
    for text in blocks("ini"):
        name = text.partition("\n")[0].partition("/etc/systemd/system/")[2]
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(re.sub(r"=/opt/smtpguard/\S+", "=/bin/true", text))
    return folder / "smtpguard.service"


@pytest.mark.real
def test_systemd_takes_the_units(tmp_path: Path) -> None:
    analyze = need("systemd-analyze", "systemd")
    service = units(tmp_path)
    assert (tmp_path / "smtpguard.service.d" / "mitmdump.conf").is_file()
    done = subprocess.run(
        [analyze, "verify", str(service)], capture_output=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, b"")


def test_units_leave_openssl_its_callbacks() -> None:
    assert not any("MemoryDenyWriteExecute" in text for text in blocks("ini"))


def test_the_service_outlives_the_wait_for_replies_in_flight() -> None:
    (seconds,) = re.findall(r"^TimeoutStopSec=(\d+)$", DEPLOYMENT, re.MULTILINE)
    assert int(seconds) > Deadlines().stop
