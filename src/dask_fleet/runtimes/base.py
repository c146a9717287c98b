"""What every runtime can say: supervisor on this machine, systemd on hosts behind SSH."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from dask_fleet.command import Command
    from dask_fleet.observed import LogLine, RuntimeObserved
    from dask_fleet.places import Places
    from dask_fleet.target import ManagedFile, UnitTarget

__all__ = ["Runtime"]


class Runtime(Protocol):
    """Keeps units alive on a host. Every method is pure: it returns files, text or commands."""

    @property
    def name(self) -> str:
        """Its name in the spec."""
        ...

    @property
    def shown(self) -> str:
        """What stops when the fleet goes down, in words."""
        ...

    @property
    def resident(self) -> bool:
        """Whether it was on the host before the fleet and stays when the fleet goes."""
        ...

    @property
    def contained(self) -> bool:
        """Whether its processes are in containers, which number them by themselves."""
        ...

    @property
    def absent(self) -> tuple[str, str]:
        """Fault and remedy where it does not run, of a runtime that is resident."""
        ...

    @property
    def reader(self) -> str:
        """The user that units run as and that may read deployed files; empty if the caller."""
        ...

    @property
    def owner(self) -> str:
        """Whose is what processes write: a user, in containers ``UID:GID``; empty if the caller."""
        ...

    def interpreter(self, places: Places, environment: str) -> str:
        """Return the Python that processes run by, with the digest of their environment."""
        ...

    def files(
        self, places: Places, fleet: str, units: Sequence[UnitTarget]
    ) -> tuple[ManagedFile, ...]:
        """Return the definitions that make the runtime run these units."""
        ...

    def definition(self, places: Places, fleet: str, unit: UnitTarget) -> bytes:
        """Return what the runtime is told of a unit, which its digest covers."""
        ...

    def bound(self, address: str) -> str:
        """Return the address that processes bind where one is declared."""
        ...

    def inside(self, units: Sequence[str]) -> tuple[str, ...]:
        """Return what stands before a command that is to run where one of these units runs."""
        ...

    def own_files(self, places: Places) -> frozenset[str]:
        """Return the paths whose change needs a restart of the runtime itself."""
        ...

    def look(self, places: Places) -> str:
        """Return the part of the look script that prints what the runtime knows.

        It may call ``present PATH``, which sets ``$place`` to the nearest directory that is there.
        """
        ...

    def read(self, text: str) -> RuntimeObserved:
        """Return what the output of ``look`` says."""
        ...

    def prepare(self, places: Places) -> Command:
        """Return the command that makes what units need on a host: a user, directories."""
        ...

    def begin(self, places: Places) -> Command:
        """Return the command that starts the runtime with all its units."""
        ...

    def end(self, places: Places) -> Command:
        """Return the command that stops all units and the runtime, and waits for their end."""
        ...

    def update(self, places: Places, units: Sequence[str]) -> Command:
        """Return the command that takes over changed definitions of these units."""
        ...

    def restart(self, places: Places, units: Sequence[str]) -> Command:
        """Return the command that restarts units."""
        ...

    def log(
        self, places: Places, units: Sequence[str], *, lines: int, follow: bool, after: str = ""
    ) -> Command:
        """Return the command that prints the last lines of each of these units, for `read_log`.

        It is one command for all of them, since a host takes only some commands at once. It goes
        on printing new lines if ``follow`` is true; with ``after``, the position of a line, it
        begins behind that line instead.
        """
        ...

    def read_log(self, line: str) -> LogLine:
        """Return what a line that ``log`` printed says; without unit and text it is no log line."""
        ...
