"""Checks across the parts of a spec that are valid each for itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dask_fleet.spec.check_hosts import check_hosts, known_names
from dask_fleet.spec.check_workers import check_groups, check_memory, check_names, check_ports
from dask_fleet.spec.configuration import nest
from dask_fleet.spec.expand import ExpandedHost, scheduler_host
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

    Parameters
    ----------
    spec : Spec
        What is valid of the file; the rest is left out or has its default.
    report : Report
        Knows what is left out, and takes the problems.
    host_memory : Mapping
        As for `dask_fleet.spec.load`.
    """
    _check_environment(spec, report)
    for path, fault, remedy in nest(spec.config)[1]:
        report.add(("config", *path), fault, remedy, at_key=True)
    if report.is_broken("hosts") and not isinstance(report.value(("hosts",)), dict):
        return  # without hosts nothing that follows would be true
    hosts = check_hosts(spec, report)
    if hosts is None:
        return
    speller = Speller(known_names(hosts, report))
    scheduler = _check_scheduler(spec, report, hosts, speller)
    placed = check_groups(spec, report, hosts, scheduler, speller)
    check_names(spec, report, placed)
    check_ports(spec, report, hosts, scheduler, placed)
    check_memory(report, hosts, placed, host_memory)


def _check_environment(spec: Spec, report: Report) -> None:
    if report.is_broken("environment"):
        return
    environment = spec.environment
    given = [key for key in ("name", "lock", "packages") if getattr(environment, key) is not None]
    if len(given) > 1:
        report.add(
            ("environment", given[1]),
            f'an environment has either "{given[0]}" or "{given[1]}"',
            "keep one of them",
            at_key=True,
        )
    name = environment.name
    if name is not None and name not in BUILT_IN_ENVIRONMENTS:
        path = ("environment", "name")
        known = " and ".join(f'"{one}"' for one in BUILT_IN_ENVIRONMENTS)
        report.add(
            path,
            f"unknown environment: {report.shown(path)}",
            f'{known} comes with dask-fleet; for others write "lock" or "packages"',
        )


def _check_scheduler(
    spec: Spec, report: Report, hosts: Mapping[str, ExpandedHost], speller: Speller
) -> str | None:
    """Return the name of the scheduler's host if it is known."""
    if report.is_broken("scheduler"):
        return None
    path = ("scheduler", "host")
    name = scheduler_host(spec, hosts)
    if name is None:
        if hosts and len(hosts) == len(speller.known):
            report.add(
                path,
                "it is not said which host runs the scheduler",
                f'write "host: {next(iter(hosts))}" or another one',
            )
        return None
    if name not in speller.known:
        report.add(path, f"unknown host {report.shown(path)}", speller.remedy(name))
    if spec.scheduler.port == spec.scheduler.dashboard:
        report.add(
            ("scheduler", "dashboard"),
            f"port {spec.scheduler.port} is the scheduler's own",
            "give the dashboard another port",
        )
    return name if name in hosts else None
