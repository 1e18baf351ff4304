"""Recording for a gateway: mitmproxy's ``save_stream_file``, which stops no mail.

mitmproxy's own addon ends the process when it cannot write (traps 3.14). Here a session
that cannot be written is counted and told, mail goes on, and the next one is tried
again. Owns how flows come into their file, not what stands in them.
"""

from __future__ import annotations

import errno
import os
import traceback
from contextlib import suppress
from logging import getLogger
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, cast

from mitmproxy import ctx
from mitmproxy.addons import save


if TYPE_CHECKING:
    from io import BufferedWriter, FileIO

    from mitmproxy import flow


logger = getLogger(__name__)


class WholeFlows:
    """A file into which flows are written whole or not at all.

    Half of one, as a full disk leaves it, would hide all that come behind it.
    """

    def __init__(self, opened: BufferedWriter) -> None:
        # Without its buffer, which would keep the rest of a flow for the next one.
        self._file = cast("FileIO", opened.detach())

    def write(self, octets: bytes) -> None:
        """Append one flow. Raises OSError; then nothing of it is there."""
        # Of a pipe or a device nothing can be taken back.
        place = self._file.seek(0, os.SEEK_END) if self._file.seekable() else 0
        try:
            while octets:
                octets = octets[self._file.write(octets) :]
        except BaseException:  # a second Ctrl-C, too
            with suppress(OSError):
                self._file.truncate(place)
            raise

    def flush(self) -> None:
        """Do nothing: nothing waits."""

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class Saving(save.Save):
    """Writes each session into the file as it ends."""

    def __init__(self) -> None:
        super().__init__()
        self.lost = 0
        """Sessions that could not be written."""
        self._failed = False
        """The last one could not."""

    def maybe_rotate_to_new_file(self) -> None:
        """Open the file of the moment where it is not open yet. Raises OSError."""
        before = self.stream
        try:
            super().maybe_rotate_to_new_file()
        except (OSError, ValueError) as error:
            # No file is open now; or the one of before would count as open.
            self.current_path = None
            if isinstance(error, ValueError):  # the name is of no encoding
                raise OSError(errno.EINVAL, str(error)) from error
            raise
        if self.stream is not None and self.stream is not before:
            whole = WholeFlows(cast("BufferedWriter", self.stream.fo))
            self.stream.fo = cast("BinaryIO", whole)

    def save_flow(self, flow: flow.Flow) -> None:
        """Write a session, if any are to be written."""
        self.active_flows.discard(flow)
        if not ctx.options.save_stream_file:
            return
        try:
            self.maybe_rotate_to_new_file()
            if self.stream is not None:
                self.stream.add(flow)
        except Exception as error:  # noqa: BLE001 - told, and counted
            self.lost += 1
            if not self._failed:
                logger.error(  # noqa: TRY400 - one line
                    "sessions are not recorded, mail goes on: %s: %s",
                    self.current_path or ctx.options.save_stream_file,
                    _what(error),
                )
            self._failed = True
            return
        if self._failed:
            logger.warning("sessions are recorded again; %d were not", self.lost)
        self._failed = False

    def done(self) -> None:
        """Write what has not ended, close the file."""
        for each in list(self.active_flows):
            self.save_flow(each)
        super().done()
        if self.lost:
            logger.error("sessions that were not recorded: %d", self.lost)


def _what(error: Exception) -> str:
    """Return what went wrong, without the mail that an exception may quote."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    place = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__} ({Path(place.filename).name}:{place.lineno})"
