"""``smtpguard unlock``: locked parts back into files, in batches, verified.

The work is that of ``locking.unlock``; here are the private keys, for parts that were
locked for an administrator. No key and no decrypted octet stands in what is printed.
"""

from __future__ import annotations

import hashlib
import tempfile
from typing import TYPE_CHECKING

import pyrage

from smtpguard.errors import SmtpGuardError
from smtpguard.locking.encryption import piped
from smtpguard.locking.unlock import BLOCK, LockError, run


if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path
    from typing import IO, Any

    from smtpguard.locking.unlock import Head, Result, Reveal


MAX_IDENTITIES = 65_536
"""Octets of a file with private keys."""


def unlocked(
    paths: Iterable[Path],
    folder: Path | None,
    *,
    identities: Sequence[Path] = (),
    audit: Path | None = None,
) -> Iterator[Result]:
    """Restore containers into ``folder``, or verify them alone where it is None.

    ``paths`` are files, or folders whose ``.clk`` files are meant; ``identities`` are
    files of age private keys. A JSON line for each container is appended to ``audit``.
    Raises SmtpGuardError where there is no key in a file of keys, and OSError where a
    file or folder that was named cannot be used.
    """
    keys = [key for path in identities for key in read_identities(path)]
    return run(paths, folder, audit, _revealer(keys) if keys else None)


def read_identities(path: Path) -> list[Any]:
    """Return the X25519 private keys of a file as ``age-keygen`` writes it.

    Raises SmtpGuardError, OSError.
    """
    with path.open("rb") as file:
        octets = file.read(MAX_IDENTITIES + 1)
    lines = octets.decode("ascii", "replace").split("\n")
    written = [line.strip() for line in lines]
    texts = [line for line in written if line and not line.startswith("#")]
    if len(octets) > MAX_IDENTITIES or not texts:
        raise SmtpGuardError(f"not a file of age private keys: {path}")
    try:
        return [pyrage.x25519.Identity.from_str(text) for text in texts]
    except pyrage.IdentityError as error:
        # Without the text: it may be a key with a slip of the pen in it.
        raise SmtpGuardError(f"not an age private key in {path}: {error}") from None


def _revealer(keys: list[Any]) -> Reveal:
    def reveal(head: Head, payload: Iterator[bytes]) -> Iterator[bytes]:
        """Yield the content. Both forms of it lie in unnamed files meanwhile."""
        with tempfile.TemporaryFile() as sealed, tempfile.TemporaryFile() as file:
            # Decrypted once all of the container is right.
            sealed.writelines(payload)
            sealed.seek(0)
            _decrypt(sealed, file, keys)
            file.seek(0)
            digest = hashlib.sha256()
            size = 0
            while octets := file.read(BLOCK):
                digest.update(octets)
                size += len(octets)
                yield octets
        if (size, digest.hexdigest()) != (head.size, head.sha256):
            raise LockError("its content is not the one that its head tells")

    return reveal


def _decrypt(sealed: IO[bytes], file: IO[bytes], keys: list[Any]) -> None:
    try:
        piped(pyrage.decrypt_io, sealed.read, file.write, keys)
    except pyrage.DecryptError as error:
        raise LockError(f"it cannot be decrypted: {error}") from None
    except OSError as error:
        if error.errno is not None:
            raise
        # So pyrage reports octets that are not what was encrypted.
        raise LockError(f"it cannot be decrypted: {error}") from None
