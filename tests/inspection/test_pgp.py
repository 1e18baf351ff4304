from __future__ import annotations

import base64
import bz2
import subprocess
import zlib
from pathlib import Path

import pytest

from smtpguard.inspection.pgp import (
    MAX_ARMORS,
    MESSAGE,
    SIGNATURE,
    look_at_armor,
    look_at_packets,
)
from smtpguard.model.contents import Contents, Fact, Finding
from tests.integration.bed.need import need


ENCRYPTED = Contents(MESSAGE, frozenset({Fact.ENCRYPTED}))
SIGNED = Contents(SIGNATURE, frozenset({Fact.SIGNED}))
FINDINGS = (Finding("not-inspectable", "content of PGP"),)
UNREAD = Contents(facts=frozenset({Fact.LIMIT}), findings=FINDINGS)
SIGNED_UNREAD = Contents(
    SIGNATURE, frozenset({Fact.SIGNED, Fact.LIMIT}), findings=FINDINGS
)

KEY = b"\x85\x01\x0c\x03" + bytes(8) + b"\x01" + bytes(300)
KEY_NEW = b"\xc1\x5e\x03" + bytes(8) + b"\x12" + bytes(80)
KEY_LONG = b"\xc1\xc1\x0c\x03" + bytes(8) + b"\x01" + bytes(300)
KEY_6 = b"\xc1\x5e\x06\x21\x06" + bytes(80)
PASSWORD = b"\x8c\x0d\x04\x09\x03\x08" + bytes(9)
PASSWORD_5 = b"\xc3\x40\x05\x09\x02\x03" + bytes(60)
PASSWORD_6 = b"\xc3\x40\x06\x1a\x09\x02" + bytes(60)
ONE_PASS = b"\x90\x0d\x03\x00\x08\x01" + bytes(9)
DETACHED = b"\x89\x01\x33\x04\x00\x01\x08" + bytes(303)
DETACHED_NEW = b"\xc2\xc0\x73\x04\x00\x01\x08" + bytes(303)
LITERAL = b"\xcb\x14b\x05a.exe" + bytes(4) + b"MZ\x90\0????"
LITERAL_OLD = b"\xaf" + LITERAL[2:]


def packed(packet: bytes, algorithm: int = 2) -> bytes:
    deflated = {
        1: lambda: zlib.compress(packet)[2:-4],
        2: lambda: zlib.compress(packet),
        3: lambda: bz2.compress(packet),
    }[algorithm]()
    return b"\xa3" + bytes([algorithm]) + deflated


def armored(packets: bytes, kind: str = "MESSAGE") -> bytes:
    return (
        f"-----BEGIN PGP {kind}-----\nVersion: x\n\n".encode()
        + base64.encodebytes(packets)
        + f"=abcd\n-----END PGP {kind}-----\n".encode()
    )


@pytest.mark.parametrize(
    ("packet", "found"),
    [
        (KEY, ENCRYPTED),
        (KEY_NEW, ENCRYPTED),
        (KEY_LONG, ENCRYPTED),
        (KEY_6, ENCRYPTED),
        (PASSWORD, ENCRYPTED),
        (PASSWORD_6, ENCRYPTED),
        (ONE_PASS, SIGNED_UNREAD),
        (DETACHED, SIGNED),
        (b"\x89\x00\x95\x03\x05\x00" + bytes(140), SIGNED),
        (b"\x89\x00\x95\x03\x06\x00" + bytes(140), None),
        (packed(ONE_PASS, 1), SIGNED_UNREAD),
        (packed(ONE_PASS, 2), SIGNED_UNREAD),
        (packed(ONE_PASS, 3), UNREAD),
        (packed(packed(ONE_PASS)), SIGNED_UNREAD),
        (b"\xa3\x02garbage garbage", None),
        (b"\x99\x01\x0d\x04" + bytes(300), None),
        (b"\x85\x01\x0c\x09" + bytes(300), None),
        (b"\x89PNG\r\n\x1a\n" + bytes(50), None),
        (b"\xff\xd8\xff\xe0" + bytes(50), None),
        (b"\x85", None),
        (b"", None),
    ],
    ids=[
        "key",
        "key-new",
        "key-long",
        "key-6",
        "password",
        "password-6",
        "one-pass",
        "detached",
        "detached-3",
        "detached-3-length",
        "zip",
        "zlib",
        "bzip2",
        "twice",
        "damaged",
        "public-key",
        "version",
        "png",
        "jpeg",
        "short",
        "empty",
    ],
)
def test_the_first_packet_tells(packet: bytes, found: Contents | None) -> None:
    assert look_at_packets(packet) == found


