"""What each handshake is begun with: the rules' settings against real peers (T8)."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
from mitmproxy import certs
from mitmproxy.addons import tlsconfig
from mitmproxy.connection import Server
from mitmproxy.proxy import context
from mitmproxy.test import taddons
from mitmproxy.tls import TlsData
from OpenSSL import SSL

from smtpguard.model.settings import ClientTls, ServerTls, Settings
from smtpguard.proxy.certificates import ContextCache
from smtpguard.proxy.tlsfacts import verify_text
from smtpguard.proxy.tlspolicy import TlsPolicy
from smtpguard.proxy.upgrade import TlsRefusedError
from tests.proxy.peers import Authority, TlsPeer, client_peer, server_peer
from tests.proxy.playbook import make_context


@pytest.fixture
def mitm(tmp_path: Path, authority: Authority) -> Iterator[taddons.context]:
    """mitmproxy with its TLS addon, trusting the test authority."""
    addon = tlsconfig.TlsConfig()
    with taddons.context(addon) as tctx:
        tctx.configure(
            addon,
            confdir=str(tmp_path / "conf"),
            ssl_verify_upstream_trusted_ca=str(authority.ca_file),
        )
        yield tctx


@pytest.fixture
def session() -> context.Context:
    return make_context()


def policy(
    client: ClientTls | None = None, server: ServerTls | None = None
) -> TlsPolicy:
    settings = Settings(
        client_tls=client or ClientTls(), server_tls=server or ServerTls()
    )
    return TlsPolicy(lambda: settings, ContextCache())


def offered(session: context.Context, made: TlsPolicy, name: str) -> SSL.Connection:
    """Have the upstream's side filled in for a name."""
    offer = TlsData(session.server, session)
    session.server.sni = name or None
    made.server(offer)
    assert offer.ssl_conn is not None
    return offer.ssl_conn


def shake(ours: SSL.Connection, peer: TlsPeer, first: bytes = b"") -> None:
    """Carry octets until both are done; raise what our side raises."""
    to_us = first
    for _ in range(10):
        if to_us:
            ours.bio_write(to_us)
        try:
            ours.do_handshake()
            done = True
        except SSL.WantReadError:
            done = False
        try:
            to_us = peer.feed(ours.bio_read(65536))
        except SSL.WantReadError:
            to_us = b""
        if done and peer.established:
            return
    raise AssertionError("no end")


# -- the upstream's leg ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "verified"),
    [
        ("mx.example", "ok"),
        ("other.example", "hostname mismatch"),
        ("192.0.2.7", "IP address mismatch"),
    ],
)
def test_without_verification_the_result_is_recorded_all_the_same(
    mitm: taddons.context,
    session: context.Context,
    authority: Authority,
    name: str,
    verified: str,
) -> None:
    ours = offered(session, policy(), name)
    shake(ours, server_peer(authority.folder / "mx.example.pem"))

    assert verify_text(ours) == verified


def test_a_strange_authority_is_recorded(
    mitm: taddons.context, session: context.Context, tmp_path: Path
) -> None:
    from tests.proxy.peers import make_authority

    stranger = make_authority(tmp_path, "Stranger").issue("mx.example")
    ours = offered(session, policy(), "mx.example")
    shake(ours, server_peer(stranger))

    assert verify_text(ours) == "unable to get local issuer certificate"


@pytest.mark.parametrize(
    ("issued", "name"),
    [("mx.example", "mx.example"), ("192.0.2.7", "192.0.2.7")],
    ids=["name", "address"],
)
def test_webpki_accepts_what_fits(
    mitm: taddons.context,
    session: context.Context,
    authority: Authority,
    issued: str,
    name: str,
) -> None:
    ours = offered(session, policy(server=ServerTls(verify="webpki")), name)
    shake(ours, server_peer(authority.issue(issued)))

    assert verify_text(ours) == "ok"


@pytest.mark.parametrize(
    ("days", "name"),
    [(30, "other.example"), (30, "192.0.2.7"), (-30, "mx.example")],
    ids=["other name", "address", "expired"],
)
def test_webpki_refuses_what_does_not_fit(
    mitm: taddons.context,
    session: context.Context,
    authority: Authority,
    days: int,
    name: str,
) -> None:
    ours = offered(session, policy(server=ServerTls(verify="webpki")), name)
    pem = authority.issue("mx.example", days=days, file="unfit.pem")
    with pytest.raises(SSL.Error, match="certificate verify failed"):
        shake(ours, server_peer(pem))


