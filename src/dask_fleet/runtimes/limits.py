"""How much memory and how many CPUs a unit may have, in whatever keeps it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import cast

from dask_fleet.target import UnitTarget

__all__ = ["NANNY_MEMORY", "memory_of", "threads_of"]

NANNY_MEMORY = 512 * 2**20
"""Bytes that a unit of workers may use beyond the limits of its workers: the launcher with the
nannies, and the fork server. Dask restarts a worker at 95 % of its own limit; the unit's limit is
the one that the kernel enforces when Dask is too late."""


def memory_of(unit: UnitTarget) -> int:
    """Return the bytes that a unit of workers may have; 0 if a worker has no limit."""
    if unit.role != "workers":
        return 0
    limits = [worker["memory_limit"] for worker in _workers(unit)]
    known = [limit for limit in limits if isinstance(limit, int) and limit > 0]
    return sum(known) + NANNY_MEMORY if len(known) == len(limits) else 0


def threads_of(unit: UnitTarget) -> int:
    """Return how many threads the workers of a unit have together; 0 if it has none."""
    if unit.role != "workers":
        return 0
    return sum(cast("int", worker["nthreads"]) for worker in _workers(unit))


def _workers(unit: UnitTarget) -> Iterable[Mapping[str, object]]:
    return cast("Iterable[Mapping[str, object]]", unit.declared["workers"])
