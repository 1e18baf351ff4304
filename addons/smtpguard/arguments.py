"""Kinds of values on the command line."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any


def path(text: str) -> Path:
    """Return a path. Raises ValueError for "", which is not the current folder."""
    if not text:
        raise ValueError
    return Path(text)


class Once(argparse.Action):
    """Takes one value, and refuses a second one rather than forget the first."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,  # noqa: ANN401 - argparse's own
        option_string: str | None = None,
    ) -> None:
        """Note the value. Exits where there is one already."""
        if getattr(namespace, self.dest) is not self.default:
            parser.error(f"{option_string} is given twice")
        setattr(namespace, self.dest, values)
