"""The mail log: one line for each transaction, as a mail administrator greps for it.

Printable ASCII only, whatever the peers sent: a line break, an escape sequence or a
quote in an address must not make a second line or a second field (attacks P1).
"""

from __future__ import annotations

import hashlib
import json
import re
import traceback
from typing import TYPE_CHECKING, Any, Literal


if TYPE_CHECKING:
    from smtpguard.dialogue.record import TransactionRecord
    from smtpguard.options import GuardOptions


type Addresses = Literal["full", "hashed", "none"]

MAX_VERDICTS = 20
"""That are told on a line; the record has all."""
_SENTENCES = frozenset({"in_doubt", "reply", "reason"})
"""Fields that stand in quotes."""
_SPAM = ("scanner", "category", "score")
_CODES = re.compile(r"[2-5][0-9]{2}(?: [245]\.[0-9]{1,3}\.[0-9]{1,3}(?![^ ]))?")
_CODED = r"(?:%40|\+40)(?=[\w\[])"
"""An ``@`` in a URL, and in xtext (RFC 3461 4)."""
_SIGN = re.compile(rf"@|{_CODED}")
_DOMAIN = r"""
    (?: \[ [^\]\s]*+ \]?+               # an address literal,
      | [^\s<>()\[\]{},;:"'@=!?/|]++ )  # or a domain, in whatever script
"""
_AT = rf"(?: \s*+ @ (?: \s*+ {_DOMAIN} )?+ | {_CODED} {_DOMAIN} )++"
_LETTER = rf"""(?: [^\s<>()\[\],;:"@%+] | (?!{_CODED}) [%+] )"""
_QUOTED = re.compile(
    rf"""
    (?: (?<!\\) " (?: [^"\\] | \\. )*+ "   # a quoted local part: it may hold anything,
      | \\" [^"\\]*+ \\" )                 # within a quoted text too,
    {_LETTER}*+ {_AT}                      # and more may follow it
    """,
    re.VERBOSE | re.DOTALL,
)
_BEFORE = re.compile(
    r"""(?: \. (?: "[^"]*+" | [^\s<>()\[\],;:"@.]++ ) )*+""", re.VERBOSE
)
"""The words before a quoted one (``"a"."b c"@d``, RFC 5322 4.4), read backwards."""
_WORD = re.compile(rf"({_LETTER}++) ({_AT})?+ | (?=@) {_AT}", re.VERBOSE)
"""A word, with what makes it an address. These expressions look at no character more
than a few times, however long a text is."""


def line(record: TransactionRecord, addresses: Addresses) -> str:
    """Return the log line of a transaction that has ended."""
    words = []
    for name, value in _fields(record, addresses):
        if isinstance(value, list):
            value = ",".join(value)  # noqa: PLW2901 - the same, as it is shown
        elif isinstance(value, float):
            value = f"{value:.3f}"  # noqa: PLW2901 - likewise
        written = _quoted(value) if name in _SENTENCES else _bare(str(value))
        words.append(f"{name}={written}" if written else "")
    return " ".join(filter(None, words))


def json_line(record: TransactionRecord, addresses: Addresses) -> str:
    """Return the same as a JSON object on one line, in ASCII, without empty values."""
    found = {name: value for name, value in _fields(record, addresses) if value != ""}
    return json.dumps({name: value for name, value in found.items() if value != []})


def told(record: TransactionRecord, options: GuardOptions) -> str:
    """Return the line of a transaction in the form that is wanted."""
    write = json_line if options.log_form == "json" else line
    return write(record, options.log_addresses)


def _fields(record: TransactionRecord, addresses: Addresses) -> list[tuple[str, Any]]:
    """Return what is told of a transaction, by name.

    Words of the upstream and of a rule's reason may quote addresses: unless these may
    be shown in full, a reply is its codes and there is no reason.
    """
    full = addresses == "full"
    return [
        ("tx", record.id),
        ("client", record.client),
        ("tls", record.tls),
        ("from", f"<{shown(record.mail_from, addresses)}>"),
        ("to", _recipients(record, addresses)),
        ("rcpts", len(record.rcpt_to)),
        ("size", record.size),
        ("policy", record.policy),
        ("disposition", str(record.outcome)),
        ("rule", record.rule),
        ("action", record.action),
        ("verdicts", _verdicts(record)),
        ("kept", [str(one) for one in _list(record, "quarantine")]),
        ("copies", [str(one) for one in _list(record, "copies")]),
        ("in_doubt", record.in_doubt),
        ("duration", round(record.duration, 3)),
        ("reply", record.reply if full else codes(record.reply)),
        ("reason", record.reason if full else ""),
    ]


