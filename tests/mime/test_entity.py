from __future__ import annotations

import pytest

from smtpguard.mime.entity import Claims
from tests.mime.mails import kinds, read


PARTS = ("--b", "", "x", "--b--")


def claims(*fields: str, body: tuple[str, ...] = PARTS) -> tuple[Claims, set[str]]:
    message = read(*fields, "", *body)
    return message.root.claims, kinds(message)


def test_without_a_type_it_is_plain_text() -> None:
    """RFC 2045 5.2."""
    found, defects = claims("Subject: x")
    assert found.content_type == "text/plain"
    assert found.transfer_encoding == "7bit"
    assert found.names == ()
    assert defects == set()


def test_type_and_encoding_are_lower_case() -> None:
    found, defects = claims(
        "CONTENT-TYPE: Image/PNG; Name=A.PNG",
        "Content-Transfer-Encoding: BASE64",
        "Content-Disposition: ATTACHMENT",
        body=("QUJD",),
    )
    assert found.content_type == "image/png"
    assert found.transfer_encoding == "base64"
    assert found.names == ("A.PNG",)
    assert defects == set()


@pytest.mark.parametrize(
    "value", ["", "text", "text/", "/plain", "text/plain/x", "text plain", "?/*é"]
)
def test_a_type_that_is_none_is_read_as_plain_text(value: str) -> None:
    found, defects = claims(f"Content-Type: {value}")
    assert found.content_type == "text/plain"
    assert "malformed-content-type" in defects


def test_of_two_types_the_first_counts_and_it_is_told() -> None:
    """attacks M1."""
    found, defects = claims("Content-Type: text/html", "Content-Type: image/png")
    assert found.content_type == "text/html"
    assert defects == {"duplicate-content-type"}


def test_of_two_encodings_the_first_counts_and_it_is_told() -> None:
    """attacks M1."""
    found, defects = claims(
        "Content-Transfer-Encoding: 7bit", "Content-Transfer-Encoding: base64"
    )
    assert found.transfer_encoding == "7bit"
    assert defects == {"duplicate-content-transfer-encoding"}


def test_two_dispositions_are_told() -> None:
    _, defects = claims(
        "Content-Disposition: attachment", "Content-Disposition: inline"
    )
    assert defects == {"duplicate-content-disposition"}


def test_names_come_from_every_field() -> None:
    found, _ = claims(
        "Content-Type: a/b; name=1.exe",
        "Content-Type: a/b; name=2.exe",
        "Content-Disposition: inline; filename=3.exe",
        "Content-Disposition: inline; filename=4.exe",
    )
    assert found.names == ("3.exe", "4.exe", "1.exe", "2.exe")


@pytest.mark.parametrize(
    ("value", "encoding", "known"),
    [
        ("base64", "base64", True),
        ("Base64 ", "base64", True),
        ("base64 (comment)", "base64", True),
        ('"base64"', "base64", False),
        ("8bit;", "8bit", True),
        ("base64 x", "base64", False),
        ("x-base64", "x-base64", False),
        ("bas e64", "bas", False),
        ("", "", False),
    ],
)
def test_transfer_encodings_are_read_by_their_first_word(
    value: str, encoding: str, *, known: bool
) -> None:
    """attacks M2."""
    found, defects = claims(f"Content-Transfer-Encoding: {value}")
    assert found.transfer_encoding == encoding
    assert ("unknown-transfer-encoding" in defects) != known


@pytest.mark.parametrize(
    ("parameters", "boundary", "expected"),
    [
        ("boundary=b", b"b", set()),
        ('boundary="b"', b"b", set()),
        ("BOUNDARY=b", b"b", set()),
        ("boundary*0=b", b"b", {"continued-boundary"}),
        ("boundary*=us-ascii''%62", b"b", {"continued-boundary"}),
        ("boundary=b; boundary*0=c", b"b", {"conflicting-boundary"}),
        ("boundary*0=c; boundary=b", b"b", {"conflicting-boundary"}),
        ('boundary="b "', b"b", {"blank-ended-boundary"}),
        ("boundary=", None, {"missing-boundary"}),
        ('boundary="  "', None, {"missing-boundary"}),
        ("x=y", None, {"missing-boundary"}),
    ],
)
def test_boundaries_are_found_and_their_faults_told(
    parameters: str, boundary: bytes | None, expected: set[str]
) -> None:
    """attacks M4."""
    found, defects = claims(f"Content-Type: multipart/mixed; {parameters}")
    assert found.boundary == boundary
    assert defects == expected


