from __future__ import annotations

import io
import zipfile

import pytest

from smtpguard.inspection import packages
from smtpguard.inspection.packages import JAR, MAX_MANIFEST, MAX_MANIFESTS, look_at_zip
from smtpguard.inspection.signatures import ZIP
from smtpguard.model.contents import Fact


OPEN_XML = "application/vnd.openxmlformats-officedocument"
DOCX = f"{OPEN_XML}.wordprocessingml.document"
ARCHIVE = frozenset({Fact.ARCHIVE})
TYPES = "[Content_Types].xml"


def package(*files: tuple[str, str | bytes]) -> bytes:
    into = io.BytesIO()
    with zipfile.ZipFile(into, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files:
            archive.writestr(name, content)
    return into.getvalue()


def types(*content_types: str) -> str:
    parts = "".join(f'<Override ContentType="{one}"/>' for one in content_types)
    return f'<?xml version="1.0"?><Types>{parts}</Types>'


def test_a_zip_of_files_is_an_archive() -> None:
    found = look_at_zip(package(("word/x.txt", "x"), ("vbaProject.bin", "x")))
    assert (found.detected, found.facts, found.findings) == (ZIP, ARCHIVE, ())


@pytest.mark.parametrize(
    ("main", "kind"),
    [
        (f"{DOCX}.main+xml", DOCX),
        (
            f"{OPEN_XML}.spreadsheetml.sheet.main+xml",
            f"{OPEN_XML}.spreadsheetml.sheet",
        ),
        (
            "application/vnd.ms-excel.sheet.binary.macroEnabled.main",
            "application/vnd.ms-excel.sheet.binary.macroEnabled.12",
        ),
    ],
    ids=["docx", "xlsx", "xlsb"],
)
def test_a_document_without_macros_is_neither_archive_nor_macro(
    main: str, kind: str
) -> None:
    found = look_at_zip(package((TYPES, types(main)), ("x", "")))
    assert (found.detected, found.facts, found.findings) == (kind, frozenset(), ())


@pytest.mark.parametrize(
    "files",
    [
        [
            (TYPES, types("application/vnd.ms-word.document.macroEnabled.main+xml")),
        ],
        [(TYPES, types(f"{DOCX}.main+xml")), ("word/vbaProject.bin", "x")],
        [
            (
                TYPES,
                types(f"{DOCX}.main+xml", "application/vnd.ms-office.vbaProject"),
            ),
            ("word/harmless.dat", "x"),
        ],
        [
            (TYPES, types(f"{OPEN_XML}.spreadsheetml.sheet.main+xml")),
            ("xl/macrosheets/sheet1.xml", "x"),
        ],
        [
            (
                TYPES,
                types("application/vnd.ms-excel.intlmacrosheet+xml"),
            ),
        ],
        [
            (
                TYPES,
                types(
                    "application/vnd.ms-excel.sheet.binary.macroEnabled.main",
                    "application/vnd.ms-excel.macrosheet",
                ),
            ),
        ],
        [
            (TYPES, types("application/vnd.ms-office.vba&#80;roject")),
        ],
        [
            (TYPES, types("application/vnd.ms-office.vbaProject").encode("utf-16")),
        ],
        [
            ("mimetype", "application/vnd.oasis.opendocument.text"),
            ("Basic/Standard/Module1.xml", "x"),
        ],
        [
            ("mimetype", "application/vnd.oasis.opendocument.text"),
            ("Scripts/python/x.py", "x"),
        ],
    ],
    ids=[
        "macro-enabled",
        "by-name",
        "by-content-type",
        "excel-4-by-name",
        "excel-4",
        "excel-4-binary",
        "entity",
        "utf-16",
        "basic",
        "scripts",
    ],
)
def test_macros_are_seen(files: list[tuple[str, str | bytes]]) -> None:
    assert Fact.MACRO in look_at_zip(package(*files)).facts


def test_a_macro_enabled_document_is_named_as_registered() -> None:
    main = "application/vnd.ms-word.document.macroEnabled.main+xml"
    found = look_at_zip(package((TYPES, types(main))))
    assert found.detected == "application/vnd.ms-word.document.macroEnabled.12"


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_the_second_of_two_manifests_is_read_too() -> None:
    octets = package(
        (TYPES, types(f"{DOCX}.main+xml")),
        (TYPES, types("application/vnd.ms-office.vbaProject")),
    )
    assert Fact.MACRO in look_at_zip(octets).facts


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_manifests_beyond_the_limit_are_told() -> None:
    octets = package(*[(TYPES, types(f"{DOCX}.main+xml"))] * (MAX_MANIFESTS + 1))
    found = look_at_zip(octets)
    assert Fact.LIMIT in found.facts
    assert [finding.kind for finding in found.findings] == ["not-inspectable"]
    octets = package(*[(TYPES, types(f"{DOCX}.main+xml"))] * MAX_MANIFESTS)
    assert look_at_zip(octets).facts == frozenset()


def test_a_manifest_that_is_a_bomb_is_told() -> None:
    found = look_at_zip(package((TYPES, bytes(3 * MAX_MANIFEST))))
    assert found.facts == {Fact.ARCHIVE, Fact.LIMIT}


def test_a_document_whose_manifest_is_unreadable_is_known_by_its_folders() -> None:
    into = io.BytesIO()
    with zipfile.ZipFile(into, "w", zipfile.ZIP_BZIP2) as archive:
        archive.writestr(TYPES, types(f"{DOCX}.main+xml"))
        archive.writestr("word/document.xml", "x")
    found = look_at_zip(into.getvalue())
    assert (found.detected, set(found.facts)) == (DOCX, {Fact.LIMIT})


def test_an_open_document_is_named_by_itself() -> None:
    kind = "application/vnd.oasis.opendocument.text"
    manifest = ("META-INF/manifest.xml", "<manifest/>")
    found = look_at_zip(package(("mimetype", kind), manifest))
    assert (found.detected, found.facts) == (kind, frozenset())


def test_a_file_called_mimetype_makes_no_document() -> None:
    found = look_at_zip(package(("mimetype", "hello")))
    assert (found.detected, found.facts) == (ZIP, ARCHIVE)


def test_an_encrypted_open_document_is_seen_by_its_manifest() -> None:
    kind = "application/vnd.oasis.opendocument.text"
    manifest = "<manifest:file-entry><manifest:encryption-data/>"
    found = look_at_zip(
        package(("mimetype", kind), ("META-INF/manifest.xml", manifest))
    )
    assert found.facts == {Fact.ENCRYPTED}


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("META-INF/MANIFEST.MF", JAR),
        ("AndroidManifest.xml", "application/vnd.android.package-archive"),
        ("AppxManifest.xml", "application/msix"),
    ],
)
def test_a_program_in_a_zip_is_both(name: str, kind: str) -> None:
    found = look_at_zip(package((name, "x")))
    assert (found.detected, set(found.facts)) == (kind, {Fact.ARCHIVE, Fact.EXECUTABLE})


def test_a_document_that_java_would_run_is_executable() -> None:
    octets = package((TYPES, types(f"{DOCX}.main+xml")), ("META-INF/MANIFEST.MF", "x"))
    found = look_at_zip(octets)
    assert (found.detected, set(found.facts)) == (DOCX, {Fact.ARCHIVE, Fact.EXECUTABLE})


def test_a_flood_of_headers_is_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages, "MAX_FILES", 3)
    found = look_at_zip(package(*[(f"f{at}", "") for at in range(4)]))
    assert Fact.LIMIT in found.facts
    assert [finding.kind for finding in found.findings] == ["limit-headers"]