def _verdicts(record: TransactionRecord) -> list[str]:
    """Return what scanners said, each once: ``clamav:infected:Eicar``.

    Any addon may have made the report.
    """
    parts = [one for one in _list(record, "parts") if isinstance(one, dict)]
    lists = [part.get("verdicts") for part in parts]
    verdicts = [one for told in lists if isinstance(told, list) for one in told]
    found = [
        ":".join(str(one[key]) for key in ("scanner", "kind", "name") if one.get(key))
        for one in verdicts
        if isinstance(one, dict)
    ]
    spam = record.report.get("spam")
    if isinstance(spam, dict):
        found.append(":".join(str(spam.get(key)) for key in _SPAM))
    return list(dict.fromkeys(found))[:MAX_VERDICTS]


def _list(record: TransactionRecord, key: str) -> list[Any]:
    found = record.report.get(key)
    return found if isinstance(found, list) else []


def shown(address: str, addresses: Addresses) -> str:
    """Return an address as the log may show it.

    ``hashed`` is the beginning of a SHA-256: the same address has the same hash in all
    lines, quoted or not, so that they can be brought together. Case, quoting and blanks
    around the ``@`` make no difference; a domain is taken as it is written.
    """
    if addresses == "full" or not address:
        return address
    if addresses == "none":
        return "hidden"
    unquoted = address.replace('"', "").replace("\\", "").lower()
    normal = "@".join(part.strip() for part in _SIGN.split(unquoted))
    return hashlib.sha256(normal.encode("utf-8", "replace")).hexdigest()[:16]


def codes(reply: str) -> str:
    """Return the code of a reply, and its enhanced code where it has one."""
    found = _CODES.match(reply)
    return found[0] if found else ""


def private(text: str, addresses: Addresses) -> str:
    """Return text for the log with each mail address in it as it may be shown.

    An address is a quoted string with the words before it, or what stands without a
    blank or bracket, before an ``@`` (or ``%40``, ``+40``), and the domain after it
    without the full stop of a sentence; blanks around the ``@`` belong to it. ``=`` is
    part of a local part, as in those of mailing lists (VERP) and forwarders (SRS,
    BATV), which hold an address of somebody else.
    """
    if addresses == "full" or not _SIGN.search(text):
        return text

    def hidden(address: str) -> str:
        # Without the quotes and the full stop of a sentence.
        bare = address.lstrip("'")
        marks = address[: len(address) - len(bare)]
        address = bare.rstrip(".")
        return marks + shown(address, addresses) + bare[len(address) :]

    pieces: list[str] = []
    backwards, end = text[::-1], 0
    for found in _QUOTED.finditer(text):
        before = _BEFORE.match(backwards, len(text) - found.start(), len(text) - end)
        start = found.start() - (len(before[0]) if before else 0)
        pieces += text[end:start], hidden(text[start : found.end()])
        end = found.end()
    text = "".join(pieces) + text[end:]
    return _WORD.sub(
        lambda word: word[0] if word[1] and not word[2] else hidden(word[0]), text
    )


def printable(text: str) -> str:
    """Return text as printable ASCII on one line, everything else as escapes."""
    if text.isascii() and text.isprintable():
        return text
    escaped = text.encode("unicode_escape", "backslashreplace").decode("ascii")
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in escaped)


def describe(error: BaseException, addresses: Addresses) -> str:
    """Return a traceback that is safe to log: it may quote what a peer has sent."""
    text = "".join(traceback.format_exception(error))
    lines = private(text, addresses).splitlines()
    return "\n".join(printable(line) for line in lines)


def _recipients(record: TransactionRecord, addresses: Addresses) -> list[str]:
    return [
        f"<{shown(str(rcpt.get('address', '')), addresses)}>"
        f":{str(rcpt.get('reply', ''))[:3] or '-'}"
        for rcpt in record.rcpt_to
    ]


def _quoted(text: str) -> str:
    """Return text in quotes, as ASCII: a quote or backslash in it has one before it."""
    escaped = text.encode("unicode_escape", "backslashreplace").decode("ascii")
    return '"' + escaped.replace('"', '\\"') + '"' if text else ""


def _bare(value: str) -> str:
    """Return a value that stands without quotes, and so has no space in it."""
    return printable(value).replace(" ", "\\x20")
