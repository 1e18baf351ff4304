"""A payload that only the administrator can read: age, by pyrage (age-encryption.org).

Owns ``lock.recipient``, an X25519 public key. Pure: what is encrypted lies meanwhile
where the caller says. The private key is never here; ``unlocking`` reads it.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pyrage

from smtpguard.locking.container import lock
from smtpguard.locking.unlock import BLOCK, Source


if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from typing import BinaryIO

    from smtpguard.locking.unlock import Head


def parse_recipient(text: str) -> Any:  # noqa: ANN401 - pyrage has no type hints
    """Return the public key ``age1...``. Raises ValueError, which says why not."""
    if text.upper().startswith("AGE-SECRET-KEY-"):
        # Not shown: it is a secret.
        raise ValueError("this is a private key; the recipient is its public one")
    try:
        return pyrage.x25519.Recipient.from_str(text)
    except pyrage.RecipientError as error:
        raise ValueError(f"not an age X25519 public key: {text!r} ({error})") from None


def lock_for(
    recipient: Any,  # noqa: ANN401 - as parse_recipient returns it
    chunks: Iterable[bytes],
    head: Head,
    mask_key: bytes,
    spool: BinaryIO,
) -> Iterator[bytes]:
    """Yield a container whose payload is encrypted; otherwise as ``lock`` does.

    ``head`` is that of a payload which is not. ``spool`` is an empty file for what is
    encrypted, since its length stands in front of it; beside it memory is needed for
    one chunk. Raises ValueError as ``lock`` does, and what ``spool`` raises.
    """
    source = Source(chunks)
    piped(pyrage.encrypt_io, source.read, spool.write, [recipient])
    if (source.size, source.digest.hexdigest()) != (head.size, head.sha256):
        raise ValueError("the chunks are not what the head tells")
    sealed = head._replace(encryption="age", payload=spool.tell())
    spool.seek(0)
    yield from lock(iter(lambda: spool.read(BLOCK), b""), sealed, mask_key)


def piped(
    work: Any,  # noqa: ANN401 - pyrage.encrypt_io or decrypt_io
    read: Callable[[int], bytes],
    write: Callable[[bytes], int],
    keys: Sequence[Any],
) -> None:
    """Have pyrage encrypt or decrypt what is read, and write it.

    Raises what pyrage, ``read`` and ``write`` raise. pyrage alone forgets it of the
    last octets that it writes: with a full disk the end would be lost in silence.
    """
    raised: list[BaseException] = []

    def noting(call: Callable[[Any], Any]) -> Callable[[Any], Any]:
        def noted(argument: Any) -> Any:  # noqa: ANN401 - as ``call``
            try:
                return call(argument)
            except BaseException as error:
                raised.append(error)
                raise

        return noted

    source = SimpleNamespace(read=noting(read))
    sink = SimpleNamespace(write=noting(write))
    try:
        work(source, sink, keys)
    finally:
        if raised:
            raise raised[0]
