"""SMTP grammar and framing without input or output: octets in, values out.

Whatever reads a peer keeps one contract: it returns a value, or None where octets are
missing (of a message: whether it has ended), or raises ``ProtocolError`` with the reply
to give. Any split of the same octets gives the same values. What reads a text that is
whole, as of a rule file, raises ValueError. Usable alone; knows no session, no rules,
no sockets, no clock.
"""

from __future__ import annotations

from smtpguard.wire import proxyprotocol, replies, xclient
from smtpguard.wire.capabilities import Capabilities, Offer, offer, offered_mechanisms
from smtpguard.wire.chunking import parse_bdat
from smtpguard.wire.command import Command, parse_command, printable, redact
from smtpguard.wire.commandspec import COMMANDS, spec
from smtpguard.wire.data import DataReader, DotStuffer
from smtpguard.wire.domain import normalise_domain
from smtpguard.wire.parameters import (
    check_mail_parameters,
    check_rcpt_parameters,
    encode_xtext,
)
from smtpguard.wire.path import parse_mail, parse_mailbox, parse_rcpt
from smtpguard.wire.receiver import Receiver
from smtpguard.wire.reply import ReplyReader
from smtpguard.wire.replyqueue import ReplyQueue, Slot
from smtpguard.wire.text import TextReader


__all__ = [
    "COMMANDS",
    "Capabilities",
    "Command",
    "DataReader",
    "DotStuffer",
    "Offer",
    "Receiver",
    "ReplyQueue",
    "ReplyReader",
    "Slot",
    "TextReader",
    "check_mail_parameters",
    "check_rcpt_parameters",
    "encode_xtext",
    "normalise_domain",
    "offer",
    "offered_mechanisms",
    "parse_bdat",
    "parse_command",
    "parse_mail",
    "parse_mailbox",
    "parse_rcpt",
    "printable",
    "proxyprotocol",
    "redact",
    "replies",
    "spec",
    "xclient",
]
