"""A fleet as the folders of a set-up by hand have it."""

from __future__ import annotations

from dataclasses import dataclass, field

from dask_fleet.legacy.grouping import Group
from dask_fleet.legacy.images import Software

__all__ = ["Joined"]


@dataclass(slots=True)
class Joined:
    """A fleet as the folders have it.

    Attributes
    ----------
    addresses : dict of str to str
        Address of each host; empty where nothing says it.
    scheduler : str
        Host of the scheduler; empty if none was found.
    named : tuple of str and int, or None
        Prefix and first number of the workers, if their names were numbered.
    """

    addresses: dict[str, str]
    scheduler: str = ""
    port: int = 8786
    dashboard: int = 8787
    software: Software = field(default_factory=Software)
    groups: list[Group] = field(default_factory=list[Group])
    named: tuple[str, int] | None = None
    variables: dict[str, str] = field(default_factory=dict[str, str])
    config: dict[str, list[str]] = field(default_factory=dict[str, list[str]])
    user: str = ""
    nofile: int = 0
    volumes: list[str] = field(default_factory=list[str])
    mounts: dict[str, tuple[str, str, str]] = field(default_factory=dict[str, tuple[str, str, str]])
    limit_cpus: bool = False
    directory: str = ""
    tls: bool = False

    @property
    def count(self) -> int:
        """Number of workers."""
        return sum(len(one.members) for one in self.groups)
