"""The argument of BDAT (RFC 3030 2).

Owns nothing but the two values. A size that cannot be read closes the session: its
octets follow whatever we answer, and would be taken for commands.
"""

from __future__ import annotations

import re
from typing import Final

from smtpguard.errors import ProtocolError
from smtpguard.wire import replies
from smtpguard.wire.command import printable


MAX_CHUNK_OCTETS: Final = 2**40
"""Above it nobody could wait for the chunk to end."""

_ARGUMENT: Final = re.compile(rb"([0-9]{1,20})(?: +(LAST))?\Z", re.IGNORECASE)


def parse_bdat(argument: bytes) -> tuple[int, bool]:
    """Return the size in octets, and whether it is the last chunk.

    Raises ``ProtocolError`` 501 with ``closes`` for anything else.
    """
    found = _ARGUMENT.match(argument)
    size = int(found[1]) if found else MAX_CHUNK_OCTETS + 1
    if found is None or size > MAX_CHUNK_OCTETS:
        raise ProtocolError(
            f"bad BDAT argument {printable(argument[:64])}",
            replies.SYNTAX,
            closes=True,
        )
    return size, found[2] is not None
