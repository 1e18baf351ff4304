"""rspamd, asked by HTTP: ``POST /checkv2`` (its "protocol" page, 3.4 and later).

Owns the question's header fields and what counts as an answer. Where a sender could
have a hand in the answer (the URLs that rspamd found are listed in it), what we do not
read may be any JSON: an answer that is refused is the rules' ``error``, and that may
be to let the message pass. What we do read is strict.

Each scan has a connection of its own: rspamd says ``Connection: close`` in every
answer, so there is nothing to keep and nothing that could be stale, and a new transport
costs 0.04 ms of the 1.5 ms that a scan takes (measured with 3.4 on loopback).

httpx's transport is used without its client: no redirects, no proxies or passwords
from the environment, no cookies, no decompression, no deadlines but the caller's.
"""

from __future__ import annotations

import json
import logging
import ssl
from typing import TYPE_CHECKING

import httpx

from smtpguard.errors import ScanError, ScannerUnavailableError
from smtpguard.model.verdict import Symbol, Verdict, VerdictKind
from smtpguard.scanners.spamfacts import (
    MAX_SYMBOLS,
    announced,
    believed_name,
    believed_score,
    escaped,
    escaped_path,
    told_ip,
)


if TYPE_CHECKING:
    from collections.abc import Iterator

    from smtpguard.model.scan import Subject, Told


MAX_ANSWER = 4 << 20
"""Octets; of 40,000 long URLs in a message rspamd's answer listed 2.5 MB, no more."""
MAX_RECIPIENTS_TOLD = 32 << 10
"""Octets of all ``Rcpt`` fields, 700 recipients as a rule; further ones are not told.
rspamd resets the connection beyond 80 KiB of header fields."""
AUTHENTICATED = "authenticated"
"""The ``User`` of who logged in; rspamd asks whether there is one, we know no name."""

# They log a line and more for each scan, which the record of the scan already tells.
for _each in ("httpx", "httpcore"):
    logging.getLogger(_each).setLevel(logging.WARNING)


class Rspamd:
    """One rspamd: its ``normal`` or its ``rspamd_proxy`` worker."""

    def __init__(self, name: str, address: str, max_size: int) -> None:
        """``address`` is a URL (``http://127.0.0.1:11333``) or ``unix:/path``.

        Messages of more than ``max_size`` octets are not sent.
        """
        self._name = name
        self._max_size = max_size
        self._socket = address.removeprefix("unix:") if _is_unix(address) else None
        self._url = httpx.URL("http://localhost" if self._socket else address)
        # Without https it is never used; made once, for it takes milliseconds.
        self._tls = (
            ssl.create_default_context()
            if self._url.scheme == "https"
            else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        )

    async def scan(self, subject: Subject) -> Verdict:
        """Return rspamd's score, symbols and action for a message.

        Leaves no connection behind, however it ends. Raises what ``Scanner.scan`` does.
        """
        if subject.size > self._max_size:
            return Verdict(self._name, VerdictKind.OVERSIZE)
        fields = [
            ("Content-Length", str(subject.size)),
            *(told_fields(subject.told) if subject.told else ()),
        ]
        answer = await self._ask("POST", "checkv2", fields, announced(subject))
        return read_answer(self._name, answer)

    async def ping(self) -> None:
        """Ask whether rspamd is there. Raises ScanError."""
        answer = await self._ask("GET", "ping", [], iter(()))
        if answer.strip() != b"pong":
            raise ScanError(f"pinged, it says {answer[:50]!r}")

    async def _ask(
        self,
        method: str,
        command: str,
        fields: list[tuple[str, str]],
        content: Iterator[bytes],
    ) -> bytes:
        url = self._url.copy_with(path=f"{self._url.path.rstrip('/')}/{command}")
        headers = [
            ("Host", url.netloc.decode("ascii")),
            ("Connection", "close"),
            *fields,
        ]
        request = httpx.Request(method, url, headers=headers, stream=_Content(content))
        transport = httpx.AsyncHTTPTransport(
            verify=self._tls, uds=self._socket, trust_env=False
        )
        try:
            async with transport:
                return await _body(await transport.handle_async_request(request))
        except httpx.ConnectError as error:
            raise ScannerUnavailableError(f"cannot connect: {error}") from error
        except httpx.HTTPError as error:
            text = f"{type(error).__name__}: {error}".removesuffix(": ")
            raise ScanError(text) from error


