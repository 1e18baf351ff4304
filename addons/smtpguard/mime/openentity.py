"""An entity while it is being read: what is known before its end is."""

from __future__ import annotations

from typing import TYPE_CHECKING


if TYPE_CHECKING:
    from smtpguard.mime.entity import Claims
    from smtpguard.mime.header import Field
    from smtpguard.mime.octets import Span
    from smtpguard.mime.part import Part


class OpenEntity:
    """An entity whose end is not known yet."""

    __slots__ = (
        "body",
        "boundary",
        "children",
        "claims",
        "content",
        "default_type",
        "delimiters",
        "depth",
        "epilogue",
        "fields",
        "header",
        "path",
        "start",
    )

    def __init__(self, path: str, depth: int, start: int, default_type: str) -> None:
        self.path = path
        self.depth = depth
        self.start = start
        self.default_type = default_type
        self.header: Span | None = None
        """None until its end is known; then body, fields and claims are set."""
        self.body: int
        self.fields: tuple[Field, ...]
        self.claims: Claims
        self.content = start
        """Where the piece begins that the next delimiter ends."""
        self.boundary: bytes | None = None
        self.children: list[Part] = []
        self.delimiters: list[Span] = []
        self.epilogue: int | None = None
