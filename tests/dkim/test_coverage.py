from __future__ import annotations

import pytest

from smtpguard.dkim import is_covered
from smtpguard.mime import Span, parse
from tests.dkim.signing import MAIL, sign


SIGNED = sign(names=[b"from", b"x-none"])


def covered(mail: bytes, name: str, offset: int = 0) -> bool:
    message = parse(mail)
    field = next(one for one in message.fields if one.is_named(name))
    start = field.span.start + offset
    return is_covered(message, [Span(start, start + 1)])


@pytest.mark.parametrize(
    ("mail", "name", "wanted"),
    [
        (SIGNED, "from", True),
        (SIGNED, "subject", False),
        (SIGNED, "dkim-signature", True),
        (MAIL, "from", False),
        (b"DKIM-Signature: h=TO : subject; d=\xff\r\n" + SIGNED, "subject", True),
        (b"DKIM-Signature: no tags\r\n" + SIGNED, "subject", True),
        (b"DKIM-Signature: v=1\r\n" + SIGNED, "subject", True),
    ],
)
def test_a_field_is_covered_if_a_signature_lists_it(
    mail: bytes, name: str, wanted: bool
) -> None:
    assert covered(mail, name) is wanted
    assert covered(mail, name, offset=3) is wanted


def test_what_is_in_no_field_is_not_covered() -> None:
    message = parse(SIGNED)
    assert not is_covered(message, [])
    assert not is_covered(message, [Span(len(SIGNED) - 1, len(SIGNED))])
