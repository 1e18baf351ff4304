"""Mails of others through the whole of ``smtpguard inspect``, under the default rules.

What hides something is found whatever it does, and what hides nothing goes on. What a
payload is, CPython's own readers say: these mails are plain enough for them. Every
mail that does not end as one would expect stands here by its name, with the reason.
"""

from __future__ import annotations

import email
import hashlib
import io
import json
import re
import tarfile
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from smtpguard import policy, unpacking
from smtpguard.inspected import Inspected
from smtpguard.inspecting import Inspector, Question
from smtpguard.pipeline import Pipeline
from smtpguard.policy.files import read_file
from tests.judging import NOON, PreparedScanners, make_pipeline, names, rules


if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from smtpguard.policy import Ruleset

    type Records = Mapping[str, dict[str, Any]]


DEFAULT = Path(__file__).parent.parent / "rules" / "default.yaml"
EICAR = "275a021bbfb6489e54d471899f7db9d1663fc695ec2fe2a2c4538aabf651fd0f"
"""SHA-256 of the 68 octets that scanners take for a virus."""


class Payload(NamedTuple):
    """What a mail is meant to smuggle in."""

    name: str = ""
    """Of the attachment; "" is the mail's own text."""
    entry: str = ""
    """Of the file in it that matters."""
    fact: str = ""
    """What must be known of it."""


JAMES = "james-eicar/third-party/clamav/src/test/resources/attachment"
PAYLOADS = {
    "mimedefang/data/exe.eml": Payload("test.exe"),
    "mimedefang/data/gtube.eml": Payload(),
    "mimedefang/data/multipart.eml": Payload("wow.bin"),
    "mimedefang/data/tar.eml": Payload("test.tar", "test.exe"),
    "mimedefang/data/tgz.eml": Payload("test.tgz", "test.exe"),
    "mimedefang/data/zip.eml": Payload("test.zip", "test.txt"),
    "smtptool/templates/Active_Content_-_Excel_Macro.eml": Payload(
        "ExcelWithMacro.xlsm", "xl/vbaProject.bin", "macro"
    ),
    "smtptool/templates/Active_Content_-_HTML_JavaScript.eml": Payload(
        "HTMLwithJavaScript.html"
    ),
    "smtptool/templates/Active_Content_-_PDF.eml": Payload("BouncingButton.pdf"),
    "smtptool/templates/EICAR_Test.eml": Payload("eicar.com.txt"),
    "smtptool/templates/Encrypted_Zip.eml": Payload(
        "test.zip", "test.txt", "encrypted"
    ),
    "smtptool/templates/Exe_file.eml": Payload("write.exe", fact="executable"),
    "smtptool/templates/GTUBE_Spam_Detection_.eml": Payload(),
    "smtptool/templates/Password_Encrypted_PDF.eml": Payload(
        "password_encrypted_PDF.pdf", fact="encrypted"
    ),
    f"{JAMES}/inlineVirusTextAttachment.eml": Payload("attachment.txt"),
    "poor-mans-sendmail/examples/eicar.eml": Payload("eicar.com"),
}
EICARS = [
    "smtptool/templates/EICAR_Test.eml",
    f"{JAMES}/inlineVirusTextAttachment.eml",
    "poor-mans-sendmail/examples/eicar.eml",
]
SIGNED = "a text, with signatures or without, for tests of DKIM, DMARC, SPF or ARC"
LINK = "a text with a link, for tests of spam filters"
SPAM = "spam by its words, or none: for tests of spam filters"
WITHOUT = {
    "mimedefang/data/arc-wrong.eml": SIGNED,
    "mimedefang/data/arc1.eml": SIGNED,
    "mimedefang/data/arc2.eml": SIGNED,
    "mimedefang/data/dkim1.eml": SIGNED,
    "mimedefang/data/dkim2.eml": SIGNED,
    "mimedefang/data/dkim3.eml": SIGNED,
    "mimedefang/data/spf1.eml": SIGNED,
    "mimedefang/data/uri.eml": LINK,
    "mimedefang/data/uri-html.eml": LINK,
    f"{JAMES}/inlineNonVirusTextAttachment.eml": "the other one, without EICAR",
    "james-eicar/third-party/rspamd/src/test/resources/mail/ham/ham1.eml": SPAM,
    "james-eicar/third-party/rspamd/src/test/resources/mail/spam/phishing.eml": SPAM,
    "james-eicar/third-party/rspamd/src/test/resources/mail/spam/spam8.eml": SPAM,
    "poor-mans-sendmail/examples/dkim-reject.eml": SIGNED,
    "poor-mans-sendmail/examples/dmarc-reject.eml": SIGNED,
    "poor-mans-sendmail/examples/invalid-from.eml": SIGNED,
    "poor-mans-sendmail/examples/valid.eml": SIGNED,
}
"""Mails that smuggle nothing in, and what they are there for."""
SCANNER = "found, and for a scanner to judge: the default rules have none yet"
RELAYED = {
    "mimedefang/data/gtube.eml": SCANNER,
    "mimedefang/data/zip.eml": "a zip with a text in it: nothing is wrong with it",
    "smtptool/templates/Active_Content_-_HTML_JavaScript.eml": SCANNER,
    "smtptool/templates/Active_Content_-_PDF.eml": SCANNER,
    "smtptool/templates/EICAR_Test.eml": SCANNER,
    "smtptool/templates/GTUBE_Spam_Detection_.eml": SCANNER,
    "smtptool/templates/Password_Encrypted_PDF.eml": (
        "banks and offices send such; archives and Office documents are locked"
    ),
    f"{JAMES}/inlineVirusTextAttachment.eml": SCANNER,
}
"""Mails with a payload that the default rules let pass."""
NO_DISGUISE = "noxxi/hide-filename/1652610582.M4wJ.eml"
"""Its attachment is called file.png and nothing else, in every reading."""
NAMED_ZIP = b"This could be a file named 'test.zip'"
"""What is behind all the disguised names."""