@pytest.mark.parametrize(
    ("packets", "found"),
    [
        (LITERAL, UNREAD),
        (LITERAL_OLD, UNREAD),
        (b"\xcb\xe9t\0" + bytes(4) + b"text" * 200, UNREAD),
        (packed(LITERAL, 1), UNREAD),
        (packed(LITERAL, 2), UNREAD),
        (packed(LITERAL, 3), UNREAD),
        (b"\xa3\0" + LITERAL, UNREAD),
        (b"\xa3\0" * 9 + LITERAL, UNREAD),
        (b"\xca\x03PGP" + LITERAL, UNREAD),
        (b"\xa8\x03PGP" * 2 + KEY, ENCRYPTED),
        (DETACHED_NEW, SIGNED),
        (DETACHED * 3, SIGNED),
        (DETACHED + b"\n", SIGNED),
        (DETACHED[:100], SIGNED),
        (DETACHED + LITERAL, SIGNED_UNREAD),
        (DETACHED_NEW + packed(LITERAL), SIGNED_UNREAD),
        (DETACHED * 20 + LITERAL, SIGNED_UNREAD),
        (packed(DETACHED + LITERAL), SIGNED_UNREAD),
        (b"\xff\x14b\x05a.exe" + bytes(12), None),
        (b"\xcb\x14x\x05a.exe" + bytes(12), None),
        (b"\xcb\x14b\x05a\0exe" + bytes(12), None),
    ],
)
def test_what_is_not_encrypted_is_not_looked_through(
    packets: bytes, found: Contents | None
) -> None:
    assert look_at_packets(packets) == found


@pytest.mark.parametrize(
    ("packet", "places"),
    [
        (KEY, {3: 9, 12: 99}),
        (KEY_6, {3: 22}),
        (PASSWORD, {2: 7, 3: 99, 4: 2}),
        (PASSWORD_5, {2: 7, 3: 99, 4: 9}),
        (PASSWORD_6, {2: 7, 4: 99, 5: 9}),
        (ONE_PASS, {2: 4, 3: 0x30, 5: 99}),
        (DETACHED, {3: 9, 4: 0x30, 5: 99}),
    ],
    ids=["key", "key-6", "password", "password-5", "password-6", "one-pass", "signed"],
)
def test_each_number_of_a_packet_must_be_one_that_exists(
    packet: bytes, places: dict[int, int]
) -> None:
    assert look_at_packets(packet) is not None
    for place, number in places.items():
        changed = bytearray(packet)
        changed[place] = number
        assert look_at_packets(bytes(changed)) is None, place


def test_a_message_may_be_signed_only() -> None:
    assert look_at_armor(armored(KEY)) == ENCRYPTED
    assert look_at_armor(armored(packed(ONE_PASS))) == SIGNED_UNREAD
    assert look_at_armor(armored(LITERAL)) == UNREAD
    headers = b"Comment: " + b"x" * 9000 + b"\n\n"
    assert look_at_armor(armored(LITERAL).replace(b"\n\n", b"\n" + headers)) == UNREAD


def test_a_message_that_cannot_be_read_is_encrypted() -> None:
    assert look_at_armor(armored(b"whatever")) == ENCRYPTED
    assert look_at_armor(b"-----BEGIN PGP MESSAGE-----") == ENCRYPTED


def test_a_signature_and_a_signed_text_are_signed() -> None:
    assert look_at_armor(armored(DETACHED, "SIGNATURE")) == SIGNED
    assert look_at_armor(armored(LITERAL, "SIGNATURE")) == UNREAD
    text = b"-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\nHello\n"
    assert look_at_armor(text).facts == {Fact.SIGNED}


def test_armor_within_a_text_has_facts_and_no_type() -> None:
    found = look_at_armor(b"Hi,\r\n\r\n" + armored(KEY) + b"-- \r\nlist footer")
    assert found == Contents(facts=ENCRYPTED.facts)


@pytest.mark.parametrize(
    "text",
    [b"> -----BEGIN PGP MESSAGE-----", b"-----BEGIN PGP PUBLIC KEY BLOCK-----", b""],
)
def test_quoted_armor_and_keys_are_nothing(text: bytes) -> None:
    assert look_at_armor(text) == Contents()


def test_armor_behind_others_is_counted_up_to_a_limit() -> None:
    signature = armored(DETACHED, "SIGNATURE")
    assert look_at_armor(signature * MAX_ARMORS).facts == {Fact.SIGNED}
    found = look_at_armor(signature * (MAX_ARMORS + 1))
    assert found.facts == {Fact.SIGNED, Fact.LIMIT}
    assert [finding.kind for finding in found.findings] == ["limit-armors"]


@pytest.mark.real
@pytest.mark.parametrize("armor", ["--armor", "--no-armor"])
def test_what_gpg_writes_is_read(tmp_path: Path, armor: str) -> None:
    gpg = need("gpg", "gnupg")
    # A socket lies in there: its path is short enough in a folder of its own.
    command = [gpg, "--homedir", str(tmp_path), "--batch", "--quiet", armor]
    command += ["--pinentry-mode", "loopback", "--passphrase", "x", "--symmetric"]
    try:
        written = subprocess.run(
            command, input=b"Hello", check=True, capture_output=True
        ).stdout
    finally:
        stop = ["gpgconf", "--homedir", str(tmp_path), "--kill", "all"]
        subprocess.run(stop, check=False, capture_output=True)
    found = look_at_armor(written) if armor == "--armor" else look_at_packets(written)
    assert found == ENCRYPTED