def _is_unix(address: str) -> bool:
    return address.startswith("unix:")


class _Content(httpx.AsyncByteStream):
    """The message on its way.

    Not an asynchronous generator: one that is cut off is closed by a task of the event
    loop, and a cancelled scan leaves none behind.
    """

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks

    def __aiter__(self) -> _Content:
        return self

    async def __anext__(self) -> bytes:
        for chunk in self._chunks:
            return chunk
        raise StopAsyncIteration


async def _body(response: httpx.Response) -> bytes:
    if response.status_code != 200:
        text = f"HTTP status {response.status_code} {response.reason_phrase}"
        if response.status_code == 503:
            raise ScannerUnavailableError(text)
        raise ScanError(text)
    if "Content-Encoding" in response.headers:
        raise ScanError("an answer in an encoding that was not asked for")
    body = bytearray()
    async for piece in response.aiter_raw():
        body += piece
        if len(body) > MAX_ANSWER:
            raise ScanError(f"an answer of more than {MAX_ANSWER} octets")
    return bytes(body)


def told_fields(told: Told) -> list[tuple[str, str]]:
    """Return the header fields that tell rspamd of a message: visible ASCII alone.

    What is unknown, or too long, is not told.
    """
    fields = [
        ("From", _bracketed(told.reverse_path)),
        *(("Rcpt", each) for each in _recipients(told.forward_paths)),
        ("IP", told_ip(told.client)),
        ("Helo", escaped(told.helo)),
        ("User", AUTHENTICATED if told.authenticated else ""),
        ("TLS-Version", escaped(told.tls)),
        ("Queue-Id", escaped(told.id)),
    ]
    return [(name, value) for name, value in fields if value]


def _recipients(paths: tuple[str, ...]) -> Iterator[str]:
    room = MAX_RECIPIENTS_TOLD
    for path in paths:
        address = _bracketed(path)
        room -= len(f"Rcpt: {address}\r\n")
        if room < 0:
            return
        yield address


def _bracketed(path: str) -> str:
    address = escaped_path(path)
    return "" if address is None else f"<{address}>"


def read_answer(name: str, body: bytes) -> Verdict:
    """Return what the answer's body says; raises ScanError.

    ``is_skipped`` says that nothing further was looked at, as after GTUBE, which has
    its score and action all the same: it changes nothing here.
    """
    answer = _object(body)
    if "error" in answer:
        raise ScanError(f"rspamd says: {str(answer['error'])[:100]}")
    if not isinstance(answer.get("is_skipped", False), bool):
        raise ScanError("an answer whose is_skipped is not true or false")
    return Verdict(
        name,
        VerdictKind.SCORED,
        score=believed_score(answer.get("score")),
        symbols=tuple(_symbols(answer.get("symbols"))),
        said=believed_name(answer.get("action")),
    )


def _object(body: bytes) -> dict[str, object]:
    # Octets that are not UTF-8, and controls, may stand in what a sender wrote.
    text = body.decode("utf-8", "replace")
    try:
        found = json.loads(text, object_pairs_hook=_unique, strict=False)
    except (ValueError, RecursionError) as error:
        raise ScanError(f"an answer that is not JSON: {error}") from error
    if not isinstance(found, dict):
        raise ScanError("an answer that is not a JSON object")
    return found


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ScanError("an answer that says one thing twice")
    return found


def _symbols(value: object) -> Iterator[Symbol]:
    if not isinstance(value, dict):
        raise ScanError("an answer without symbols")
    if len(value) > MAX_SYMBOLS:
        raise ScanError(f"an answer with {len(value)} symbols")
    for name, facts in value.items():
        if not isinstance(facts, dict) or facts.get("name", name) != name:
            raise ScanError(f"a symbol that is none: {name[:50]!r}")
        yield Symbol(believed_name(name), believed_score(facts.get("score")))