@pytest.mark.parametrize(
    ("issued", "verified"),
    [
        ("*.mail.example", "ok"),
        ("m*.mail.example", "hostname mismatch"),
        ("*x.mail.example", "hostname mismatch"),
    ],
)
def test_a_wildcard_stands_for_a_whole_label(
    mitm: taddons.context,
    session: context.Context,
    authority: Authority,
    issued: str,
    verified: str,
) -> None:
    """RFC 9525 6.3: no certificate for ``m*`` is one for ``mx``."""
    ours = offered(session, policy(), "mx.mail.example")
    shake(ours, server_peer(authority.issue(issued, file="wildcard.pem")))

    assert verify_text(ours) == verified


def test_webpki_without_a_name_is_refused_before_it_begins(
    mitm: taddons.context, session: context.Context
) -> None:
    with pytest.raises(TlsRefusedError, match="no name"):
        offered(session, policy(server=ServerTls(verify="webpki")), "")


@pytest.mark.parametrize("verify", ["none", "webpki"])
def test_a_name_that_is_none_is_an_error_only_where_it_must_hold(
    mitm: taddons.context, session: context.Context, verify: str
) -> None:
    made = policy(server=ServerTls(verify=verify))  # type: ignore[arg-type]
    if verify == "none":
        offered(session, made, "a" * 64 + ".example")
    else:
        with pytest.raises(TlsRefusedError, match="not a host name"):
            offered(session, made, "a" * 64 + ".example")


@pytest.mark.parametrize(
    ("name", "sent"),
    [("mx.example", "mx.example"), ("mx.example.", "mx.example"), ("192.0.2.7", None)],
    ids=["name", "trailing dot", "address"],
)
def test_the_name_is_sent_unless_it_is_an_address(
    mitm: taddons.context,
    session: context.Context,
    authority: Authority,
    name: str,
    sent: str | None,
) -> None:
    """RFC 6066 3."""
    seen: list[str | None] = []
    peer_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    peer_context.load_cert_chain(authority.folder / "mx.example.pem")
    peer_context.sni_callback = lambda _, asked, __: seen.append(asked)
    shake(offered(session, policy(), name), TlsPeer(peer_context, server_side=True))

    assert seen == [sent]


def test_no_alpn_is_offered(
    mitm: taddons.context, session: context.Context, authority: Authority
) -> None:
    session.client.alpn_offers = [b"h2"]
    peer_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    peer_context.load_cert_chain(authority.folder / "mx.example.pem")
    peer_context.set_alpn_protocols(["h2"])
    peer = TlsPeer(peer_context, server_side=True)
    shake(offered(session, policy(), "mx.example"), peer)

    assert peer.ssl.selected_alpn_protocol() is None


def test_the_least_version_upstream_is_the_rules(
    mitm: taddons.context, session: context.Context, authority: Authority
) -> None:
    peer = server_peer(authority.folder / "mx.example.pem")
    old = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    old.load_cert_chain(authority.folder / "mx.example.pem")
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    modern = policy(server=ServerTls(min_version="1.3"))
    shake(offered(session, modern, "mx.example"), peer)
    ours = offered(session, modern, "mx.example")
    with pytest.raises(ssl.SSLError, match=r"(?i)unsupported protocol"):
        shake(ours, TlsPeer(old, server_side=True))


def test_contexts_are_shared_by_sessions_of_the_same_settings(
    mitm: taddons.context, session: context.Context
) -> None:
    made = policy()
    first = offered(session, made, "mx.example")
    second = offered(make_context(), made, "other.example")

    assert first.get_context() is second.get_context()


def test_trust_anchors_that_are_gone_refuse_the_handshake(
    mitm: taddons.context, session: context.Context, tmp_path: Path
) -> None:
    mitm.options.ssl_verify_upstream_trusted_ca = str(tmp_path / "gone.pem")
    with pytest.raises(TlsRefusedError, match="trust anchors"):
        offered(session, policy(), "mx.example")


# -- the client's leg ------------------------------------------------------------------


def served(session: context.Context, made: TlsPolicy, peer: TlsPeer) -> SSL.Connection:
    offer = TlsData(session.client, session)
    made.client(offer)
    assert offer.ssl_conn is not None
    shake(offer.ssl_conn, peer, peer.handshake())
    return offer.ssl_conn


def names(peer: TlsPeer) -> set[str]:
    from cryptography import x509

    der = peer.ssl.getpeercert(binary_form=True)
    assert der is not None
    certificate = x509.load_der_x509_certificate(der)
    found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    return {str(name.value) for name in found.value}


def test_the_rules_certificate_is_served(
    mitm: taddons.context, session: context.Context, authority: Authority
) -> None:
    pem = str(authority.folder / "mx.example.pem")
    made = policy(client=ClientTls(certificate=(("*", pem),)))
    peer = client_peer(authority.ca_file, name="mx.example")
    served(session, made, peer)

    assert names(peer) == {"mx.example"}


