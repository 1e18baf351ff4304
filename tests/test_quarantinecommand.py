from __future__ import annotations

import json
import os
import stat
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from smtpguard.cli import main
from smtpguard.quarantine.ids import new_id
from smtpguard.quarantine.parts import doubt_part
from smtpguard.quarantine.record import State
from smtpguard.quarantine.store import Store
from tests import commands
from tests.quarantine.making import MESSAGE, NOW, kept, part
from tests.quarantine.servers import CLOSE, Server


if TYPE_CHECKING:
    from pathlib import Path

    from smtpguard.quarantine.record import Record


RULES = """version: 1
quarantine: {{folder: kept}}
{more}policies:
  - {{name: p, identity: xclient, rcpt_to: [{{match: "*", action: deny}}]}}
"""


@pytest.fixture
def store(tmp_path: Path) -> Store:
    found = Store(tmp_path / "kept")
    found.folder.mkdir()
    return found


def quarantine(store: Store, action: str, *words: object) -> int:
    return main(["quarantine", action, "--folder", str(store.folder), *map(str, words)])


def rules(store: Store, more: str = "") -> Path:
    path = store.folder.with_name("rules.yaml")
    path.write_text(RULES.format(more=more))
    return path


def out(capsys: pytest.CaptureFixture[str]) -> list[str]:
    said = capsys.readouterr()
    assert said.err == ""
    return said.out.splitlines()


def objects(capsys: pytest.CaptureFixture[str]) -> list[dict[str, object]]:
    return [json.loads(line) for line in out(capsys)]


def state(store: Store, made: Record) -> State:
    return store.read(made.id).state


# -- list, show ------------------------------------------------------------------------


