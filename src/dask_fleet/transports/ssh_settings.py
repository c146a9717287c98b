"""How a host is reached: the spec's word before that of ``~/.ssh/config``.

``ssh ADDRESS`` decides which entries of the configuration apply. Where a ``Host`` line names the
host as the fleet does, with more than a bare ``*``, it is looked up by that name instead, and
``HostName`` of that entry says what is dialled; without one it is the address of the spec.
"""

from __future__ import annotations

import os
import shlex
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, cast

from dask_fleet.errors import UnreachableHostError
from dask_fleet.transports.ssh_library import asyncssh

if TYPE_CHECKING:
    from dask_fleet.ssh_host import SshHost

__all__ = ["Settings", "read_settings"]

_DEFAULT_KEYS = ("id_ed25519", "id_ecdsa", "id_rsa")


@dataclass(frozen=True, slots=True)
class Settings:
    """What is needed to reach a host; see `SshHost`."""

    name: str
    lookup: str
    address: str
    known_as: str
    user: str
    port: int
    jump: str
    proxy_command: bool
    timeout: float
    keys: tuple[str, ...]
    agent: bool
    user_known: tuple[str, ...]
    system_known: tuple[str, ...]
    config: tuple[str, ...]

    @property
    def target(self) -> str:
        """What `ssh` is to be given by hand."""
        port = f"-p {self.port} " if self.port != 22 else ""
        return f"{port}{self.user}@{self.address}"


def read_settings(host: SshHost, config: str | None, timeout: float) -> Settings:
    """Return how a host is reached.

    Parameters
    ----------
    host : SshHost
        What the spec says.
    config : str or None
        The user's configuration file; None for ``~/.ssh/config``.
    timeout : float
        Seconds, if the configuration has no ``ConnectTimeout``.

    Raises
    ------
    UnreachableHostError
        The configuration cannot be read, or the key file is not there.
    """
    path = Path(config or "~/.ssh/config").expanduser()
    paths = (str(path),) if path.is_file() else ()
    try:
        lookup = host.name if _names(path, host.name) else host.address
        options = asyncssh.SSHClientConnectionOptions(
            config=list(paths),
            host=lookup,
            port=host.port if host.port is not None else (),
            username=host.user if host.user is not None else (),
            client_keys=None,
            known_hosts=None,
        )
    except (ValueError, OSError) as error:
        raise UnreachableHostError(
            host.name, f"{path} cannot be read: {error}", "correct the file"
        ) from error
    found = options.config
    dialled = cast("str", found.get("Hostname", host.address))
    if host.identity_file is not None:
        key = Path(host.identity_file).expanduser()
        if not os.access(key, os.R_OK):
            raise UnreachableHostError(
                host.name,
                f"the key file {key} is not there or may not be read",
                "correct `ssh.identity_file` in fleet.yaml, or put the key there",
            )
        keys = [str(key)]
    else:
        named = cast("list[str]", found.get("IdentityFile", []))
        usual = [f"~/.ssh/{name}" for name in _DEFAULT_KEYS]
        every = [Path(name).expanduser() for name in named or usual]
        keys = [str(key) for key in every if key.is_file()]
    jump = host.jump if host.jump is not None else found.get("ProxyJump")
    agent = found.get("IdentityAgent", os.environ.get("SSH_AUTH_SOCK", ""))
    return Settings(
        name=host.name,
        lookup=lookup,
        address=dialled,
        known_as=cast("str", found.get("HostKeyAlias") or dialled),
        user=options.username,
        port=options.port,
        jump=cast("str", jump or ""),
        proxy_command=host.jump is None and not jump and bool(found.get("ProxyCommand")),
        timeout=float(cast("int", found.get("ConnectTimeout", 0)) or timeout),
        keys=tuple(keys),
        agent=bool(agent),
        user_known=_files(found.get("UserKnownHostsFile")),
        system_known=_files(found.get("GlobalKnownHostsFile")),
        config=paths,
    )


def _files(value: object) -> tuple[str, ...]:
    return tuple(cast("list[str]", value or ()))


def _names(path: Path, name: str) -> bool:
    """Say whether a `Host` line of a configuration names a host, with more than a bare `*`."""
    if not path.is_file():
        return False
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        word, _, rest = line.strip().replace("=", " ", 1).partition(" ")
        if word.lower() == "include":
            for pattern in shlex.split(rest):
                full = Path(pattern).expanduser()
                base = Path(full.anchor) if full.anchor else Path("~/.ssh").expanduser()
                relative = str(full.relative_to(base)) if full.anchor else pattern
                if any(_names(one, name) for one in base.glob(relative) if one != path):
                    return True
        elif word.lower() == "host" and any(
            pattern.strip("*?") and fnmatchcase(name, pattern) for pattern in shlex.split(rest)
        ):
            return True
    return False
