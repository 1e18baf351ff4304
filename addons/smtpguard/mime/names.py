"""File names of a part, in every reading (contract 6).

Mail readers disagree about ``filename``, ``filename*``, ``name``, RFC 2231
continuations and encoded words inside them, so each reading is a name of the part, and
a rule matches if any of them does. Names stay as they are written: what eyes and file
systems drop of them is for whoever judges them (``policy.filenames``).
"""

from __future__ import annotations

from itertools import chain, islice
from typing import TYPE_CHECKING

from smtpguard.mime.charsets import decode
from smtpguard.mime.encodedwords import decode_as_one_word, decode_words
from smtpguard.mime.parameters import Parameter, readings, variants


if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


_BASES = ("filename", "name")


def file_names(
    fields: Iterable[tuple[Parameter, ...]],
    others: Iterable[tuple[Parameter, ...]] = (),
    limit: int | None = None,
) -> tuple[str, ...]:
    """Return the distinct names of a part, likeliest first, at most ``limit``.

    ``fields`` are the parameters of its Content-Disposition fields, then of its
    Content-Type fields; ``others`` what odd readers make of the same fields.
    """
    return tuple(islice(_each_once(tuple(fields), others), limit))


def _each_once(
    sets: tuple[tuple[Parameter, ...], ...], others: Iterable[tuple[Parameter, ...]]
) -> Iterator[str]:
    found: set[str] = set()
    for name in chain(
        _names_of_all(sets),
        # Some readers join the continuations of two fields.
        _continued_names(tuple(chain.from_iterable(sets))) if len(sets) > 1 else (),
        _names_of_all(others),
    ):
        for one in (name, _unquoted(name)):
            if one and one not in found:
                found.add(one)
                yield one


def _unquoted(name: str) -> str:
    """Return what readers see who take apostrophes for quotes."""
    is_quoted = len(name) > 1 and name[0] == name[-1] == "'"
    return name[1:-1] if is_quoted else name


def _names_of_all(sets: Iterable[tuple[Parameter, ...]]) -> Iterator[str]:
    for parameters in sets:
        for base in _BASES:
            yield from _field_names(parameters, base)


def _field_names(parameters: tuple[Parameter, ...], base: str) -> Iterator[str]:
    for reading in readings(parameters, base):
        text = decode(reading.octets, reading.charset)
        yield decode_words(text)
        yield decode_as_one_word(text)
        yield text
    for item in parameters:
        if item.name == base:
            yield from (decode_words(decode(text)) for text in variants(item.raw))


def _continued_names(parameters: tuple[Parameter, ...]) -> Iterator[str]:
    for base in _BASES:
        for reading in readings(parameters, base):
            if not reading.plain:
                yield decode_words(decode(reading.octets, reading.charset))
