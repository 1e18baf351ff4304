from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpguard.mime.names import file_names
from smtpguard.mime.parameters import parse_structured


def names(*fields: str | bytes) -> tuple[str, ...]:
    octets = (f if isinstance(f, bytes) else f.encode() for f in fields)
    return file_names(parse_structured(b"attachment; " + f).parameters for f in octets)


@pytest.mark.parametrize(
    ("field", "expected"),
    [
        ("x=y", ()),
        ('filename=""', ()),
        ("filename=a.exe", ("a.exe",)),
        ('filename="a b.exe"', ("a b.exe",)),
        ('name="a.exe"', ("a.exe",)),
        ("filename*=utf-8''a%20b.exe", ("a b.exe",)),
        ("filename*=iso-8859-1''%FC.exe", ("ü.exe",)),
        ('filename*0="a."; filename*1="exe"', ("a.exe",)),
        ("filename*0*=utf-8''%C3; filename*1*=%BC.exe", ("ü.exe",)),
        ("filename*0*=''a%2E; filename*1=ex; filename*2=e", ("a.exe",)),
        ("FILENAME=a.exe", ("a.exe",)),
    ],
)
def test_honest_names_have_one_reading(field: str, expected: tuple[str, ...]) -> None:
    assert names(field) == expected


@pytest.mark.parametrize(
    ("field", "among"),
    [
        ("filename=a.txt; filename=b.exe", {"a.txt", "b.exe"}),
        ("filename=a.txt; filename*=utf-8''b.exe", {"a.txt", "b.exe"}),
        ("filename=a.txt; filename*0=b.; filename*1=exe", {"a.txt", "b.exe"}),
        ("filename*1=exe; filename*0=a.", {"a.exe", "exea."}),
        ('filename="=?utf-8?q?a=2Eexe?="', {"a.exe", "=?utf-8?q?a=2Eexe?="}),
        ('filename="=?utf-8?b?YS4=?= =?utf-8?b?ZXhl?="', {"a.exe"}),
        ("filename==?utf-8?q?a=2Eexe?=", {"a.exe"}),
        ('filename*0="=?utf-8?q?a"; filename*1="=2Eexe?="', {"a.exe"}),
        ("filename=attached.()bat", {"attached.()bat", "attached. bat"}),
        ("filename=a.exe (comment)", {"a.exe"}),
        ("filename=a.e(x)xe", {"a.exe", "a.e(x)xe", "a.e xe"}),
        ('filename="a".exe', {"a", "a.exe"}),
        ("filename*=utf-16''%00a%00.%00e%00x%00e", {"a.exe"}),
        ("filename=a b.exe", {"a b.exe", "a"}),
        ("filename=a.exe .txt", {"a.exe"}),
        ('filename="a.exe', {"a.exe"}),
        ('filename="C:\\dir\\a.exe"', {"C:\\dir\\a.exe", "C:dira.exe"}),
        (b'filename="\xfc.exe"', {"ü.exe"}),
        ('filename="ü.exe"', {"ü.exe"}),
        ("filename*=utf-7''+ADw-.exe", {"<.exe"}),
        ("filename*=a%2Eexe", {"a.exe", "a%2Eexe"}),
        ("filename*=x-unknown''a%2Eexe", {"a.exe"}),
    ],
)
def test_every_reading_is_a_name(field: str | bytes, among: set[str]) -> None:
    """attacks M6."""
    assert among <= set(names(field))


@pytest.mark.parametrize(
    "written",
    ["a.exe. .", "a.exe\0.txt", "a\u202etxt.exe", "a\t.exe", "a\uff0eexe", "  a.exe"],
    ids=ascii,
)
def test_a_name_stays_as_it_is_written(written: str) -> None:
    """``policy.filenames`` sees through it, also where a name is no part's."""
    assert names(f'filename="{written}"') == (written,)


def test_no_more_names_are_read_than_are_asked_for() -> None:
    field = b"a; " + b"; ".join(b"filename=%d.x" % n for n in range(90))
    parameters = parse_structured(field).parameters
    assert len(file_names([parameters])) == 90
    assert file_names([parameters], limit=3) == ("0.x", "1.x", "2.x")


def test_disposition_comes_before_type() -> None:
    assert names("filename=a.exe", "name=b.exe") == ("a.exe", "b.exe")


def test_the_name_of_a_disposition_and_the_filename_of_a_type_count_too() -> None:
    assert names("name=a.exe", "filename=b.exe") == ("a.exe", "b.exe")


def test_continuations_may_be_spread_over_fields() -> None:
    assert "a.exe" in names("filename*1=exe", "filename*0=a.")


PIECES = [
    "filename",
    "name",
    "*",
    "0",
    "1",
    "=",
    ";",
    '"',
    "'",
    "\\",
    "%41",
    "=?utf-8?q?",
]


@given(
    st.lists(st.sampled_from([*PIECES, "?=", "\0", "ü", ".", " ", "("])).map("".join)
)
def test_reading_names_never_raises(text: str) -> None:
    found = names(text)
    assert all(found)
    assert len(set(found)) == len(found)
