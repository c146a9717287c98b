"""What was seen: on the hosts, and by the scheduler itself."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from dask_fleet.environment import Environment

__all__ = [
    "DoorObserved",
    "ForeignContainer",
    "HostObserved",
    "HostSoftware",
    "Interpreter",
    "Listener",
    "LogLine",
    "ProcessRecord",
    "RegisteredWorker",
    "RuntimeObserved",
    "SchedulerObserved",
    "UnitObserved",
    "UnitState",
]

_GLIBC = re.compile(r"glibc (\d+)\.(\d+)")

UnitState = Literal["running", "starting", "stopping", "stopped", "crashing", "absent"]


@dataclass(frozen=True, slots=True)
class Listener:
    """A listening socket; ``address`` is ``0.0.0.0`` or ``::`` when it takes every interface."""

    address: str
    port: int
    inode: int


@dataclass(frozen=True, slots=True)
class ProcessRecord:
    """What a process of the fleet wrote about itself, and whether it is still alive.

    ``started`` is in seconds since the epoch; ``memory`` is its resident size in bytes.
    ``interpreter`` is the path of its Python, in a container the one there.
    """

    name: str
    unit: str
    role: str
    pid: int
    started: float
    restarts: int
    digest: str
    versions: Mapping[str, str]
    alive: bool
    memory: int = 0
    interpreter: str = ""


@dataclass(frozen=True, slots=True)
class UnitObserved:
    """A unit as its runtime sees it; ``pid`` is 0 when it has none.

    ``fault`` says what is not as it should be although it may run, such as a unit that would not
    start at boot. If it is a container, ``container`` is how its id begins, ``addresses`` are its
    own, and under ``ports`` of the host it is reached.
    """

    name: str
    state: UnitState
    pid: int = 0
    detail: str = ""
    fault: str = ""
    container: str = ""
    addresses: tuple[str, ...] = ()
    ports: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class ForeignContainer:
    """A container on a host that is of no fleet.

    Attributes
    ----------
    id, name, image : str
        What Docker calls it and made it of.
    state, policy : str
        Such as ``running``, and whether it is started again: ``always``.
    pid : int
        Of its first process; 0 when it does not run.
    project, service, folder : str
        Whose it is under compose, and where that lies; empty if it is not compose's.
    on_host : bool
        Whether it is in the network of the host.
    addresses : tuple of str
        Its own.
    ports : tuple of (str, int)
        Address and port of the host under which it is reached.
    command : tuple of str
        What it runs.
    """

    id: str
    name: str
    image: str
    state: str
    policy: str
    pid: int = 0
    project: str = ""
    service: str = ""
    folder: str = ""
    on_host: bool = False
    addresses: tuple[str, ...] = ()
    ports: tuple[tuple[str, int], ...] = ()
    command: tuple[str, ...] = field(default=(), repr=False)

    def __str__(self) -> str:
        place = f", in {self.folder}" if self.folder else ""
        of = f"service {self.service} of project {self.project}{place}, " if self.project else ""
        return f"container {self.name} ({of}image {self.image})"


@dataclass(frozen=True, slots=True)
class RuntimeObserved:
    """A runtime on a host, and its units by name.

    Attributes
    ----------
    alive : bool
        Whether it takes commands.
    files : Mapping of str to str
        Path and SHA-256 of files of the fleet that lie where the runtime reads them.
    prepared : bool
        Whether the user and the directories are there that units need.
    privileged : bool
        Whether commands run with the rights that the runtime needs.
    images : frozenset of str
        Images that are there, by id, by name with tag, and by name with digest.
    foreign : tuple of ForeignContainer
        Containers that are of no fleet.
    unfit : tuple of (str, str)
        What it lacks to keep units alive, although it answers: faults and their remedies.
    """

    alive: bool = False
    pid: int = 0
    units: Mapping[str, UnitObserved] = field(default_factory=dict[str, UnitObserved])
    files: Mapping[str, str] = field(default_factory=dict[str, str])
    prepared: bool = True
    privileged: bool = True
    images: frozenset[str] = frozenset()
    foreign: tuple[ForeignContainer, ...] = ()
    unfit: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class LogLine:
    """A line of a log.

    Attributes
    ----------
    unit : str
        Whose it is; empty when that is not known.
    text : str
        What it says.
    position : str
        Where the log can be gone on with behind it; empty where a runtime has no such place.
    """

    unit: str
    text: str
    position: str = ""


@dataclass(frozen=True, slots=True)
class DoorObserved:
    """What is there of a door on a host.

    Attributes
    ----------
    files : Mapping of str to str
        SHA-256 of the files that it consists of, by their names.
    loaded : Mapping of str to str
        The same of those that nginx has taken over last.
    nginx : str
        Version of the nginx there; empty when there is none, or when nobody asked.
    linked : bool
        Whether the nginx of the host reads the site file.
    active : str
        What systemd says of the nginx of the host, such as ``active``.
    at_boot : bool
        Whether systemd starts it at boot.
    certificate : str
        The certificate in PEM; empty if it has none.
    dangling : bool
        Whether nginx is told of a certificate of certbot's that is not there.
    """

    files: Mapping[str, str] = field(default_factory=dict[str, str])
    loaded: Mapping[str, str] = field(default_factory=dict[str, str])
    nginx: str = ""
    linked: bool = False
    active: str = ""
    at_boot: bool = False
    certificate: str = ""
    dangling: bool = False


@dataclass(frozen=True, slots=True)
class Interpreter:
    """A CPython on a host: its absolute path and its full version, such as ``3.11.2``."""

    path: str
    version: str

    def __str__(self) -> str:
        return f"{self.path} ({self.version})"


@dataclass(frozen=True, slots=True)
class HostSoftware:
    """What a host brings along.

    Attributes
    ----------
    machine : str
        As ``uname -m`` says, such as ``x86_64``.
    libc : str
        ``glibc 2.36``, ``musl`` or ``unknown``.
    interpreters : tuple of Interpreter
        In the order in which they were found.
    """

    machine: str = ""
    libc: str = "unknown"
    interpreters: tuple[Interpreter, ...] = ()

    @property
    def glibc(self) -> tuple[int, int] | None:
        """Version of the GNU C library; ``None`` when the host has another one."""
        found = _GLIBC.fullmatch(self.libc)
        return (int(found[1]), int(found[2])) if found else None


@dataclass(frozen=True, slots=True)
class HostObserved:
    """One look at a host.

    Attributes
    ----------
    host : str
        Its name in the spec.
    facts : Mapping
        ``os``, ``kernel``, ``python`` (version of its own), ``cpus``, ``memory_kib``,
        ``memory_available_kib``, ``disk_free_kib`` (where the state lives),
        ``environments_free_kib``, ``boot_id``, ``boot_time`` and ``clock`` (seconds since the
        epoch), as text; what a host does not tell is not there.
    exists : bool
        Whether the fleet has a state directory there.
    files : Mapping of str to str
        Path and SHA-256 of every deployed file.
    unit_files : Mapping
        Unit files as parsed, by path; a file that is not JSON stands as an empty mapping.
    environments : frozenset of str
        Digests of the environments that are complete.
    records : Mapping
        Records of processes by name.
    runtime : RuntimeObserved
        What the runtime says.
    listeners : tuple of Listener
        Every listening TCP socket.
    software : HostSoftware or None
        What a host brings along, if that was asked for.
    addresses : Mapping of str to tuple of str
        Addresses of its network interfaces by name, if they were asked for.
    certificate : str
        The certificate that lies there, in PEM; empty without TLS.
    door : DoorObserved
        What is there of a door.
    """

    host: str
    facts: Mapping[str, str]
    exists: bool
    files: Mapping[str, str]
    unit_files: Mapping[str, Mapping[str, object]]
    environments: frozenset[str]
    records: Mapping[str, ProcessRecord]
    runtime: RuntimeObserved
    listeners: tuple[Listener, ...]
    software: HostSoftware | None = None
    addresses: Mapping[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])
    certificate: str = ""
    door: DoorObserved = field(default_factory=DoorObserved)

    def has(self, environment: Environment) -> bool:
        """Return whether an environment is there, or the image that it is in."""
        if environment.image:
            return environment.image in self.runtime.images
        return environment.digest in self.environments

    @property
    def memory(self) -> int:
        """Bytes of memory; a limit of the cgroup that all of it is in counts. 0: not known."""
        keys = ("memory_kib", "cgroup_memory_kib")
        return min((int(self.facts[key]) for key in keys if key in self.facts), default=0) * 1024


@dataclass(frozen=True, slots=True)
class RegisteredWorker:
    """A worker as the scheduler lists it.

    ``memory`` and ``spilled`` are in bytes, ``cpu`` in percent of one core;
    ``executing`` and ``ready`` count tasks, ``in_memory`` counts keys. ``started`` is what stands
    in the record of the process that has registered; ``None`` if it did not tell.
    """

    name: str
    address: str
    nanny: str
    dashboard_port: int
    nthreads: int
    status: str
    memory: int = 0
    memory_limit: int = 0
    spilled: int = 0
    cpu: float = 0.0
    executing: int = 0
    ready: int = 0
    in_memory: int = 0
    started: float | None = None


@dataclass(frozen=True, slots=True)
class SchedulerObserved:
    """The cluster as the scheduler itself describes it."""

    address: str
    dashboard_port: int
    workers: Mapping[str, RegisteredWorker]
