"""Variables, volumes, users and settings of all containers, joined to those of one fleet."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from dask_fleet.legacy.joined import Joined
from dask_fleet.legacy.volumes import Volume
from dask_fleet.masking import looks_secret, masked_lines

if TYPE_CHECKING:
    from dask_fleet.legacy.processes import SchedulerFound, WorkersFound
    from dask_fleet.legacy.remarks import Remarks
    from dask_fleet.legacy.service import Service

__all__ = ["join_containers", "join_directory", "join_settings", "variables_of"]

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_OWN = frozenset(("DASK_SCHEDULER_ADDRESS",))
_INSTALLING = re.compile(r"EXTRA_(?:APT|CONDA|PIP|MAMBA)_PACKAGES")


def variables_of(
    services: Sequence[Service], schedulers: int, remarks: Remarks
) -> Iterator[tuple[str, str]]:
    """Yield the variables that all processes get; those of workers go before."""
    values: dict[str, str] = {}
    # Workers come first, since they compute; what differs is said of the others.
    for service in (*services[schedulers:], *services[:schedulers]):
        folder = service.compose.folder
        built = service.dockerfile.variables if service.dockerfile else {}
        at = folder.place(service.dockerfile_name)
        every = {name: (value, at) for name, value in built.items()} | service.variables
        for name, (value, place) in every.items():
            if name in _OWN:
                continue
            if _INSTALLING.fullmatch(name):
                why = "the entry point of the image installed these at each start"
                becomes = "put them into an image: its entry point is not used"
                remarks.decide(place, name, why, becomes)
            elif name == "PATH":
                why = "it says which Python is meant"
                becomes = "it is left out; see `environment: interpreter:`"
                remarks.decide(place, f"PATH={value}", why, becomes)
            elif "$" in value:
                remarks.decide(place, name, "its value is not known", "it is left out")
            elif not _VARIABLE.fullmatch(name) or _CONTROL.search(value):
                why = "a fleet's variables have letters, digits and _, and values on one line"
                remarks.lost(place, name, why)
            elif looks_secret(name) or masked_lines(value) != value:
                why = "it may be a secret, and fleet.yaml is kept and shared"
                becomes = f"fleet.yaml takes it from your environment: ${{{name}:-}}"
                remarks.decide(place, name, why, becomes)
                values[name] = f"${{{name}:-}}"
            elif values.setdefault(name, value) != value:
                why = "it differs between containers, and variables of a fleet are the same for all"
                remarks.decide(place, name, why, "that of the first worker is taken")
    yield from ((name, value) for name, value in values.items())


def join_containers(joined: Joined, services: Sequence[Service], remarks: Remarks) -> None:
    """Join users, limits and volumes."""
    users = dict.fromkeys(one.user for one in services if one.user)
    joined.user = next(iter(users), "")
    for user in list(users)[1:]:
        service = next(one for one in services if one.user == user)
        why = "containers of a fleet have one user"
        remarks.decide(service.place("user"), f"user: {user}", why, f"it is {joined.user}")
    joined.nofile = max((one.nofile for one in services), default=0)
    by_place: dict[str, Volume] = {}
    for service in services:
        for volume in service.volumes:
            before = by_place.setdefault(volume.inside, volume)
            if before != volume:
                remarks.decide(
                    service.place("volumes"),
                    f"volumes: {volume}",
                    "other containers have something else there, and all of a fleet have the same",
                    f"{before} is taken",
                )
    joined.volumes = [str(one) for one in by_place.values()]
    joined.mounts = {one.source: one.mount for one in by_place.values() if one.mount}
    workers = [one for one in services if one.command.role == "worker"]
    joined.limit_cpus = bool(workers) and all(one.cpus for one in workers)
    mounted = [one for one in services if one.volumes]
    if mounted and not joined.user:
        remarks.decide(
            mounted[0].place("volumes"),
            "volumes without `user:`",
            "the image said as whom processes wrote there, often as root",
            "they run as 8786:8786: give them what they write, or set `containers: user:`",
        )


def join_directory(joined: Joined, workers: Sequence[WorkersFound], remarks: Remarks) -> None:
    """Take the folder for spilled data over, if it is one of the host's."""
    for one in workers:
        if not one.directory:
            continue
        path = one.directory.rstrip("/")
        mounts = sorted(one.service.volumes, key=lambda volume: -len(volume.inside))
        for volume in mounts:
            inside = volume.inside.rstrip("/")
            if volume.source.startswith("/") and f"{path}/".startswith(f"{inside}/"):
                place = volume.source.rstrip("/") + path.removeprefix(inside)
                joined.directory = joined.directory or place or "/"
                break
        else:
            remarks.changed(
                one.service.place("command"),
                f"--local-directory {one.directory}",
                "workers spilled there, into the container itself",
                "they spill into the fleet's folder there; `directories: work:` names another",
            )


def join_settings(
    joined: Joined, schedulers: Sequence[SchedulerFound], workers: Sequence[WorkersFound]
) -> None:
    """Take over what is Dask's configuration."""
    joined.tls = any(one.tls for one in (*schedulers, *workers))
    preloads = {
        "distributed.scheduler.preload": (one.preload for one in schedulers),
        "distributed.worker.preload": (one.preload for one in workers),
        "distributed.nanny.preload": (one.preload_nanny for one in workers),
    }
    for key, several in preloads.items():
        if names := list(dict.fromkeys(name for names in several for name in names)):
            joined.config[key] = names