def test_the_name_chooses_the_certificate(
    mitm: taddons.context, session: context.Context, authority: Authority
) -> None:
    first = str(authority.folder / "mx.example.pem")
    second = str(authority.issue("mx2.example"))
    made = policy(
        client=ClientTls(certificate=(("mx.example", first), ("mx2.example", second)))
    )
    session.client.sni = "mx2.example"
    peer = client_peer(authority.ca_file, name="mx2.example")
    served(session, made, peer)

    assert names(peer) == {"mx2.example"}


def test_nothing_is_minted_where_the_rules_name_a_file(
    mitm: taddons.context, session: context.Context, tmp_path: Path
) -> None:
    made = policy(client=ClientTls(certificate=(("*", str(tmp_path / "none.pem")),)))
    offer = TlsData(session.client, session)
    with pytest.raises(TlsRefusedError, match="No such file"):
        made.client(offer)

    assert offer.ssl_conn is None


def test_without_a_file_the_upstreams_names_are_minted(
    mitm: taddons.context, session: context.Context, authority: Authority
) -> None:
    pem = authority.issue("real-name.example").read_bytes()
    session.server.certificate_list = [certs.Cert.from_pem(pem)]
    session.client.sni = "asked.example"
    peer = client_peer(name="asked.example")
    served(session, policy(), peer)

    assert names(peer) == {"real-name.example", "asked.example", "198.51.100.1"}


def test_a_client_without_a_name_gets_the_destinations(
    mitm: taddons.context, session: context.Context
) -> None:
    session.server = Server(address=("198.51.100.9", 25))
    peer = client_peer(name=None)
    served(session, policy(), peer)

    assert "198.51.100.9" in names(peer)


def minted(cache: ContextCache, settings: ClientTls, **session: object) -> SSL.Context:
    """Return the context of a session that differs in what is named."""
    made = make_context(server_open=False)
    made.client.sni = str(session.get("sni", "mx.example"))
    made.server.address = ("198.51.100.9", int(str(session.get("port", 25))))
    made.client.sockname = (str(session.get("sockname", "198.51.100.1")), 25)
    if "upstream" in session:
        pem = Path(str(session["upstream"])).read_bytes()
        made.server.certificate_list = [certs.Cert.from_pem(pem)]
    offer = TlsData(made.client, made)
    TlsPolicy(lambda: Settings(client_tls=settings), cache).client(offer)
    assert offer.ssl_conn is not None
    return offer.ssl_conn.get_context()


@pytest.mark.parametrize(
    "differs",
    [
        {"sni": "other.example"},
        {"sockname": "198.51.100.2"},
        {"port": 465},
        {"upstream": ""},
        {"min_version": "1.3"},
    ],
    ids=lambda differs: next(iter(differs)),
)
def test_a_minted_context_is_shared_by_sessions_that_are_alike_in_all(
    mitm: taddons.context, authority: Authority, differs: dict[str, object]
) -> None:
    """Its names come from all of this: another session would get the wrong ones."""
    if "upstream" in differs:
        differs = {"upstream": authority.folder / "mx.example.pem"}
    cache = ContextCache()
    first = minted(cache, ClientTls())
    assert minted(cache, ClientTls()) is first
    version = ClientTls(min_version=str(differs.pop("min_version", "1.2")))

    assert minted(cache, version, **differs) is not first


def test_names_that_cannot_be_copied_do_not_break_the_handshake(
    mitm: taddons.context,
    session: context.Context,
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Strange:
        cn = "x" * 80
        altnames: tuple[object, ...] = ()
        organization = None
        crl_distribution_points: tuple[str, ...] = ()

        def fingerprint(self) -> bytes:
            return b"strange"

    session.server.certificate_list = [Strange()]  # type: ignore[list-item]
    session.client.sni = "asked.example"
    peer = client_peer(name="asked.example")
    served(session, policy(), peer)

    assert "asked.example" in names(peer)
    assert "cannot be followed" in caplog.text


def test_minting_without_mitmproxys_addon_is_refused(
    session: context.Context, tmp_path: Path
) -> None:
    with taddons.context() as tctx:
        tctx.options.add_option("ciphers_client", str | None, None, "")
        with pytest.raises(TlsRefusedError, match="tlsconfig"):
            policy().client(TlsData(session.client, session))


def test_sessions_are_resumed_by_ticket(
    mitm: taddons.context, session: context.Context
) -> None:
    """The same certificate is the same context: its tickets are good next time."""
    made = policy()
    shared = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    shared.check_hostname = False
    shared.verify_mode = ssl.CERT_NONE
    first = TlsPeer(shared, server_side=False, name="mx.example")
    ours = served(session, made, first)
    ours.sendall(b"220 hi\r\n")
    first.feed(ours.bio_read(65536))
    second = TlsPeer(shared, server_side=False, name="mx.example")
    second.ssl.session = first.ssl.session
    served(make_context(), made, second)

    assert second.ssl.session_reused
