"""ESMTP parameters of MAIL and RCPT: which may stand there, with which values.

Sources: RFC 1870 (SIZE), 6152 and 3030 (BODY), 6531 (SMTPUTF8), 3461 (DSN), 6533
(``utf-8`` in ORCPT), 4954 (AUTH), 2852 (BY), 4865 (HOLDFOR, HOLDUNTIL), 6710
(MT-PRIORITY), 8689 (REQUIRETLS). A parameter passes only if its extension was offered
to the client; what the values mean to us is decided elsewhere.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple, NoReturn

from smtpguard.errors import ProtocolError
from smtpguard.wire import replies
from smtpguard.wire.capabilities import KNOWN_KEYWORDS


if TYPE_CHECKING:
    from collections.abc import Callable

    from smtpguard.model.mailbox import Parameter, Path
    from smtpguard.wire.capabilities import Capabilities


MAX_ENVID: Final = 100
"""Characters as encoded (RFC 3461 4.4)."""
MAX_ORCPT: Final = 500
"""Characters (RFC 3461 4.2)."""

_XTEXT: Final = r"(?:[!-*,-<>-~]|\+[0-9A-F]{2})+"
_XTEXT_PAIR: Final = re.compile(rb"\+([0-9A-F]{2})")
_ATOM: Final = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
_UTF8_ADDRESS: Final = r"(?:[!-*,-<>-\[\]-~\x80-\U0010ffff]|\\x\{[0-9A-F]{2,6}\})+"


def check_mail_parameters(path: Path, capabilities: Capabilities) -> None:
    """Check the parameters of MAIL against what the client was offered.

    Raises ``ProtocolError``: 555 for one that was not offered (``550 5.7.30`` for
    REQUIRETLS), ``501 5.5.4`` for a value that is wrong or a keyword that comes twice.
    """
    _check(path, capabilities, _MAIL)
    if path.parameter("HOLDFOR") and path.parameter("HOLDUNTIL"):
        _refuse("HOLDFOR", "stands beside HOLDUNTIL")


def check_rcpt_parameters(path: Path, capabilities: Capabilities) -> None:
    """Check the parameters of RCPT against what the client was offered.

    Raises ``ProtocolError`` as ``check_mail_parameters`` does.
    """
    _check(path, capabilities, _RCPT)


def encode_xtext(text: str) -> bytes:
    """Return text as xtext (RFC 3461 4), a UTF-8 octet outside it as ``+XX``."""
    return b"".join(
        b"%c" % octet if 33 <= octet <= 126 and octet not in b"+=" else b"+%02X" % octet
        for octet in text.encode()
    )


def decode_xtext(octets: bytes) -> str:
    """Return what xtext means; raises ValueError if it is none, or no UTF-8."""
    if not re.fullmatch(_XTEXT.encode("ascii"), octets) and octets:
        msg = f"no xtext: {octets!r}"
        raise ValueError(msg)
    return _XTEXT_PAIR.sub(lambda pair: bytes([int(pair[1], 16)]), octets).decode()


class _Rule(NamedTuple):
    extension: str
    """Keyword that must have been offered."""
    value: re.Pattern[str] | None
    """None: takes no value."""
    sound: Callable[[str], bool] = bool
    """A further test of the value."""


def _check(path: Path, capabilities: Capabilities, rules: dict[str, _Rule]) -> None:
    seen = set()
    for parameter in path.parameters:
        if parameter.keyword in seen:
            _refuse(parameter.keyword, "comes twice")
        seen.add(parameter.keyword)
        rule = rules.get(parameter.keyword)
        if not _is_offered(parameter, rule, capabilities):
            _refuse_extension(parameter)
        if rule is not None and not _is_sound(parameter.value, rule):
            _refuse(parameter.keyword, "has a bad value")


def _is_offered(
    parameter: Parameter, rule: _Rule | None, capabilities: Capabilities
) -> bool:
    keyword = parameter.keyword
    if rule is None:
        # Passed by a rule (``esmtp.allow``), by the name of its extension.
        return keyword in capabilities and keyword not in KNOWN_KEYWORDS
    if keyword == "BODY" and (parameter.value or "").upper() == "BINARYMIME":
        return "BINARYMIME" in capabilities
    return rule.extension in capabilities


def _is_sound(value: str | None, rule: _Rule) -> bool:
    if value is None or rule.value is None:
        return value is None and rule.value is None
    return rule.value.fullmatch(value) is not None and rule.sound(value)


def _refuse_extension(parameter: Parameter) -> NoReturn:
    text = f"{parameter.keyword} was not offered"
    if parameter.keyword == "REQUIRETLS":
        raise ProtocolError(text, replies.REQUIRETLS_NEEDED)
    raise ProtocolError(text, replies.UNSUPPORTED_PARAMETER)


def _refuse(keyword: str, why: str) -> NoReturn:
    raise ProtocolError(f"{keyword} {why}", replies.BAD_PARAMETER)


def _is_text(value: str) -> bool:
    """Say whether xtext stands for text that may enter a report: no controls."""
    try:
        return decode_xtext(value.encode()).replace("\t", " ").isprintable()
    except ValueError:
        return False


def _is_envid(value: str) -> bool:
    return len(value) <= MAX_ENVID and _is_ascii_text(value)


def _is_ascii_text(value: str) -> bool:
    # RFC 3461 4.2 and 4.4: US-ASCII before it was encoded.
    return _is_text(value) and decode_xtext(value.encode()).isascii()


def _is_orcpt(value: str) -> bool:
    kind, _, address = value.partition(";")
    if len(value) > MAX_ORCPT:
        return False
    if kind.lower() == "utf-8":
        return re.fullmatch(_UTF8_ADDRESS, address) is not None
    return address.isascii() and _is_ascii_text(address)


def _is_auth(value: str) -> bool:
    return value == "<>" or _is_text(value)


def _is_by(value: str) -> bool:
    # RFC 2852 4: "return" asks for a time that is still to come.
    time, _, mode = value.partition(";")
    return mode[:1].upper() == "N" or int(time) > 0


def _expression(text: str) -> re.Pattern[str]:
    # ASCII, or else a long s would be an S.
    return re.compile(text, re.IGNORECASE | re.ASCII)


# RFC 3339 5.6.
_DATE: Final = "[0-9]{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12][0-9]|3[01])"
_HOUR_MINUTE: Final = "(?:[01][0-9]|2[0-3]):[0-5][0-9]"
_TIME: Final = rf"{_HOUR_MINUTE}:(?:[0-5][0-9]|60)(?:\.[0-9]{{1,9}})?"
_HOLDUNTIL: Final = f"{_DATE}T{_TIME}(?:Z|[+-]{_HOUR_MINUTE})"
_NOTIFY: Final = "(?:SUCCESS|FAILURE|DELAY)"

_MAIL: Final = {
    "SIZE": _Rule("SIZE", re.compile("[0-9]{1,20}")),
    "BODY": _Rule("8BITMIME", _expression("7BIT|8BITMIME|BINARYMIME")),
    "SMTPUTF8": _Rule("SMTPUTF8", None),
    "RET": _Rule("DSN", _expression("FULL|HDRS")),
    "ENVID": _Rule("DSN", re.compile(_XTEXT), _is_envid),
    "AUTH": _Rule("AUTH", re.compile(f"<>|{_XTEXT}"), _is_auth),
    "BY": _Rule("DELIVERBY", _expression("[+-]?[0-9]{1,9};[NR]T?"), _is_by),
    "HOLDFOR": _Rule("FUTURERELEASE", re.compile("[1-9][0-9]{0,8}")),
    "HOLDUNTIL": _Rule("FUTURERELEASE", _expression(_HOLDUNTIL)),
    "MT-PRIORITY": _Rule("MT-PRIORITY", re.compile("0|-?[1-9]")),
    "REQUIRETLS": _Rule("REQUIRETLS", None),
}

_RCPT: Final = {
    "NOTIFY": _Rule("DSN", _expression(f"NEVER|{_NOTIFY}(?:,{_NOTIFY}){{0,2}}")),
    "ORCPT": _Rule("DSN", re.compile(f"{_ATOM};.+"), _is_orcpt),
}
