"""The transport over SSH.

asyncssh is imported when the first connection is opened: a fleet on this machine does without.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from typing import TYPE_CHECKING, Any, BinaryIO

from dask_fleet.command import Command, Outcome
from dask_fleet.errors import CommandFailedError, UnreachableHostError
from dask_fleet.transports.content import check_files, open_output, pieces
from dask_fleet.transports.ssh_connections import Pool
from dask_fleet.transports.ssh_wrapping import kill_line, wrap

if TYPE_CHECKING:
    from dask_fleet.ssh_host import SshHost
    from dask_fleet.transports.ssh_library import asyncssh
    from dask_fleet.transports.ssh_session import Session

__all__ = ["SshConnections", "SshTransport"]

_SESSIONS = 8
"""Commands at once on one connection; sshd allows 10 (MaxSessions), two are kept for killing."""

_LONGEST = 1 << 20
"""Bytes after which a line is cut, so that output without line ends does not fill the memory."""

_PATIENCE = 10.0
"""Seconds that the ending of a command may take before its channel is only closed."""


class SshConnections(Pool):
    """The connections of one command, and the transports on them; see `Pool`."""

    def __init__(
        self,
        hosts: Mapping[str, SshHost],
        *,
        accept_new: bool = False,
        config: str | None = None,
        connect_timeout: float = 10.0,
        limit: int = 64,
    ) -> None:
        super().__init__(
            hosts,
            accept_new=accept_new,
            config=config,
            connect_timeout=connect_timeout,
            limit=limit,
        )
        self._transports = {name: SshTransport(host, self) for name, host in hosts.items()}

    def transport(self, name: str) -> SshTransport:
        """Return the transport to a host; the same one each time."""
        return self._transports[name]

    async def close(self) -> None:
        """Close every tunnel and every connection."""
        for transport in self._transports.values():
            await transport.close()
        await super().close()


class SshTransport:
    """Runs commands on one host with SSH.

    Parameters
    ----------
    host : SshHost
        The host.
    connections : Pool
        Where its connection comes from.
    """

    def __init__(self, host: SshHost, connections: Pool) -> None:
        self.host = host.name
        self._spec = host
        self._connections = connections
        self._sessions = asyncio.Semaphore(_SESSIONS)
        self._killing = asyncio.Semaphore(2)
        self._forwards: dict[tuple[str, int], asyncio.Task[tuple[Any, Any]]] = {}

    async def run(self, command: Command, *, check: bool = True) -> Outcome:
        """Run a command to its end; see `Transport.run`."""
        check_files(self.host, command)
        async with self._sessions, _output(self.host, command) as output:
            session, connection = await self._start(
                command, merged=False, streamed=output is not None
            )
            feeding = asyncio.ensure_future(_feed(session, command))
            ended = session.closed.wait() if output is None else _save(session, output)
            try:
                await asyncio.wait_for(_either(ended, feeding), command.timeout)
            except asyncio.TimeoutError:
                await self._end(session, connection)
                raise self._late(command) from None
            except BaseException:
                await self._end(session, connection)
                raise
            finally:
                await _stop(feeding)
        status = self._status(session, command)
        out, err = (data.decode(errors="replace") for data in (session.out, session.err))
        if check and status != 0:
            raise CommandFailedError(self.host, str(command), status, err or out)
        return Outcome(status, out, err)

    async def lines(self, command: Command) -> AsyncIterator[str]:
        """Run a command and yield its lines; see `Transport.lines`."""
        check_files(self.host, command)
        async with self._sessions:
            session, connection = await self._start(command, merged=True, streamed=True)
            feeding = asyncio.ensure_future(_feed(session, command))
            last: deque[str] = deque(maxlen=12)
            done = False
            try:
                try:
                    async for raw in _lines(session, feeding, command.timeout):
                        last.append(raw.decode(errors="replace"))
                        yield last[-1]
                except asyncio.TimeoutError:
                    raise self._late(command) from None
                done = True
            finally:
                if not done:
                    await self._end(session, connection)
                await _stop(feeding)
            status = self._status(session, command)
            if status != 0:
                raise CommandFailedError(self.host, str(command), status, "\n".join(last))

    async def reach(self, address: str, port: int) -> tuple[str, int]:
        """Return where this machine reaches a port as the host sees it: a tunnel."""
        key = (address, port)
        task = self._forwards.get(key)
        if task is None or (task.done() and not _is_forwarded(task)):
            task = asyncio.ensure_future(self._forward(address, port))
            self._forwards[key] = task
        _, listener = await asyncio.shield(task)
        return "127.0.0.1", listener.get_port()

    async def close(self) -> None:
        """Close its tunnels; the connection belongs to `SshConnections`."""
        forwards = list(self._forwards.values())
        self._forwards.clear()
        for task in forwards:
            task.cancel()
        for ended in await asyncio.gather(*forwards, return_exceptions=True):
            if not isinstance(ended, BaseException):
                ended[1].close()

    async def _forward(self, address: str, port: int) -> tuple[Any, Any]:
        connection = await self._connections.connection(self.host)
        return connection, await connection.forward_local_port("127.0.0.1", 0, address, port)

    async def _start(
        self, command: Command, *, merged: bool, streamed: bool
    ) -> tuple[Session, asyncssh.SSHClientConnection]:
        """Open a channel and start the command; tries again only where nothing was started."""
        from dask_fleet.transports.ssh_library import asyncssh
        from dask_fleet.transports.ssh_session import Session, new_mark

        mark = new_mark()
        line = wrap(command.argv, mark, sudo=self._spec.sudo, merged=merged)
        for pause in (0.05, 0.2, 0.8, None):
            connection = await self._connections.connection(self.host)
            session = Session(mark, merged=merged, streamed=streamed)
            starting = asyncio.ensure_future(_open_session(connection, session, line))
            try:
                await asyncio.shield(starting)
            except asyncio.CancelledError:
                # Where that fails, nothing was started or nobody is left to end it.
                with contextlib.suppress(asyncssh.Error, OSError, asyncio.TimeoutError):
                    await asyncio.wait_for(starting, _PATIENCE)
                    await self._end(session, connection)
                raise
            except (asyncssh.Error, OSError) as error:
                if session.opened and connection.is_closed():
                    raise self._lost(command) from error
                if pause is None:
                    raise UnreachableHostError(
                        self.host,
                        f"it opens no channel for `{command}`: {error}",
                        "see MaxSessions and ForceCommand in the sshd_config of the host",
                    ) from error
            else:
                return session, connection
            await asyncio.sleep(pause)
        raise AssertionError("the last try returns or raises")

    async def _end(self, session: Session, connection: asyncssh.SSHClientConnection) -> None:
        """Kill what a command has started, whatever else is cancelled meanwhile."""
        ending = asyncio.ensure_future(self._kill(session, connection))
        while not ending.done():
            # A further cancellation changes nothing; the ending has time-outs of its own.
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.shield(ending)

    async def _kill(self, session: Session, connection: asyncssh.SSHClientConnection) -> None:
        from dask_fleet.transports.ssh_library import asyncssh
        from dask_fleet.transports.ssh_session import Session as Killer

        try:
            await asyncio.wait_for(session.marked.wait(), _PATIENCE)
            if session.begun is None or session.begun.pid is None or connection.is_closed():
                return
            line = kill_line(session.begun, sudo=self._spec.sudo)
            killer = Killer("", merged=True, streamed=False)
            async with self._killing:
                await _open_session(connection, killer, line)
                await asyncio.wait_for(killer.closed.wait(), _PATIENCE)
            await asyncio.wait_for(session.closed.wait(), _PATIENCE)
        except (asyncio.TimeoutError, asyncssh.Error, OSError):
            # The host or the connection is gone: nobody is left to ask, and the error that made
            # us end the command is the one to tell.
            return
        finally:
            session.close()

    def _status(self, session: Session, command: Command) -> int:
        if session.begun is None and session.status is not None:
            raise self._refused(session)
        if session.status is None:
            raise self._lost(command)
        if session.begun is not None and session.begun.pid is None:
            program = command.argv[0]
            raise CommandFailedError(
                self.host,
                str(command),
                None,
                f"there is no program {program!r} that may be run",
                f"install {program}",
            )
        return session.status

    def _refused(self, session: Session) -> UnreachableHostError:
        said = session.err.decode(errors="replace").strip().splitlines()
        words = f": {said[-1]}" if said else ""
        if self._spec.sudo:
            user = self._spec.user or "the user"
            return UnreachableHostError(
                self.host,
                f"sudo ran nothing for {user}{words}",
                f"let the user run everything without a password, with `visudo` on {self.host}: "
                f"`{self._spec.user or 'USER'} ALL=(ALL) NOPASSWD: ALL`; or log in as root "
                "with `ssh.user: root`",
            )
        return UnreachableHostError(
            self.host,
            f"the login shell ran no command (status {session.status}){words}",
            "give the user a POSIX shell, and see ForceCommand in its sshd_config",
        )

    def _lost(self, command: Command) -> UnreachableHostError:
        return UnreachableHostError(
            self.host,
            f"the connection was lost while `{command}` ran; whether it was done is not known",
            "see whether the machine is up, then run the same command of dask fleet again: it "
            "looks first and does only what is missing",
        )

    def _late(self, command: Command) -> CommandFailedError:
        return CommandFailedError(
            self.host,
            str(command),
            None,
            f"it was ended after {command.timeout:g} s",
            "see whether the machine is overloaded or a disk hangs, then try again",
        )


def _is_forwarded(task: asyncio.Task[tuple[Any, Any]]) -> bool:
    return not task.cancelled() and task.exception() is None and not task.result()[0].is_closed()


async def _open_session(
    connection: asyncssh.SSHClientConnection, session: Session, line: str
) -> None:
    await connection.create_session(  # pyright: ignore[reportUnknownMemberType]
        lambda: session, line, encoding=None, request_pty=False, env={}, send_env=[]
    )


async def _feed(session: Session, command: Command) -> None:
    async for piece in pieces(command):
        if not await session.write(piece):
            return
    session.end_input()


@contextlib.asynccontextmanager
async def _output(host: str, command: Command) -> AsyncGenerator[BinaryIO | None, None]:
    if not command.output:
        yield None
        return
    with open_output(host, command) as file:
        yield file


async def _save(session: Session, file: BinaryIO) -> None:
    """Write standard output into a file as it comes; a thread does the writing."""
    while piece := await session.read():
        await asyncio.to_thread(file.write, piece)


async def _either(closed: Any, feeding: asyncio.Future[None]) -> None:
    """Wait for the end; a file that cannot be read to its end is an error at once."""
    waiting = asyncio.ensure_future(closed)
    try:
        await asyncio.wait({waiting, feeding}, return_when=asyncio.FIRST_COMPLETED)
        if feeding.done():
            feeding.result()
        await waiting
    finally:
        waiting.cancel()


async def _stop(feeding: asyncio.Future[None]) -> None:
    feeding.cancel()
    await asyncio.wait({feeding})


async def _lines(
    session: Session, feeding: asyncio.Future[None], timeout: float
) -> AsyncIterator[bytes]:
    kept = b""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + timeout
    while piece := await asyncio.wait_for(session.read(), deadline - loop.time()):
        if feeding.done():
            feeding.result()
        *whole, kept = (kept + piece).split(b"\n")
        for line in whole:
            yield line
        if len(kept) > _LONGEST:
            yield kept
            kept = b""
    if kept:
        yield kept