def test_two_boundary_parameters_conflict() -> None:
    """CVE-2024-28054."""
    found, defects = claims("Content-Type: multipart/mixed; boundary=b; boundary=c")
    assert found.boundary == b"b"
    assert defects == {"conflicting-boundary", "duplicate-parameter"}


def test_a_boundary_over_seventy_octets_is_used_and_told() -> None:
    found, defects = claims(f"Content-Type: multipart/mixed; boundary={'x' * 71}")
    assert found.boundary == b"x" * 71
    assert "overlong-boundary" in defects
    _, defects = claims(f"Content-Type: multipart/mixed; boundary={'x' * 70}")
    assert "overlong-boundary" not in defects


def test_only_multiparts_have_boundaries() -> None:
    found, _ = claims("Content-Type: text/plain; boundary=b")
    assert found.boundary is None


def test_an_encoded_word_in_a_parameter_is_told() -> None:
    _, defects = claims('Content-Disposition: inline; filename="=?utf-8?q?a?="')
    assert defects == {"encoded-word-in-parameter"}


def test_defects_stand_at_their_field() -> None:
    message = read("A: b", "Content-Type: text/plain; (", "", "x")
    assert [(str(d.kind), d.offset) for d in message.defects] == [
        ("unterminated-comment", 6),
        ("malformed-parameter", 6),
    ]


# ------------------------------------------------------------------- two readings


@pytest.mark.parametrize(
    "lines",
    [
        ["Content-Disposition: filename=a.exe"],
        ["Content-Type: name=a.exe"],
        ['Content-Disposition: x; filename*00000="a.exe"'],
        ['Content-Disposition: x;\r\n filename="a.\r\n exe"'],
        ["Content-Disposition: x;\r\n filename=a.\r\n\t exe"],
        ["Content-Disposition: =?utf-8?Q?attachment;_filename=3Da.exe?="],
        ["Content-Type: =?utf-8?Q?application/x;_name=3Da.exe?="],
        ['Content-Disposition: x; filename="=?cp037?B?gUuFp4U=?="'],
    ],
    ids=lambda lines: lines[0],
)
def test_names_that_only_some_readers_see_are_seen(lines: list[str]) -> None:
    """attacks M6."""
    assert "a.exe" in claims(*lines)[0].names


def test_a_fold_is_read_with_its_blank_and_without() -> None:
    names = claims('Content-Disposition: x; filename="a\r\n b.txt"')[0].names
    assert names == ("a b.txt", "ab.txt")


def test_an_honest_fold_gives_one_name() -> None:
    found, defects = claims('Content-Type: a/b;\r\n name="a b.txt"')
    assert found.names == ("a b.txt",)
    assert defects == set()


def test_names_of_one_part_are_limited() -> None:
    flood = "".join(f"; filename={n}.x" for n in range(90))
    found, defects = claims(f"Content-Disposition: x{flood}")
    assert len(found.names) == 60
    assert "limit-names" in defects


@pytest.mark.parametrize(
    "value",
    [
        "multipart/mixed/x; boundary=b",
        "x; boundary=b",
        "message/rfc822/x",
        "=?utf-8?Q?multipart/mixed;_boundary=3Db?=",
    ],
)
def test_a_type_that_is_none_may_still_be_a_container(value: str) -> None:
    found, defects = claims(f"Content-Type: {value}")
    assert found.content_type == "text/plain"
    assert "malformed-container-type" in defects


@pytest.mark.parametrize(
    "value",
    ["b (c)", "b c", "b(c)", '"b"c', '"b\\c"', '"b\r\n c"', '"=?utf-8?q?b?="'],
    ids=ascii,
)
def test_a_boundary_that_reads_in_two_ways_conflicts(value: str) -> None:
    _, defects = claims(f"Content-Type: multipart/mixed; boundary={value}")
    assert "conflicting-boundary" in defects


@pytest.mark.parametrize("value", ["b", '"b c"', "----=_b", '"b" (c)', '"----=_?b"'])
def test_an_ordinary_boundary_reads_in_one_way(value: str) -> None:
    _, defects = claims(f"Content-Type: multipart/mixed; boundary={value}")
    assert "conflicting-boundary" not in defects


@pytest.mark.parametrize(
    "lines",
    [
        ["Content-Type: text/plain", "Content-type:  TEXT/plain"],
        ["Content-Transfer-Encoding: 7bit", "Content-Transfer-Encoding: 8bit"],
        ["Content-Transfer-Encoding: base64", "Content-Transfer-Encoding: BASE64"],
    ],
    ids=["type", "identity", "base64"],
)
def test_the_same_twice_is_no_defect(lines: list[str]) -> None:
    assert claims(*lines, body=("QUJD",))[1] == set()
