"""Containers that are not the fleet's and stand where its own are to be.

Such as those of the old procedure, from which a fleet takes over. They are found by what they
publish, and by the scheduler that they dial. Labels of a container that runs cannot be changed, and
it runs another command: none can be made one of the fleet's. It makes way for one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dask_fleet.errors import PortHeldError
from dask_fleet.ports import overlap

if TYPE_CHECKING:
    from dask_fleet.observed import ForeignContainer, HostObserved
    from dask_fleet.target import HostTarget, UnitTarget

__all__ = ["Predecessor", "in_the_place_of", "predecessors", "without_asking"]

_STOPPED = ("exited", "always")
"""State and policy of one that Docker starts at boot."""

_AT_WORK = frozenset(("running", "restarting", "paused", "removing"))


@dataclass(frozen=True, slots=True)
class Predecessor:
    """A container that has to make way.

    Attributes
    ----------
    container : ForeignContainer
        What it is.
    units : tuple of str
        The units whose ports it has.
    reason : str
        Why it has to make way.
    """

    container: ForeignContainer
    units: tuple[str, ...]
    reason: str


def predecessors(target: HostTarget, seen: HostObserved) -> tuple[Predecessor, ...]:
    """Return the containers that stand where those of a host are to be.

    One that is stopped counts if Docker would start it at boot: then it would be there first.
    """
    return tuple(
        found
        for container in seen.runtime.foreign
        if container.state in _AT_WORK or (container.state, container.policy) == _STOPPED
        if (found := _predecessor(container, target)) is not None
    )


def _predecessor(container: ForeignContainer, target: HostTarget) -> Predecessor | None:
    ports = {unit.name: held for unit in target.units if (held := _held(container, unit))}
    if ports:
        numbers = ", ".join(str(port) for held in ports.values() for port in held)
        has = f"has port {numbers}" if container.state in _AT_WORK else f"takes {numbers} at boot"
        return Predecessor(container, tuple(ports), has)
    for unit in target.units:
        dialled = str(unit.declared.get("scheduler", "")).rpartition("//")[2]
        if dialled and any(dialled in word for word in container.command):
            return Predecessor(container, (), f"dials the fleet's scheduler, {dialled}")
    return None


def _held(container: ForeignContainer, unit: UnitTarget) -> list[int]:
    """Return the ports of a unit that a container publishes, or names in the host's network."""
    if container.on_host:
        text = " ".join(container.command)
        dask = "dask" in text and (unit.role == "scheduler") == ("scheduler" in text)
        return [port for _, port in unit.ports if dask and str(port) in text]
    return [
        port
        for address, port in unit.ports
        if any(port == other and overlap(address, at) for at, other in container.ports)
    ]


def in_the_place_of(found: Iterable[Predecessor]) -> Mapping[str, str]:
    """Return, for each unit in whose place containers are, which they are, in words."""
    places: dict[str, list[str]] = {}
    for one in found:
        for unit in one.units:
            places.setdefault(unit, []).append(str(one.container))
    return {unit: f"now {'; and '.join(several)}" for unit, several in places.items()}


def without_asking(host: str, found: Iterable[Predecessor]) -> PortHeldError:
    """Return the error of an ``up`` that was not told to take over from containers."""
    several = tuple(found)
    lines = [f"{one.container} {one.reason}" for one in several]
    are = "a container that is" if len(lines) == 1 else f"{len(lines)} containers that are"
    return PortHeldError(
        f"{host}: {are} not the fleet's {'is' if len(lines) == 1 else 'are'} in its place\n"
        + "\n".join(lines),
        "`dask fleet plan` shows what would be replaced; `dask fleet up --take-over` stops and"
        " keeps what is there, and starts the fleet's",
    )
