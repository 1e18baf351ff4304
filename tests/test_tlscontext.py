"""Contexts for handshakes, and what a certificate of our own must be for them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from OpenSSL import SSL

from smtpguard.tlscontext import (
    ContextKind,
    UnusableError,
    new_context,
    reason,
    with_certificate,
)
from tests.proxy.peers import Authority, make_authority


ADDONS = Path(__file__).resolve().parent.parent / "addons"
CERTIFICATE = b"-----BEGIN CERTIFICATE-----"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return make_authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def pem(authority: Authority) -> bytes:
    return authority.issue("mx.example").read_bytes()


@pytest.fixture(scope="module")
def weak(authority: Authority) -> Path:
    """Return a certificate whose key OpenSSL takes at its lowest level alone."""
    key = rsa.generate_private_key(65537, 1024)
    return authority.issue("weak.example", key=key)


def kind(min_version: str = "1.2", ciphers: str = "") -> ContextKind:
    return ContextKind(server=True, min_version=min_version, ciphers=ciphers)


def why_not(path: str, wanted: ContextKind | None = None) -> str:
    with pytest.raises(UnusableError) as caught:
        with_certificate(path, wanted or kind())
    return str(caught.value)


def test_ciphers_are_those_that_were_asked_for() -> None:
    context = new_context(kind(ciphers="ECDHE-ECDSA-AES256-GCM-SHA384"))

    names = SSL.Connection(context).get_cipher_list()
    assert [name for name in names if not name.startswith("TLS_")] == [
        "ECDHE-ECDSA-AES256-GCM-SHA384"
    ]


# -- a certificate of our own ----------------------------------------------------------


def test_certificate_chain_and_key_are_in_the_context(
    authority: Authority, pem: bytes, tmp_path: Path
) -> None:
    path = tmp_path / "mx.pem"
    path.write_bytes(pem + authority.ca_file.read_bytes())
    ours = SSL.Connection(with_certificate(str(path), kind()))

    served = ours.get_certificate()
    assert served is not None
    assert served.get_subject().CN == "mx.example"


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "no certificate with its key in it ("),
        (b"no certificate\n", "no certificate with its key in it ("),
        (CERTIFICATE + b"\nAAAA\n-----END CERTIFICATE-----\n", ""),
    ],
    ids=["empty", "no PEM", "garbage"],
)
def test_a_file_without_a_certificate_is_of_no_use(
    tmp_path: Path, content: bytes, why: str
) -> None:
    path = tmp_path / "mx.pem"
    path.write_bytes(content)

    assert why in why_not(str(path))


def test_a_certificate_without_its_key_is_of_no_use(pem: bytes, tmp_path: Path) -> None:
    path = tmp_path / "mx.pem"
    path.write_bytes(pem[pem.index(CERTIFICATE) :])

    assert why_not(str(path)).startswith("no certificate with its key in it (")


@pytest.mark.parametrize("kind_of_key", ["same", "other"])
def test_a_key_of_another_certificate_is_of_no_use(
    authority: Authority, pem: bytes, weak: Path, tmp_path: Path, kind_of_key: str
) -> None:
    """OpenSSL itself minds only a key of the certificate's kind (here P-256)."""
    other = authority.issue("other.example") if kind_of_key == "same" else weak
    octets = other.read_bytes()
    path = tmp_path / "mixed.pem"
    path.write_bytes(
        octets[: octets.index(CERTIFICATE)] + pem[pem.index(CERTIFICATE) :]
    )

    why = why_not(str(path), kind("1.0"))
    assert ("mismatch" if kind_of_key == "same" else "no certificate assigned") in why


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("none.pem", "No such file or directory"),
        (".", "Is a directory"),
        ("n\0ne.pem", "embedded null"),
        ("n" * 300, "File name too long"),
    ],
    ids=["missing", "folder", "NUL", "long"],
)
def test_what_is_no_file_is_told_in_the_systems_words(path: str, why: str) -> None:
    assert why in why_not(path)


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "mx.pem")
    assert why_not(str(tmp_path / "mx.pem")) == "Not a regular file"


ON_A_TERMINAL = "import pty, sys; pty.spawn([sys.executable, *sys.argv[1:]])"
LOAD = """\
import sys
from smtpguard.tlscontext import *
try:
    with_certificate(sys.argv[1], ContextKind(True, "1.2", ""))
except UnusableError:
    print("of no use")
"""


@pytest.mark.parametrize("form", ["TraditionalOpenSSL", "PKCS8"])
def test_an_encrypted_key_is_of_no_use_and_asks_nobody(
    pem: bytes, tmp_path: Path, form: str
) -> None:
    """OpenSSL would ask on the terminal, and the whole process would wait."""
    key = serialization.load_pem_private_key(pem, None)
    locked = key.private_bytes(
        serialization.Encoding.PEM,
        getattr(serialization.PrivateFormat, form),
        serialization.BestAvailableEncryption(b"secret"),
    )
    path = tmp_path / "locked.pem"
    path.write_bytes(locked + pem[pem.index(CERTIFICATE) :])
    done = subprocess.run(
        [sys.executable, "-c", ON_A_TERMINAL, "-c", LOAD, str(path)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=20,
        env={"PYTHONPATH": str(ADDONS), "PATH": ""},
        check=False,
    )

    assert done.stdout.split("\n") == ["of no use", ""]


@pytest.mark.parametrize(
    ("wanted", "why"),
    [
        (kind("1.2"), "ee key too small"),
        (kind("1.3"), "ee key too small"),
        (kind("1.1"), None),
        (kind("1.0"), None),
        (kind("1.2", "DEFAULT:@SECLEVEL=0"), None),
        (kind("1.0", "DEFAULT:@SECLEVEL=2"), "ee key too small"),
    ],
    ids=["1.2", "1.3", "1.1", "1.0", "ciphers allow", "ciphers forbid"],
)
def test_version_and_ciphers_decide_which_keys_are_taken(
    weak: Path, wanted: ContextKind, why: str | None
) -> None:
    """A context of Python's own takes them all, and every handshake would fail."""
    if why is None:
        with_certificate(str(weak), wanted)
    else:
        assert why_not(str(weak), wanted) == why


@pytest.mark.parametrize(
    ("ciphers", "why"), [("NONSENSE", "no cipher match"), ("\xe4", "ascii")]
)
def test_ciphers_that_there_are_not_are_told(
    weak: Path, ciphers: str, why: str
) -> None:
    assert why in why_not(str(weak), kind(ciphers=ciphers))


# -- words -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (SSL.Error([("SSL routines", "", "wrong version number")]), "wrong version"),
        (SSL.Error([("a", "", "first"), ("b", "", "last")]), "first, last"),
        (SSL.Error(), "Error"),
        (SSL.SysCallError(-1, "Unexpected EOF"), "SysCallError"),
    ],
    ids=["one", "several", "empty", "system call"],
)
def test_the_reasons_of_an_error_are_told(error: SSL.Error, text: str) -> None:
    assert reason(error).startswith(text)
