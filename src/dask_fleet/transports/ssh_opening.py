"""Opens one connection: the way there, the handshake, the host key, another try."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from dask_fleet.errors import UnreachableHostError
from dask_fleet.transports.ssh_errors import is_transient, unreachable
from dask_fleet.transports.ssh_keys import HostKeys, Verifier
from dask_fleet.transports.ssh_library import asyncssh
from dask_fleet.transports.ssh_settings import Settings

__all__ = ["KEEPALIVE_COUNT", "KEEPALIVE_SECONDS", "open_connection"]

KEEPALIVE_SECONDS = 5
KEEPALIVE_COUNT = 3
"""A host that has said nothing for so many intervals is gone."""

_BACK_OFF = (0.1, 0.3, 0.9)
"""Seconds before each further try; all tries together have the one time-out."""


class _Way:
    """Takes asyncssh to the server: straight there, or through another connection."""

    def __init__(self, settings: Settings, through: asyncssh.SSHClientConnection | None) -> None:
        self._settings = settings
        self._through = through

    async def create_connection(
        self, factory: Callable[[], Any], _host: str, port: int
    ) -> tuple[Any, Any]:
        address = self._settings.address
        if self._through is not None:
            return await self._through.create_connection(factory, address, port)
        loop = asyncio.get_running_loop()
        return await loop.create_connection(factory, address, port)


async def open_connection(
    settings: Settings,
    through: asyncssh.SSHClientConnection | None,
    keys: HostKeys,
    *,
    accept_new: bool,
) -> asyncssh.SSHClientConnection:
    """Open a connection, with another try where nothing but the transport failed.

    Raises
    ------
    UnreachableHostError
        There is no connection; says why and what to do.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + settings.timeout
    pauses = iter(_BACK_OFF)
    while True:
        verifier = Verifier(
            settings.name,
            keys,
            settings.known_as,
            settings.port,
            accept_new=accept_new,
            near=through is None and settings.known_as == settings.address,
        )
        try:
            return await asyncio.wait_for(
                _connect(settings, through, verifier), max(0.0, deadline - loop.time())
            )
        except (OSError, ValueError, asyncio.TimeoutError, asyncssh.Error) as error:
            if verifier.fault is not None:
                raise verifier.fault from error
            if isinstance(error, asyncssh.KeyExchangeFailed | asyncssh.HostKeyNotVerifiable) and (
                any(verifier.trusted())
            ):
                # It has no key of the kind that is known, or one that was revoked.
                raise verifier.changed() from error
            pause = next(pauses, None)
            if pause is None or not is_transient(error) or loop.time() + pause > deadline:
                raise unreachable(settings, error, settings.timeout) from error
        await asyncio.sleep(pause)


async def _connect(
    settings: Settings, through: asyncssh.SSHClientConnection | None, verifier: Verifier
) -> asyncssh.SSHClientConnection:
    try:
        return await asyncssh.connect(
            settings.lookup,
            settings.port,
            username=settings.user,
            config=list(settings.config),
            tunnel=None if settings.proxy_command else _Way(settings, through),
            **({} if settings.proxy_command else {"proxy_command": None}),
            client_factory=lambda: verifier,
            known_hosts=verifier.trusted,
            server_host_key_algs=verifier.algorithms(),
            host_key_alias=settings.known_as,
            x509_trusted_certs=None,
            client_keys=list(settings.keys),
            ignore_encrypted=True,
            password_auth=False,
            kbdint_auth=False,
            host_based_auth=False,
            agent_forwarding=False,
            command=None,
            env={},
            send_env=[],
            connect_timeout=None,
            login_timeout=settings.timeout,
            keepalive_interval=KEEPALIVE_SECONDS,
            keepalive_count_max=KEEPALIVE_COUNT,
        )
    except asyncssh.KeyImportError as error:
        raise UnreachableHostError(
            settings.name,
            f"a key file cannot be read: {error} ({', '.join(settings.keys)})",
            "correct `ssh.identity_file` in fleet.yaml or `IdentityFile` in ~/.ssh/config",
        ) from error
