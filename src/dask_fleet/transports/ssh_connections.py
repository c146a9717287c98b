"""The connections that all transports of one command share: one a host, opened at first use.

asyncssh is imported when the first connection is opened: a fleet on this machine does without.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from dask_fleet.errors import UnreachableHostError
from dask_fleet.ssh_host import SshHost, parse_jump

if TYPE_CHECKING:
    from dask_fleet.transports.ssh_keys import HostKeys
    from dask_fleet.transports.ssh_library import asyncssh
    from dask_fleet.transports.ssh_settings import Settings

__all__ = ["Pool"]

_HEAD_START = 0.02
"""Seconds that the first words to hosts are given, before the caller takes the processor again."""

_PATIENCE = 10.0
"""Seconds that the closing of all connections may take."""


class Pool:
    """One connection for each host, opened at first use and kept until `close`.

    Parameters
    ----------
    hosts : mapping of str to SshHost
        Every host of the fleet that is reached with SSH, by name.
    accept_new : bool
        Whether the key of a host that none is known of is accepted and written to known_hosts.
        A changed key is refused always.
    config : str, optional
        The user's configuration; ``~/.ssh/config`` when left out.
    connect_timeout : float
        Seconds for a connection with all tries, where the configuration has no
        ``ConnectTimeout``.
    limit : int
        How many handshakes go on at once.
    """

    def __init__(
        self,
        hosts: Mapping[str, SshHost],
        *,
        accept_new: bool = False,
        config: str | None = None,
        connect_timeout: float = 10.0,
        limit: int = 64,
    ) -> None:
        self._hosts = dict(hosts)
        self._accept_new = accept_new
        self._config = config
        self._timeout = connect_timeout
        self._limit = asyncio.Semaphore(limit)
        self._opening: dict[str, asyncio.Task[asyncssh.SSHClientConnection]] = {}
        self._unasked: set[str] = set()
        self._keys: dict[tuple[tuple[str, ...], tuple[str, ...]], HostKeys] = {}

    async def begin(self, hosts: Iterable[str]) -> None:
        """Begin to open connections; whoever asks for one then waits for it, or learns why not."""
        new = [name for name in hosts if name not in self._opening]
        self._unasked.update(new)
        tasks = [self._begin(name, self._hosts[name], None, "") for name in new]
        if tasks:
            await asyncio.wait(tasks, timeout=_HEAD_START)

    async def connection(self, name: str) -> asyncssh.SSHClientConnection:
        """Return the open connection to a host.

        Raises
        ------
        UnreachableHostError
            There is none.
        """
        return await self._shared(self._hosts[name], None, "")

    async def close(self) -> None:
        """Close every connection, those that others go through last."""
        opening = list(self._opening.values())
        self._opening.clear()
        self._unasked.clear()
        for task in opening:
            task.cancel()
        ended = await asyncio.gather(*opening, return_exceptions=True)
        connections = [one for one in ended if not isinstance(one, BaseException)]
        for connection in reversed(connections):
            connection.close()
        if connections:
            ends = [asyncio.ensure_future(one.wait_closed()) for one in connections]
            _, left = await asyncio.wait(ends, timeout=_PATIENCE)
            for end in left:  # the host is gone; there is nothing to give back
                end.cancel()

    async def _shared(
        self, host: SshHost, through: asyncssh.SSHClientConnection | None, previous: str
    ) -> asyncssh.SSHClientConnection:
        key = host.name if through is None else f"{host.name} through {id(through)}"
        task = self._opening.get(key)
        # What was begun for the first who asks is not tried twice for it.
        begun = key in self._unasked
        self._unasked.discard(key)
        if task is None or (task.done() and not begun and not _is_open(task)):
            task = self._begin(key, host, through, previous)
        return await asyncio.shield(task)

    def _begin(
        self,
        key: str,
        host: SshHost,
        through: asyncssh.SSHClientConnection | None,
        previous: str,
    ) -> asyncio.Task[asyncssh.SSHClientConnection]:
        task = asyncio.ensure_future(self._open(host, through, previous))
        self._opening.pop(key, None)
        self._opening[key] = task
        return task

    async def _open(
        self, host: SshHost, through: asyncssh.SSHClientConnection | None, previous: str
    ) -> asyncssh.SSHClientConnection:
        from dask_fleet.transports.ssh_opening import open_connection

        self._check_circle(host)
        settings = self._settings(host)
        if through is not None:
            settings = replace(settings, jump=previous)
        elif settings.jump:
            try:
                for hop in _hops(settings, self._hosts):
                    through = await self._shared(hop, through, previous)
                    previous = hop.name
            except UnreachableHostError as error:
                raise UnreachableHostError(
                    host.name, f"not reached through {settings.jump}: {error.message}", error.remedy
                ) from error
        async with self._limit:
            return await open_connection(
                settings, through, self._host_keys(settings), accept_new=self._accept_new
            )

    def _settings(self, host: SshHost) -> Settings:
        from dask_fleet.transports.ssh_settings import read_settings

        return read_settings(host, self._config, self._timeout)

    def _check_circle(self, host: SshHost) -> None:
        # Tasks that wait for each other would wait for ever, so circles are found before.
        path = [host.name]
        while True:
            settings = self._settings(host)
            if not settings.jump:
                return
            host = _hops(settings, self._hosts)[0]
            if host.name in path:
                circle = " -> ".join((*path, host.name))
                raise UnreachableHostError(
                    path[0],
                    f"its jump hosts go in a circle: {circle}",
                    "correct `jump` in fleet.yaml or `ProxyJump` in ~/.ssh/config",
                )
            path.append(host.name)

    def _host_keys(self, settings: Settings) -> HostKeys:
        from dask_fleet.transports.ssh_keys import HostKeys

        files = (settings.user_known, settings.system_known)
        if files not in self._keys:
            self._keys[files] = HostKeys(*files)
        return self._keys[files]


def _hops(settings: Settings, hosts: Mapping[str, SshHost]) -> list[SshHost]:
    hops: list[SshHost] = []
    for text in settings.jump.split(","):
        hop = hosts.get(text.strip()) or parse_jump(text.strip())
        if hop is None:
            raise UnreachableHostError(
                settings.name,
                f"{text.strip()!r} is no jump host",
                "write the name of a host of the fleet or `[user@]host[:port]`",
            )
        hops.append(hop)
    return hops


def _is_open(task: asyncio.Task[asyncssh.SSHClientConnection]) -> bool:
    return not task.cancelled() and task.exception() is None and not task.result().is_closed()
