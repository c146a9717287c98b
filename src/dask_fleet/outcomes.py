"""What the use cases return, for a front to show."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dask_fleet.actions import Plan
    from dask_fleet.errors import FleetError
    from dask_fleet.inventory import Row, Stranger
    from dask_fleet.observed import HostObserved

__all__ = ["Status", "Upped"]


@dataclass(frozen=True, slots=True)
class Status:
    """The inventory at one moment: processes, hosts, whether the scheduler answers, strangers."""

    rows: tuple[Row, ...]
    answers: bool
    hosts: Mapping[str, HostObserved] = field(default_factory=dict["str", "HostObserved"])
    failures: Mapping[str, FleetError] = field(default_factory=dict["str", "FleetError"])
    strangers: tuple[Stranger, ...] = ()


@dataclass(frozen=True, slots=True)
class Upped:
    """What an ``up`` did: the plan (empty when there was nothing to do) and how long it took.

    ``failures`` are those of hosts that it could not bring up; the others are as declared.
    """

    plan: Plan
    seconds: float
    declined: bool = False
    failures: Mapping[str, FleetError] = field(default_factory=dict["str", "FleetError"])
