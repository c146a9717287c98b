"""What should be on a host: environment, files and units, each with its digest."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dask_fleet.environment import Environment
    from dask_fleet.places import Places

__all__ = ["DoorTarget", "HostTarget", "ManagedFile", "UnitTarget", "digest_of"]


def digest_of(*parts: bytes) -> str:
    """Return the first 16 hexadecimal digits of the SHA-256 over the parts and their lengths."""
    total = hashlib.sha256()
    for part in parts:
        total.update(len(part).to_bytes(8, "big"))
        total.update(part)
    return total.hexdigest()[:16]


@dataclass(frozen=True)
class ManagedFile:
    """A file that is wholly ours.

    Attributes
    ----------
    path : str
        Absolute path on the host.
    content : bytes
        What it holds.
    mode : int
        Its permissions. Unit files hold environment variables, so they are for the owner alone.
    secret : bool
        Whether its content must not be shown.
    """

    path: str
    content: bytes = field(repr=False)
    mode: int = 0o600
    secret: bool = False

    @cached_property
    def digest(self) -> str:
        """SHA-256 of its content in hexadecimal, as ``sha256sum`` prints it."""
        return hashlib.sha256(self.content).hexdigest()


@dataclass(frozen=True, slots=True)
class UnitTarget:
    """A unit as it should run on a host.

    Attributes
    ----------
    name : str
        Its name.
    role : str
        ``scheduler`` or ``workers``.
    digest : str
        Of everything that it is started from; a running process says which one it bears.
    command : tuple of str
        What the runtime is to run.
    variables : tuple of (str, str)
        Variables that it is to be started with. The launcher would set them itself, but only by
        starting anew; those of the spec, which may be secrets, stand in the unit file alone.
    path : str
        The unit file, whose content is ``declared`` as JSON.
    declared : Mapping
        What the unit file says.
    ports : tuple of (str, int)
        Address and port of everything that it listens on.
    processes : tuple of str
        Names of the processes in it.
    """

    name: str
    role: str
    digest: str
    command: tuple[str, ...]
    variables: tuple[tuple[str, str], ...]
    path: str
    declared: Mapping[str, object]
    ports: tuple[tuple[str, int], ...]
    processes: tuple[str, ...]

    def file(self, mode: int) -> ManagedFile:
        """Return the unit file: one line of JSON, so that a shell script can print it."""
        text = json.dumps(self.declared, sort_keys=True, separators=(",", ":"))
        return ManagedFile(self.path, text.encode() + b"\n", mode)


@dataclass(frozen=True, slots=True)
class DoorTarget:
    """The door as it should be on its host.

    Attributes
    ----------
    url : str
        What people type.
    files : tuple of (str, ManagedFile)
        What it consists of, by the names of `dask_fleet.proxy.door_files`.
    listen : str
        Address that it binds; empty for all.
    port : int
        Port that it binds.
    own : bool
        Whether its nginx is the fleet's own.
    with_scheduler : bool
        Whether the scheduler is on its host.
    certified_name : str
        Name for which certbot fetches a certificate; empty if it does not.
    given : bytes
        The certificate, if the operator has brought it; else empty.
    """

    url: str
    files: tuple[tuple[str, ManagedFile], ...]
    listen: str
    port: int
    own: bool
    with_scheduler: bool
    certified_name: str = ""
    given: bytes = b""

    @property
    def digests(self) -> dict[str, str]:
        """SHA-256 of each file, by its name."""
        return {name: file.digest for name, file in self.files}


@dataclass(frozen=True, slots=True)
class HostTarget:
    """Everything that should be on one host."""

    host: str
    places: Places
    environment: Environment
    files: tuple[ManagedFile, ...]
    units: tuple[UnitTarget, ...]
    door: DoorTarget | None = None
