"""Our tree beside the event streams that Apache James mime4j expects of its own mails.

Compared are nesting, types, fields, preambles, epilogues, bodies as they stand and what
each leaf holds. Its XML has LF alone, so line ends count as one; what is not ASCII is
left out, since two of the files hold octets of other charsets. Skipped where the
corpora are not at hand.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree as ET

from smtpguard.mime import Message, Part, parse
from tests.mime.mails import content


LAST_LINE_END = (
    {"1 epilogue"},
    (
        "mime4j takes the line end of the last line for an epilogue, we leave it with "
        "the close delimiter"
    ),
)
NO_DELIMITER = (
    "no line is a delimiter: mime4j calls what is there a preamble, we a body "
    "(boundary-not-found)"
)
BLANK_END = (
    {"1 epilogue", "1 parts", "1.1 body"},
    (
        "its boundary ends in blanks, which RFC 2046 5.1.1 forbids; mime4j compares "
        "them, we drop them (blank-ended-boundary)"
    ),
)
DIFFERENCES = {
    "attachment-filename-encoding-Latin1": LAST_LINE_END,
    "attachment-filename-encoding-UTF8": LAST_LINE_END,
    "empty-preamble": LAST_LINE_END,
    "ticket-60931": LAST_LINE_END,
    "twopart": LAST_LINE_END,
    "badbound": ({"1 preamble", "1 epilogue", "1 body"}, NO_DELIMITER),
    "missing-boundary": ({"1 preamble", "1 epilogue", "1 body"}, NO_DELIMITER),
    "missing-inner-boundary": (
        {"1.2 preamble", "1.2 epilogue", "1.2 body"},
        NO_DELIMITER,
    ),
    "ending-boundaries": (
        {"1 preamble", "1 epilogue", "1 parts"},
        (
            "mime4j takes every line that begins with a boundary for a delimiter, as "
            "RFC 2046 5.1.1 lets it; we want the whole line, as most mail readers do "
            "(inexact-delimiter)"
        ),
    ),
    "weird-boundary": BLANK_END,
    "very-long-boundary": BLANK_END,
    "very-very-long-boundary": (
        {"1 preamble", "1 epilogue", "1 body", "1 parts"},
        (
            "a boundary of 7,000 octets, more than a line may have; we do not enter it "
            "(limit-boundary)"
        ),
    ),
}
"""Mail of mime4j's test set -> what is another there, and why."""
# Expected trees whose mails the corpus does not have.
WITHOUT_MAIL = {
    "multi-igor2",
    "multi-nested2",
    "malformedHeaderStartsBody-nocrlfcrlf",
    "malformedHeaderStartsBody-noheader",
}
type Facts = dict[str, object]
"""``PATH WHAT`` -> what it is."""


def plain(octets: bytes) -> str:
    text = re.sub(r"\r\n?", "\n", octets.decode("latin-1"))
    return re.sub(r"[^\t\n -~]", "?", text)


def read_xml(path: Path) -> ET.Element:
    return ET.fromstring(plain(path.read_bytes()))


def expected(shared: Path, ending: str) -> Iterator[tuple[str, ET.Element, Message]]:
    """Yield name, event stream and our reading of each mail."""
    folder = shared / "corpus" / "mime" / "mime4j"
    for path in sorted(folder.rglob("*.eml")):
        stream = read_xml(path.with_name(f"{path.stem}{ending}"))
        yield path.stem, stream, parse(path.read_bytes())


def inner(entity: ET.Element) -> list[ET.Element]:
    message = entity.find("message")
    parts = entity.findall("multipart/body-part")
    return parts if message is None else [message]


def text_of(element: ET.Element | None) -> str:
    """Return the text, which begins on the line behind the tag; "" for None."""
    return "" if element is None or element.text is None else element.text[1:]


