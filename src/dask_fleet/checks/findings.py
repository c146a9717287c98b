"""What the doctor knows of hosts, and what it finds: the values of the checks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from dask_fleet.observed import HostObserved
    from dask_fleet.ports import Holder

__all__ = [
    "CHECKS",
    "Answer",
    "Dialled",
    "Examined",
    "Finding",
    "Listening",
    "Report",
    "Severity",
]

Severity = Literal["error", "warning", "note"]

CHECKS: Mapping[str, str] = {
    "hosts": "every host answers and can run the doctor's probe",
    "ports": "every declared port is free or held by the fleet",
    "workers": "the scheduler, if it runs, lists no worker that is not declared",
    "connections": "every host reaches every host that the contract names",
    "clocks": "clocks agree with the scheduler host's",
    "versions": "python, dask and the environment are the same everywhere",
    "disk": "there is room on the disks",
    "memory": "every host has the memory that its workers may use",
    "files": "processes may open as many files as they need",
    "names": "names resolve, and alike on every host",
    "distance": "the scheduler is near every host",
    "certificates": "certificates hold, and for a month at least",
    "door": "only those come in at the door who may, and its certificate holds",
    "systemd": "systemd is there and well on every host that needs it",
    "engine": "an engine answers on every host of containers, and starts them at boot",
}
"""Every check, and what is true when it has found nothing."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is wrong, or that people should know.

    Attributes
    ----------
    check : str
        Which of `CHECKS`.
    severity : str
        ``error``: the fleet does not work so; ``warning``: it works badly, or not for long;
        ``note``: good to know.
    place : str
        The host, or ``FROM -> TO``.
    fault : str
        What is wrong.
    remedy : str
        What to do about it.
    """

    check: str
    severity: Severity
    place: str
    fault: str
    remedy: str


@dataclass(frozen=True, slots=True)
class Listening:
    """What came of listening on a host's declared ports, each with its address.

    ``failed`` has address, port, one word for the error (an errno or ``name``) and its text.
    """

    bound: frozenset[tuple[str, int]] = frozenset()
    held: frozenset[tuple[str, int]] = frozenset()
    failed: tuple[tuple[str, int, str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Dialled:
    """How one connection went.

    ``outcome`` is ``ok``, ``refused``, ``timeout``, ``route``, ``name``, or an errno.
    """

    address: str
    port: int
    outcome: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Answer:
    """What the probe says of a host; limits are ``None`` when there is none or it is unknown.

    ``distance`` is the least seconds that a connection to the scheduler took; ``None`` where none
    came about, or none is needed.
    """

    dialled: tuple[Dialled, ...] = ()
    distance: float | None = None
    names: Mapping[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])
    own_name: str = ""
    own_resolves: bool = True
    python: str = ""
    other_python: str = ""
    files: Mapping[str, int | None] = field(default_factory=dict[str, "int | None"])
    own_files: int | None = None
    systemd: str | None = None


@dataclass(frozen=True, slots=True)
class Examined:
    """Everything that is known of one host that answers.

    Attributes
    ----------
    clock : (float, float)
        Least and most that its clock can be ahead of the operator's, in seconds: what was read
        lies between the question and the answer.
    """

    host: str
    seen: HostObserved
    listening: Listening
    holders: Mapping[int, Holder]
    answer: Answer
    clock: tuple[float, float]


@dataclass(frozen=True, slots=True)
class Report:
    """What the doctor says.

    Attributes
    ----------
    findings : tuple of Finding
        The worst first.
    distances : Mapping of str to float or None
        Seconds that a connection to the scheduler takes, by host that answers; ``None`` where none
        came about, or none is needed.
    """

    findings: tuple[Finding, ...]
    distances: Mapping[str, float | None]
