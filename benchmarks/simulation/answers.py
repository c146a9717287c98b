"""What a fleet that is up as declared says: the look of each host, and the scheduler's page."""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Iterator, Mapping
from typing import Any

from dask_fleet.layout import Layout, Worker
from dask_fleet.runtimes.systemd import SystemdRuntime
from dask_fleet.target import HostTarget, UnitTarget

__all__ = ["identity", "look_text"]

_CLOCK = 1_800_000_000.0
_BOOTED = 1_799_999_000
_TICKS = 100
_FIRST_PID = 200
_VERSIONS = {
    "python": "3.11.2",
    "dask": "2026.8.0",
    "distributed": "2026.8.0",
    "xcube-core": "1.14.1",
}
_SSHD = ("0.0.0.0", 22), ("::", 22)

_STAT = (
    "stat {pid} ({comm}) S 1 {pid} {pid} 0 -1 4194560 17403 0 0 0 34 21 0 0 20 0 4 0 {began}"
    " 366481408 15124 18446744073709551615 4321280 7154137 140720754236192 0 0 0 0 16781312 17642"
    " 0 0 0 17 1 0 0 0 0 0 9727432 11029816 35708928 140720754240708 140720754240893"
    " 140720754240893 140720754241467 0"
)
"""A line of ``/proc/PID/stat``, as it was recorded on a host of the lab."""

_FACTS = f"""\

#### facts
kernel Linux 6.1.0-28-cloud-amd64
boot_id 80e4df03-4596-469b-b724-c1acafa801da
clock {_CLOCK:.9f}
python 3.11.2
cpus 2
page 4096
memory_kib 24684084
memory_available_kib 21562216
os Debian GNU/Linux 12 (bookworm)
boot_time {_BOOTED}
cgroup_memory_kib 9007199254740988

#### listeners
{{listeners}}

#### facts
disk_free_kib 75672764
environments_free_kib 75672764
exists 1
{{turn}}
#### files
{{files}}

#### environments
{{environment}}

#### units
{{units}}

#### records
{{records}}

#### software

#### door

#### runtime
{{runtime}}
"""


def look_text(target: HostTarget, runtime: SystemdRuntime) -> str:
    """Return what the look script prints on a host that is as its target says.

    Parameters
    ----------
    target : HostTarget
        What should be there; it is.
    runtime : SystemdRuntime
        What runs its units.
    """
    places = target.places
    deployed = [file for file in target.files if file.path.startswith(places.deployed)]
    services = [file for file in target.files if not file.path.startswith(places.deployed)]
    ports = [place for unit in target.units for place in unit.ports]
    content = {file.path: file.content.decode() for file in deployed}
    leads = any(unit.role == "scheduler" for unit in target.units)
    shown = [
        *(f"{file.digest}  {file.path}" for file in services),
        "login 0",
        "prepared 1",
        "systemd 1",
        "\n\n".join(
            _shown(runtime.service(unit.name), _pid(number))
            for number, unit in enumerate(target.units)
        ),
    ]
    return _FACTS.format(
        listeners="\n".join(
            f"{_packed(address)}:{port:04X} {100_000 + number}"
            for number, (address, port) in enumerate([*ports, *_SSHD])
        ),
        turn="turn 20270115T080000Z\n" if leads else "",
        files="\n".join(f"{file.digest}  {file.path}" for file in deployed),
        units="\n".join(f"\n{unit.path}\n{content[unit.path].rstrip()}" for unit in target.units),
        environment=target.environment.digest,
        records="\n".join(_records(target)),
        runtime="\n".join(shown),
    )


def _pid(unit: int) -> int:
    return _FIRST_PID + 100 * unit


def _packed(address: str) -> str:
    """Return an address as ``/proc/net/tcp`` has it: words in host byte order."""
    raw = ipaddress.ip_address(address).packed
    return "".join(raw[i : i + 4][::-1].hex().upper() for i in range(0, len(raw), 4))


def _records(target: HostTarget) -> Iterator[str]:
    every: dict[str, list[str]] = {}
    for number, unit in enumerate(target.units):
        for pid, record in enumerate(_processes(unit), _pid(number)):
            began = (pid + 10) * _TICKS
            record |= {
                "pid": pid,
                "started": _BOOTED + began / _TICKS,
                "start_ticks": began,
                "restarts": 0,
                "digest": unit.digest,
                "python": unit.command[0],
                "versions": _VERSIONS,
            }
            name = str(record["name"])
            stat = _STAT.format(pid=pid, comm=name[:15], began=began)
            every[name] = [json.dumps(record), stat]
    for name in sorted(every):
        yield from every[name]


def _processes(unit: UnitTarget) -> Iterator[dict[str, Any]]:
    """Yield what is particular to the record of each process, that of the unit's own first."""
    of: dict[str, Any] = {"unit": unit.name}
    if unit.role == "scheduler":
        ports = {key: unit.declared[key] for key in ("port", "dashboard_port")}
        yield {"name": unit.name, "role": "scheduler", **of, **ports}
        return
    yield {"name": unit.name, "role": "workers", **of, "workers": list(unit.processes)}
    workers: Any = unit.declared["workers"]
    for worker in workers:
        ports = {key: worker[key] for key in ("port", "nanny_port", "dashboard_port")}
        yield {"name": worker["name"], "role": "worker", **of, **ports}


def _shown(service: str, pid: int) -> str:
    """Return what ``systemctl show`` prints of a unit that runs."""
    return (
        f"MainPID={pid}\nResult=success\nNRestarts=0\nExecMainStatus=0\nId={service}\n"
        "LoadState=loaded\nActiveState=active\nSubState=running\nUnitFileState=enabled\n"
        "NeedDaemonReload=no"
    )


def identity(layout: Layout) -> bytes:
    """Return ``/json/identity.json`` of a scheduler that lists every worker as declared."""
    scheduler = layout.scheduler
    value = {
        "type": "Scheduler",
        "id": "Scheduler-00000000-0000-0000-0000-000000000000",
        "address": layout.scheduler_address,
        "services": {"dashboard": scheduler.dashboard_port},
        "started": _CLOCK,
        "workers": {f"tcp://{one.contact}:{one.port}": _registered(one) for one in layout.workers},
    }
    return json.dumps(value).encode()


def _registered(worker: Worker) -> Mapping[str, object]:
    return {
        "type": "Worker",
        "id": worker.name,
        "host": worker.contact,
        "resources": {},
        "local_directory": "/var/lib/dask-fleet/work/dask-scratch-space/worker-0000",
        "name": worker.name,
        "nthreads": worker.nthreads,
        "memory_limit": worker.memory_limit,
        "last_seen": _CLOCK,
        "services": {"dashboard": worker.dashboard_port},
        "metrics": {
            "task_counts": {},
            "bandwidth": {"total": 100000000, "workers": {}, "types": {}},
            "managed_bytes": 0,
            "spilled_bytes": {"memory": 0, "disk": 0},
            "transfer": {"incoming_bytes": 0, "incoming_count": 0, "outgoing_bytes": 0},
            "event_loop_interval": 0.02,
            "cpu": 2.0,
            "memory": 77352960,
            "time": _CLOCK,
            "host_net_io": {"read_bps": 285.5, "write_bps": 1471.5},
            "host_disk_io": {"read_bps": 670632.1, "write_bps": 4130112.3},
            "num_fds": 23,
        },
        "status": "running",
        "nanny": f"tcp://{worker.contact}:{worker.nanny_port}",
    }
