"""Blocked clients in sets of nftables, by the program ``nft``.

Without a shell, and for a few seconds at most. nft reads its arguments as a language:
the names are those that ``policy.blockreader`` lets through, the networks are ours.
"""

from __future__ import annotations

import math
import subprocess
from typing import TYPE_CHECKING, Final

from smtpguard.errors import BlockError, os_text


if TYPE_CHECKING:
    from smtpguard.policy.blockreader import NftSets


NFT_SECONDS: Final = 5.0
_NOT_THERE = "No such file or directory"
_MAX_TOLD = 300
"""Characters of what nft says."""


def add(sets: NftSets, network: str, seconds: float) -> None:
    """Put a network into its set, for so long. Raises BlockError."""
    _change(sets, "add", network, f" timeout {math.ceil(seconds)}s")


def delete(sets: NftSets, network: str) -> None:
    """Take a network out of its set, if it is there. Raises BlockError."""
    try:
        _change(sets, "delete", network)
    except BlockError as error:
        if _NOT_THERE not in str(error):
            raise


def _change(sets: NftSets, verb: str, network: str, more: str = "") -> None:
    into = sets.set6 if ":" in network else sets.set
    where = ("element", sets.family, sets.table, into)
    command = ["nft", verb, *where, f"{{ {network}{more} }}"]
    try:
        done = subprocess.run(  # noqa: S603 - no shell, names that were checked
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=NFT_SECONDS,
            check=False,
        )
    except OSError as error:
        raise BlockError(f"nft: {os_text(error)}") from None
    except subprocess.TimeoutExpired:
        raise BlockError(f"nft: not done in {NFT_SECONDS:g} s") from None
    if done.returncode:
        said = " ".join(done.stderr.decode("utf-8", "replace").split())[:_MAX_TOLD]
        raise BlockError(f"{' '.join(command)}: {said or done.returncode}")
