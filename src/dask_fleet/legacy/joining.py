"""What was found in all folders, joined to one fleet."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from dask_fleet.legacy.grouping import Numbered, group, number
from dask_fleet.legacy.images import software
from dask_fleet.legacy.joined import Joined
from dask_fleet.legacy.processes import (
    SchedulerFound,
    WorkersFound,
    read_scheduler,
    read_workers,
)
from dask_fleet.legacy.service import Service, read_service
from dask_fleet.legacy.service_limits import read_rest
from dask_fleet.legacy.settings import (
    join_containers,
    join_directory,
    join_settings,
    variables_of,
)

if TYPE_CHECKING:
    from dask_fleet.legacy.folder import ComposeFile
    from dask_fleet.legacy.remarks import Remarks

__all__ = ["join"]

_NAME = re.compile(r"([a-z][a-z0-9-]*?)-(\d{4})")


def join(files: Sequence[ComposeFile], given: Mapping[str, str], remarks: Remarks) -> Joined:
    """Return the one fleet of several folders.

    Parameters
    ----------
    files : sequence of ComposeFile
        What lies on the VMs.
    given : Mapping of str to str
        Addresses of hosts that the caller knows.
    remarks : Remarks
        Takes what is to be said.
    """
    schedulers: list[SchedulerFound] = []
    workers: list[WorkersFound] = []
    for service in _services(files):
        if service.command.role == "scheduler":
            schedulers.append(read_scheduler(service))
        else:
            workers.append(read_workers(service))
    services = [one.service for one in (*schedulers, *workers)]
    hosts = dict.fromkeys(one.compose.folder.host for one in services)
    joined = Joined({host: given.get(host, "") for host in hosts})
    _join_scheduler(joined, schedulers, workers, remarks)
    _join_addresses(joined, workers)
    _say_open(joined, services, remarks)
    taken = [(joined.scheduler, joined.port), (joined.scheduler, joined.dashboard)]
    numbered = number(workers, taken)
    _say_chosen(numbered, remarks)
    _say_twice(numbered, remarks)
    joined.groups = group(numbered)
    _join_names(joined, remarks)
    joined.software = software(services, [one.service for one in workers], remarks)
    joined.variables = dict(variables_of(services, len(schedulers), remarks))
    join_containers(joined, services, remarks)
    join_directory(joined, workers, remarks)
    join_settings(joined, schedulers, workers)
    return joined


def _services(files: Sequence[ComposeFile]) -> Iterator[Service]:
    """Yield the services that are Dask's; say which are not."""
    for compose in files:
        for name in compose.mapping(("services",)).keys() - compose.services.keys():
            place = compose.place(("services", name), key=True)
            compose.remarks.lost(place, f"service {name}", "nothing is said of it")
        for name, values in compose.services.items():
            service = read_service(compose, name, values)
            if service.command.role:
                read_rest(service, values)
                yield service
                continue
            place = compose.place(("services", name), key=True)
            image = f" (image {service.image})" if service.image else ""
            suspicious = re.search("dask|worker|scheduler", f"{name} {service.image}".lower())
            if suspicious and not service.command.others:
                compose.remarks.decide(
                    place,
                    f"service {name}{image}",
                    "no dask scheduler or worker is seen in it: perhaps its image says it",
                    "it is left out; write the command into the compose file and import again",
                )
            else:
                compose.remarks.lost(
                    place,
                    f"service {name}{image}",
                    "it is not Dask's",
                    "it is left as it is, and not taken over",
                )


