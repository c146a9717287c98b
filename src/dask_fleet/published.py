"""What the console is told: the fleet as declared, in one file on the scheduler's host.

The scheduler knows what is there; from this file its console knows what should be. No unit's
digest covers it, so that writing it restarts nothing; the console reads it again when it changes.

Nothing stands in it that depends on which hosts were seen, such as a share of CPUs: an ``up`` with
``--limit`` would write another file than one without. Nor does the order of hosts in ``fleet.yaml``
matter: who moves a line there changes no fleet.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from dask_fleet.firewall import CLIENTS, OPERATOR, contract, numbers, ranges, rows, value
from dask_fleet.layout import Worker
from dask_fleet.proxy.door_files import DoorFiles
from dask_fleet.spec.expand import expand_hosts
from dask_fleet.tls.certificates import CERTIFICATE_FILE, read_certificate

if TYPE_CHECKING:
    from dask_fleet.environment import Environment
    from dask_fleet.firewall import Rule
    from dask_fleet.layout import Host, Layout, Scheduler, Unit
    from dask_fleet.places import Places
    from dask_fleet.spec.model import Spec

    _Key = tuple[list[tuple[int, str]], str]

__all__ = ["ENDS", "INVENTORY", "VERSION", "declared_versions", "published"]

INVENTORY = "inventory.json"
"""Name of the file among what is deployed."""

VERSION = 1
"""Of the file's format; a console that knows another one says so."""

_COMPARED = (
    *("dask", "distributed", "msgpack", "cloudpickle", "tornado", "toolz"),
    *("numpy", "pandas", "lz4", "xcube-core"),
)
"""Packages whose versions processes tell (``distributed.versions``), and xcube's."""

ENDS: Mapping[str, tuple[str, str, str]] = {
    "clients send work": (CLIENTS, "scheduler", "work"),
    "people look at the scheduler's dashboard": (CLIENTS, "scheduler", "dashboard, console"),
    "workers and nannies register": ("workers", "scheduler", "registration, work"),
    "workers fetch data from each other": ("workers", "workers", "data between workers"),
    "the scheduler moves and gathers data": ("scheduler", "workers", "data"),
    "the scheduler restarts workers": ("scheduler", "workers", "nannies"),
    "a worker tells its own nanny that it closes": ("workers", "workers", "own nanny"),
    "the scheduler host shows dashboards of workers": ("scheduler", "workers", "dashboards"),
    "people follow links to dashboards of workers": (CLIENTS, "workers", "dashboards (optional)"),
    "people and programs see all dashboards through the door": (CLIENTS, "door", "all pages"),
    "the door shows the scheduler's dashboard": ("door", "scheduler", "dashboard"),
    "the door shows dashboards of workers": ("door", "workers", "dashboards"),
    "dask fleet reaches the host": (OPERATOR, "hosts", "SSH"),
    "dask fleet reaches the host by a jump": (OPERATOR, "hosts", "SSH by a jump"),
}
"""Who reaches whom by the purposes of the contract, and its label: where a drawing has an arrow.
Hosts alone do not tell, for scheduler and workers may be on one."""

_MOST_PORTS = 3
"""Ports and ranges that an arrow shows."""

_EXACT = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]*)(?:\[[^\]]*\])?\s*===?\s*([^\s;,\\]+)")


def published(
    spec: Spec,
    layout: Layout,
    environment: Environment,
    places: Places,
    credentials: Mapping[str, Mapping[str, bytes]],
) -> bytes:
    """Return the content of the file.

    Parameters
    ----------
    spec : Spec
        What is declared; it says how hosts are reached with SSH.
    layout : Layout
        The same in processes.
    environment : Environment
        What they run in.
    places : Places
        Directories on the scheduler's host.
    credentials : Mapping
        TLS files of each host by name, of the door by `door_subject`; empty when the fleet does
        without.
    """
    layout = _in_order(layout)
    rules = contract(layout, {name: host.spec.ssh for name, host in expand_hosts(spec).items()})
    content: dict[str, object] = {
        "version": VERSION,
        "fleet": layout.name,
        "scheduler": layout.scheduler_address,
        "client": layout.client_address,
        "dashboard": layout.dashboard_url,
        "tls": layout.tls,
        "door": _door(layout, places),
        "environment": {
            "name": environment.name,
            "digest": environment.digest,
            "python": environment.python,
            "packages": declared_versions(environment.lock_text or ""),
        },
        "hosts": [
            {
                "name": host.name,
                "address": host.address,
                "external": host.external,
                "runtime": host.runtime,
            }
            for host in layout.hosts.values()
        ],
        "processes": [
            _process(unit.name, process) for unit in layout.units for process in unit.processes
        ],
        "contract": {**value(layout, rules), "rows": _rows(rules), "lanes": _lanes(rules)},
        "certificates": [
            {"host": host, "not_after": read_certificate(pem).not_after.isoformat()}
            for host, files in sorted(credentials.items())
            if (pem := files.get(CERTIFICATE_FILE))
        ],
        "history": places.history,
        "findings": places.findings,
    }
    return json.dumps(content, indent=1).encode() + b"\n"


