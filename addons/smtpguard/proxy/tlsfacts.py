"""What can be asked of OpenSSL after a handshake, as text for records.

The few places that reach into pyOpenSSL's private binding stand here (mitmproxy does
the same): it has no public way to ask for a verification result.
"""

from __future__ import annotations

import ipaddress

from OpenSSL import SSL


def is_address(name: str) -> bool:
    """Tell an IP address from a name: RFC 6066 3 allows no address as SNI."""
    try:
        ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return False
    return True


def verify_text(ssl_connection: SSL.Connection) -> str:
    """Return ``ok``, or OpenSSL's words why the peer's certificate does not verify.

    The result is there whether or not it was required: OpenSSL always looks.
    """
    result = SSL._lib.SSL_get_verify_result(ssl_connection._ssl)  # type: ignore[attr-defined]  # noqa: SLF001
    if result == 0:
        return "ok"
    text = SSL._lib.X509_verify_cert_error_string(result)  # type: ignore[attr-defined]  # noqa: SLF001
    return str(SSL._ffi.string(text).decode("ascii", "backslashreplace"))  # type: ignore[attr-defined]  # noqa: SLF001


_POINTER = SSL._ffi.new("char **")  # type: ignore[attr-defined]  # noqa: SLF001
"""Where OpenSSL writes an address that nobody asks for."""


def unread(connection: SSL.Connection) -> bool:
    """Whether octets of the peer wait to be decrypted or to be taken.

    Asking is ten times as fast as trying: pyOpenSSL raises an exception for "nothing
    there", and most reads find exactly one record.
    """
    lib = SSL._lib  # type: ignore[attr-defined]  # noqa: SLF001
    waiting = lib.BIO_get_mem_data(connection._into_ssl, _POINTER)  # noqa: SLF001
    return bool(waiting) or connection.pending() > 0


def unsent(connection: SSL.Connection) -> int:
    """Return how many octets wait to be sent to the peer."""
    lib = SSL._lib  # type: ignore[attr-defined]  # noqa: SLF001
    waiting: int = lib.BIO_get_mem_data(connection._from_ssl, _POINTER)  # noqa: SLF001
    return waiting
