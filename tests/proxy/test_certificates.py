"""Contexts with our own certificates."""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from OpenSSL import SSL

from smtpguard.proxy.certificates import (
    MAX_AGE,
    MAX_CONTEXTS,
    ContextCache,
    own_context,
    pick,
)
from smtpguard.proxy.upgrade import TlsRefusedError
from smtpguard.proxy.watch import MISSING
from smtpguard.tlscontext import ContextKind, new_context
from tests.proxy.peers import Authority, client_peer, make_authority
from tests.proxy.playbook import Clock


if TYPE_CHECKING:
    import ssl


SERVER = ContextKind(server=True, min_version="1.2", ciphers="")


@pytest.fixture
def cache() -> ContextCache:
    return ContextCache(Clock())


def names_served(context: SSL.Context, ca_file: Path) -> str:
    """Shake hands with a client that verifies; return whose certificate it saw."""
    ours = SSL.Connection(context)
    ours.set_accept_state()
    peer = client_peer(ca_file, name="mx.example")
    to_us = peer.handshake()
    for _ in range(10):
        ours.bio_write(to_us)
        with contextlib.suppress(SSL.WantReadError):
            ours.do_handshake()
        to_us = peer.feed(ours.bio_read(65536))
        if peer.established:
            break
    certificate = peer.ssl.getpeercert()
    assert certificate is not None
    return dict(certificate["subjectAltName"])["DNS"]  # type: ignore[arg-type]


def test_a_pem_serves_its_certificate_chain_and_key(
    cache: ContextCache, authority: Authority
) -> None:
    context = own_context(cache, str(authority.folder / "mx.example.pem"), SERVER)

    assert names_served(context, authority.ca_file) == "mx.example"


def test_a_file_that_stays_is_read_once(
    cache: ContextCache, authority: Authority
) -> None:
    path = str(authority.folder / "mx.example.pem")

    assert own_context(cache, path, SERVER) is own_context(cache, path, SERVER)


def test_a_file_that_changed_is_read_again(
    cache: ContextCache, authority: Authority, tmp_path: Path
) -> None:
    path = tmp_path / "mx.pem"
    shutil.copy(authority.folder / "mx.example.pem", path)
    before = own_context(cache, str(path), SERVER)
    renewed = make_authority(tmp_path, "Renewed CA")
    renewed.issue("mx.example").replace(path)
    after = own_context(cache, str(path), SERVER)

    assert after is not before
    assert names_served(after, renewed.ca_file) == "mx.example"


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (None, "No such file or directory"),
        (b"half a fi", "no certificate with its key in it (no start line, PEM lib)"),
    ],
    ids=["missing", "garbage"],
)
def test_a_file_that_cannot_be_used_ends_the_handshake(
    cache: ContextCache, tmp_path: Path, content: bytes | None, fault: str
) -> None:
    path = tmp_path / "mx.pem"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(TlsRefusedError) as caught:
        own_context(cache, str(path), SERVER)

    assert str(caught.value) == f"certificate {path}: {fault}"


