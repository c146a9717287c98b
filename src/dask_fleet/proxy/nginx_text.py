"""Names of nginx: what the parts of a site file have in common."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dask_fleet.door import bracketed
from dask_fleet.proxy.login import Login

if TYPE_CHECKING:
    from dask_fleet.door import Door, Route
    from dask_fleet.proxy.door_files import DoorFiles

__all__ = ["Site", "key_of", "listens"]

_LONGEST_KEY = 46
"""Letters that a key of a map may have: its hash has buckets of 64 bytes, and their size may be
set once in the whole of nginx. A longer one stands there as a regular expression."""


@dataclass(frozen=True, slots=True)
class Site:
    """A door, its files, and the names that its parts have in nginx."""

    fleet: str
    door: Door
    files: DoorFiles

    @property
    def login(self) -> Login:
        """Who is let in."""
        door = self.door
        return Login(
            self.fleet,
            self.files.accounts,
            door.login == "users",
            door.forward_auth,
            door.sign_in,
            door.url,
        )

    @property
    def own(self) -> str:
        """The beginning of names of variables and zones, which all sites of an nginx share."""
        return self.login.variable.removeprefix("$")

    def upstream(self, route: Route) -> str:
        """Return the name of a dashboard among the upstreams; no part of it has a dot."""
        return f"dask.{self.fleet}.{route.name}"


def listens(door: Door) -> list[str]:
    """Return what the door binds; all addresses are those of IPv6 too where it has one."""
    if door.listen:
        return [f"{bracketed(door.listen)}:{door.port}"]
    either = any(":" in name for name in door.names)
    return [str(door.port), *([f"[::]:{door.port}"] if either else [])]


def key_of(key: str) -> str:
    """Return the key of a map, which is a regular expression if it is long."""
    if len(key) <= _LONGEST_KEY:
        return f'"{key}"'
    return f'"~*^{re.escape(key)}$"'
