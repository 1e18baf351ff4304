"""A message's parts and defects as JSON-ready values (contract 10).

Used by the session record, ``inspect`` and the content view, so that all three show the
same thing. Keys are stable; ``facts`` and ``entries`` are empty until content is
detected and archives are entered.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any


if TYPE_CHECKING:
    from collections.abc import Mapping

    from smtpguard.mime.part import Message, Part


def outline(
    message: Message, measured: Mapping[str, tuple[int, str]] | None = None
) -> list[dict[str, Any]]:
    """Return one object for each part, containers included, in document order.

    Decodes every leaf, unless ``measured`` tells its size and digest, by path. ``size``
    and ``sha256`` speak of the decoded content. A container's ``size`` is that of its
    body; ``sha256`` is "" of a multipart and of a message inside a message: of
    containers only the outermost message has one, so that depth of nesting does not
    multiply the work.
    """
    outermost = "?"
    found: list[dict[str, Any]] = []
    for part in message.parts():
        is_inner = part.path.startswith(outermost)
        if part.is_message and not part.is_leaf and not is_inner:
            outermost = f"{part.path}."
        known = measured.get(part.path) if measured else None
        found.append(_part(part, known, is_inner=is_inner))
    return found


def outline_defects(message: Message) -> list[dict[str, Any]]:
    """Return one object for each defect, by offset."""
    return [
        {"kind": str(defect.kind), "part": defect.part, "offset": defect.offset}
        for defect in message.defects
    ]


def _part(
    part: Part, known: tuple[int, str] | None, *, is_inner: bool
) -> dict[str, Any]:
    size, digest = known or (len(part.body), "")
    if known is None and (part.is_leaf or (part.is_message and not is_inner)):
        size, digest = part.measure()
    return {
        "path": part.path,
        "type": part.content_type,
        "names": list(part.names),
        "size": size,
        "sha256": digest,
        "facts": [],
        "entries": [],
    }