def test_a_file_that_is_back_for_a_moment_is_not_kept(
    cache: ContextCache,
    authority: Authority,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It was not there when it was looked at: what it is then is known to nobody."""
    path = str(authority.folder / "mx.example.pem")
    with monkeypatch.context() as patch:
        patch.setattr("smtpguard.proxy.certificates.state_of", lambda _: MISSING)
        first = own_context(cache, path, SERVER)
        assert own_context(cache, path, SERVER) is not first

    assert cache._kept == {}


@pytest.mark.parametrize(
    ("size", "inode"), [(1, 1), (0, 1), (1, 0)], ids=["both", "inode", "size"]
)
def test_a_file_of_the_same_time_is_read_again_if_it_is_another(
    cache: ContextCache,
    authority: Authority,
    monkeypatch: pytest.MonkeyPatch,
    size: int,
    inode: int,
) -> None:
    """A renewal may keep the old times (cp -p, tar, rsync)."""
    path = str(authority.folder / "mx.example.pem")
    states = iter([(5, 10, 20), (5, 10 + size, 20 + inode)])
    monkeypatch.setattr("smtpguard.proxy.certificates.state_of", lambda _: next(states))
    before = own_context(cache, path, SERVER)

    assert own_context(cache, path, SERVER) is not before


def test_a_broken_file_is_not_served_from_memory(
    cache: ContextCache, authority: Authority, tmp_path: Path
) -> None:
    path = tmp_path / "mx.pem"
    shutil.copy(authority.folder / "mx.example.pem", path)
    own_context(cache, str(path), SERVER)
    path.write_text("half a fi")
    with pytest.raises(TlsRefusedError):
        own_context(cache, str(path), SERVER)


@pytest.mark.parametrize(
    ("least", "most", "well"),
    [
        ("1.3", "TLSv1_2", False),
        ("1.3", "TLSv1_3", True),
        ("1.2", "TLSv1_2", True),
        ("1.2", "TLSv1_1", False),
        ("1.0", "TLSv1_1", True),
        ("1.0", "TLSv1", True),
    ],
)
@pytest.mark.filterwarnings("ignore:ssl.TLSVersion")
def test_versions_below_the_least_are_refused(
    authority: Authority, least: str, most: str, well: bool
) -> None:
    import ssl

    kind = ContextKind(server=True, min_version=least, ciphers="")
    path = str(authority.folder / "mx.example.pem")
    context = own_context(ContextCache(), path, kind)
    limit: ssl.TLSVersion = ssl.TLSVersion[most]
    peer_context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    peer_context.check_hostname = False
    peer_context.verify_mode = ssl.CERT_NONE
    peer_context.minimum_version = ssl.TLSVersion.TLSv1
    peer_context.maximum_version = limit
    peer_context.set_ciphers("DEFAULT:@SECLEVEL=0")
    ours = SSL.Connection(context)
    ours.set_accept_state()
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    peer = peer_context.wrap_bio(incoming, outgoing)
    with pytest.raises(ssl.SSLWantReadError):
        peer.do_handshake()
    ours.bio_write(outgoing.read())
    if well:
        with pytest.raises(SSL.WantReadError):
            ours.do_handshake()
    else:
        with pytest.raises(SSL.Error, match="unsupported protocol"):
            ours.do_handshake()


# -- the cache -------------------------------------------------------------------------


def make() -> SSL.Context:
    return new_context(SERVER)


def test_a_context_is_made_once() -> None:
    cache = ContextCache(Clock())

    assert cache.get("a", make) is cache.get("a", make)
    assert cache.get("a", make) is not cache.get("b", make)


def test_an_old_context_is_made_anew() -> None:
    """Its session ticket key would last as long as the process."""
    clock = Clock()
    cache = ContextCache(clock)
    first = cache.get("a", make)
    clock.now += MAX_AGE - 1
    assert cache.get("a", make) is first
    clock.now += 2

    assert cache.get("a", make) is not first


def test_the_least_used_contexts_are_forgotten() -> None:
    cache = ContextCache(Clock())
    made = SSL.Context(SSL.TLS_SERVER_METHOD)
    kept = cache.get("kept", make)
    for number in range(MAX_CONTEXTS + 10):
        cache.get(number, lambda: made)
        cache.get("kept", make)

    assert cache.get("kept", make) is kept
    assert cache.get(0, make) is not made
    assert len(cache._kept) == MAX_CONTEXTS


def test_a_context_that_cannot_be_made_is_not_kept() -> None:
    cache = ContextCache(Clock())

    def broken() -> SSL.Context:
        raise TlsRefusedError("no")

    with pytest.raises(TlsRefusedError):
        cache.get("a", broken)
    assert cache.get("a", make) is not None


# -- the choice by name ----------------------------------------------------------------


CERTIFICATES = (
    ("mx.example", "exact"),
    ("*.example", "wild"),
    ("*.Other.Example.", "other"),
)


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("mx.example", "exact"),
        ("MX.Example.", "exact"),
        ("smtp.example", "wild"),
        ("a.b.example", "exact"),
        ("x.other.example", "other"),
        ("", "exact"),
        ("unknown", "exact"),
        ("example", "exact"),
    ],
)
def test_the_first_pattern_that_matches_is_served(name: str, path: str) -> None:
    assert pick(CERTIFICATES, name) == path


def test_a_star_serves_every_name() -> None:
    assert pick((("mx.example", "exact"), ("*", "any")), "whatever.test") == "any"
