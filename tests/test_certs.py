"""``certs/make-ca``: what it makes is accepted by OpenSSL, mitmproxy and Python."""

from __future__ import annotations

import os
import shutil
import ssl
import stat
import subprocess
from pathlib import Path

import pytest
from cryptography import x509
from mitmproxy import certs


SCRIPT = Path(__file__).resolve().parent.parent / "certs" / "make-ca"

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(not shutil.which("openssl"), reason="needs openssl"),
]


def make_ca(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [SCRIPT, *arguments],
        env=os.environ | {"CERTS_DIR": str(folder)},
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )


def verify(ca: Path, certificate: Path, *options: str) -> str:
    done = subprocess.run(
        ["openssl", "verify", "-x509_strict", "-CAfile", ca, *options, certificate],
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    return "" if done.returncode == 0 else done.stdout + done.stderr


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a CA and a server certificate of three names."""
    path = tmp_path_factory.mktemp("certs")
    for arguments in ((), ("server", "mx.example.org", "*.example.net", "192.0.2.25")):
        done = make_ca(path, *arguments)
        assert done.returncode == 0, done.stderr
    return path


@pytest.mark.parametrize(
    "option",
    [
        ("-verify_hostname", "mx.example.org"),
        ("-verify_hostname", "mail.example.net"),
        ("-verify_ip", "192.0.2.25"),
    ],
    ids=["name", "wildcard", "address"],
)
def test_server_certificate_is_good_for_every_name_given(
    folder: Path, option: tuple[str, str]
) -> None:
    assert verify(folder / "ca.pem", folder / "mx.example.org.pem", *option) == ""


def test_server_certificate_is_not_good_for_another_name(folder: Path) -> None:
    answer = verify(
        folder / "ca.pem",
        folder / "mx.example.org.pem",
        "-verify_hostname",
        "evil.example.org",
    )
    assert "hostname mismatch" in answer


def test_server_certificate_signs_no_further_certificates(folder: Path) -> None:
    leaf = x509.load_pem_x509_certificate((folder / "mx.example.org.pem").read_bytes())
    constraints = leaf.extensions.get_extension_for_class(x509.BasicConstraints)
    assert constraints.critical
    assert not constraints.value.ca


def test_keys_are_readable_by_their_owner_alone(folder: Path) -> None:
    for name in ("ca.key", "mx.example.org.pem"):
        assert stat.S_IMODE((folder / name).stat().st_mode) == 0o600, name


def test_server_pem_is_served_and_verified_in_a_handshake(folder: Path) -> None:
    """One file with key and certificate is what Python, Postfix and smtpguard read."""
    accepting = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    accepting.load_cert_chain(folder / "mx.example.org.pem")
    trusting = ssl.create_default_context(cafile=folder / "ca.pem")
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = accepting.wrap_bio(to_server, to_client, server_side=True)
    client = trusting.wrap_bio(to_client, to_server, server_hostname="mx.example.org")

    waiting = [client, server]
    for _ in range(8):
        for side in list(waiting):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
            waiting.remove(side)
    assert waiting == []
    assert client.getpeercert()


@pytest.mark.parametrize(
    "arguments", [(), ("server", "mx.example.org")], ids=["ca", "server"]
)
def test_nothing_is_overwritten(folder: Path, arguments: tuple[str, ...]) -> None:
    before = {path: path.read_bytes() for path in folder.iterdir()}
    done = make_ca(folder, *arguments)
    assert done.returncode == 1
    assert "exists already" in done.stderr
    assert {path: path.read_bytes() for path in folder.iterdir()} == before


def test_half_a_ca_is_not_completed(tmp_path: Path) -> None:
    (tmp_path / "ca.key").write_text("somebody's key")
    assert make_ca(tmp_path).returncode == 1
    assert [path.name for path in tmp_path.iterdir()] == ["ca.key"]


@pytest.mark.parametrize(
    "name",
    ["../evil", "a/b", "-x", "", "a,DNS:b", "a\nb", "a:g", "ä.example"],
)
def test_odd_names_are_refused_and_leave_no_file(folder: Path, name: str) -> None:
    before = set(folder.rglob("*"))
    done = make_ca(folder, "server", name)
    assert done.returncode == 1
    assert "neither a DNS name nor an address" in done.stderr
    assert set(folder.rglob("*")) == before


def test_server_without_a_ca_says_what_to_do(tmp_path: Path) -> None:
    done = make_ca(tmp_path, "server", "mx.example.org")
    assert done.returncode == 1
    assert "run make-ca without arguments first" in done.stderr


def test_name_too_long_for_a_subject_stands_in_a_critical_extension(
    folder: Path,
) -> None:
    """RFC 5280 4.1.2.6, and ub-common-name of its appendix A."""
    name = f"{'x' * 60}.example"
    done = make_ca(folder, "server", name)
    assert done.returncode == 0, done.stderr
    path = folder / f"{name}.pem"
    leaf = x509.load_pem_x509_certificate(path.read_bytes())
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    assert names.critical
    assert not leaf.subject.rdns
    assert verify(folder / "ca.pem", path, "-verify_hostname", name) == ""


def test_mitmproxy_mints_with_this_ca(folder: Path, tmp_path: Path) -> None:
    confdir = tmp_path / "confdir"
    done = make_ca(folder, "mitmproxy", str(confdir))
    assert done.returncode == 0, done.stderr
    store = certs.CertStore.from_store(confdir, "mitmproxy", 2048)
    minted = store.get_cert("upstream.example", [x509.DNSName("upstream.example")])
    leaf = tmp_path / "leaf.pem"
    leaf.write_bytes(minted.cert.to_pem())
    name = ("-verify_hostname", "upstream.example")
    assert verify(folder / "ca.pem", leaf, *name) == ""


def test_confdir_with_a_ca_is_left_alone(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "mitmproxy-ca.pem").write_text("mitmproxy's own")
    done = make_ca(folder, "mitmproxy", str(tmp_path))
    assert done.returncode == 1
    assert (tmp_path / "mitmproxy-ca.pem").read_text() == "mitmproxy's own"