def expected_facts(
    entity: ET.Element, path: str = "1", default: str = "text/plain"
) -> Facts:
    children, multipart = inner(entity), entity.find("multipart")
    fields = [text_of(field) for field in entity.iterfind("header/field")]
    claimed = content_type(fields, default)
    facts: Facts = {
        f"{path} fields": fields,
        f"{path} type": claimed,
        f"{path} parts": len(children),
        f"{path} body": None if children or multipart is not None else "",
        f"{path} preamble": None,
        f"{path} epilogue": None,
    }
    if multipart is not None:
        facts[f"{path} preamble"] = text_of(multipart.find("preamble"))
        facts[f"{path} epilogue"] = text_of(multipart.find("epilogue"))
    elif not children:
        facts[f"{path} body"] = text_of(entity.find("body"))
    of_parts = "message/rfc822" if claimed == "multipart/digest" else "text/plain"
    child_default = "text/plain" if multipart is None else of_parts
    for number, child in enumerate(children, 1):
        facts |= expected_facts(child, f"{path}.{number}", child_default)
    return facts


def content_type(fields: list[str], default: str) -> str:
    for field in fields:
        found = re.match(r"\s*content-type\s*:\s*([^;\s]*)", field, re.IGNORECASE)
        if found:
            # RFC 2045 5.2: what is no type is plain text.
            return found[1].lower() if "/" in found[1] else "text/plain"
    return default


def facts(part: Part) -> Facts:
    children = part.children + (part.decoded_parts if part.is_message else ())
    preamble = epilogue = None
    if part.delimiters:
        octets = part.buffer[part.body.start : part.delimiters[0].start]
        preamble = plain(octets)
        epilogue = plain(part.epilogue.of(part.buffer)) if part.epilogue else ""
    is_leaf = not children and not part.delimiters
    found: Facts = {
        f"{part.path} fields": [plain(f.raw).rstrip("\n") for f in part.fields],
        f"{part.path} type": part.content_type,
        f"{part.path} parts": len(children),
        f"{part.path} body": plain(part.body.of(part.buffer)) if is_leaf else None,
        f"{part.path} preamble": preamble,
        f"{part.path} epilogue": epilogue,
    }
    for child in children:
        found |= facts(child)
    return found


def test_the_structure_is_what_mime4j_expects_of_its_mails(shared: Path) -> None:
    differing: dict[str, set[str]] = {}
    count = 0
    for name, stream, message in expected(shared, ".xml"):
        wanted, found = expected_facts(stream), facts(message.root)
        count += len(wanted)
        known = wanted.keys() & found.keys()
        others = {key for key in known if wanted[key] != found[key]}
        # Where there are more parts, or fewer, their number tells it.
        assert known == wanted.keys() | found.keys() or any(
            key.endswith(" parts") for key in others
        ), name
        if others:
            differing[name] = others
    assert differing == {name: what for name, (what, _) in DIFFERENCES.items()}
    assert count > 1400


def test_no_expected_tree_is_left_out(shared: Path) -> None:
    folder = shared / "corpus" / "mime" / "mime4j"
    trees = {p.stem for p in folder.rglob("*.xml") if "_decoded" not in p.name}
    mails = {path.stem for path in folder.rglob("*.eml")}
    assert trees - mails == WITHOUT_MAIL
    assert len(mails) == 76


def test_each_leaf_holds_what_mime4j_expects(shared: Path) -> None:
    """The corpus has the contents of texts; some were the same as others."""
    folder = shared / "corpus" / "mime" / "mime4j"
    count = 0
    for name, stream, message in expected(shared, "_decoded.xml"):
        for path, file in decoded_files(stream):
            found = next(folder.rglob(file), None)
            if found is None or "1 parts" in DIFFERENCES.get(name, ({}, ""))[0]:
                continue
            part = message.part(path)
            assert part is not None, (name, path)
            assert plain(content(part)) == plain(found.read_bytes()), (name, path)
            count += 1
    assert count > 90


def decoded_files(entity: ET.Element, path: str = "1") -> Iterator[tuple[str, str]]:
    """Yield path and name of file of each leaf."""
    for number, child in enumerate(inner(entity), 1):
        yield from decoded_files(child, f"{path}.{number}")
    for body in (entity.find("text-body"), entity.find("binary-body")):
        if body is not None:
            yield path, body.attrib["name"]
