from __future__ import annotations

import hashlib
import multiprocessing
import stat
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from mitmproxy.certs import CertStore

from smtpguard.authority import ensure_authority
from smtpguard.errors import SmtpGuardError


if TYPE_CHECKING:
    from pathlib import Path


def read(path: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate(path.read_bytes())


def test_the_authority_has_a_p256_key_and_may_sign(tmp_path: Path) -> None:
    public = ensure_authority(tmp_path / "conf")
    certificate = read(public)
    key = certificate.public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    assert key.curve.name == "secp256r1"
    constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints)
    assert constraints.value.ca
    assert constraints.critical
    usage = certificate.extensions.get_extension_for_class(x509.KeyUsage).value
    assert usage.key_cert_sign
    certificate.verify_directly_issued_by(certificate)


def test_key_and_certificate_belong_together_and_the_key_is_secret(
    tmp_path: Path,
) -> None:
    public = ensure_authority(tmp_path)
    secret = tmp_path / "mitmproxy-ca.pem"
    key = load_pem_private_key(secret.read_bytes(), None)
    assert key.public_key() == read(public).public_key()
    assert stat.S_IMODE(secret.stat().st_mode) == 0o600
    assert stat.S_IMODE(public.stat().st_mode) == 0o644
    assert b"PRIVATE" not in public.read_bytes()


def test_nothing_else_is_left_in_the_folder(tmp_path: Path) -> None:
    ensure_authority(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "mitmproxy-ca-cert.pem",
        "mitmproxy-ca.pem",
    ]


def test_mitmproxy_mints_with_it(tmp_path: Path) -> None:
    public = ensure_authority(tmp_path)
    store = CertStore.from_store(tmp_path, "mitmproxy", 2048)
    names = [x509.DNSName("mx.test")]
    minted = store.get_cert("mx.test", names).cert.to_cryptography()
    minted.verify_directly_issued_by(read(public))
    assert isinstance(minted.public_key(), ec.EllipticCurvePublicKey)


def test_an_authority_that_is_there_is_not_touched(tmp_path: Path) -> None:
    CertStore.create_store(tmp_path, "mitmproxy", 2048)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    ensure_authority(tmp_path)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_certificate_that_is_missing_is_written_from_the_key_file(
    tmp_path: Path,
) -> None:
    public = ensure_authority(tmp_path)
    before = public.read_bytes()
    public.unlink()
    assert ensure_authority(tmp_path).read_bytes() == before


def test_the_certificate_of_a_lost_key_gives_way(tmp_path: Path) -> None:
    """Else people would go on trusting what nobody signs with."""
    public = ensure_authority(tmp_path)
    before = public.read_bytes()
    (tmp_path / "mitmproxy-ca.pem").unlink()
    ensure_authority(tmp_path)
    assert public.read_bytes() != before
    key = load_pem_private_key((tmp_path / "mitmproxy-ca.pem").read_bytes(), None)
    assert key.public_key() == read(public).public_key()


def test_a_file_that_is_no_authority_is_named(tmp_path: Path) -> None:
    (tmp_path / "mitmproxy-ca.pem").write_text("nothing of the kind")
    with pytest.raises(SmtpGuardError, match=r"mitmproxy-ca\.pem"):
        ensure_authority(tmp_path)


def test_a_folder_that_cannot_be_made_is_an_oserror(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        ensure_authority(tmp_path / "file")


def _digest(folder: Path, start: object) -> tuple[str, str]:
    start.wait()  # type: ignore[attr-defined]
    public = ensure_authority(folder)
    files = (public, folder / "mitmproxy-ca.pem")
    first, second = (hashlib.sha256(file.read_bytes()).hexdigest() for file in files)
    return first, second


def test_processes_that_start_at_once_end_up_with_one_authority(
    tmp_path: Path,
) -> None:
    """traps 8: three of six would sign with a CA that no file holds."""
    context = multiprocessing.get_context("forkserver")
    with context.Manager() as manager, context.Pool(6) as pool:
        barrier = manager.Barrier(6)
        seen = pool.starmap(_digest, [(tmp_path, barrier)] * 6, chunksize=1)
    assert len(set(seen)) == 1
    key = load_pem_private_key((tmp_path / "mitmproxy-ca.pem").read_bytes(), None)
    public = read(tmp_path / "mitmproxy-ca-cert.pem")
    assert key.public_key() == public.public_key()
