"""One command on an open connection: its channel, its mark, its outputs and its end."""

from __future__ import annotations

import asyncio
import secrets
import signal
from typing import Any

from dask_fleet.transports.ssh_library import asyncssh
from dask_fleet.transports.ssh_wrapping import Begun, begun

__all__ = ["Session", "new_mark"]

_HIGH = 1 << 20
"""Bytes that wait for their reader before the channel is told to stop."""


def new_mark() -> str:
    """Return a word that no output holds by chance."""
    return f"dask-fleet-{secrets.token_hex(8)}"


class Session(asyncssh.SSHClientSession[bytes]):
    """What asyncssh calls when something happens on a command's channel.

    Parameters
    ----------
    mark : str
        The word after which the command's output begins.
    merged : bool
        Whether standard error comes with standard output.
    streamed : bool
        Whether a reader takes standard output piece by piece, so that it must not pile up.

    Attributes
    ----------
    opened : bool
        Whether the channel was opened: from then on the command may have begun.
    begun : Begun or None
        What the mark said; None as long as it has not come.
    status : int or None
        Exit status, or the negative number of the signal; None when the command did not end.
    lost : Exception or None
        What ended the connection under the command.
    """

    def __init__(self, mark: str, *, merged: bool, streamed: bool) -> None:
        self.mark = mark.encode()
        self.opened = False
        self.begun: Begun | None = None
        self.status: int | None = None
        self.lost: Exception | None = None
        self.closed = asyncio.Event()
        self.marked = asyncio.Event()
        self._streamed = streamed
        self._found = {1: False, 2: merged}
        self._data = {1: bytearray(), 2: bytearray()}
        self._news = asyncio.Event()
        self._writable = asyncio.Event()
        self._writable.set()
        self._channel: Any = None

    @property
    def out(self) -> bytes:
        """Standard output so far."""
        return bytes(self._data[1]) if self._found[1] else b""

    @property
    def err(self) -> bytes:
        """Standard error so far; what the login shell said where nothing was begun."""
        return bytes(self._data[2])

    # What asyncssh calls.

    def connection_made(self, chan: Any) -> None:  # noqa: D102
        self._channel = chan
        self.opened = True

    def data_received(self, data: bytes, datatype: int | None) -> None:  # noqa: D102
        which = 1 if datatype is None else 2
        kept = self._data[which]
        kept += data
        if not self._found[which] and not self._look_for_mark(which):
            return
        if which == 1 and self._streamed:
            self._news.set()
            if len(kept) > _HIGH:
                self._channel.pause_reading()

    def eof_received(self) -> bool:  # noqa: D102
        return True  # a command may close its output and still read its input

    def exit_status_received(self, status: int) -> None:  # noqa: D102
        self.status = status

    def exit_signal_received(  # noqa: D102
        self,
        signal: str,
        core_dumped: bool,  # noqa: ARG002
        msg: str,  # noqa: ARG002
        lang: str,  # noqa: ARG002
    ) -> None:
        self.status = -_number(signal)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: D102
        self.lost = exc
        for event in (self.closed, self.marked, self._news, self._writable):
            event.set()

    def pause_writing(self) -> None:  # noqa: D102
        self._writable.clear()

    def resume_writing(self) -> None:  # noqa: D102
        self._writable.set()

    # What the transport calls.

    async def write(self, data: bytes) -> bool:
        """Send input as fast as it is taken; say whether there is anybody to take it."""
        if self.closed.is_set():
            return False
        try:
            self._channel.write(data)
        except OSError:  # it ended without reading all of its input
            return False
        await self._writable.wait()
        return not self.closed.is_set()

    def end_input(self) -> None:
        """Say that there is no more input."""
        if not self.closed.is_set() and not self._channel.is_closing():
            self._channel.write_eof()

    async def read(self) -> bytes:
        """Return the next piece of standard output; empty at its end."""
        kept = self._data[1]
        while not (self._found[1] and kept):
            if self.closed.is_set():
                return b""
            self._news.clear()
            await self._news.wait()
        piece = bytes(kept)
        kept.clear()
        if not self.closed.is_set():
            self._channel.resume_reading()
        return piece

    def close(self) -> None:
        """Close the channel; ends nothing on the host."""
        if self._channel is not None:
            self._channel.abort()

    def _look_for_mark(self, which: int) -> bool:
        kept = self._data[which]
        at = kept.find(self.mark)
        end = kept.find(b"\n", at)
        if at < 0 or end < 0:
            return False
        if which == 1:
            self.begun = begun(bytes(kept[at:end]))
            self.marked.set()
        del kept[: end + 1]
        self._found[which] = True
        return bool(kept)


def _number(name: str) -> int:
    known = signal.Signals.__members__.get(f"SIG{name}")
    return int(known) if known else 99
