"""The closed set of actions, and the plan that they make up."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from dask_fleet.environment import Environment
    from dask_fleet.observed import HostSoftware
    from dask_fleet.predecessors import Predecessor
    from dask_fleet.target import DoorTarget, ManagedFile

__all__ = [
    "Action",
    "BuildEnvironment",
    "Change",
    "Plan",
    "PrepareHost",
    "RemoveDoor",
    "RemoveFleet",
    "Replaced",
    "RestartUnits",
    "StartRuntime",
    "StopProcesses",
    "StopRuntime",
    "TakeOver",
    "UpdateDoor",
    "UpdateUnits",
    "Verb",
    "WriteFiles",
]

Verb = Literal["create", "change", "restart", "start", "stop", "remove", "replace"]


@dataclass(frozen=True, slots=True)
class Change:
    """One line of a plan as people read it: what becomes of which thing, and why.

    ``detail`` is what differs from host to host and need not be read when many are alike.
    """

    host: str
    verb: Verb
    subject: str
    reason: str
    detail: str = ""

    def __str__(self) -> str:
        return f"{self.verb} {self.subject} on {self.host}: {self.why}"

    @property
    def why(self) -> str:
        """The reason with its detail."""
        return f"{self.reason} ({self.detail})" if self.detail else self.reason


@dataclass(frozen=True, slots=True)
class BuildEnvironment:
    """Make the fleet's software environment on a host, or get the image that it is in.

    Attributes
    ----------
    software : HostSoftware or None
        What a host brings along to which wheels are shipped; None if it fetches them itself.
    """

    host: str
    environment: Environment
    software: HostSoftware | None = None

    def __str__(self) -> str:
        if self.environment.image:
            verb = "bring" if self.environment.recipe else "pull"
            return f"{verb} image {self.environment.image}"
        return f"make environment {self.environment.name} ({self.environment.digest})"


@dataclass(frozen=True, slots=True)
class PrepareHost:
    """Make the user and the directories that units need."""

    host: str

    def __str__(self) -> str:
        return "make user and directories"


@dataclass(frozen=True, slots=True)
class WriteFiles:
    """Install files that differ and remove those that are no longer declared."""

    host: str
    files: tuple[ManagedFile, ...]
    removed: tuple[str, ...] = ()

    def __str__(self) -> str:
        count = len(self.files) + len(self.removed)
        return f"write {count} file{'s' if count != 1 else ''}"


@dataclass(frozen=True, slots=True)
class StopProcesses:
    """End processes of the fleet that no runtime keeps any more, by their pids."""

    host: str
    processes: tuple[tuple[str, int], ...]

    def __str__(self) -> str:
        return "stop " + ", ".join(f"{name} (pid {pid})" for name, pid in self.processes)


@dataclass(frozen=True, slots=True)
class StartRuntime:
    """Start the runtime, which starts every unit."""

    host: str
    runtime: str
    units: tuple[str, ...]

    def __str__(self) -> str:
        return f"start {self.runtime} with {', '.join(self.units) or 'no unit'}"


@dataclass(frozen=True, slots=True)
class UpdateUnits:
    """Let the runtime take over definitions: start what is new, stop what is gone."""

    host: str
    units: tuple[str, ...]

    def __str__(self) -> str:
        return f"update {', '.join(self.units)}"


@dataclass(frozen=True, slots=True)
class RestartUnits:
    """Restart units that run."""

    host: str
    units: tuple[str, ...]

    def __str__(self) -> str:
        return f"restart {', '.join(self.units)}"


@dataclass(frozen=True, slots=True)
class StopRuntime:
    """Stop every unit, and the runtime too if it is the fleet's own.

    Attributes
    ----------
    shown : str
        What stops, in words.
    """

    host: str
    shown: str

    def __str__(self) -> str:
        return f"stop {self.shown}"


@dataclass(frozen=True, slots=True)
class TakeOver:
    """Stop containers that are not the fleet's and are in its place; they are kept."""

    host: str
    predecessors: tuple[Predecessor, ...]

    def __str__(self) -> str:
        names = ", ".join(one.container.name for one in self.predecessors)
        return f"stop and keep container {names}"


@dataclass(frozen=True, slots=True)
class UpdateDoor:
    """Put the door's files into place, checked by nginx, and let it take them over."""

    host: str
    door: DoorTarget

    def __str__(self) -> str:
        return f"open the door at {self.door.url}"


@dataclass(frozen=True, slots=True)
class RemoveDoor:
    """Take the door's files away and let nginx go on with what else it has."""

    host: str

    def __str__(self) -> str:
        return "take the door away"


@dataclass(frozen=True, slots=True)
class RemoveFleet:
    """Remove every file of the fleet from a host."""

    host: str
    paths: tuple[str, ...]

    def __str__(self) -> str:
        return "remove the fleet's files"


Action = (
    BuildEnvironment
    | PrepareHost
    | WriteFiles
    | StopProcesses
    | StartRuntime
    | UpdateUnits
    | RestartUnits
    | StopRuntime
    | TakeOver
    | UpdateDoor
    | RemoveDoor
    | RemoveFleet
)


@dataclass(frozen=True, slots=True)
class Replaced:
    """Workers that run on a host and would be stopped on purpose, to be drained before."""

    host: str
    workers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """What would change and the actions that do it.

    Attributes
    ----------
    changes : tuple of Change
        For people, in the order of the hosts.
    phases : tuple of tuple of Action
        All actions of a phase may run at once on different hosts; on one host they run in order.
        A phase begins when the one before has ended.
    replaced : tuple of Replaced
        Hosts whose workers run and would be stopped, in their order.
    interrupts : bool
        Whether a scheduler that runs would be stopped, and with it the work of all its clients.
    """

    changes: tuple[Change, ...] = ()
    phases: tuple[tuple[Action, ...], ...] = ()
    replaced: tuple[Replaced, ...] = ()
    interrupts: bool = False

    @property
    def hosts(self) -> tuple[str, ...]:
        """The hosts on which something is done."""
        return tuple(dict.fromkeys(action.host for phase in self.phases for action in phase))

    @property
    def taken_over(self) -> tuple[TakeOver, ...]:
        """What stops containers that are not the fleet's, host by host."""
        every = (action for phase in self.phases for action in phase)
        return tuple(action for action in every if isinstance(action, TakeOver))

    @property
    def empty(self) -> bool:
        """Whether there is nothing to do."""
        return not self.changes and not any(self.phases)
