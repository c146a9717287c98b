"""Checks across the parts of a spec that are valid each for itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dask_fleet.spec.check_containers import check_containers
from dask_fleet.spec.check_door import check_door
from dask_fleet.spec.check_hosts import check_hosts
from dask_fleet.spec.check_memory import check_memory
from dask_fleet.spec.check_ports import check_ports
from dask_fleet.spec.check_workers import check_groups, check_names
from dask_fleet.spec.configuration import nest
from dask_fleet.spec.expand import SCHEDULER_NAME, ExpandedHost, scheduler_host
from dask_fleet.spec.near import Speller

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dask_fleet.spec.model import Spec
    from dask_fleet.spec.report import Report

__all__ = ["BUILT_IN_ENVIRONMENTS", "check"]

BUILT_IN_ENVIRONMENTS = ("xcube",)
"""Environments that come with dask-fleet, by name."""


def check(spec: Spec, report: Report, host_memory: Mapping[str, int]) -> None:
    """Report what does not fit together.

    Faults do not hide each other: a check is silent only where a value that it needs cannot be
    believed. An unknown host counts as one that there is, so that what else is wrong with its
    workers is found.

    Parameters
    ----------
    spec : Spec
        What is sound of the file; the rest has its default.
    report : Report
        Knows what cannot be believed, and takes the problems.
    host_memory : Mapping
        As for `dask_fleet.spec.load`.
    """
    _check_environment(spec, report)
    for path, fault, remedy in nest(spec.config)[1]:
        report.add(("config", *path), fault, remedy, at_key=True)
    hosts, vague = check_hosts(spec, report)
    speller = Speller(hosts, vague)
    scheduler = _check_scheduler(spec, report, hosts, speller)
    placed = check_groups(spec, report, hosts, scheduler, speller)
    check_names(spec, report, placed)
    check_containers(report, hosts, {scheduler or "", *(one.host for one in placed)})
    door = check_door(spec, report, hosts, scheduler, speller)
    check_ports(spec, report, hosts, scheduler, placed, door)
    check_memory(report, hosts, placed, host_memory, complete=not vague)


def _check_environment(spec: Spec, report: Report) -> None:
    path = ("environment", "name")
    # What is given counts, even where its value is at fault.
    given = [
        key
        for key in ("name", "lock", "packages", "image", "build")
        if report.value(("environment", key)) is not None
    ]
    for further in given[1:]:
        report.add(
            ("environment", further),
            f'an environment has either "{given[0]}" or "{further}"',
            "keep one of them",
            at_key=True,
        )
    name = spec.environment.name
    if name is not None and name not in BUILT_IN_ENVIRONMENTS:
        known = " and ".join(f'"{one}"' for one in BUILT_IN_ENVIRONMENTS)
        report.add(
            path,
            f"unknown environment: {report.shown(path)}",
            f'{known} comes with dask-fleet; for others write "lock" or "packages"',
        )


def _check_scheduler(
    spec: Spec, report: Report, hosts: Mapping[str, ExpandedHost], speller: Speller
) -> str | None:
    """Return the name of the scheduler's host if it can be told; it may be unknown."""
    ports = spec.scheduler
    if ports.port == ports.dashboard and report.is_sound(("scheduler",), "port", "dashboard"):
        report.add(
            ("scheduler", "dashboard"),
            f"port {ports.port} is the scheduler's own",
            "give the dashboard another port",
        )
    path = ("scheduler", "host")
    if report.is_broken(*path):
        return None
    name = spec.scheduler.host
    if name is None and not speller.vague:
        name = scheduler_host(spec, hosts)
    elif name is None and SCHEDULER_NAME in hosts:
        name = SCHEDULER_NAME
    if name is None:
        if hosts and not speller.knows(SCHEDULER_NAME):
            report.add(
                path,
                "it is not said which host runs the scheduler",
                f'write "host: {next(iter(hosts))}" or another one',
            )
    elif not speller.knows(name):
        report.add(path, f"unknown host {report.shown(path)}", speller.remedy(name))
    return name
