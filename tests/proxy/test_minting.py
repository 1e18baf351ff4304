"""Minted certificates: for clients of every age."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from mitmproxy.addons import tlsconfig
from mitmproxy.test import taddons
from OpenSSL import SSL

from smtpguard.model.settings import Settings
from smtpguard.proxy.certificates import ContextCache
from smtpguard.proxy.minting import leaf_key, mint, twin_of
from smtpguard.proxy.tlspolicy import TlsPolicy
from tests.proxy.peers import Authority, TlsPeer, client_peer
from tests.proxy.playbook import make_context
from tests.proxy.test_tlspolicy import served


@pytest.fixture
def mitm(tmp_path: Path) -> Iterator[taddons.context]:
    addon = tlsconfig.TlsConfig()
    with taddons.context(addon) as tctx:
        tctx.configure(addon, confdir=str(tmp_path))
        yield tctx


def policy() -> TlsPolicy:
    return TlsPolicy(Settings, ContextCache())


def strict_client(ca_file: Path, ciphers: str = "", most: str = "TLSv1_3") -> TlsPeer:
    context = ssl.create_default_context(cafile=str(ca_file))
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    if ciphers:
        context.set_ciphers(ciphers)
    context.maximum_version = ssl.TLSVersion[most]
    return TlsPeer(context, server_side=False, name="mx.example")


def seen(peer: TlsPeer) -> x509.Certificate:
    der = peer.ssl.getpeercert(binary_form=True)
    assert der is not None
    return x509.load_der_x509_certificate(der)


def test_a_client_of_today_gets_p256_and_can_verify_it(
    mitm: taddons.context, tmp_path: Path
) -> None:
    session = make_context()
    session.client.sni = "mx.example"
    peer = strict_client(tmp_path / "mitmproxy-ca-cert.pem")
    served(session, policy(), peer)

    assert isinstance(seen(peer).public_key(), ec.EllipticCurvePublicKey)


@pytest.mark.parametrize(
    "ciphers", ["ECDHE-RSA-AES128-GCM-SHA256", "AES128-GCM-SHA256"]
)
def test_a_client_that_knows_rsa_only_gets_that(
    mitm: taddons.context, tmp_path: Path, ciphers: str
) -> None:
    session = make_context()
    session.client.sni = "mx.example"
    peer = strict_client(tmp_path / "mitmproxy-ca-cert.pem", ciphers, "TLSv1_2")
    served(session, policy(), peer)

    assert isinstance(seen(peer).public_key(), rsa.RSAPublicKey)


def test_the_twin_is_the_same_but_for_key_and_number(mitm: taddons.context) -> None:
    session = make_context()
    session.client.sni = "mx.example"
    entry = mint(session)
    minted = entry.cert.to_cryptography()
    assert isinstance(entry.privatekey, rsa.RSAPrivateKey)
    twin = twin_of(minted, entry.privatekey)

    assert twin.subject == minted.subject
    assert twin.issuer == minted.issuer
    assert list(twin.extensions) == list(minted.extensions)
    assert twin.not_valid_before_utc == minted.not_valid_before_utc
    assert twin.not_valid_after_utc == minted.not_valid_after_utc
    assert twin.public_key() == leaf_key().public_key()
    assert twin.serial_number != minted.serial_number


def test_a_certificate_that_the_user_gave_mitmproxy_has_no_twin(
    mitm: taddons.context, authority: Authority
) -> None:
    """It is signed by somebody else."""
    mitm.configure(
        mitm.master.addons.get("tlsconfig"),
        certs=[f"mx.example={authority.folder / 'mx.example.pem'}"],
    )
    session = make_context()
    session.client.sni = "mx.example"
    peer = client_peer(authority.ca_file)
    served(session, policy(), peer)

    assert seen(peer).issuer == authority.certificate.subject


def test_the_key_of_twins_is_one_for_the_process() -> None:
    assert leaf_key() is leaf_key()
    assert isinstance(leaf_key().curve, ec.SECP256R1)


def test_the_same_names_are_the_same_context(mitm: taddons.context) -> None:
    made = policy()
    contexts: list[SSL.Context] = []
    for sni in ("mx.example", "mx.example", "other.example"):
        session = make_context()
        session.client.sni = sni
        contexts.append(served(session, made, client_peer(name=sni)).get_context())

    assert contexts[0] is contexts[1]
    assert contexts[1] is not contexts[2]
