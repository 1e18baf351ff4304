"""Linear time, by counted steps: twice the input, less than 2.5 times the steps.

Steps are the interpreter's own events in our modules (lines, jumps, branches, calls).
What happens inside one call into C is not counted, so the second test measures
processor time over a wide range, where a quadratic search could not hide.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import CodeType

import pytest

from smtpguard.mime import Limits, outline, parse
from tests.mime.mails import mail


UNLIMITED = Limits(
    depth=50,
    parts=10**9,
    header_section=10**9,
    fields=10**9,
    names=10**9,
    decoded=10**9,
)
MIXED = 'Content-Type: multipart/mixed; boundary="b"'
START = mail(MIXED, "", "--b")
NESTED = mail(
    MIXED, "", "--b", "Content-Type: multipart/mixed; boundary=c", "", "--c", ""
)


def nested_boundaries(n: int) -> bytes:
    return b"".join(
        mail(f"Content-Type: multipart/mixed; boundary=b{level}", "", f"--b{level}")
        for level in range(n)
    )


def sibling_multiparts(n: int) -> bytes:
    return START + b"".join(
        mail(f"Content-Type: multipart/mixed; boundary=c{i}", "", f"--c{i}", "", "--b")
        for i in range(n)
    )


def alternating_boundaries(n: int) -> bytes:
    return NESTED + mail("--c", "", "--b", "", "--c--", "") * n


GENERATORS: dict[str, Callable[[int], bytes]] = {
    "nested-boundaries": nested_boundaries,
    "sibling-multiparts": sibling_multiparts,
    "alternating-boundaries": alternating_boundaries,
    "flat-parts": lambda n: START + mail("", "x", "--b") * n,
    "parts-without-empty-line": lambda n: START + mail("A: b", "--b") * n,
    "close-delimiters": lambda n: NESTED + mail("--b--", "--c--") * n,
    "hyphen-lines": lambda n: NESTED + b"--\r\n" * n,
    "inexact-delimiters": lambda n: NESTED + b"--bx\r\n" * n,
    "padded-delimiters": lambda n: START + (b"--b" + b" " * 99 + b"x\r\n") * n,
    "one-padded-line": lambda n: START + b"\r\n--b" + b" " * n + b"x",
    "nested-messages": lambda n: mail("Content-Type: message/rfc822", "") * n,
    "digest-of-nothing": lambda n: (
        mail("Content-Type: multipart/digest; boundary=b", "") + mail("--b", "") * n
    ),
    "header-flood": lambda n: b"A: b\r\n" * n,
    "shortest-fields": lambda n: b"A:\n" * n,
    "junk-lines": lambda n: b"x\r\n" * n,
    "folded-lines": lambda n: b"A: b\r\n" + b" c\r\n" * n,
    "blank-continuations": lambda n: b"A: b\r\n" + b" \r\n" * n,
    "spaces-in-a-field": lambda n: b"A: " + b" " * n + b"\r\n",
    "spaces-before-a-colon": lambda n: b"A" + b" " * n + b":\r\n",
    "bare-returns": lambda n: b"A: b" + b"\r" * n,
    "content-types": lambda n: b"Content-Type: a/b; name=c\r\n" * n,
    "parameter-flood": lambda n: b"Content-Type: a/b" + b"; a=b" * n,
    "semicolons": lambda n: b"Content-Type: a/b" + b";" * n,
    "continuations": lambda n: (
        b"Content-Disposition: a"
        + b"".join(b"; filename*%d*=%%41" % (i % 9999) for i in range(n))
    ),
    "endless-comments": lambda n: b"Content-Type: a/b; " + b"(" * n,
    "nested-comments": lambda n: b"Content-Type: a/b; " + b"(" * n + b")" * n,
    "many-comments": lambda n: b"Content-Type: a/b; x=" + b"(c)" * n,
    "escaped-comments": lambda n: b"Content-Type: a/b; (" + b"\\(" * n,
    "endless-quotes": lambda n: b'Content-Type: a/b; x="' + b'\\"' * n,
    "many-quotes": lambda n: b"Content-Type: a/b; x=" + b'"a"' * n,
    "slashes-and-blanks": lambda n: b"Content-Type: " + b"a / " * n,
    "encoded-words": lambda n: b"Subject: " + b"=?utf-8?q?=41?= " * n,
    "broken-encoded-words": lambda n: b"Subject: " + b"=?u?q?" * n,
    "question-marks": lambda n: b"Subject: " + b"=?u?q?" + b"?" * n,
    "half-ended-words": lambda n: b"Subject: " + b"=?u?q?a=?=" * n,
    "words-around-fields": lambda n: (
        b"Content-Disposition: " + b"=?utf-8?q?a;_name=3Da?=\r\n " * n
    ),
    "folded-names": lambda n: b'Content-Disposition: a; name="' + b"a\r\n " * n + b'"',
    "epilogue-delimiters": lambda n: START + b"\r\n--b--\r\n" + b"--b\r\n--b--\r\n" * n,
    "encoded-names": lambda n: (
        b'Content-Disposition: a; filename="' + b"=?utf-8?b?QQ==?=" * n + b'"'
    ),
    "long-names": lambda n: (
        b'Content-Disposition: a; filename="' + "\u0301\u0327".encode() * n + b'"'
    ),
    "percent-names": lambda n: b"Content-Disposition: a; filename*=" + b"%C3%BC" * n,
    "base64-noise": lambda n: (
        b"Content-Transfer-Encoding: base64\r\n\r\n" + b"A=-#\r\nAAA==" * n
    ),
    "quoted-printable-noise": lambda n: (
        b"Content-Transfer-Encoding: quoted-printable\r\n\r\n" + b"==3D= \t=\r\n \t" * n
    ),
    "quoted-printable-blanks": lambda n: (
        b"Content-Transfer-Encoding: quoted-printable\r\n\r\n" + b" " * n + b"x"
    ),
    "paddings": lambda n: b"Content-Transfer-Encoding: base64\r\n\r\n" + b"AAA=" * n,
    "blank-lines-quoted-printable": lambda n: (
        b"Content-Transfer-Encoding: quoted-printable\r\n\r\n" + b" \r\n" * n
    ),
    "unknown-encoding": lambda n: (
        b"Content-Transfer-Encoding: x\r\n\r\n" + b"QUFB=41\r\n" * n
    ),
    "uuencoded-lines": lambda n: b"\r\nbegin 644 a\r\n" + b"!!\r\n" * n,
    "uuencoded-odd-lines": lambda n: b"\r\nbegin 644 a\r\n" + b"!~~~~~\r\n" * n,
    "uuencoded-files": lambda n: b"\r\n" + b"begin 644 a\r\n" * n,
    "yenc-escapes": lambda n: b"\r\n=ybegin name=a\r\n" + b"=}" * n,
    "yenc-files": lambda n: b"\r\n" + b"=ybegin name=a\r\n" * n,
    "binhex-colons": lambda n: (
        b"\r\n(This file must be converted with BinHex 4.0)\r\n" + b":!\r\n" * n
    ),
    "hidden-delimiters": lambda n: b"\r\n" + b"--x\r\nContent-Type: a/b\r\n\r\n" * n,
    "hidden-boundaries": lambda n: (
        b"\r\n"
        + b"".join(b"--x%d\r\nContent-Type: a/b\r\n\r\n" % one for one in range(n))
    ),
    "encoded-messages": lambda n: (
        b"Content-Type: message/rfc822\r\nContent-Transfer-Encoding: base64\r\n\r\n"
        + b"QTogYg0K" * n
    ),
}

MAKES_PARTS = {
    "sibling-multiparts",
    "alternating-boundaries",
    "flat-parts",
    "parts-without-empty-line",
    "digest-of-nothing",
    "content-types",
    "hidden-delimiters",
    "hidden-boundaries",
}
"""Each unit costs them tens of microseconds: fewer are enough."""

MODULES = "smtpguard/mime/"
TOOL = 4
"""Tool 4 of sys.monitoring belongs to nobody: coverage has 3 or settrace."""


@contextmanager
def counting() -> Iterator[Callable[[], int]]:
    """Count the interpreter's steps in our modules."""
    events = sys.monitoring.events
    steps = 0

    def step(code: CodeType, *_: object) -> object:
        nonlocal steps
        if MODULES not in code.co_filename:
            return sys.monitoring.DISABLE
        steps += 1
        return None

    wanted = (events.LINE, events.JUMP, events.BRANCH, events.PY_START)
    sys.monitoring.use_tool_id(TOOL, "steps")
    try:
        for event in wanted:
            sys.monitoring.register_callback(TOOL, event, step)
        sys.monitoring.set_events(TOOL, sum(wanted))
        yield lambda: steps
    finally:
        sys.monitoring.set_events(TOOL, 0)
        for event in wanted:
            sys.monitoring.register_callback(TOOL, event, None)
        sys.monitoring.free_tool_id(TOOL)


