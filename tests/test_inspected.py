from __future__ import annotations

import base64
import hashlib
import io
import json
import re
import resource
import zipfile
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from smtpguard.inspected import MAX_EDITS, Inspected
from smtpguard.model.decision import Action, TraceStep
from smtpguard.model.disposition import Disposition, Outcome
from smtpguard.unpacking import Inspector
from smtpguard.wire import replies
from tests.judging import (
    PLAIN,
    TEXT_PART,
    attachment,
    judge_message,
    lines,
    make_envelope,
    make_pipeline,
    make_session,
    mixed,
    names,
    octets,
    rules,
)


if TYPE_CHECKING:
    from collections.abc import Iterator


CONTRACT = Path(__file__).parent.parent / "docs" / "contract.md"
KEYS = [
    "file",
    "size",
    "sha256",
    "policy",
    "disposition",
    "reply",
    "rule",
    "action",
    "ambiguous",
    "defects",
    "parts",
    "findings",
    "output_sha256",
    "spam",
    "trace",
]
MAIL = mixed(TEXT_PART, attachment("tool.exe"))


@contextmanager
def files_no_larger_than(octets: int) -> Iterator[None]:
    """As a disk that becomes full while it is written to."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (octets, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def inspected(
    said: Disposition, data: bytes | None = PLAIN, file: str = "a.eml"
) -> Inspected:
    size, digest = (len(data), sha256(data)) if data else (0, "")
    return Inspected(file, data, size, digest, "inbound", said)


def after(action: str, file: str = "a.eml") -> Inspected:
    text = rules(names(f'{{match: "*.exe", action: {action}}}'))
    return inspected(judge_message(text, MAIL), MAIL, file)


UNREAD = Disposition(Outcome.REJECTED, replies.MESSAGE_TOO_LARGE)


@pytest.mark.parametrize(
    "result",
    [after("allow"), after("strip"), after("deny"), inspected(UNREAD, None)],
    ids=["relayed", "modified", "rejected", "not even read"],
)
def test_json_has_every_key_in_the_order_of_the_contract(result: Inspected) -> None:
    """contract 10."""
    assert list(result.to_json()) == KEYS
    assert json.loads(json.dumps(result.to_json())) == result.to_json()


def keys_of(value: object) -> object:
    """Return the keys in a value, in their order, and those of what is below."""
    if isinstance(value, dict):
        return [(key, keys_of(below)) for key, below in value.items()]
    if isinstance(value, list):
        return [keys for below in value if (keys := keys_of(below))]
    return []


def test_keys_are_those_of_the_example_in_the_contract_at_every_level() -> None:
    """contract 10."""
    page = CONTRACT.read_text(encoding="utf-8")
    [example] = re.findall(r"```json\n(\{\"file\".*?)```", page, re.DOTALL)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("x.exe", b"MZ")
    encoded = base64.encodebytes(buffer.getvalue()).replace(b"\n", b"\r\n").rstrip()
    head = lines(
        'Content-Type: application/zip; name="a.zip"',
        "Content-Transfer-Encoding: base64",
        "",
    )
    mail = mixed(head + encoded).removesuffix(b"--=_b--\r\n")
    text = rules(names('{match: "*.exe", inside: archives, action: strip}'))
    pool = Inspector(1)
    pipeline = replace(make_pipeline(text), inspector=pool)
    session = make_session()
    said = pipeline.begin(session).judged(session, make_envelope(), mail).disposition
    pool.stop()
    record = inspected(said, mail).to_json(explain=True)
    assert len(record["trace"]) == 1
    assert list(record["trace"][0]) == ["rule", "part", "matched", "reason", "place"]
    record["trace"] = []
    # The multipart around it is a part of its own.
    [container, zipped] = record["parts"]
    assert list(container) == list(zipped)
    record["parts"] = [zipped]
    assert [one["kind"] for one in record["defects"]] == ["missing-close-boundary"]
    assert keys_of(record) == keys_of(json.loads(example))


def test_json_of_a_message_that_is_changed() -> None:
    result = after("strip")
    record = result.to_json()
    assert record["disposition"] == "modified"
    assert record["reply"] == "250 2.0.0 OK"
    assert (record["rule"], record["action"]) == ("filenames:1", "strip")
    assert (record["size"], record["sha256"]) == (len(MAIL), sha256(MAIL))
    assert record["output_sha256"] == sha256(octets(result.disposition))
    assert record["output_sha256"] != record["sha256"]
    assert (record["ambiguous"], record["findings"], record["spam"]) == (
        False,
        [],
        None,
    )


@pytest.mark.parametrize(
    ("action", "disposition", "reply", "has_output"),
    [
        ("allow", "relayed", "250 2.0.0 OK", True),
        (
            "deny",
            "rejected",
            "550 5.7.1 Message refused by policy (id 5f3a.2)",
            False,
        ),
        ("tempfail", "deferred", "451 4.7.1 Try again later", False),
        ("discard", "discarded", "250 2.0.0 OK", False),
        ("drop", "dropped", "", False),
    ],
)
def test_json_tells_what_the_client_hears_and_what_goes_on(
    action: str, disposition: str, reply: str, *, has_output: bool
) -> None:
    record = after(action).to_json()
    assert (record["disposition"], record["reply"]) == (disposition, reply)
    assert record["output_sha256"] == (sha256(MAIL) if has_output else "")


def test_trace_is_told_on_request() -> None:
    result = after("strip")
    assert result.to_json()["trace"] == []
    (*_, last) = result.to_json(explain=True)["trace"]
    assert last == {
        "rule": "filenames:1",
        "part": "1.2",
        "matched": True,
        "reason": '"tool.exe" is "*.exe"',
        "place": "test.yaml:6",
    }


def test_line_tells_file_outcome_rule_and_parts() -> None:
    assert after("strip").line() == (
        "a.eml  modified  filenames:1 strip  1.2 tool.exe stripped"
    )
    assert after("lock").line() == (
        "a.eml  modified  filenames:1 lock  1.2 tool.exe locked"
    )
    assert after("deny").line() == (
        "a.eml  rejected  filenames:1 deny  "
        "550 5.7.1 Message refused by policy (id 5f3a.2)"
    )
    assert after("allow").line() == "a.eml  relayed"


def test_explanation_has_a_line_for_each_rule() -> None:
    steps = (
        TraceStep("rcpt_to:1", matched=None, reason="@own is not known", place="r:9"),
        TraceStep("filenames:1", matched=False, reason="no name", part="1.2"),
        TraceStep("filenames:2", matched=True, reason="esc \x1b", place="r:11"),
    )
    said = Disposition(Outcome.RELAYED, trace=steps)
    assert inspected(said).explanation() == [
        "    ?   rcpt_to:1  @own is not known  (r:9)",
        "    no  filenames:1 part 1.2  no name",
        r"    yes filenames:2  esc \x1b  (r:11)",
    ]


def test_names_from_files_and_mails_do_not_reach_the_terminal_raw() -> None:
    """attacks P1."""
    text = rules(names('{match: "*.exe", action: strip}'))
    mail = mixed(attachment("\x1b[2Jx.exe"))
    line = inspected(judge_message(text, mail), mail, "\x1b]0;y\x07.eml").line()
    assert line.isprintable()


# ------------------------------------------------------------------------------ output


def test_output_is_what_would_go_upstream(tmp_path: Path) -> None:
    result = after("strip")
    path = result.write(tmp_path / "new" / "folder")
    assert path is not None
    assert path.read_bytes() == octets(result.disposition)
    unchanged = after("allow").write(tmp_path)
    assert unchanged is not None
    assert unchanged.read_bytes() == MAIL


@pytest.mark.parametrize("action", ["deny", "tempfail", "discard", "drop"])
def test_nothing_is_written_of_what_would_not_go_upstream(
    tmp_path: Path, action: str
) -> None:
    assert after(action).write(tmp_path) is None
    assert list(tmp_path.iterdir()) == []


def test_an_output_is_written_whole_or_stays_as_it_was(tmp_path: Path) -> None:
    path = after("strip").write(tmp_path)
    assert path is not None
    before = path.read_bytes()
    large = replace(after("allow"), octets=b"x" * 100_000)
    with files_no_larger_than(10_000), pytest.raises(OSError, match=str(path)):
        large.write(tmp_path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
    assert large.write(tmp_path) == path
    assert path.read_bytes() == large.octets


def test_no_two_messages_have_one_name(tmp_path: Path) -> None:
    files = [
        "a/x.eml",
        "b/x.eml",
        "a/x.msg",
        "box#1",
        "box#2",
        "a/x#1",
        "é.eml",
        "è.eml",
        "\udcff.eml",
        "\udcfe.eml",
        "." * 3,
        "n" * 255,
        "n" * 254 + "m",
    ]
    paths = {after("allow", file).write(tmp_path) for file in files}
    assert len(paths) == len(files)
    assert {path.parent for path in paths if path} == {tmp_path}
    assert all(path.name.isascii() and path.suffix == ".eml" for path in paths if path)
    # Neither hidden nor taken for an option.
    assert all(path.name[0].isalnum() for path in paths if path)


def test_the_same_message_has_the_same_name_again(tmp_path: Path) -> None:
    first = after("allow", "a/x.eml").write(tmp_path)
    assert after("strip", "a/x.eml").write(tmp_path) == first
    assert first is not None
    assert first.name.startswith("x-")


def edited(
    parts: list[dict[str, object]], removed: tuple[str, ...] = (), **said: Any
) -> Inspected:
    known = {"outcome": Outcome.MODIFIED, "rule": "r:1", "action": Action.STRIP, **said}
    report = {"parts": parts}
    return inspected(Disposition(report=report, removed=removed, **known))


def part(path: str, action: str, *names: str) -> dict[str, object]:
    return {"path": path, "names": [*names], "type": "x/y", "action": action}


def test_line_names_the_parts_that_were_edited_and_no_others() -> None:
    parts = [
        part("1.1", "allow", "a.txt"),
        part("1.2", "strip"),
        part("1.3", "lock", "b.docm", "c.docm"),
    ]
    assert edited(parts).line() == (
        "a.eml  modified  r:1 strip  1.2 x/y stripped  1.3 b.docm locked"
    )
    refused = edited(parts, outcome=Outcome.REJECTED, action=Action.DENY)
    assert refused.line() == "a.eml  rejected  r:1 deny"


def test_line_names_the_header_fields_that_were_removed() -> None:
    text = rules(
        'headers: [{match: "X-Int*", action: strip}, {match: "*", action: allow}]',
        names('{match: "*.exe", action: strip}'),
    )
    mail = b"X-Internal: a\r\nX-Interim: b\r\nX-Internal: c\r\n" + MAIL
    line = inspected(judge_message(text, mail), mail).line()
    assert line == (
        "a.eml  modified  filenames:1 strip  X-Internal removed  "
        "X-Interim removed  1.2 tool.exe stripped"
    )
    assert r"x\x1b removed" in edited([], ("x\x1b",)).line()


def test_no_field_is_said_to_be_removed_of_a_message_that_is_refused() -> None:
    text = rules(
        'headers: [{match: "X-Int*", action: strip}, {match: "*", action: allow}]',
        names('{match: "*.exe", action: deny}'),
    )
    said = judge_message(text, b"X-Internal: a\r\n" + MAIL)
    assert (said.outcome, said.removed) == (Outcome.REJECTED, ())


def test_line_counts_edits_beyond_the_first() -> None:
    parts = [part(f"1.{n}", "strip") for n in range(1, MAX_EDITS)]
    removed = ("X-A", "X-B")
    words = edited(parts, removed).line().split("  ")
    assert words[3:5] == ["X-A removed", "X-B removed"]
    assert words[-2:] == [f"1.{MAX_EDITS - 2} x/y stripped", "and 1 more"]
    assert edited(parts, removed[:1]).line().endswith(f"1.{MAX_EDITS - 1} x/y stripped")
