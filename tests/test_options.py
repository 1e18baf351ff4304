"""The options: checked as a whole, none of them misspelt in silence."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from mitmproxy import exceptions
from mitmproxy.options import Options

from smtpguard.options import (
    OPTIONS,
    default_directory,
    misspelt,
    read_options,
    rules_path,
)


def options(**changes: Any) -> Options:
    made = Options()
    for option in OPTIONS:
        made.add_option(option.name, option.type, option.default, option.help)
    made.update(**changes)
    return made


def test_the_defaults_are_valid_and_name_rules_that_exist() -> None:
    found = read_options(options())

    assert found.rules.is_file()
    assert found.ports == {25, 465, 587, 2525}
    assert found.own_name
    assert (found.record, found.record_auth) == ("full", False)
    assert (found.max_connections, found.max_connections_per_network) == (500, 50)


def test_every_value_arrives(tmp_path: Path) -> None:
    found = read_options(
        options(
            smtpguard_rules="rules/inbound.yaml",
            smtpguard_ports="25, 10025",
            smtpguard_name="guard.example",
            smtpguard_record="envelope",
            smtpguard_record_limit=5,
            smtpguard_record_auth=True,
            smtpguard_log_addresses="hashed",
            smtpguard_max_connections=7,
            smtpguard_max_connections_per_network=3,
            smtpguard_spool_dir=str(tmp_path),
        )
    )

    assert found.rules == Path("rules/inbound.yaml")
    assert found.ports == {25, 10025}
    assert found.own_name == "guard.example"
    assert (found.record, found.record_limit, found.record_auth) == (
        "envelope",
        5,
        True,
    )
    assert found.log_addresses == "hashed"
    assert (found.max_connections, found.max_connections_per_network) == (7, 3)
    assert found.spool_dir == str(tmp_path)


def test_a_home_folder_may_be_written_as_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "spool").mkdir()
    found = read_options(
        options(smtpguard_rules="~/rules.yaml", smtpguard_spool_dir="~/spool")
    )

    assert found.rules == tmp_path / "rules.yaml"
    assert found.spool_dir == str(tmp_path / "spool")
    assert rules_path("~/rules.yaml") == tmp_path / "rules.yaml"


def test_nobodys_home_is_a_fault_and_no_crash() -> None:
    with pytest.raises(exceptions.OptionsError) as caught:
        read_options(
            options(
                smtpguard_rules="~nobody-at-all/a", smtpguard_spool_dir="~nobody-at-all"
            )
        )

    rules, expanded, folder = str(caught.value).splitlines()
    assert rules.startswith("smtpguard_rules: '~nobody-at-all/a': ")
    assert expanded.startswith("smtpguard_spool_dir: '~nobody-at-all': ")
    assert folder == "smtpguard_spool_dir: not a folder: '~nobody-at-all'"
    assert rules_path("~nobody-at-all/a") == Path("~nobody-at-all/a")


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"smtpguard_ports": ""}, "smtpguard_ports: not a list of ports: ''"),
        ({"smtpguard_ports": "25,x"}, "smtpguard_ports: not a list of ports: '25,x'"),
        ({"smtpguard_ports": "0"}, "smtpguard_ports: not a list of ports: '0'"),
        ({"smtpguard_ports": "65536"}, "smtpguard_ports: not a list of ports"),
        (
            {"smtpguard_record": "all"},
            "smtpguard_record: 'all' is none of none, envelope, full",
        ),
        (
            {"smtpguard_log_addresses": "some"},
            "smtpguard_log_addresses: 'some' is none of full, hashed, none",
        ),
        ({"smtpguard_record_limit": -1}, "smtpguard_record_limit: must be 0 or more"),
        (
            {"smtpguard_max_connections": 0},
            "smtpguard_max_connections: must be 1 or more",
        ),
        (
            {"smtpguard_max_connections_per_network": 0},
            "smtpguard_max_connections_per_network: must be 1 or more",
        ),
        ({"smtpguard_name": "a b"}, "smtpguard_name: not a host name: 'a b'"),
        ({"smtpguard_name": "m\xfcll"}, "smtpguard_name: not a host name"),
        (
            {"smtpguard_spool_dir": "no/such/folder"},
            "smtpguard_spool_dir: not a folder: 'no/such/folder'",
        ),
    ],
    ids=lambda value: str(value)[:40] if isinstance(value, dict) else "",
)
def test_a_value_that_makes_no_sense_is_told(
    changes: dict[str, Any], fault: str
) -> None:
    """mitmproxy does not enforce ``choices`` for ``--set`` (traps 0)."""
    with pytest.raises(exceptions.OptionsError, match=fault.replace("'", ".")):
        read_options(options(**changes))


def test_all_faults_are_told_at_once() -> None:
    changes = {"smtpguard_ports": "x", "smtpguard_record": "all"}
    with pytest.raises(exceptions.OptionsError) as raised:
        read_options(options(**changes))

    assert len(str(raised.value).splitlines()) == 2


@pytest.mark.parametrize(
    ("deferred", "told"),
    [
        (["smtpguard_rulez"], ["smtpguard_rulez"]),
        (["smtpguardrules", "smtpguard"], ["smtpguard", "smtpguardrules"]),
        (["smtpguard_rules"], []),
        (["some_other_addon"], []),
    ],
)
def test_misspelt_options_are_found(deferred: list[str], told: list[str]) -> None:
    assert misspelt(deferred) == told


def test_every_option_says_what_it_does_in_one_paragraph() -> None:
    for option in OPTIONS:
        assert option.help.endswith(".")
        assert "\n" not in option.help
        assert "  " not in option.help


def test_large_messages_go_to_disk_not_to_memory_that_looks_like_it() -> None:
    found = default_directory()

    assert found is None or os.access(found, os.W_OK)


def test_a_spool_folder_in_which_no_file_can_be_made_is_told_at_the_start() -> None:
    with pytest.raises(exceptions.OptionsError) as raised:
        read_options(options(smtpguard_spool_dir="/proc/self"))
    assert "smtpguard_spool_dir: no file can be made in '/proc/self': " in str(
        raised.value
    )
    assert "Errno" not in str(raised.value)


def test_the_usual_spool_folder_is_tried_as_well(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("smtpguard.options.default_directory", lambda: "/proc/self")
    with pytest.raises(exceptions.OptionsError, match="no file can be made"):
        read_options(options())