def _join_scheduler(
    joined: Joined,
    schedulers: Sequence[SchedulerFound],
    workers: Sequence[WorkersFound],
    remarks: Remarks,
) -> None:
    if not schedulers:
        return
    first, *more = schedulers
    host = joined.scheduler = first.service.compose.folder.host
    joined.addresses[host] = joined.addresses[host] or first.address
    joined.port, joined.dashboard = first.port, first.dashboard
    for one in more:
        remarks.decide(
            one.service.compose.place(one.service.path, key=True),
            f"service {one.service.name}",
            "it is a second scheduler, and a fleet has one",
            f"that of {first.service.compose.folder.shown} is taken; import others by themselves",
        )
    for one in workers:
        if one.dials_port and one.dials_port != first.port:
            remarks.decide(
                one.service.place("command"),
                f"the scheduler at port {one.dials_port}",
                f"the scheduler that was found is reached at port {first.port}",
                f"workers dial {first.port}",
            )


def _join_addresses(joined: Joined, workers: Sequence[WorkersFound]) -> None:
    """Fill in addresses of hosts: workers say their own, and that of the scheduler."""
    for one in workers:
        if one.address and not joined.addresses[one.host]:
            joined.addresses[one.host] = one.address
        beside = set(one.service.compose.mapping(("services",)))
        near = {"", "localhost", "127.0.0.1", "host.docker.internal", *beside}
        if joined.scheduler and not joined.addresses[joined.scheduler] and one.dials not in near:
            joined.addresses[joined.scheduler] = one.dials


def _say_open(joined: Joined, services: Sequence[Service], remarks: Remarks) -> None:
    """Say what nothing in the folders tells."""
    folders = {one.compose.folder.host: one.compose.folder for one in services}
    for host, address in joined.addresses.items():
        if not address:
            remarks.decide(
                folders[host].place(folders[host].compose),
                f"host {host}",
                "nothing says by which address the other hosts dial it",
                f"fleet.yaml has its name; give the address there, or by --address {host}=ADDRESS",
            )
    if services and not joined.scheduler:
        remarks.decide(
            services[0].place(),
            "no scheduler",
            "workers dial one that is in none of the folders",
            "it is put on the first host: import its folder too, or mend `scheduler:`",
        )


def _say_chosen(workers: Sequence[Numbered], remarks: Remarks) -> None:
    """Say which ports are made up, since Dask chose them at random."""
    ports: dict[int, list[Numbered]] = {}
    for one in workers:
        ports.setdefault(id(one.found), []).append(one)
    for several in ports.values():
        found = several[0].found
        uses = {"worker": found.worker, "nanny": found.nanny, "dashboard": found.dashboard}
        open_ = [index for index, port in enumerate(uses.values()) if port is None]
        if open_:
            chosen = ["/".join(str(one.ports[index]) for index in open_) for one in several]
            remarks.changed(
                found.service.place("command"),
                f"no port of {' and '.join(list(uses)[index] for index in open_)}",
                "Dask chose one at random each time",
                f"always {', '.join(chosen)}",
            )


def _say_twice(workers: Sequence[Numbered], remarks: Remarks) -> None:
    used: dict[tuple[str, int], str] = {}
    for one in workers:
        for port in one.ports:
            name = one.found.service.name
            before = used.setdefault((one.host, port), name)
            if before != name:
                remarks.decide(
                    one.found.service.place("ports"),
                    f"port {port}",
                    f"{before} has it too, so that only one of them could run",
                    "give one of them other ports in fleet.yaml",
                )


def _join_names(joined: Joined, remarks: Remarks) -> None:
    """Keep the names of workers where they are numbered as those of a fleet are."""
    members = [one for group in joined.groups for one in group.members]
    names = [one.found.name for one in members]
    matches = [_NAME.fullmatch(name) for name in names]
    found = [match for match in matches if match]
    if found and len(found) == len(names):
        prefix, first = found[0][1], int(found[0][2])
        if names == [f"{prefix}-{first + index:04d}" for index in range(len(names))]:
            joined.named = prefix, first
            return
    for one in members:
        if one.found.name:
            remarks.changed(
                one.found.service.place("command"),
                f"--name {one.found.name}",
                "code that asks for this worker by its name no longer finds it",
                "workers are numbered through each group: dask-worker-0001",
            )
