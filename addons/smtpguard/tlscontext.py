"""SSL contexts as our handshakes want them, and with a certificate of our own.

In one place, so that a certificate is judged when the rules are loaded as it will be in
each handshake: the least version and the ciphers decide which keys OpenSSL takes.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mitmproxy.net import tls as net_tls
from OpenSSL import SSL

from smtpguard.errors import SmtpGuardError
from smtpguard.policy.files import must_be_file


_VERSIONS = {
    "1.0": net_tls.Version.TLS1,
    "1.1": net_tls.Version.TLS1_1,
    "1.2": net_tls.Version.TLS1_2,
    "1.3": net_tls.Version.TLS1_3,
}
OP_LEGACY_SERVER_CONNECT = 0x4
"""SSL_OP_LEGACY_SERVER_CONNECT: servers without RFC 5746, where nothing is verified."""
_OLD = frozenset({"1.0", "1.1"})
_NOT_FOUND = ("no start line", "unsupported")
"""OpenSSL's words for a file in which it does not find a certificate, or a key."""


class UnusableError(SmtpGuardError):
    """A PEM file is of no use to us; the text says why and does not name the file.

    Ends a handshake (``proxy.certificates``), or the loading of rules (``loading``).
    """


@dataclass(frozen=True, slots=True)
class ContextKind:
    """What two contexts must have in common to be one."""

    server: bool
    """True for the client's leg, where we are the server."""
    min_version: str
    """``1.0`` to ``1.3``."""
    ciphers: str
    """In OpenSSL's syntax; "" for OpenSSL's own choice."""
    lenient: bool = False
    """Nothing is verified and the alternative is clear text: weak keys are taken."""


def new_context(kind: ContextKind) -> SSL.Context:
    """Make a context without a certificate and without trust anchors."""
    method = SSL.TLS_SERVER_METHOD if kind.server else SSL.TLS_CLIENT_METHOD
    context = SSL.Context(method)
    context.set_min_proto_version(_VERSIONS[kind.min_version].value)
    context.set_options(net_tls.DEFAULT_OPTIONS | SSL.OP_NO_RENEGOTIATION)
    context.set_cipher_list(_ciphers(kind).encode("ascii"))
    # Tickets resume sessions without any memory of ours.
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    if net_tls.log_master_secret is not None:
        context.set_keylog_callback(net_tls.log_master_secret)
    if kind.lenient:
        context.set_options(OP_LEGACY_SERVER_CONNECT)
    return context


def _ciphers(kind: ContextKind) -> str:
    if kind.ciphers:
        return kind.ciphers
    if kind.min_version in _OLD:
        # OpenSSL 3 has no TLS 1.0 and 1.1 above this level.
        return "DEFAULT:@SECLEVEL=0"
    return "DEFAULT:@SECLEVEL=1" if kind.lenient else "DEFAULT"


def with_certificate(path: str, kind: ContextKind) -> SSL.Context:
    """Make a context with certificate, chain and key of a PEM file as it is now.

    Raises:
        UnusableError: the file cannot be read, or holds no certificate and key that fit
            together and that OpenSSL takes.
    """
    try:
        must_be_file(path)  # OpenSSL would wait for a pipe
        with Path(path).open("rb"):
            pass  # for the system's words: OpenSSL's say less
        context = new_context(kind)
        # An encrypted key would have OpenSSL ask on the terminal and wait.
        context.set_passwd_cb(lambda *_: b"")
        context.use_certificate_chain_file(path)
        context.use_privatekey_file(path)
        context.check_privatekey()
    except OSError as error:
        raise UnusableError(error.strerror or str(error)) from error
    except ValueError as error:
        raise UnusableError(str(error)) from error  # NUL in a path, letters in ciphers
    except SSL.Error as error:
        why = reason(error)
        if why.startswith(_NOT_FOUND):
            why = f"no certificate with its key in it ({why})"
        raise UnusableError(why) from error
    return context


def reason(error: SSL.Error) -> str:
    """Return the reasons of an OpenSSL error, which hold no octets of a peer."""
    if error.args and isinstance(error.args[0], list) and error.args[0]:
        return ", ".join(dict.fromkeys(str(entry[-1]) for entry in error.args[0]))
    return type(error).__name__
