"""Hosts that are not fit for what they are to run, found before anything is changed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timezone
from typing import TYPE_CHECKING, cast

from dask_fleet.errors import FleetError
from dask_fleet.proxy.door_files import CERTIFICATE
from dask_fleet.tls.certificates import read_certificate, validity
from dask_fleet.wheels.interpreters import choose, missing_python, unsuitable

if TYPE_CHECKING:
    from dask_fleet.observed import HostObserved
    from dask_fleet.runtimes.base import Runtime
    from dask_fleet.target import HostTarget

__all__ = ["refusals"]


def refusals(
    targets: Iterable[HostTarget],
    observed: Mapping[str, HostObserved],
    runtimes: Mapping[str, Runtime],
) -> tuple[FleetError, ...]:
    """Return why hosts cannot be what they should be, an error for each reason.

    Parameters
    ----------
    targets : iterable of HostTarget
        What should be.
    observed : Mapping
        What was seen.
    runtimes : Mapping
        The runtime of each host.
    """
    return tuple(
        error
        for target in targets
        if target.units or target.door
        for error in _host(target, observed[target.host], runtimes[target.host])
    )


def _host(target: HostTarget, seen: HostObserved, runtime: Runtime) -> Iterable[FleetError]:
    if runtime.resident and not seen.runtime.alive and not seen.runtime.unfit:
        fault, remedy = runtime.absent
        yield FleetError(f"{target.host}: {fault}", remedy)
    for fault, remedy in seen.runtime.unfit:
        yield FleetError(f"{target.host}: {fault}", remedy)
    if not seen.runtime.privileged:
        yield FleetError(
            f"{target.host}: units under {runtime.name} need root, and commands there do not"
            " run as root",
            "log in as root (`ssh: {user: root}`) or with sudo (`ssh: {sudo: true}`)",
        )
    if target.door is not None and not seen.door.nginx:
        yield FleetError(
            f"{target.host}: the door needs nginx, and there is none",
            "`apt-get install nginx-light` there, or take `door` out of fleet.yaml",
        )
    if error := _certificate(target, seen):
        yield error
    lacking = target.units and not seen.has(target.environment)
    if lacking and seen.software is not None:
        if error := unsuitable(target.host, seen.software):
            yield error
        wanted = target.environment.python
        if choose(seen.software.interpreters, wanted) is None:
            yield missing_python(target.host, wanted, seen.software.interpreters)
    if error := _memory(target, seen):
        yield error


def _certificate(target: HostTarget, seen: HostObserved) -> FleetError | None:
    """Return the error of a new certificate that does not hold; an old one is the doctor's."""
    door = target.door
    if door is None or not door.given:
        return None
    if seen.door.files.get(CERTIFICATE) == door.digests[CERTIFICATE]:
        return None
    certificate = read_certificate(door.given)
    now = datetime.fromtimestamp(float(seen.facts.get("clock", 0)), timezone.utc)
    if certificate.not_before <= now < certificate.not_after:
        return None
    return FleetError(
        f"door.tls.certificate: by the clock of {target.host} it {validity(certificate, now)}",
        "put one that holds beside fleet.yaml",
    )


def _memory(target: HostTarget, seen: HostObserved) -> FleetError | None:
    """Return the error of limits that are together above what the host has."""
    there = seen.memory
    limits = [
        limit
        for unit in target.units
        for worker in cast("Iterable[Mapping[str, object]]", unit.declared.get("workers", ()))
        if isinstance(limit := worker["memory_limit"], int)
    ]
    if not there or sum(limits) <= there:
        return None
    return FleetError(
        f"{target.host}: its {len(limits)} workers may use {sum(limits) / 2**30:.1f} GiB of memory"
        f" together, and it has {there / 2**30:.1f} GiB",
        "lower `memory_limit`, `per_host` or `memory` in fleet.yaml",
    )
