from __future__ import annotations

import copy
import json
import string
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpguard.errors import QuarantineError
from smtpguard.model.mailbox import Parameter, Path
from smtpguard.model.session import TlsFacts
from smtpguard.quarantine import recordfile
from smtpguard.quarantine.ids import new_id
from smtpguard.quarantine.record import (
    Client,
    HeldPart,
    HeldRecipient,
    Record,
    State,
    Upstream,
)
from smtpguard.quarantine.recordfile import argument, from_octets, to_octets
from smtpguard.wire.path import parse_rcpt
from tests.quarantine.making import DIGEST, NOW, part, record


WHOLE = replace(record(), sha256=DIGEST)

_PRINTABLE = [c for c in string.printable if c.isprintable() and c not in '\\"']
_LOCAL = st.one_of(
    st.text(string.ascii_letters + string.digits + "!#%=?|~+-", min_size=1, max_size=9),
    st.text([*_PRINTABLE, "ä", "語"], max_size=9).map('"{}"'.format),
    st.sampled_from(["ä.ö", '"\\"\\\\"']),
)
_DOMAINS = st.sampled_from(
    ["x.test", "X.Test", "bücher.test", "[192.0.2.1]", "[IPv6:2001:db8::1]", "a_b.test"]
)
_MAILBOXES = st.builds("<{}@{}>".format, _LOCAL, _DOMAINS) | st.just("<Postmaster>")
_VALUES = st.none() | st.text([c for c in _PRINTABLE if c not in "= "], min_size=1)
_PARAMETERS = st.lists(
    st.builds(Parameter, st.sampled_from(["SIZE", "NOTIFY", "X-1"]), _VALUES)
).map(tuple)
_FORWARD = st.builds(
    lambda text, more: replace(
        parse_rcpt(f"TO:{text}".encode(), smtputf8=True), parameters=more
    ),
    _MAILBOXES,
    _PARAMETERS,
)
_REVERSE = _FORWARD | st.builds(Path, st.none(), _PARAMETERS)
_TEXT = st.text(max_size=20)
_COUNT = st.integers(0, 2**63 - 1)
_TIMES = st.datetimes(timezones=st.just(UTC))
_DIGESTS = st.text("0123456789abcdef", min_size=64, max_size=64)
_TLS = st.none() | st.builds(TlsFacts, _TEXT, _TEXT, _TEXT, _TEXT)
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, width=32),
    lambda more: st.lists(more, max_size=3) | st.dictionaries(_TEXT, more, max_size=3),
    max_leaves=5,
).filter(lambda value: "Infinity" not in json.dumps(value))
_RECIPIENTS = st.builds(
    HeldRecipient,
    _FORWARD,
    _FORWARD,
    st.sampled_from([State.HELD, State.RELEASING, State.RELEASED]),
    _TEXT,
    st.none() | _TIMES,
    st.booleans(),
)
_PARTS = st.none() | st.builds(
    HeldPart,
    _TEXT,
    st.lists(_TEXT, max_size=3).map(tuple),
    _TEXT,
    _DIGESTS,
    st.sampled_from([State.PENDING, State.KEPT, State.IN_DOUBT]),
    _TEXT,
)
RECORDS = st.builds(
    Record,
    st.just(new_id(NOW)),
    _TIMES,
    _TEXT,
    _REVERSE,
    _REVERSE,
    st.lists(_RECIPIENTS, max_size=3).map(tuple),
    st.builds(Client, _TEXT, _COUNT, _TEXT, st.booleans()),
    _TLS,
    st.builds(Upstream, _TEXT, _COUNT, st.sampled_from(["none", "starttls", "tls"])),
    _TLS,
    *[_TEXT] * 4,
    st.lists(_TEXT, max_size=3).map(tuple),
    st.dictionaries(_TEXT, _JSON, max_size=3),
    _TEXT,
    _TEXT,
    _PARTS,
    _COUNT,
    _DIGESTS,
)


@given(RECORDS)
def test_what_is_written_is_read_again_as_it_was(made: Record) -> None:
    octets = to_octets(made)
    assert octets.isascii()
    assert from_octets(octets, "x.json") == made


def test_the_file_is_an_object_a_person_can_read() -> None:
    found = json.loads(to_octets(WHOLE))
    assert found["version"] == 1
    assert found["reverse_path"] == "<a@x.test> SIZE=70 SMTPUTF8"
    assert found["kept_at"] == "2026-11-24T09:36:13+00:00"
    assert found["recipients"] == [
        {
            "asked": "<b@y.test>",
            "forward_path": "<b@y.test>",
            "state": "held",
            "error": "",
            "changed": None,
            "added": False,
        }
    ]
    assert found["upstream"] == {"host": "mx.y.test", "port": 25, "tls": "starttls"}


def test_an_argument_is_what_mail_and_rcpt_have() -> None:
    text = '<"a b"@bücher.test> NOTIFY=NEVER X-1'
    assert argument(parse_rcpt(f"TO:{text}".encode(), smtputf8=True)) == text
    assert argument(Path(None, (Parameter("SIZE", "1"),))) == "<> SIZE=1"


def test_half_a_surrogate_pair_becomes_text_that_can_be_encoded() -> None:
    """A subject of a hostile mail may hold one."""
    made = replace(WHOLE, subject="a\ud800b")
    assert from_octets(to_octets(made), "x").subject == "a\\ud800b"


