"""File names of a part, in every reading (contract 6).

Mail readers disagree about ``filename``, ``filename*``, ``name``, RFC 2231
continuations and encoded words inside them, so each reading is a name of the part, and
a rule matches if any of them does. What a file system or a user's eye drops (trailing
dots and blanks, controls, bidi marks, full-width letters) is seen through by one more
reading.
"""

from __future__ import annotations

import unicodedata
from itertools import chain, islice
from typing import TYPE_CHECKING

from smtpguard.mime.charsets import decode
from smtpguard.mime.encodedwords import decode_as_one_word, decode_words
from smtpguard.mime.parameters import Parameter, readings, variants
from smtpguard.model.characters import is_invisible


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
    sets = tuple(fields)
    written = dict.fromkeys(islice(_written_names(sets, others), limit))
    names = chain(written, chain.from_iterable(map(_seen_through, written)))
    return tuple(islice(dict.fromkeys(name for name in names if name), limit))


def _written_names(
    sets: tuple[tuple[Parameter, ...], ...], others: Iterable[tuple[Parameter, ...]]
) -> Iterator[str]:
    """Yield the names that the fields give, each once."""
    found: set[str] = set()
    for name in chain(
        _names_of_all(sets),
        # Some readers join the continuations of two fields.
        _continued_names(tuple(chain.from_iterable(sets))) if len(sets) > 1 else (),
        _names_of_all(others),
    ):
        if name and name not in found:
            found.add(name)
            yield name


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


def _seen_through(name: str) -> Iterator[str]:
    if "\0" in name:
        # A reader written in C stops at the first NUL.
        yield name.partition("\0")[0]
    seen = name if name.isascii() else _folded(name)
    kept = "".join(c for c in seen if not is_invisible(c))
    yield kept.rstrip(". ").lstrip()


def _folded(name: str) -> str:
    """Return the compatibility form, character by character.

    Normalising the whole name would sort runs of combining marks in quadratic time.
    """
    return "".join(unicodedata.normalize("NFKC", character) for character in name)
