"""Workers as they were found to worker groups with the same ports."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TypeAlias

from dask_fleet.legacy.processes import WorkersFound

__all__ = ["Group", "Numbered", "group", "number"]

_FIRST, _STEP = 9010, 10
_Likeness: TypeAlias = tuple[int | None, int | None, tuple[tuple[str, float], ...]]


@dataclass(frozen=True, slots=True)
class Numbered:
    """One worker with all its ports."""

    found: WorkersFound
    ports: tuple[int, int, int]

    @property
    def host(self) -> str:
        """Name of its host."""
        return self.found.host

    @property
    def likeness(self) -> _Likeness:
        """What workers of one group have in common."""
        one = self.found
        return one.nthreads, one.memory, tuple(sorted(one.resources.items()))


@dataclass(slots=True)
class Group:
    """A worker group of fleet.yaml."""

    name: str
    hosts: list[str]
    per_host: int
    ports: tuple[int, int, int]
    step: int
    per: str
    nthreads: int | None
    memory: int | None
    resources: dict[str, float]
    first: int = 1
    members: list[Numbered] = field(default_factory=list[Numbered])


def number(found: Iterable[WorkersFound], taken: Iterable[tuple[str, int]]) -> list[Numbered]:
    """Return every worker with its ports; those that Dask chose at random are made up.

    Parameters
    ----------
    found : iterable of WorkersFound
        What was found.
    taken : iterable of (host, port)
        Ports that workers may not have, such as the scheduler's.
    """
    every = list(found)
    used = set(taken)
    for one in every:
        for port in (one.worker, one.nanny, one.dashboard):
            used.update((one.host, each) for each in _counted(port, one))
    result: list[Numbered] = []
    for one in every:
        bases = [one.worker, one.nanny, one.dashboard]
        first = bases[0] if bases[0] is not None else _FIRST
        ahead = one.count if one.step == 1 else 1
        for offset, base in enumerate(bases):
            if base is not None:
                continue
            start = first + offset * ahead
            while any((one.host, each) in used for each in _counted(start, one)):
                start += _STEP if offset == 0 else 1
            first = start if offset == 0 else first
            bases[offset] = start
            used.update((one.host, each) for each in _counted(start, one))
        several = zip(*(_counted(base, one) for base in bases), strict=True)
        result.extend(Numbered(one, ports) for ports in several)
    return result


def _counted(first: int | None, one: WorkersFound) -> range:
    """Return the ports that follow from the first, one for each worker; none from none."""
    if first is None:
        return range(0)
    return range(first, first + one.count * one.step, one.step)


def group(workers: Sequence[Numbered]) -> list[Group]:
    """Return groups that give each worker the ports that it has.

    All alike with ports that count on from host to host, or begin anew on each, are one group. Of
    what fits neither, workers with the same ports are one.
    """
    alike: dict[_Likeness, list[Numbered]] = {}
    for one in workers:
        alike.setdefault(one.likeness, []).append(one)
    groups: list[Group] = []
    for several in alike.values():
        whole = _one_group(several)
        if whole is not None:
            groups.append(whole)
            continue
        by_ports: dict[tuple[int, int, int], list[Numbered]] = {}
        for one in several:
            by_ports.setdefault(one.ports, []).append(one)
        for same in by_ports.values():
            # Two of one host with the same ports cannot both run: `check` says so.
            part = _one_group(same) or _begun([same[0]], 1, _STEP, "host")
            groups.append(part)
    first = 1
    for index, one in enumerate(groups):
        one.name = "default" if len(groups) == 1 else f"group-{index + 1}"
        one.first = first
        first += one.per_host * len(one.hosts)
    return groups


def _one_group(workers: Sequence[Numbered]) -> Group | None:
    """Return the one group that all these workers make up, if there is such a group."""
    by_host: dict[str, list[Numbered]] = {}
    for one in sorted(workers, key=lambda one: one.ports):
        by_host.setdefault(one.host, []).append(one)
    sizes = {len(several) for several in by_host.values()}
    if len(sizes) != 1:
        return None
    (per_host,) = sizes
    ordered = [one for several in by_host.values() for one in several]
    if (step := _even(ordered)) is not None and len(ordered) > 1:
        return _begun(ordered, per_host, step, "group")
    each = list(by_host.values())
    if all([one.ports for one in several] == [one.ports for one in each[0]] for several in each):
        step = _even(each[0])
        if step is not None:
            return _begun(ordered, per_host, step, "host")
    return None


def _even(workers: Sequence[Numbered]) -> int | None:
    """Return by how much all ports grow from each worker to the next, if evenly."""
    if len(workers) == 1:
        return _STEP
    steps = {
        after - before
        for one, other in pairwise(workers)
        for before, after in zip(one.ports, other.ports, strict=True)
    }
    (step, *more) = steps
    return step if not more and step > 0 else None


def _begun(workers: Sequence[Numbered], per_host: int, step: int, per: str) -> Group:
    one = workers[0]
    hosts = list(dict.fromkeys(each.host for each in workers))
    if len(hosts) == 1:
        per = "host"
    return Group(
        name="",
        hosts=hosts,
        per_host=per_host,
        ports=one.ports,
        step=step,
        per=per,
        nthreads=one.found.nthreads,
        memory=one.found.memory,
        resources=one.found.resources,
        members=list(workers),
    )
