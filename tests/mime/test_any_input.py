"""A hundred thousand inputs that nobody would send: read, tiled, and joined again.

Random octets, soup of what confuses parsers, well-formed mails and real ones with some
octets changed. The seed is in each message of failure; ``SMTPGUARD_SEED`` begins at
another one.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from smtpguard.mime import apply, outline, parse
from tests.mime.mails import mail, mutate, tiles


INPUTS = 100_000
SECONDS = 240
FIRST_SEED = int(os.environ.get("SMTPGUARD_SEED", "1"))

WORDS = (
    *(b"--b", b"--b--", b"--c", b"--c--", b"--b ", b"--bc", b"--", b"-"),
    *(
        b"\r\n",
        b"\r\n",
        b"\r\n\r\n",
        b"\n",
        b"\r",
        b" ",
        b"\t",
        b"\r\n ",
        b"\0",
        b"\xff",
    ),
    b"Content-Type: multipart/mixed; boundary=b\r\n",
    b'Content-Type: multipart/digest; boundary="c"\r\n',
    b"Content-Type: message/rfc822\r\n",
    b"Content-Type: text/plain; name*0*=utf-8''a; name*1=b.exe\r\n",
    b"Content-Type: (a\r\n",
    b"Content-Transfer-Encoding: base64\r\n",
    b"Content-Transfer-Encoding: quoted-printable\r\n",
    b"Content-Transfer-Encoding: x\r\n",
    b'Content-Disposition: attachment; filename="=?utf-8?b?YQ==?="\r\n',
    *(
        b"Subject: =?utf-8?q?x?=\r\n",
        b"From x\r\n",
        b"no colon",
        b"A :b\r\n",
        b";",
        b'"',
    ),
    *(b"begin 644 a\r\n", b"end\r\n", b"=ybegin name=a\r\n", b"=yend\r\n", b"====\r\n"),
    b"(This file must be converted with BinHex 4.0)\r\n:",
    b"Q29udGVudC1UeXBlOiB0ZXh0L2h0bWwNCg0KeA==",
    *(b"=3D", b"=", b"==", b"M", b"!", b"%41", b"text"),
)
WELL_FORMED = mail(
    "From: a@b.test",
    'Content-Type: multipart/mixed; boundary="b"',
    "",
    "--b",
    "Content-Type: text/plain; charset=utf-8",
    "Content-Transfer-Encoding: quoted-printable",
    "",
    "one =3D two=",
    "",
    "--b",
    "Content-Type: message/rfc822",
    "",
    "Subject: inner",
    "Content-Type: multipart/alternative; boundary=c",
    "",
    "--c",
    'Content-Disposition: attachment; filename="a.exe"',
    "Content-Transfer-Encoding: base64",
    "",
    "TVqQAAMAAAAEAAAA//8AALgAAAA=",
    "--c--",
    "--b--",
)


def noise(chance: random.Random) -> bytes:
    return chance.randbytes(chance.randrange(300))


def soup(chance: random.Random) -> bytes:
    return b"".join(chance.choices(WORDS, k=chance.randrange(60)))


def changed(chance: random.Random, text: bytes) -> bytes:
    changes = [
        (
            chance.randrange(1_000_000),
            chance.choice((0, 1, 2, 40)),
            chance.choice(WORDS),
        )
        for _ in range(chance.randrange(1, 8))
    ]
    return mutate(text, changes)


def mutated(chance: random.Random) -> bytes:
    return changed(chance, WELL_FORMED)


def real_mails(shared: Path) -> list[bytes]:
    """Return small real mails, as they would be sent."""
    folder = shared / "corpus"
    paths = sorted(
        [*(folder / "corpus").rglob("*.eml"), *(folder / "mime").rglob("*.eml")]
    )
    small = [path for path in paths if path.stat().st_size < 8000]
    return [
        path.read_bytes().replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
        for path in small
    ]


@pytest.mark.slow
@pytest.mark.timeout(2 * SECONDS)
def test_whatever_comes_is_read_and_nothing_of_it_is_lost(shared: Path) -> None:
    real = real_mails(shared)
    assert len(real) > 100

    def real_one(chance: random.Random) -> bytes:
        return changed(chance, chance.choice(real))

    kinds: tuple[Callable[[random.Random], bytes], ...] = (
        *(noise, soup, soup, soup, mutated, mutated, mutated, mutated, real_one),
    )
    end = time.monotonic() + SECONDS
    with_parts = 0
    for seed in range(FIRST_SEED, FIRST_SEED + INPUTS):
        text = kinds[seed % len(kinds)](random.Random(seed))
        try:
            message = parse(text)
            joined = b"".join(tile.span.of(text) for tile in tiles(message))
            again = b"".join(apply(message, ()).chunks())
            parts = outline(message)
        except Exception as error:  # noqa: BLE001 - the seed is what one needs
            pytest.fail(f"seed {seed}: {error!r}")
        assert joined == text, seed
        assert again == text, seed
        with_parts += len(parts) > 2
        assert time.monotonic() < end, f"only {seed - FIRST_SEED} of {INPUTS} in time"
    # Otherwise it would be a test of refusals alone.
    assert with_parts > INPUTS // 4
