"""What else a compose file says of a service: ports, volumes, limits, user and other keys."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, cast

from dask_fleet.legacy.compose_keys import READ, SAME, SERVICE_KEYS
from dask_fleet.legacy.volumes import read_ports, read_volumes

if TYPE_CHECKING:
    from dask_fleet.legacy.remarks import Place
    from dask_fleet.legacy.service import Service

__all__ = ["read_rest"]

_BYTES = re.compile(r"(\d+(?:\.\d+)?)\s*([bkmgtp]?)(?:i?b)?", re.IGNORECASE)
_FACTORS = {letter: 1024**power for power, letter in enumerate("bkmgtp")} | {"": 1}
_AMOUNT = re.compile(r"\d{1,6}(?:\.\d+)?", re.ASCII)
_KINDS: Mapping[str, type | tuple[type, ...]] = {
    **dict.fromkeys(("ports", "volumes"), list),
    **dict.fromkeys(("deploy", "ulimits"), Mapping),
    "environment": (list, Mapping),
    "env_file": (list, str),
    "build": (str, Mapping),
    **dict.fromkeys(("command", "entrypoint"), (list, str)),
}
_ROOT = ("root", "0")
_USER = re.compile(r"(\d+)(?::(\d+))?")


def read_rest(service: Service, values: Mapping[str, object]) -> None:
    """Read what else is said of a service that is Dask's, and note what is not understood."""
    path = service.path
    compose, remarks = service.compose, service.compose.remarks
    service.ports = list(read_ports(compose, (*path, "ports"), values.get("ports")))
    service.volumes = list(read_volumes(compose, (*path, "volumes"), values.get("volumes")))
    service.on_host = values.get("network_mode") == "host"
    service.memory = _bytes(service, values.get("mem_limit"), "mem_limit")
    service.cpus = _number(values.get("cpus"))
    service.replicas = int(_number(values.get("scale")) or 1)
    _read_deploy(service, values.get("deploy"))
    _read_user(service, values.get("user"))
    _read_ulimits(service, values.get("ulimits"))
    _say_restart(service, values.get("restart"))
    if service.cpus:
        place = service.place("cpus" if "cpus" in values else "deploy")
        what = f"cpus: {service.cpus:g}"
        why = "Docker kept the container to this share of the CPUs"
        if service.command.role == "worker":
            becomes = "`limit_cpus`: no more CPUs than its workers have threads"
            remarks.changed(place, what, why, becomes)
        else:
            remarks.lost(place, what, why, "the scheduler has what it needs")
    mode = values.get("network_mode")
    if mode is not None and mode not in ("host", "bridge", "default"):
        why = "processes were in another network"
        becomes = "ports are published on the host's address"
        remarks.lost(service.place("network_mode"), f"network_mode: {mode}", why, becomes)
    for key, value in values.items():
        place = compose.place((*path, key), key=True)
        if value is not None and not isinstance(value, _KINDS.get(key, object)):
            becomes = "nothing is taken of it"
            remarks.decide(place, f"{key}:", "it is not written as compose reads it", becomes)
        if key in SERVICE_KEYS:
            kind, why, becomes = SERVICE_KEYS[key]
            say = remarks.changed if kind == "changed" else remarks.lost
            say(place, f"{key}:", why, becomes)
        elif key not in READ and key not in SAME and not key.startswith("x-"):
            remarks.lost(place, f"{key}:", "it is no key of a service that this tool knows")


def _read_deploy(service: Service, deploy: object) -> None:
    """Read limits and number from ``deploy``, which is Swarm's and which compose reads too."""
    if not isinstance(deploy, Mapping):
        return
    entry = cast("Mapping[str, object]", deploy)
    remarks = service.compose.remarks
    resources = _mapping(entry.get("resources"))
    limits = _mapping(resources.get("limits"))
    if limits.get("memory") is not None:
        where = ("deploy", "resources", "limits", "memory")
        service.memory = _bytes(service, limits["memory"], *where)
    service.cpus = _number(limits.get("cpus")) or service.cpus
    service.replicas = int(_number(entry.get("replicas")) or service.replicas)
    others = {f"resources: limits: {key}" for key in limits} - {
        "resources: limits: memory",
        "resources: limits: cpus",
    }
    others |= {f"resources: {key}" for key in resources if key != "limits"}
    others |= {key for key in entry if key not in ("resources", "replicas")}
    for key in sorted(others):
        first = key.split(":")[0]
        if first == "restart_policy":
            _say_always(service, service.place("deploy", first), f"deploy: {key}")
            continue
        why = "Docker Swarm, or a device or a share of the host, is asked for"
        remarks.lost(service.place("deploy", first), f"deploy: {key}", why)


def _mapping(value: object) -> Mapping[str, object]:
    return cast("Mapping[str, object]", value) if isinstance(value, Mapping) else {}


def _read_user(service: Service, user: object) -> None:
    remarks, place = service.compose.remarks, service.place("user")
    if user is None:
        return
    text = str(user)
    found = _USER.fullmatch(text)
    if text.partition(":")[0] in _ROOT:
        becomes = "they run as 8786:8786; what they wrote as root on volumes needs a `chown`"
        remarks.changed(place, f"user: {text}", "processes ran as root", becomes)
    elif found is None:
        remarks.decide(
            place,
            f"user: {text}",
            "which numbers this name has, the image says",
            'write them into `containers: user: "UID:GID"` (`docker run --rm IMAGE id`)',
        )
    elif found[2] is None:
        service.user = f"{found[1]}:{found[1]}"
        why = "the group was that of the user in the image"
        remarks.decide(place, f"user: {text}", why, f"the group is taken to be {found[1]}")
    else:
        service.user = text


def _read_ulimits(service: Service, value: object) -> None:
    for name, limit in _mapping(value).items():
        place = service.place("ulimits", name)
        number = _mapping(limit).get("hard", _mapping(limit).get("soft")) if limit else None
        number = number if isinstance(limit, Mapping) else limit
        if name != "nofile" or not isinstance(number, int):
            what = f"ulimits: {name}"
            service.compose.remarks.lost(place, what, "it limited the processes", "Docker's usual")
            continue
        service.nofile = min(max(number, 1024), 1048576)
        if service.nofile != number:
            why = "a fleet's are 1024 to 1048576"
            becomes = f"it is {service.nofile}"
            service.compose.remarks.changed(place, f"ulimits: nofile: {number}", why, becomes)


def _say_restart(service: Service, value: object) -> None:
    if value in ("always", "unless-stopped"):
        return
    place = service.place("restart")
    shown = "restart:" if value is None else f"restart: {value if value is not False else 'no'}"
    _say_always(service, place, f"{shown}{' (not said)' if value is None else ''}")


def _say_always(service: Service, place: Place, what: str) -> None:
    why = "the container did not always come back by itself"
    service.compose.remarks.changed(place, what, why, "it always does, also at boot")


def _number(value: object) -> float:
    text = str(value)
    return float(text) if _AMOUNT.fullmatch(text) else 0


def _bytes(service: Service, value: object, *keys: str) -> int:
    """Return a size as Docker reads it: its units are powers of 1024."""
    if value is None:
        return 0
    found = _BYTES.fullmatch(str(value).strip())
    if found is None:
        service.compose.remarks.decide(
            service.place(*keys),
            f"{keys[-1]}: {value}",
            "it is no size",
            "write `memory_limit` into fleet.yaml",
        )
        return 0
    service.memory_place = service.place(*keys)
    return int(float(found[1]) * _FACTORS[found[2].lower()])
