from __future__ import annotations

import hashlib
import time
from itertools import pairwise

import pytest
from dkim.canonicalization import CanonicalizationPolicy
from hypothesis import example, given
from hypothesis import strategies as st

from smtpguard.dkim.canonical import body_digests, canonical_body, canonical_field


def cut(text: bytes, places: list[int]) -> list[bytes]:
    marks = [0, *sorted(place % (len(text) + 1) for place in places), len(text)]
    return [text[a:b] for a, b in pairwise(marks)]


def body(text: bytes, *, relaxed: bool, places: list[int] | None = None) -> bytes:
    return b"".join(canonical_body(cut(text, places or []), relaxed=relaxed))


@pytest.mark.parametrize(
    ("text", "simple", "relaxed"),
    [
        # RFC 6376 3.4.5, second example
        (b" C \r\nD \t E\r\n\r\n\r\n", b" C \r\nD \t E\r\n", b" C\r\nD E\r\n"),
        (b"", b"\r\n", b""),
        (b"\r\n\r\n", b"\r\n", b""),
        (b" \t\r\n", b" \t\r\n", b""),
        (b"a", b"a\r\n", b"a\r\n"),
        (b"a \t", b"a \t\r\n", b"a\r\n"),
        (b"a\r\n \r\n", b"a\r\n \r\n", b"a\r\n"),
        (b"\r\n\r\na\r\n", b"\r\n\r\na\r\n", b"\r\n\r\na\r\n"),
    ],
)
def test_bodies_as_the_rfc_has_them(text: bytes, simple: bytes, relaxed: bytes) -> None:
    assert body(text, relaxed=False) == simple
    assert body(text, relaxed=True) == relaxed


TEXT = st.lists(
    st.sampled_from([b" ", b"\t", b"\r\n", b"\r", b"\n", b"x", b"\r\n" * 5000])
).map(b"".join)


@given(TEXT, st.lists(st.integers(0, 10**6), max_size=8), st.booleans())
@example(b"x \r\n \r\n", [2, 3, 4, 6, 7], True)
@example(b"x\r\n\r\n\ny", [2, 3, 4, 5], False)
@example(b"\r\r\n\r\n", [1, 2, 3, 4], False)
def test_bodies_are_as_dkimpy_has_them_however_they_are_cut(
    text: bytes, places: list[int], relaxed: bool
) -> None:
    text += b"\r\n"  # as every message ends
    name = b"relaxed" if relaxed else b"simple"
    policy = CanonicalizationPolicy.from_c_value(b"simple/" + name)
    assert body(text, relaxed=relaxed, places=places) == policy.canonicalize_body(text)


VALUE = st.lists(st.sampled_from([b" ", b"\t", b"\r\n ", b"\r\n\t", b"x"])).map(
    b"".join
)


@given(VALUE, st.booleans())
def test_fields_are_as_dkimpy_has_them(value: bytes, relaxed: bool) -> None:
    policy = CanonicalizationPolicy.from_c_value(b"relaxed" if relaxed else b"simple")
    field = (b"SubJect", value + b"\r\n")
    wanted = b":".join(policy.canonicalize_headers([field])[0])
    assert canonical_field(b":".join(field), relaxed=relaxed) == wanted


def test_a_blank_before_the_colon_is_no_part_of_a_relaxed_name() -> None:
    assert canonical_field(b"Subject \t: x\r\n", relaxed=True) == b"subject:x\r\n"
    assert canonical_field(b"A:\r\n x", relaxed=True) == b"a:x"


@pytest.mark.parametrize("length", [0, 1, 5, 6])
def test_a_digest_of_the_first_octets_is_that_of_the_cut_canonical_body(
    length: int,
) -> None:
    digests, size = body_digests([b"ab ", b" cd\r\n"], [length, 7, 99], relaxed=True)
    assert size == len(b"ab cd\r\n")
    assert digests[length] == hashlib.sha256(b"ab cd\r\n"[:length]).digest()
    assert digests[7] == hashlib.sha256(b"ab cd\r\n").digest()
    assert 99 not in digests


def test_nothing_of_an_empty_body_can_be_signed() -> None:
    nothing = hashlib.sha256(b"").digest()
    assert body_digests([], [0, 1], relaxed=True) == ({0: nothing}, 0)


@pytest.mark.parametrize(
    "text", [b" ", b"\r\n", b"\t\r\n", b"\r", b" x", b"\r\n\n", b" \r"]
)
@pytest.mark.parametrize("relaxed", [False, True])
def test_time_is_linear_in_whatever_repeats(text: bytes, relaxed: bool) -> None:
    def seconds(size: int) -> float:
        chunk = text * (262144 // len(text))
        chunks = [chunk] * (size // len(chunk))
        best = 9.0
        for _ in range(3):
            start = time.process_time()
            body_digests(chunks, [size // 2], relaxed=relaxed)
            best = min(best, time.process_time() - start)
        return best

    # A quadratic step in a line of 4 MiB takes minutes; this is 0.3 s.
    assert seconds(4 * 2**20) < 5
