"""What every transport can do; local is the first, SSH stands beside it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from dask_fleet.command import Command, Outcome

__all__ = ["Connections", "Transport"]


class Connections(Protocol):
    """The connections that all transports of one command share."""

    async def begin(self, hosts: Iterable[str]) -> None:
        """Begin to open those to some hosts; whoever needs one waits for it, or learns why not."""
        ...

    async def close(self) -> None:
        """Give it back."""
        ...


class Transport(Protocol):
    """Carries commands to one host."""

    @property
    def host(self) -> str:
        """Name of the host."""
        ...

    async def run(self, command: Command, *, check: bool = True) -> Outcome:
        """Run a command to its end.

        Parameters
        ----------
        command : Command
            What to run.
        check : bool
            Whether a status other than 0 is an error.

        Raises
        ------
        CommandFailedError
            It ended with another status, could not be started, or outran its time.
        UnreachableHostError
            The host does not answer.
        """
        ...

    def lines(self, command: Command) -> AsyncIterator[str]:
        """Run a command and yield its output by lines, until it ends or the caller stops.

        Standard error is mixed in. A status other than 0 is a `CommandFailedError` at the end.
        """
        ...

    async def reach(self, address: str, port: int) -> tuple[str, int]:
        """Return address and port at which this process reaches a port as the host sees it."""
        ...

    async def close(self) -> None:
        """Give back what it holds open."""
        ...