def work(text: bytes) -> None:
    message = parse(text, UNLIMITED)
    outline(message)
    for part in message.parts():
        for field in part.fields:
            assert field.value is not None


def steps(text: bytes) -> int:
    with counting() as count:
        work(text)
        return count()


@pytest.mark.parametrize("name", GENERATORS)
def test_twice_the_input_takes_at_most_two_and_a_half_times_the_steps(
    name: str,
) -> None:
    generate = GENERATORS[name]
    once, twice = steps(generate(400)), steps(generate(800))
    assert once > 0
    assert twice < 2.5 * once


def seconds(text: bytes) -> float:
    before = time.process_time()
    work(text)
    return time.process_time() - before


@pytest.mark.parametrize("name", GENERATORS)
def test_sixteen_times_the_input_takes_no_quadratic_time(name: str) -> None:
    """Quadratic would be 256 times; margin and repetition are for a busy machine."""
    generate = GENERATORS[name]
    unit = 200 if name in MAKES_PARTS else 1000
    small, large = generate(unit), generate(16 * unit)
    bound = 64 * (min(seconds(small) for _ in range(3)) + 0.0005)
    assert any(seconds(large) < bound for _ in range(3))


def test_a_quadratic_reader_would_be_noticed() -> None:
    """The counter itself: a planted loop over all earlier parts is caught."""

    def quadratic(n: int) -> int:
        with counting() as count:
            message = parse(GENERATORS["flat-parts"](n), UNLIMITED)
            for part in message.parts():
                assert message.part(part.path) is part
            return count()

    assert quadratic(200) > 2.5 * quadratic(100)
