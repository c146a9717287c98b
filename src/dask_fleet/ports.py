"""Ports that are in the way of a plan, and who holds them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dask_fleet.actions import Plan, RestartUnits, StartRuntime, UpdateDoor, UpdateUnits
from dask_fleet.command import Command, script
from dask_fleet.door import DOOR_NAME
from dask_fleet.errors import PortHeldError

if TYPE_CHECKING:
    from dask_fleet.layout import Layout
    from dask_fleet.observed import ForeignContainer, HostObserved, Listener
    from dask_fleet.target import HostTarget

__all__ = [
    "Holder",
    "PortInTheWay",
    "container_of",
    "foreign",
    "held_error",
    "holders_script",
    "overlap",
    "ports_in_the_way",
    "read_holders",
    "sentence",
    "unexplained",
]

_FLEET = re.compile(r".*/dask-fleet/fleets/([^/]+)")
"""The directory in which a runtime starts the units of a fleet on this machine."""

_PUBLISHED = re.compile(
    r"docker-proxy .* -container-ip (?P<address>\S+)|conmon .* -c (?P<container>[0-9a-f]{12})"
)
"""What holds a published port: a process of Docker's for an address, one of Podman's for an id."""

_FORWARDER = re.compile(r"(?:\S*/)?rootless(?:kit|port)\b")
"""What holds the published ports of all containers of an engine without root, and tells none."""


@dataclass(frozen=True, slots=True)
class PortInTheWay:
    """A port that a unit is about to need and that somebody listens on."""

    host: str
    unit: str
    port: int
    inode: int


@dataclass(frozen=True, slots=True)
class Holder:
    """A process that listens: its pid, process group, working directory and command line."""

    pid: int
    group: int
    directory: str
    command: str

    def __str__(self) -> str:
        fleet = _FLEET.fullmatch(self.directory)
        of = f" of fleet {fleet[1]}" if fleet else ""
        return f"`{self.command}`{of} (pid {self.pid})"


def ports_in_the_way(
    plan: Plan, targets: Iterable[HostTarget], observed: Mapping[str, HostObserved]
) -> tuple[PortInTheWay, ...]:
    """Return the listening sockets on ports of units that the plan starts or starts anew.

    Whether the holder is one of the fleet's own processes, which the plan ends first, is known
    only when it has been asked for; see `foreign`.
    """
    found: list[PortInTheWay] = []
    begins = (StartRuntime, UpdateUnits, RestartUnits)
    units = {
        (action.host, name)
        for phase in plan.phases
        for action in phase
        if isinstance(action, begins)
        for name in action.units
    }
    # An nginx of our own is one of the units; that of the host has its ports already.
    doors = {
        action.host
        for phase in plan.phases
        for action in phase
        if isinstance(action, UpdateDoor) and not action.door.own
    }
    for target in targets:
        wanted = [
            (unit.name, address, port)
            for unit in target.units
            if (target.host, unit.name) in units
            for address, port in unit.ports
        ]
        if target.host in doors and (door := target.door):
            wanted.append((DOOR_NAME, door.listen or "::", door.port))
        found.extend(_held(observed[target.host], wanted))
    return tuple(dict.fromkeys(found))


def unexplained(layout: Layout, observed: Mapping[str, HostObserved]) -> tuple[PortInTheWay, ...]:
    """Return the listening sockets on declared ports whose own process does not live.

    A process that lives holds its ports, for it writes its record when it has them. Whether the
    others are the fleet's all the same, such as a nanny whose worker has just died, is known only
    when their holders have been asked for; see `foreign`.
    """
    wanted: dict[str, list[tuple[str, str, int]]] = {}
    for unit in layout.units:
        if (seen := observed.get(unit.host)) is None:
            continue
        for process in unit.processes:
            if (record := seen.records.get(process.name)) is None or not record.alive:
                wanted.setdefault(unit.host, []).extend(
                    (unit.name, process.listen, port) for port in process.ports.values()
                )
    found = (port for host, ports in wanted.items() for port in _held(observed[host], ports))
    return tuple(dict.fromkeys(found))


def _held(seen: HostObserved, wanted: Iterable[tuple[str, str, int]]) -> Iterator[PortInTheWay]:
    """Yield the sockets that are in the way of units, each with an address and a port."""
    by_port: dict[int, list[Listener]] = {}
    for listener in seen.listeners:
        by_port.setdefault(listener.port, []).append(listener)
    for unit, address, port in wanted:
        for listener in by_port.get(port, ()):
            if overlap(address, listener.address):
                yield PortInTheWay(seen.host, unit, port, listener.inode)


def overlap(wanted: str, held: str) -> bool:
    """Return whether a socket on one address keeps another process from binding the other.

    ``::`` takes IPv4 too unless its owner said otherwise, which the kernel does not tell.
    """
    if wanted == held or "::" in (wanted, held):
        return True
    any4 = "0.0.0.0"  # noqa: S104 - compared, not bound
    return any4 in (wanted, held) and (":" in wanted) == (":" in held)


def foreign(
    ports: Iterable[PortInTheWay], holders: Mapping[int, Holder], seen: HostObserved
) -> tuple[PortInTheWay, ...]:
    """Return those of the ports that no process of the fleet itself holds.

    A unit leads a process group of its own, so its workers are known by it. The runtime knows a
    unit from its first moment, a record stands only when the ports are bound. The published port of
    a container is held by a process of its engine, which says for which one, or does so for all;
    then it is that of the one container which publishes it and runs.
    """
    own = {record.pid for record in seen.records.values() if record.alive}
    own |= {unit.pid for unit in seen.runtime.units.values() if unit.pid}

    published = {
        one for unit in seen.runtime.units.values() for one in (unit.container, *unit.addresses)
    }

    forwarded = {
        port
        for unit in seen.runtime.units.values()
        if unit.state != "stopped"
        for port in unit.ports
    }

    def ours(port: PortInTheWay) -> bool:
        holder = holders.get(port.inode)
        if holder is not None and port.unit == DOOR_NAME and holder.command.startswith("nginx: "):
            return True  # the nginx that is to be the door, for its other sites
        if holder is not None and (found := _PUBLISHED.search(holder.command)):
            return found[found.lastgroup or 0] in published
        if holder is not None and _FORWARDER.match(holder.command) and port.port in forwarded:
            return True
        return holder is not None and bool({holder.pid, holder.group} & own)

    return tuple(port for port in ports if not ours(port))


def container_of(
    holder: Holder | None, containers: Iterable[ForeignContainer], port: int
) -> ForeignContainer | None:
    """Return the container that a port is published for, or whose process holds it."""
    if holder is None:
        return None
    published = _PUBLISHED.search(holder.command)
    forwarded = _FORWARDER.match(holder.command)
    for one in containers:
        if forwarded and one.pid and port in [number for _, number in one.ports]:
            return one
        if published and published[published.lastgroup or 0] in (one.id, *one.addresses):
            return one
        if one.pid and one.pid in (holder.pid, holder.group):
            return one
    return None


def held_error(
    host: str,
    ports: Iterable[PortInTheWay],
    holders: Mapping[int, Holder],
    containers: Iterable[ForeignContainer] = (),
) -> PortHeldError:
    """Return the error that names every port in the way on a host, and who holds it."""
    several = tuple(containers)
    lines = [sentence(port, holders.get(port.inode), several) for port in ports]
    if len(lines) == 1:
        return PortHeldError(f"{host}: {lines[0]}", _REMEDY)
    return PortHeldError(
        f"{host}: {len(lines)} ports are held by others\n" + "\n".join(lines), _REMEDY
    )


def sentence(
    port: PortInTheWay, holder: Holder | None, containers: Iterable[ForeignContainer] = ()
) -> str:
    """Return who holds a port that a unit needs, in words."""
    container = container_of(holder, containers, port.port)
    who = container or holder or "a process that only root may look at"
    return f"port {port.port}, which {port.unit} needs, is held by {who}"


_REMEDY = "end what holds them, or give the fleet other ports in fleet.yaml"


def holders_script(inodes: Iterable[int]) -> Command:
    """Return the command that finds which process holds each of these sockets.

    Every descriptor of every process is read, so it is asked only when a port is in the way.
    """
    return script(
        """\
