"""Domains and address literals in one normal form (RFC 5321 4.1.2, 4.1.3, RFC 5890).

Owns the grammar of what stands behind the ``@``, and the form in which rules compare
it. Two spellings of one domain get one form; nothing else is guessed.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Final

import idna


MAX_DOMAIN: Final = 255
"""Octets as written (RFC 5321 4.5.3.1.2), and of the normal form."""
MAX_LABEL: Final = 63
"""Octets (RFC 1035 2.3.4)."""

# sub-domain = Let-dig [Ldh-str], with two liberties that the DNS takes as well: an
# underscore where a letter may stand, and the dot that ends a full name. RFC 6531 3.3
# adds U-labels, which ``idna`` checks.
_LABEL: Final = (
    r"[A-Za-z0-9_\x80-\U0010ffff](?:[A-Za-z0-9_\x80-\U0010ffff-]*"
    r"[A-Za-z0-9_\x80-\U0010ffff])?"
)
NAME: Final = rf"{_LABEL}(?:\.{_LABEL})*\.?"
"""Expression for a domain name."""
LITERAL: Final = r"\[[!-Z^-~]*\]"
"""Expression for an address literal, whose inside is not checked by it."""

_NAME: Final = re.compile(rf"{NAME}\Z")
_LITERAL: Final = re.compile(rf"{LITERAL}\Z")
_IPV6: Final = "ipv6:"
_TAGGED: Final = re.compile(r"([A-Za-z0-9-]*[A-Za-z0-9]):([!-Z^-~]+)\Z")


def normalise_domain(text: str) -> str:
    """Return a domain or address literal as rules compare it; raises ValueError.

    Names: lower case, A-labels (UTS 46, not transitional), without a trailing dot.
    Literals: ``[192.0.2.1]``, ``[ipv6:2001:db8::1]``, others in lower case.
    """
    if len(text.encode("utf-8", "replace")) > MAX_DOMAIN:
        msg = f"domain over {MAX_DOMAIN} octets"
        raise ValueError(msg)
    if _LITERAL.match(text):
        return _normalise_literal(text)
    if not _NAME.match(text):
        msg = f"no domain: {text!a}"
        raise ValueError(msg)
    normal = _a_labels(text).removesuffix(".")
    # Mapping may have made anything of a lookalike, an at sign too: judge it again.
    if not _NAME.match(normal):
        msg = f"no domain: {text!a}"
        raise ValueError(msg)
    if max(map(len, normal.split("."))) > MAX_LABEL or len(normal) > MAX_DOMAIN:
        msg = f"label over {MAX_LABEL} or domain over {MAX_DOMAIN} octets"
        raise ValueError(msg)
    return normal


def _a_labels(text: str) -> str:
    if text.isascii():
        return text.lower()
    try:
        mapped = idna.uts46_remap(text, std3_rules=False, transitional=False)
        return ".".join(
            label if label.isascii() else idna.alabel(label).decode("ascii")
            for label in mapped.split(".")
        )
    except (idna.IDNAError, UnicodeError) as error:
        msg = f"no domain: {error}"
        raise ValueError(msg.encode("ascii", "backslashreplace").decode()) from None


def _normalise_literal(text: str) -> str:
    inside = text[1:-1]
    if inside[: len(_IPV6)].lower() == _IPV6:
        return f"[ipv6:{_ipv6(inside[len(_IPV6) :])}]"
    if _TAGGED.match(inside) and not _is_ipv6(inside):
        return text.lower()
    return f"[{ipaddress.IPv4Address(inside)}]"


def _is_ipv6(text: str) -> bool:
    """Say whether a literal lacks the tag that would make it an IPv6 address.

    By the grammar its first group is a tag, to lenient servers it is an address.
    """
    try:
        ipaddress.IPv6Address(text)
    except ValueError:
        return False
    return True


def _ipv6(text: str) -> ipaddress.IPv6Address:
    # A scope names an interface of the machine that wrote it, and is no IPv6-addr.
    if "%" in text:
        msg = f"IPv6 address with a scope: {text!a}"
        raise ValueError(msg)
    return ipaddress.IPv6Address(text)