NOT_AS_IT_CAME = {
    "easy-ham-1/00775.0e012f373467846510d9db297e99a008.eml": (
        "filenames:3",
        "a shortcut to a web page (.url)",
    ),
    "easy-ham-1/00993.041d0d8e108657fd1ba5c605a10e2bfa.eml": (
        "content_types:4",
        "a shell script, attached without an ending",
    ),
    "easy-ham-1/01561.4d9ed1a0103b1a90cfd91921b9014124.eml": (
        "content_types:4",
        "a Perl script, attached without an ending",
    ),
    "easy-ham-1/01423.d12eaa7e292c15107171b0eb39ea40df.eml": (
        "ambiguous",
        "an error report quotes the header of a multipart in its text",
    ),
    "spam-1/00038.8d93819b95ff90bf2e2b141c2909bfc9.eml": (
        "ambiguous",
        "a delimiter with text behind it",
    ),
    "spam-1/00467.5b733c506b7165424a0d4a298e67970f.eml": (
        "ambiguous",
        "its parts have another boundary than the one announced",
    ),
}
"""Of 515 real mails all that do not go on as they came: the deciding rule, and why."""


def inspected(ruleset: Ruleset, folder: Path) -> Iterator[tuple[str, Inspected]]:
    """Yield every mail of a folder, by its path in there, as the command has it."""
    pool = unpacking.Inspector(1)
    # As if every scanner found them clean.
    scanners = PreparedScanners()
    pipeline = Pipeline(ruleset, lambda: NOON, inspector=pool, scanners=scanners)
    inspector = Inspector(pipeline, Question())
    try:
        for result in inspector.paths(sorted(folder.rglob("*.eml"))):
            assert isinstance(result, Inspected)
            yield Path(result.file).relative_to(folder).as_posix(), result
    finally:
        pool.stop()


def records(ruleset: Ruleset, folder: Path) -> Records:
    found = inspected(ruleset, folder)
    return {name: result.to_json() for name, result in found}


@pytest.fixture(scope="module")
def default() -> Ruleset:
    return policy.load(str(DEFAULT), read_file)


@pytest.fixture(scope="module")
def evasion(shared: Path, default: Ruleset) -> Records:
    return records(default, shared / "corpus" / "evasion")


def payload_of(mail: Path, payload: Payload) -> bytes:
    """Return the octets of a payload, as CPython reads the mail."""
    message = email.message_from_bytes(re.sub(rb"\r?\n", b"\r\n", mail.read_bytes()))
    found = [
        part.get_payload(decode=True)
        for part in message.walk()
        if (part.get_filename() or "") == payload.name and not part.is_multipart()
    ]
    assert len(found) == 1
    octets = found[0]
    assert isinstance(octets, bytes)
    return _file_in(octets, payload.entry) if payload.entry else octets


def _file_in(octets: bytes, name: str) -> bytes:
    buffer = io.BytesIO(octets)
    if zipfile.is_zipfile(buffer):
        with zipfile.ZipFile(buffer) as archive:
            is_readable = not archive.getinfo(name).flag_bits & 1
            return archive.read(name) if is_readable else b""
    buffer.seek(0)
    with tarfile.open(fileobj=buffer) as archive:
        member = archive.extractfile(name)
        assert member is not None
        return member.read()


def sha256(octets: bytes) -> str:
    return hashlib.sha256(octets).hexdigest()