def test_list_tells_items_the_oldest_first(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    second = kept(store)
    first = kept(store, kept_at=NOW - timedelta(days=1))
    assert quarantine(store, "list") == 0
    assert [line.split()[0] for line in out(capsys)] == [first.id, second.id]
    assert quarantine(store, "list", "--json") == 0
    assert [one["id"] for one in objects(capsys)] == [first.id, second.id]


def test_list_chooses(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    message = kept(store, "b@y.test", sender="a@x.test").id
    piece = store.keep(part("c@z.test", sender="d@x.test"), [b"MZ"]).id
    recent = kept(store, "e@z.test", sender="", kept_at=datetime.now(UTC)).id
    for words, wanted in (
        (["--state", "held"], {message, recent}),
        (["--state", "pending"], {piece}),
        (["--kind", "part"], {piece}),
        (["--recipient", "b@y.test"], {message}),
        (["--recipient", "@z.test"], {piece, recent}),
        (["--sender", "d@x.test"], {piece}),
        (["--sender", "<>"], {recent}),
        (["--since", "1h"], {recent}),
        (["--since", "2026-11-24T09:36:14+00:00"], {recent}),
        (["--since", "2026-11-20"], {message, piece, recent}),
        (["--sender", "nobody@x.test"], set()),
    ):
        assert quarantine(store, "list", "--json", *words) == 0
        assert {one["id"] for one in objects(capsys)} == wanted, words


def test_what_is_in_doubt_is_told_from_what_is_being_released(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    made, doubted = kept(store), store.keep(part(), [b"MZ"]).id
    one = replace(made.recipients[0], state=State.RELEASING)
    store.write(made.with_recipients({0: one}))
    doubt_part(store, doubted)

    def found(wanted: str) -> set[object]:
        assert quarantine(store, "list", "--json", "--state", wanted) == 0
        told = objects(capsys)
        assert {row["state"] for row in told} <= {wanted}
        return {row["id"] for row in told}

    assert found("in_doubt") == {made.id, doubted}
    assert found("releasing") == set()
    with store.locked(made.id):
        assert found("in_doubt") == {doubted}
        assert found("releasing") == {made.id}


def test_a_damaged_item_is_told_and_the_others_are_listed(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    damaged, good = kept(store).id, kept(store).id
    (store.folder / f"{damaged}.json").write_text("{}")
    assert quarantine(store, "list") == 2
    said = capsys.readouterr()
    assert said.out.startswith(good)
    assert said.out.count("\n") == 1
    assert said.err.startswith(f"smtpguard: {damaged}.json: damaged record: ")


def test_show_tells_all(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    made = kept(store)
    assert quarantine(store, "show", made.id) == 0
    assert "MAIL FROM:<a@x.test> SIZE=70 SMTPUTF8" in out(capsys)
    assert quarantine(store, "show", made.id, "--json") == 0
    (found,) = objects(capsys)
    assert found == json.loads((store.folder / f"{made.id}.json").read_text())


def test_show_writes_the_octets_as_they_are(store: Store) -> None:
    octets = bytes(range(256)) * 5000
    made = kept(store, octets=octets)
    words = ("quarantine", "show", "--folder", str(store.folder), made.id, "--message")
    path = store.folder.with_name("output")
    with commands.start(*words, output=path) as process:
        assert process.wait(commands.DEADLINE) == 0
    assert path.read_bytes() == octets


HOSTILE = "a\x1b]0;owned\x07\x1b[2J\r\nb\u202e\x9b31m"


@pytest.mark.parametrize("action", ["list", "show", "release", "list --json"])
def test_nothing_of_others_reaches_the_terminal_as_it_is(
    store: Store, capsys: pytest.CaptureFixture[str], action: str
) -> None:
    made = kept(store, subject=HOSTILE, header_from=HOSTILE, reason=HOSTILE)
    held = part(subject=HOSTILE)
    assert held.part is not None
    named = replace(held, part=replace(held.part, names=(HOSTILE,)))
    store.keep(named, [b"MZ"])
    action, *words = action.split()
    answer = b"550 5.7.1 \x1b[2J\xff\x9b\r\n"
    if action == "show":
        assert quarantine(store, action, made.id) == 0
    elif action == "release":
        with Server(answers={b"RCPT": answer}) as server:
            via = f"127.0.0.1:{server.port}"
            assert quarantine(store, action, made.id, "--via", via) == 1
    else:
        assert quarantine(store, action, *words) == 0
    said = capsys.readouterr().out
    assert said.replace("\n", "").isprintable()
    assert "1b" in said


# -- release ---------------------------------------------------------------------------


def test_release_goes_by_the_delivery_of_the_rules(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    made = kept(store)
    with Server() as server:
        more = f"delivery: {{host: 127.0.0.1, port: {server.port}, tls: none}}\n"
        words = ["quarantine", "release", "--rules", str(rules(store, more)), made.id]
        assert main(words) == 0
        assert out(capsys) == [f"sent: {made.id}: b@y.test: 250 2.0.0 queued"]
        assert main(words) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err == (
        f"smtpguard: {made.id}: is released already; --force sends it again\n"
    )
    assert server.messages == [MESSAGE]


@pytest.mark.parametrize(
    ("answers", "wanted", "text"),
    [
        ({b"RCPT": b"550 5.1.1 no\r\n"}, "failed", "550 5.1.1 no"),
        ({b".": b"451 4.3.0 no\r\n"}, "failed", "451 4.3.0 no"),
        ({b".": CLOSE}, "in doubt", "no answer to the final dot: Connection"),
    ],
)
def test_what_is_not_sent_is_a_finding(
    store: Store,
    capsys: pytest.CaptureFixture[str],
    answers: dict[bytes, bytes],
    *,
    wanted: str,
    text: str,
) -> None:
    made = kept(store)
    with Server(answers=answers) as server:
        via = f"127.0.0.1:{server.port}"
        assert quarantine(store, "release", made.id, "--via", via, "--json") == 1
    (found,) = objects(capsys)
    assert str(found.pop("text")).startswith(text)
    assert found == {"id": made.id, "recipient": "b@y.test", "result": wanted}
    if wanted == "in doubt":
        assert quarantine(store, "list") == 0
        assert "  in_doubt  " in out(capsys)[0]


def test_release_to_one_to_others_and_by_force(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    made = kept(store, "b@y.test", "c@y.test")
    with Server() as server:
        via = ["--via", f"127.0.0.1:{server.port}", made.id]
        assert quarantine(store, "release", "--recipient", "c@y.test", *via) == 0
        assert quarantine(store, "release", "--to", "admin@y.test", *via) == 0
        assert quarantine(store, "release", "--force", *via) == 0
    assert [line.split(": ")[2] for line in out(capsys)] == [
        "c@y.test",
        "admin@y.test",
        "b@y.test",
        "c@y.test",
    ]
    assert state(store, made) is State.RELEASED


def test_one_that_cannot_be_released_does_not_hinder_the_next(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = kept(store), kept(store)
    missing = new_id(NOW)
    (store.folder / f"{first.id}.json").write_text("{")
    with Server() as server:
        via = ["--via", f"127.0.0.1:{server.port}"]
        ids = [missing, "../x", first.id, second.id]
        assert quarantine(store, "release", *via, *ids) == 2
    said = capsys.readouterr()
    assert said.out == f"sent: {second.id}: b@y.test: 250 2.0.0 queued\n"
    assert said.err.splitlines()[:2] == [
        f"smtpguard: {missing}: is not in the quarantine",
        "smtpguard: no id of the quarantine: '../x'",
    ]
    assert said.err.count("\n") == 3


# -- delete, purge, reindex, export, digest --------------------------------------------


def test_delete(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = kept(store).id, kept(store).id
    assert quarantine(store, "delete", first) == 0
    assert out(capsys) == [f"deleted: {first}"]
    assert store.ids() == [second]
    assert quarantine(store, "delete", first, second, "--json") == 2
    said = capsys.readouterr()
    assert json.loads(said.out) == {"id": second, "result": "deleted"}
    assert said.err == f"smtpguard: {first}: is not in the quarantine\n"


def test_purge_does_as_the_rules_say(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    now = datetime.now(UTC)
    old = kept(store, kept_at=now - timedelta(days=5)).id
    young = kept(store, kept_at=now - timedelta(days=3)).id
    assert quarantine(store, "purge") == 0
    assert out(capsys) == []
    path = rules(store)
    path.write_text(path.read_text().replace("kept}", "kept, keep: 4d}"))
    assert main(["quarantine", "purge", "--rules", str(path)]) == 0
    assert out(capsys) == [f"purged: {old}"]
    assert store.ids() == [young]


def test_reindex(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    damaged = kept(store).id
    kept(store)
    assert quarantine(store, "reindex") == 0
    assert out(capsys) == ["2 items"]
    (store.folder / f"{damaged}.json").write_text("{}")
    assert quarantine(store, "reindex", "--json") == 2
    said = capsys.readouterr()
    assert json.loads(said.out) == {"items": 1, "damaged": 1}
    assert damaged in said.err


def test_export_writes_octets_under_harmless_names(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    message = kept(store).id
    piece = store.keep(part(), [b"MZ"]).id
    folder = store.folder.with_name("out")
    assert quarantine(store, "export", message, piece, "-o", folder) == 0
    assert out(capsys) == [
        f"exported: {message}: {folder / message}.eml",
        f"exported: {piece}: {folder / piece}.part",
    ]
    assert (folder / f"{message}.eml").read_bytes() == MESSAGE
    assert (folder / f"{piece}.part").read_bytes() == b"MZ"
    assert stat.S_IMODE((folder / f"{piece}.part").stat().st_mode) == 0o600
    (folder / f"{message}.eml").write_bytes(b"mine")
    assert quarantine(store, "export", message, "-o", folder) == 2
    assert "is there already" in capsys.readouterr().err
    assert (folder / f"{message}.eml").read_bytes() == b"mine"


def test_octets_that_were_changed_are_not_exported(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    made = kept(store)
    store.octets(made.id).write_bytes(b"other")
    folder = store.folder.with_name("out")
    assert quarantine(store, "export", made.id, "-o", folder) == 2
    assert "not those that were kept" in capsys.readouterr().err
    assert list(folder.iterdir()) == []
    assert quarantine(store, "show", made.id, "--message") == 2


def test_digest_tells_each_recipient(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    kept(store, "b@y.test", "c@y.test")
    kept(store, "c@y.test")
    with Server(answers={b"RCPT TO:<b@": b"550 5.1.1 no\r\n"}) as server:
        more = f"delivery: {{host: 127.0.0.1, port: {server.port}, tls: none}}\n"
        path = str(rules(store, more))
        words = ["quarantine", "digest", "--rules", path, "--from", "p@y.test"]
        assert main(words) == 1
        assert sorted(out(capsys)) == [
            "failed: digest: b@y.test: 550 5.1.1 no",
            "sent: digest: c@y.test: 250 2.0.0 queued",
        ]
        assert main([*words, "--since", "1h"]) == 0
        assert out(capsys) == []
    (message,) = server.messages
    assert b"Subject: Messages that are held for you: 2\r\n" in message


def test_a_digest_is_from_whom_the_rules_say(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    kept(store)
    with Server() as server:
        more = f"delivery: {{host: 127.0.0.1, port: {server.port}, tls: none}}\n"
        words = ["quarantine", "digest", "--rules", str(rules(store, more))]
        assert main(words) == 2
        assert "--from, or delivery.from" in capsys.readouterr().err
        rules(store, more.replace("none}", "none, from: guard@y.test}"))
        assert main(words) == 0
    (message,) = server.messages
    assert message.startswith(b"From: <guard@y.test>\r\n")


def test_ids_may_be_written_in_small_letters(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    made = kept(store)
    assert quarantine(store, "show", made.id.lower()) == 0
    assert out(capsys)[0] == f"id: {made.id}"
    assert quarantine(store, "delete", made.id.lower()) == 0
    assert store.ids() == []


def test_in_any_other_folder_nothing_is_made(tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("mine")
    assert main(["quarantine", "list", "--folder", str(tmp_path)]) == 0
    assert [one.name for one in tmp_path.iterdir()] == ["letter.txt"]


def test_what_is_no_file_holds_up_nobody(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    made = kept(store)
    record = store.octets(made.id).with_suffix(".json")
    record.unlink()
    os.mkfifo(record)
    assert quarantine(store, "list") == 2
    assert "damaged record" in capsys.readouterr().err


# -- usage -----------------------------------------------------------------------------


def test_without_a_quarantine_there_is_nothing_to_do(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = rules(store)
    path.write_text(path.read_text().replace("quarantine: {folder: kept}\n", ""))
    for words in (
        ["list", "--rules", path],
        ["list", "--folder", tmp_path / "none"],
        ["list", "--rules", tmp_path / "none.yaml"],
        ["digest", "--folder", store.folder, "--from", "a@y.test"],
        ["show", "--folder", store.folder, "x"],
        ["list"],  # the rules that come with smtpguard name none
    ):
        assert main(["quarantine", *map(str, words)]) == 2
        said = capsys.readouterr()
        assert said.out == ""
        assert said.err.count("\n") == 1


def test_rules_that_are_wrong_are_a_finding(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    path = rules(store)
    path.write_text(path.read_text().replace("folder", "foldr"))
    assert main(["quarantine", "list", "--rules", str(path)]) == 1
    assert 'unknown key "foldr"' in capsys.readouterr().err


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["lst"],
        ["list", "--state", "gone"],
        ["list", "--since", "yesterday"],
        ["list", "--since", "9999999d"],
        ["list", "--since", "999999d"],
        ["list", "--rules", "a", "--folder", "b"],
        ["show"],
        ["release"],
        ["release", "x", "--to", "nobody"],
        ["release", "x", "--via", "host:port"],
        ["release", "x", "--via", "host:0"],
        ["export", "x"],
        ["digest", "--from", "nobody"],
    ],
    ids=" ".join,
)
def test_wrong_usage_is_2(words: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["quarantine", *words])
    assert ended.value.code == 2


@pytest.mark.parametrize("where", ["[::1]:26", "mx.test", "mx.test:26", "192.0.2.1"])
def test_a_server_is_named_with_or_without_port(where: str) -> None:
    from smtpguard.quarantinecommand import server

    host, _, port = where.rpartition(":") if where[-1] == "6" else (where, "", "25")
    assert server(where).host == host.strip("[]")
    assert server(where).port == int(port)
