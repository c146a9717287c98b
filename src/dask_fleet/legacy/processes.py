"""From a service to the scheduler or the workers that it runs."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from dask_fleet.legacy.arguments import (
    RANGE,
    end_of,
    given_to,
    is_outside,
    outside,
    place_of,
    say_changed,
    say_no_dashboard,
    say_unused,
)
from dask_fleet.spec.sizes import format_size, parse_size

if TYPE_CHECKING:
    from dask_fleet.legacy.dask_options import Given
    from dask_fleet.legacy.service import Service

__all__ = ["SchedulerFound", "WorkersFound", "read_scheduler", "read_workers"]


_MOST = 1000
"""Workers of one service; of more, ports of ten apart leave those that there are."""

_AMOUNT = re.compile(r"\d+(?:\.\d*)?(?:[eE]\+?\d{1,2})?", re.ASCII)


@dataclass(slots=True)
class SchedulerFound:
    """A scheduler: its service, ports and address of its host, and its settings."""

    service: Service
    port: int
    dashboard: int
    address: str = ""
    tls: bool = False
    preload: list[str] = field(default_factory=list[str])


@dataclass(slots=True)
class WorkersFound:
    """Workers that are alike, on one host.

    Attributes
    ----------
    service : Service
        Where they come from.
    count : int
        How many they are.
    step : int
        By how much ports grow from one to the next.
    worker, nanny, dashboard : int or None
        Ports of the first; ``None`` where Dask chose one at random.
    address : str
        Address of their host, if they say it.
    dials : str
        The scheduler's address as they have it, without its port; empty if it is not known.
    dials_port : int
        Its port; 0 if it is not known.
    """

    service: Service
    count: int = 1
    step: int = 10
    worker: int | None = None
    nanny: int | None = None
    dashboard: int | None = None
    nthreads: int | None = None
    memory: int | None = None
    resources: dict[str, float] = field(default_factory=dict[str, float])
    name: str = ""
    address: str = ""
    dials: str = ""
    dials_port: int = 0
    directory: str = ""
    tls: bool = False
    preload: list[str] = field(default_factory=list[str])
    preload_nanny: list[str] = field(default_factory=list[str])

    @property
    def host(self) -> str:
        """Name of their host."""
        return self.service.compose.folder.host


def read_scheduler(service: Service) -> SchedulerFound:
    """Return the scheduler that a service runs; say what of its command line is left."""
    given = given_to(service, "scheduler")
    port, _ = end_of(service, "--port", given.one("port"))
    host_port, _ = end_of(service, "--host", given.one("host"), quiet=True)
    dashboard, _ = end_of(service, "--dashboard-address", given.one("dashboard"))
    inside = port or host_port or 8786, dashboard or 8787
    port, board = (outside(service, one) for one in inside)
    found = SchedulerFound(service, port, board)
    ends = [(given.one("host") or "").rpartition("://")[2], *(one.address for one in service.ports)]
    found.address = next((one for one in ends if is_outside(one)), "")
    found.tls, found.preload = "tls" in given.values, given.values.get("preload", [])
    say_no_dashboard(service, given)
    say_unused(service, set(inside))
    return found


def read_workers(service: Service) -> WorkersFound:
    """Return the workers that a service runs; say what of their command line is left."""
    given = given_to(service, "worker")
    found = WorkersFound(service, tls="tls" in given.values)
    contact_port, contact = end_of(service, "--contact-address", given.one("contact"))
    listen_port, _ = end_of(service, "--listen-address", given.one("listen"))
    worker, _ = end_of(service, "--worker-port", given.one("worker"))
    nanny, _ = end_of(service, "--nanny-port", given.one("nanny"))
    dashboard, _ = end_of(service, "--dashboard-address", given.one("dashboard"))
    host = (given.one("host") or "").rpartition("://")[2]
    published = [one.address for one in service.ports]
    found.address = next((one for one in (contact, host, *published) if is_outside(one)), "")
    ranges = [one for use in ("worker", "nanny") if (one := RANGE.fullmatch(given.one(use) or ""))]
    inside = worker or listen_port or None, nanny or None, dashboard or None
    published_as = (outside(service, one) if one else None for one in inside)
    found.worker, found.nanny, found.dashboard = published_as
    if contact_port and contact_port != found.worker:
        found.worker = contact_port  # that is what others dial
    _read_numbers(service, given, found)
    if ranges and found.count > 1:
        found.step = 1
    found.name = given.one("name") or ""
    found.directory = given.one("directory") or ""
    found.preload = given.values.get("preload", [])
    found.preload_nanny = given.values.get("preload_nanny", [])
    _read_scheduler_address(service, given, found)
    if given.one("nanny_on") == "no":
        why = "the worker had no nanny, which starts a worker anew and holds it to its memory"
        say_changed(service, "--no-nanny", why, "each worker has one")
    say_no_dashboard(service, given)
    used = {one + index * found.step for one in inside if one for index in range(found.count)}
    for match in ranges:
        used.update(range(int(match[1]), min(int(match[2]), 65535) + 1))
    say_unused(service, used)
    return found


def _read_numbers(service: Service, given: Given, found: WorkersFound) -> None:
    """Read number, threads, memory and resources."""
    remarks, place = service.compose.remarks, place_of(service)
    nworkers = given.one("nworkers")
    if nworkers is not None and nworkers.isdecimal() and int(nworkers):
        found.count = int(nworkers)
    elif nworkers is not None:
        why = "Dask made as many workers as it thought fit"
        remarks.decide(place, f"--nworkers {nworkers}", why, "one worker; see `per_host`")
    found.count *= max(service.replicas, 1)
    if found.count > _MOST:
        why = "no host has ports for so many"
        remarks.decide(place, f"{found.count} workers", why, "one worker; see `per_host`")
        found.count = 1
    nthreads = given.one("nthreads")
    if nthreads is not None and nthreads.isdecimal():
        found.nthreads = int(nthreads) or None
    elif nthreads is not None:
        why = "it is no number"
        remarks.decide(place, f"--nthreads {nthreads}", why, "`nthreads: auto`")
    if found.nthreads is None and service.cpus:
        found.nthreads = max(1, int(service.cpus) // found.count)
    _read_memory(service, given, found)
    for pair in re.split(r"[\s,]+", " ".join(given.values.get("resources", []))):
        name, equals, amount = pair.partition("=")
        if _AMOUNT.fullmatch(amount) and equals:
            found.resources[name] = float(amount)
        elif pair:
            remarks.decide(place, f"--resources {pair}", "it is no amount", "it is left out")


def _read_memory(service: Service, given: Given, found: WorkersFound) -> None:
    remarks, place = service.compose.remarks, place_of(service)
    text = given.one("memory")
    limit = service.memory
    if text is not None and text not in ("auto", "0", "none", "None"):
        try:
            number = float(text)
        except ValueError:
            number = None
        try:
            if number is not None and 0 < number <= 1:
                if limit:
                    found.memory = int(number * limit)
                else:
                    why = "it is a share of the host's memory, which is not known here"
                    remarks.decide(place, f"--memory-limit {text}", why, "`memory_limit: auto`")
            else:
                found.memory = parse_size(text) if number is None else int(number)
        except ValueError as error:
            becomes = "`memory_limit: auto`"
            remarks.decide(place, f"--memory-limit {text}", f"{error}", becomes)
    elif text in ("0", "none", "None"):
        why = "Dask did not look at the memory of the worker"
        remarks.decide(place, f"--memory-limit {text}", why, "`memory_limit: auto`")
    elif limit:
        found.memory = limit // found.count
    if limit:
        why = "the kernel ended the container when it used more"
        becomes = "the fleet's container may use what its workers may, and 512 MiB for nannies"
        what = f"memory limit of {format_size(limit)}"
        remarks.changed(service.memory_place or place, what, why, becomes)


def _read_scheduler_address(service: Service, given: Given, found: WorkersFound) -> None:
    """Read which scheduler the workers dial, from the command line or a variable of Dask's."""
    text = given.scheduler
    if not text and "DASK_SCHEDULER_ADDRESS" in service.variables:
        text, _ = service.variables["DASK_SCHEDULER_ADDRESS"]
    if not text and service.dockerfile is not None:
        text = service.dockerfile.variables.get("DASK_SCHEDULER_ADDRESS", "")
    found.tls = found.tls or text.startswith("tls://")
    bare = text.rpartition("://")[2]
    name, colon, port = bare.rpartition(":")
    found.dials = name if colon else bare
    found.dials_port = int(port) if port.isdecimal() and int(port) < 65536 else 0
    if "$" in found.dials:
        found.dials = ""