def test_the_tables_name_every_mail(evasion: Records) -> None:
    folders = ("mimedefang/", "smtptool/", "james-eicar/", "poor-mans-sendmail/")
    mails = {name for name in evasion if name.startswith(folders)}
    assert len(mails) == 15 + 8 + 5 + 5
    assert mails == {*PAYLOADS, *WITHOUT}
    assert set(RELAYED) <= set(PAYLOADS)


@pytest.mark.parametrize("name", PAYLOADS)
def test_a_payload_is_found(name: str, shared: Path, evasion: Records) -> None:
    payload = PAYLOADS[name]
    octets = payload_of(shared / "corpus" / "evasion" / name, payload)
    parts = evasion[name]["parts"]
    holders = [part for part in parts if payload.name in (part["names"] or [""])]
    places = [
        (place["sha256"], facts)
        for part in holders
        for place, facts in (
            [(part, part["facts"])]
            if not payload.entry
            # What makes it dangerous may be told of the archive or of the file.
            else [
                (entry, part["facts"] + entry["facts"])
                for entry in part["entries"]
                if entry["name"] == payload.entry
            ]
        )
    ]
    # An encrypted file's content nobody has: its name is what is found.
    wanted = sha256(octets) if octets else ""
    (facts,) = [facts for digest, facts in places if digest == wanted]
    assert payload.fact in {"", *facts}


@pytest.mark.parametrize("name", EICARS)
def test_eicar_is_the_very_file_that_scanners_know(
    name: str, shared: Path, evasion: Records
) -> None:
    """Octet for octet, but for line ends behind it."""
    octets = payload_of(shared / "corpus" / "evasion" / name, PAYLOADS[name])
    assert sha256(octets.rstrip(b"\r\n")) == EICAR


def test_what_is_hidden_in_noxxi_s_mails_is_seen_as_a_file(
    shared: Path, evasion: Records
) -> None:
    """The file in the zip, by its octets; in all but two at least by its name.

    In seven the zip's line ends are text that changes on the way, and it is damaged.
    """
    folder = "noxxi/hide-content/"
    mails = {name: one for name, one in evasion.items() if name.startswith(folder)}
    assert len(mails) == 93
    entries = {
        name: [
            entry
            for part in one["parts"]
            for entry in part["entries"]
            if entry["name"] == "eicar.com"
        ]
        for name, one in mails.items()
    }
    seen = [
        name for name, e in entries.items() if EICAR in {one["sha256"] for one in e}
    ]
    assert len(seen) >= 84
    index = json.loads((shared / "corpus/evasion/noxxi/index.json").read_text())
    unnamed = {index[name[6:]]["id"] for name, found in entries.items() if not found}
    # Their maker wrote the text of a Perl reference in place of the octets.
    assert unnamed <= {
        "multipart-basic-singlepart-binhex40",
        "multipart-basic-singlepart-mac-binhex",
    }


def test_none_of_these_mails_is_relayed_without_a_reason(evasion: Records) -> None:
    relayed = {name for name, one in evasion.items() if one["disposition"] == "relayed"}
    disguised = {name for name in relayed if name.startswith("noxxi/hide-filename/")}
    assert relayed - disguised == {*RELAYED, *WITHOUT}
    # A file called zip is nothing that the default rules mind: what is in it counts.
    for name in disguised:
        digests = {part["path"]: part["sha256"] for part in evasion[name]["parts"]}
        assert digests["1.2"] == sha256(NAMED_ZIP)


def test_no_disguised_name_passes_a_rule_on_the_true_one(shared: Path) -> None:
    text = rules(names('{match: "*.zip", action: strip}'))
    folder = shared / "corpus" / "evasion"
    found = records(make_pipeline(text).rules, folder / "noxxi" / "hide-filename")
    assert len(found) == 44
    passed = [name for name, one in found.items() if one["disposition"] == "relayed"]
    assert passed == [Path(NO_DISGUISE).name]
    # The name was seen where there is one reading, or the mail refused for its many.
    outcomes = [one["disposition"] for one in found.values()]
    assert (outcomes.count("modified"), outcomes.count("rejected")) == (41, 2)


def test_real_mail_goes_on_as_it_came(shared: Path, default: Ruleset) -> None:
    """Six of 515 do not, and each for a reason that an administrator would accept."""
    folder = shared / "corpus" / "corpus"
    count = 0
    others: dict[str, str] = {}
    for path, result in inspected(default, folder):
        count += 1
        name = "/".join(path.split("/")[-2:])
        if result.to_json()["disposition"] != "relayed":
            others[name] = result.disposition.rule
        else:
            assert result.output == result.octets
    assert count == 515
    assert others == {name: rule for name, (rule, _) in NOT_AS_IT_CAME.items()}