LC_ALL=C; export LC_ALL
wanted=" $* "
clean() { tr '\\000-\\037' ' ' | cut -c1-200; }
for place in /proc/[0-9]*; do
  ls -l "$place/fd" 2>/dev/null | sed -n "s/.*socket:\\[\\([0-9]*\\)\\]$/\\1/p" |
  while read -r inode; do
    case $wanted in
      *" $inode "*)
        group=$(sed 's/.*) //' "$place/stat" | cut -d' ' -f3)
        directory=$(readlink "$place/cwd" | clean)
        printf '%s\\t%s\\t%s\\t%s\\t%s\\n' "$inode" "${place##*/}" "$group" "$directory" \\
          "$(clean <"$place/cmdline")" ;;
    esac
  done
done
""",
        *(str(inode) for inode in inodes),
        timeout=30,
    )


def read_holders(text: str) -> dict[int, Holder]:
    """Return the holder of each socket, by inode; of several that share it, the first."""
    holders: dict[int, Holder] = {}
    for line in text.split("\n"):
        inode, pid, group, directory, command = [*line.split("\t"), "", "", "", "", ""][:5]
        if inode.isdecimal() and pid.isdecimal():
            number = int(group) if group.isdecimal() else 0
            holders.setdefault(int(inode), Holder(int(pid), number, directory, command.strip()))
    return holders
