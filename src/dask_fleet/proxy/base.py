"""What every nginx that may be the door can say: that of the host, or the fleet's own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from dask_fleet.command import Command
    from dask_fleet.places import Places
    from dask_fleet.target import DoorTarget

__all__ = ["Proxy"]


class Proxy(Protocol):
    """Puts a door into place on a host. Every method is pure: it returns text or commands."""

    @property
    def own(self) -> bool:
        """Whether the nginx is the fleet's own, a unit among others, and not that of the host."""
        ...

    def look(self, places: Places, *, wanted: bool) -> str:
        """Return the part of the look script that prints what is there of the door.

        ``wanted`` says whether the host is to have one; what nginx is there is asked only then, or
        if a door is left.
        """
        ...

    def site(self, places: Places) -> Command:
        """Return the command that prints the path of the site file and, below, what is in it."""
        ...

    def update(self, places: Places, door: DoorTarget) -> Command:
        """Return the command that puts the files into place and lets nginx take them over.

        nginx checks them first. When it does not take them, those that were there before are
        back, and it fails with the last words of nginx.
        """
        ...

    def remove(self, places: Places) -> Command:
        """Return the command that takes the door away and lets nginx go on with its other sites."""
        ...
