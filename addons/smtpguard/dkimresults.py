"""What held of a message's DKIM signatures before its edits, and what they broke.

Told in an Authentication-Results field of our name (RFC 8601), since nobody behind us
can find it out any more, and among the findings of the record.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from smtpguard.dkim import broken, forged_results, is_signed, results_value, verify
from smtpguard.looking import TakesLong
from smtpguard.mime import apply, prepend_field, remove_field


if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from smtpguard.dkim import Ask, Verified
    from smtpguard.mime import Edit, Limits, Message
    from smtpguard.model.disposition import Disposition


def verified(
    message: Message, ask: Ask | None, now: datetime, *, at_once: bool
) -> tuple[Verified, ...]:
    """Verify a message's signatures; ``ask`` None verifies nothing.

    Raises ``TakesLong`` instead of asking where an answer is wanted at once.
    """
    if ask is None or not is_signed(message):
        return ()
    if at_once:
        raise TakesLong
    return verify(message, ask, int(now.timestamp()))


def with_results(
    said: Disposition,
    message: Message,
    edits: Sequence[Edit],
    found: Sequence[Verified],
    *,
    own_name: str,
    limits: Limits,
) -> Disposition:
    """Return ``said`` with the edited message, a field on top that tells what was
    found, and findings for the record.

    Fields that pretend to be ours go. A signature that held and holds no more after
    all this is ``dkim-broken``.
    """
    results = [remove_field(message, one) for one in forged_results(message, own_name)]
    if found:
        value = results_value(own_name, found)
        results.append(prepend_field(message, b"Authentication-Results", value))
    content = apply(message, (*results, *edits))
    findings = dict.fromkeys(
        (
            *said.report.get("findings", ()),
            *(f"dkim:{one.result}:{one.domain}" for one in found),
            *(f"dkim-broken:{one.domain}" for one in broken(found, content, limits)),
        )
    )
    return replace(
        said, content=content, report={**said.report, "findings": [*findings]}
    )
