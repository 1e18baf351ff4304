from __future__ import annotations

import time

import dns.resolver
import pytest

from smtpguard.nameservice import MAX_OCTETS, MAX_RECORDS, ask_texts
from smtpguard.policy.dnsreader import DnsSettings
from tests.nameserver import EMPTY, GARBAGE, SERVFAIL, SILENT, NameServer, Record


LONG = b"v=DKIM1; p=" + b"A" * 3000
ZONE: dict[str, Record] = {
    "one.test": b"text",
    "two.test": [b"a", b"b" * 300],
    "many.test": [b"%d" % n for n in range(MAX_RECORDS + 5)],
    "long.test": LONG,
    "huge.test": b"x" * (MAX_OCTETS + 9),
    "empty.test": EMPTY,
    "bad.test": SERVFAIL,
    "silent.test": SILENT,
    "garbage.test": GARBAGE,
}


def settings(server: NameServer, timeout: float = 5) -> DnsSettings:
    return DnsSettings((("127.0.0.1", server.port),), timeout)


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("one.test", {b"text"}),
        ("ONE.test", {b"text"}),
        ("two.test", {b"a", b"b" * 300}),
        ("long.test", {LONG}),
        ("huge.test", {b"x" * MAX_OCTETS}),
        ("empty.test", set()),
        ("none.test", set()),
        ("a" * 64 + ".test", set()),
        ("a..test", set()),
        (".".join(["abc"] * 80), set()),
    ],
)
def test_records_come_whole(name: str, wanted: set[bytes]) -> None:
    with NameServer(ZONE) as server:
        answers = ask_texts(settings(server), [name])
        found = answers[name]
        assert found is not None
        assert set(found) == wanted
        assert server.by_tcp == (1 if name in {"long.test", "huge.test"} else 0)


def test_no_more_records_than_anybody_needs() -> None:
    with NameServer(ZONE) as server:
        found = ask_texts(settings(server), ["many.test"])["many.test"]
    assert found is not None
    assert len(found) == MAX_RECORDS


def test_a_name_is_asked_for_as_it_is() -> None:
    with NameServer(ZONE) as server:
        ask_texts(settings(server), ["none.test", "one.test"])
        assert server.asked == ["none.test", "one.test"]


@pytest.mark.parametrize("name", ["bad.test", "silent.test", "garbage.test"])
def test_what_is_no_answer_is_none(name: str) -> None:
    with NameServer(ZONE) as server:
        assert ask_texts(settings(server, 0.5), [name]) == {name: None}


def test_all_names_share_one_time_and_a_silent_one_leaves_some() -> None:
    names = ["silent.test", "one.test", *(f"silent{n}.test" for n in range(8))]
    zone: dict[str, Record] = {**ZONE, **dict.fromkeys(names[2:], SILENT)}
    with NameServer(zone) as server:
        start = time.monotonic()
        answers = ask_texts(settings(server, 1.0), names)
        took = time.monotonic() - start
    assert list(answers) == names
    assert answers["one.test"] == (b"text",)
    assert {name for name in names if answers[name] is None} == {*names} - {"one.test"}
    assert took < 3


def test_nobody_listening_is_no_answer() -> None:
    with NameServer({}) as server:
        pass
    assert ask_texts(settings(server, 0.3), ["one.test"]) == {"one.test": None}


def test_a_system_without_name_servers_answers_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def read(self: dns.resolver.Resolver, f: object) -> None:
        raise dns.resolver.NoResolverConfiguration

    monkeypatch.setattr(dns.resolver.Resolver, "read_resolv_conf", read)
    assert ask_texts(DnsSettings(), ["one.test"]) == {"one.test": None}


def test_no_names_ask_nobody() -> None:
    with NameServer({}) as server:
        assert ask_texts(settings(server), []) == {}
        assert server.asked == []
