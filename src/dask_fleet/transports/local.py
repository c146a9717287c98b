"""The transport to this machine: child processes."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections import deque
from collections.abc import AsyncIterator
from typing import BinaryIO

from dask_fleet.command import Command, Outcome
from dask_fleet.errors import CommandFailedError
from dask_fleet.transports.content import check_files, open_output, pieces

__all__ = ["LocalTransport"]

_LONGEST = 1 << 20
"""Bytes after which a line is cut, so that output without line ends does not fill the memory."""


class LocalTransport:
    """Runs commands on this machine.

    Parameters
    ----------
    host : str
        Name of the host in the spec.
    """

    def __init__(self, host: str) -> None:
        self.host = host

    async def run(self, command: Command, *, check: bool = True) -> Outcome:
        """Run a command to its end; see `Transport.run`."""
        with contextlib.ExitStack() as stack:
            target: int | BinaryIO = asyncio.subprocess.PIPE
            if command.output:
                target = stack.enter_context(open_output(self.host, command))
            process = await self._start(command, asyncio.subprocess.PIPE, target)
        try:
            out, err = await asyncio.wait_for(_converse(process, command), command.timeout)
        except asyncio.TimeoutError:
            await self._end(process)
            raise self._late(command) from None
        except BaseException:
            await self._end(process)
            raise
        outcome = Outcome(
            process.returncode or 0, out.decode(errors="replace"), err.decode(errors="replace")
        )
        if check and outcome.status != 0:
            raise CommandFailedError(
                self.host, str(command), outcome.status, outcome.stderr or outcome.stdout
            )
        return outcome

    async def lines(self, command: Command) -> AsyncIterator[str]:
        """Run a command and yield its lines; see `Transport.lines`."""
        process = await self._start(command, asyncio.subprocess.STDOUT)
        if process.stdout is None:
            raise TypeError("the command was started without pipes")
        feeding = asyncio.ensure_future(_feed(process, command))
        try:
            last: deque[str] = deque(maxlen=12)
            try:
                async for raw in _lines(process.stdout, command.timeout):
                    last.append(raw.decode(errors="replace"))
                    yield last[-1]
            except asyncio.TimeoutError:
                raise self._late(command) from None
            status = await process.wait()
            if feeding.done():
                feeding.result()
            if status != 0:
                raise CommandFailedError(self.host, str(command), status, "\n".join(last))
        finally:
            feeding.cancel()
            await asyncio.wait({feeding})
            if process.returncode is None:
                await self._end(process)

    async def reach(self, address: str, port: int) -> tuple[str, int]:
        """Return the same address and port: this machine reaches itself."""
        return address, port

    async def close(self) -> None:
        """Do nothing: no connection is kept."""

    async def _start(
        self, command: Command, errors: int, out: int | BinaryIO = asyncio.subprocess.PIPE
    ) -> asyncio.subprocess.Process:
        check_files(self.host, command)
        try:
            # In a session of its own, so that Ctrl-C in the terminal reaches only us: we decide
            # what becomes of a command that runs.
            starting = asyncio.ensure_future(
                asyncio.create_subprocess_exec(
                    *command.argv,
                    stdin=asyncio.subprocess.PIPE,
                    stdout=out,
                    stderr=errors,
                    start_new_session=True,
                )
            )
            try:
                return await asyncio.shield(starting)
            except asyncio.CancelledError:
                # asyncio itself would kill the child alone and leave the children of that.
                await self._end(await starting)
                raise
        except OSError as error:
            raise CommandFailedError(
                self.host, str(command), None, str(error), f"install {command.argv[0]}"
            ) from error

    def _late(self, command: Command) -> CommandFailedError:
        return CommandFailedError(
            self.host,
            str(command),
            None,
            f"it was ended after {command.timeout:g} s",
            "see whether the machine is overloaded or a disk hangs, then try again",
        )

    @staticmethod
    async def _end(process: asyncio.subprocess.Process) -> None:
        """Kill what is left of the process group, whether or not its leader has ended."""
        with contextlib.suppress(ProcessLookupError):  # all of it ended meanwhile
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
        # Nobody reads its pipes any more; asyncio has no public way to close them.
        process._transport.close()  # pyright: ignore[reportPrivateUsage, reportAttributeAccessIssue, reportUnknownMemberType]


async def _converse(process: asyncio.subprocess.Process, command: Command) -> tuple[bytes, bytes]:
    if process.stderr is None:
        raise TypeError("the command was started without pipes")
    reading = asyncio.gather(
        process.stdout.read() if process.stdout else process.wait(), process.stderr.read()
    )
    feeding = asyncio.ensure_future(_feed(process, command))
    try:
        # A file that cannot be read to its end is an error at once.
        await asyncio.wait({reading, feeding}, return_when=asyncio.FIRST_COMPLETED)
        if feeding.done():
            feeding.result()
        out, err = await reading
        await process.wait()
        return (out if isinstance(out, bytes) else b""), err
    finally:
        for work in (reading, feeding):
            work.cancel()
        await asyncio.wait({reading, feeding})


async def _feed(process: asyncio.subprocess.Process, command: Command) -> None:
    if process.stdin is None:
        raise TypeError("the command was started without pipes")
    # A command may end without reading all of its input.
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        async for piece in pieces(command):
            process.stdin.write(piece)
            await process.stdin.drain()
    process.stdin.close()


async def _lines(stream: asyncio.StreamReader, timeout: float) -> AsyncIterator[bytes]:
    """Yield lines without their ends; `StreamReader.readline` fails on a very long one."""
    kept = b""
    deadline = time.monotonic() + timeout
    while chunk := await asyncio.wait_for(stream.read(1 << 16), deadline - time.monotonic()):
        *whole, kept = (kept + chunk).split(b"\n")
        for line in whole:
            yield line
        if len(kept) > _LONGEST:
            yield kept
            kept = b""
    if kept:
        yield kept