def _in_order(layout: Layout) -> Layout:
    """Return a layout with hosts and processes by name, numbers in names by their value."""
    units = [
        replace(unit, processes=tuple(sorted(unit.processes, key=_by_name)))
        for unit in layout.units
    ]
    ranks = {"scheduler": 0, "workers": 1, "door": 2}

    def place(unit: Unit) -> tuple[int, list[_Key]]:
        return ranks[unit.role], [_by_name(process) for process in unit.processes]

    return replace(
        layout,
        hosts={host.name: host for host in sorted(layout.hosts.values(), key=_by_name)},
        workers=tuple(sorted(layout.workers, key=_by_name)),
        units=tuple(sorted(units, key=place)),
    )


def _by_name(one: Host | Scheduler | Worker) -> _Key:
    parts = re.split(r"(\d+)", one.name)
    # Parts at odd places are numbers.
    values = [(int(part), "") if i % 2 else (0, part) for i, part in enumerate(parts)]
    return values, one.name


def _door(layout: Layout, places: Places) -> dict[str, object] | None:
    """Return the door as the console is told of it.

    ``seen`` is the file in which the scheduler says when it was alive last, for the door's own
    page; empty if the door is on another host.
    """
    door = layout.door
    if door is None:
        return None
    return {
        "url": door.url,
        "host": door.host,
        "login": door.login,
        "tls": door.tls,
        "dashboards": {
            one.name: door.dashboard(one.name) for one in (layout.scheduler, *layout.workers)
        },
        "seen": DoorFiles.on(layout.name, places, door).seen,
    }


def declared_versions(lock: str) -> dict[str, str]:
    """Return the versions that a lock pins, of packages that are compared.

    One that it pins differently for different platforms is left out.
    """
    found: dict[str, set[str]] = {}
    for line in lock.splitlines():
        if pinned := _EXACT.match(line):
            name = re.sub(r"[-_.]+", "-", pinned[1]).lower()
            found.setdefault(name, set()).add(pinned[2])
    return {
        name: next(iter(versions))
        for name in _COMPARED
        if len(versions := found.get(name, set())) == 1
    }


def _process(unit: str, process: Scheduler | Worker) -> dict[str, object]:
    is_worker = isinstance(process, Worker)
    return {
        "name": process.name,
        "role": "worker" if is_worker else "scheduler",
        "group": process.group if is_worker else "",
        "unit": unit,
        "host": process.host,
        "address": process.contact,
        "ports": dict(process.ports),
    }


def _lanes(rules: Sequence[Rule]) -> list[dict[str, object]]:
    """Return the arrows of a drawing: each purpose once, with its ports."""
    by_purpose: dict[str, list[Rule]] = {}
    for rule in rules:
        by_purpose.setdefault(rule.purpose, []).append(rule)
    lanes: list[dict[str, object]] = []
    for purpose, alike in by_purpose.items():
        source, target, label = ENDS[purpose]
        every = (pair for rule in alike for pair in rule.ports)
        shown = numbers(ranges(port for low, high in every for port in range(low, high + 1)))
        if len(shown) > _MOST_PORTS:
            shown = [*shown[: _MOST_PORTS - 1], "…", shown[-1]]
        lanes.append(
            {
                "from": source,
                "to": target,
                "ports": " ".join(shown),
                "label": label,
                "use": alike[0].use,
                "why": purpose,
                "optional": all(rule.optional for rule in alike),
                "same_host": alike[0].own,
            }
        )
    return lanes


def _rows(rules: Sequence[Rule]) -> list[dict[str, str]]:
    """Return the contract as people read it, what is alike folded."""
    keys = ("from", "to", "address", "ports", "why")
    return [dict(zip(keys, row, strict=True)) for row in rows(rules)]