@pytest.mark.parametrize(
    "report", [{"a": float("nan")}, {"a": float("inf")}, {"a": {1, 2}}, {"a": b"x"}]
)
def test_a_report_that_no_json_holds_is_an_error(report: dict[str, Any]) -> None:
    with pytest.raises(QuarantineError, match="no JSON holds it"):
        to_octets(replace(WHOLE, report=report))


def test_a_report_that_is_nested_without_end_is_an_error() -> None:
    report: dict[str, Any] = {}
    report["a"] = report
    with pytest.raises(QuarantineError, match="no JSON holds it"):
        to_octets(replace(WHOLE, report=report))


def test_an_envelope_that_cannot_be_read_again_is_not_written() -> None:
    """Better refused now than kept and not released."""
    (one,) = WHOLE.recipients
    odd = replace(one.mailbox, local_part="other")
    asked = replace(one.forward_path, mailbox=odd)
    with pytest.raises(QuarantineError, match="envelope"):
        to_octets(replace(WHOLE, recipients=(replace(one, forward_path=asked),)))


def places(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return where something stands in a value of JSON."""
    found = [at]
    steps: list[tuple[Any, Any]] = []
    if isinstance(value, dict):
        steps = list(value.items())
    elif isinstance(value, list):
        steps = list(enumerate(value))
    for step, inner in steps:
        found += places(inner, (*at, step))
    return found


GOOD = [
    json.loads(to_octets(WHOLE)),
    json.loads(to_octets(replace(part("b@y.test", "c@y.test"), sha256=DIGEST))),
]
_OTHER = (
    _JSON | _TEXT | st.sampled_from(["<a@b>", "<>", "held", "kept", "tls", "9" * 9])
)


def record_or_error(octets: bytes) -> Record | str:
    try:
        return from_octets(octets, "x.json")
    except QuarantineError as error:
        return str(error)


@given(st.data())
def test_any_mutated_record_is_a_record_or_an_error(data: st.DataObject) -> None:
    value = copy.deepcopy(data.draw(st.sampled_from(GOOD)))
    for _ in range(data.draw(st.integers(1, 3))):
        *steps, last = data.draw(st.sampled_from(places(value)[1:]))
        at = value
        for step in steps:
            at = at[step]
        if data.draw(st.booleans()):
            at[last] = data.draw(_OTHER)
        else:
            del at[last]
        if not places(value)[1:]:
            break
    found = record_or_error(json.dumps(value).encode())
    if isinstance(found, Record):
        assert from_octets(to_octets(found), "x") == found
    else:
        assert found.startswith("x.json: damaged record: ")


@given(st.data())
def test_any_damaged_octets_are_a_record_or_an_error(data: st.DataObject) -> None:
    octets = bytearray(to_octets(WHOLE))
    start = data.draw(st.integers(0, len(octets)))
    end = data.draw(st.integers(start, len(octets)))
    octets[start:end] = data.draw(st.binary(max_size=5))
    found = record_or_error(bytes(octets))
    assert isinstance(found, Record) or found.startswith("x.json: damaged record: ")


def changed(**more: Any) -> bytes:
    return json.dumps({**GOOD[0], **more}).encode()


@pytest.mark.parametrize(
    ("octets", "reason"),
    [
        (b"", "Expecting value"),
        (b"[]", "not of type dict"),
        (b"\xff\xfe\xff", "decode"),
        (b"[" * 100_000, "recursion"),
        (b"9" * 5000, "limit"),
        (changed(version=2), "not of version 1"),
        (changed(version=True), "not of version 1"),
        (changed(more=1), "'more' is missing or unknown"),
        (changed(id="../../etc/passwd"), "id: not an id"),
        (changed(size=-1), "size: out of range"),
        (changed(size=True), "size: not of type int"),
        (changed(sha256="0"), "sha256: not a SHA-256"),
        (changed(kept_at="2026-11-24T09:36:13"), "kept_at: a time without a zone"),
        (changed(kept_at="0001-01-01T00:00:00+23:59"), "kept_at: "),
        (changed(asked="a@x.test"), "asked: unparsable path"),
        (changed(asked="<a@x.test>\r\nRCPT TO:<b@y.test>"), "asked: "),
        (changed(recipients=[{}]), "recipients: "),
        (changed(report={"a": 1e999}), "is no number of JSON"),
        (changed(part={**GOOD[1]["part"], "state": "held"}), "part: state: "),
        (
            changed(recipients=[{**GOOD[0]["recipients"][0], "forward_path": "<>"}]),
            "recipients: forward_path: no recipient",
        ),
    ],
)
def test_damage_is_told_with_its_reason(octets: bytes, reason: str) -> None:
    with pytest.raises(QuarantineError) as raised:
        from_octets(octets, "x.json")
    assert str(raised.value).startswith("x.json: damaged record: ")
    assert reason in str(raised.value)


def test_a_record_that_is_too_large_is_damaged(monkeypatch: pytest.MonkeyPatch) -> None:
    octets = to_octets(WHOLE)
    monkeypatch.setattr(recordfile, "MAX_OCTETS", len(octets) - 1)
    with pytest.raises(QuarantineError, match="more than"):
        from_octets(octets, "x.json")


def test_times_are_of_one_zone() -> None:
    there = datetime.fromisoformat("2026-11-24T10:36:13+01:00")
    made = replace(WHOLE, kept_at=there)
    assert b'"kept_at": "2026-11-24T09:36:13+00:00"' in to_octets(made)
    assert from_octets(to_octets(made), "x").kept_at == NOW
