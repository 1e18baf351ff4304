from __future__ import annotations

import re

import pytest

from smtpguard.mime import Defect, Kind
from smtpguard.mime.defects import DefectLog


def test_only_the_first_of_a_kind_in_a_part_is_kept() -> None:
    log = DefectLog()
    log.add(Kind.MALFORMED_FIELD, "1", 5)
    log.add(Kind.MALFORMED_FIELD, "1", 9)
    log.add(Kind.MALFORMED_FIELD, "1.1", 7)
    log.add(Kind.MBOX_LINE, "1", 0)
    assert log.all() == (
        Defect(Kind.MBOX_LINE, "1", 0),
        Defect(Kind.MALFORMED_FIELD, "1", 5),
        Defect(Kind.MALFORMED_FIELD, "1.1", 7),
    )


def test_a_log_of_decoded_content_adds_to_the_outer_one_at_its_place() -> None:
    log = DefectLog()
    inner = log.within(100)
    inner.add(Kind.MALFORMED_FIELD, "1.1", 3)
    inner.within(20).add(Kind.MALFORMED_FIELD, "1.1.1", 4)
    assert [(d.part, d.offset) for d in log.all()] == [("1.1", 100), ("1.1.1", 100)]


@pytest.mark.parametrize("kind", Kind, ids=str)
def test_slugs_are_words_with_hyphens(kind: Kind) -> None:
    assert re.fullmatch(r"[a-z]+(-[a-z0-9]+)+", kind)


def test_a_limit_is_told_from_other_defects() -> None:
    limits = {kind for kind in Kind if Defect(kind, "1", 0).is_limit}
    assert limits == {
        "limit-depth",
        "limit-parts",
        "limit-header",
        "limit-fields",
        "limit-decoded",
        "limit-parameters",
        "limit-names",
        "limit-boundary",
        "limit-readings",
    }


def test_an_ambiguity_is_no_limit_and_neither_is_ordinary_sloppiness() -> None:
    found = [Defect(kind, "1", 0) for kind in Kind]
    assert not any(defect.is_ambiguity and defect.is_limit for defect in found)
    ambiguous = {str(defect.kind) for defect in found if defect.is_ambiguity}
    assert {"duplicate-content-type", "delimiter-in-epilogue"} <= ambiguous
    assert not {"missing-close-boundary", "unknown-transfer-encoding"} & ambiguous
