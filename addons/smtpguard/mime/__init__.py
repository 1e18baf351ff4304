"""Messages as trees of spans over the octets they came in; usable alone.

``parse`` never raises, and copies only what has to be decoded to be read: a message is
read in linear time, within ``Limits``, and what is wrong with it is a ``Defect``.
``strip``, ``lock``, ``prepend_field`` and ``remove_field`` plan edits, ``apply`` does
them, and every octet outside an edit stays as it was received. Knows no SMTP, no rules,
no files.
"""

from smtpguard.mime.defects import Defect, Kind
from smtpguard.mime.effort import is_quick
from smtpguard.mime.header import Field
from smtpguard.mime.languages import LANGUAGES
from smtpguard.mime.limits import Limits
from smtpguard.mime.notice import Notice, Variables, deny_message, unknown_variables
from smtpguard.mime.octets import Octets, Span
from smtpguard.mime.outline import outline, outline_defects
from smtpguard.mime.parser import parse
from smtpguard.mime.part import Message, Part
from smtpguard.mime.surgery import (
    Edit,
    apply,
    lock,
    prepend_field,
    remove_field,
    strip,
)


__all__ = [
    "LANGUAGES",
    "Defect",
    "Edit",
    "Field",
    "Kind",
    "Limits",
    "Message",
    "Notice",
    "Octets",
    "Part",
    "Span",
    "Variables",
    "apply",
    "deny_message",
    "is_quick",
    "lock",
    "outline",
    "outline_defects",
    "parse",
    "prepend_field",
    "remove_field",
    "strip",
    "unknown_variables",
]
