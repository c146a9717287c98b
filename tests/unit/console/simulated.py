"""Values as the console gets them: an inventory that is published, and workers as Dask has them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from fleet_console.declared import Inventory, read_inventory

from dask_fleet.environment import Environment
from dask_fleet.layout import lay_out
from dask_fleet.places import Places
from dask_fleet.published import published
from dask_fleet.spec import parse

NOW = 1_800_000_000.0
GIB = 1 << 30
LOCK = "dask==2026.8.0\ndistributed==2026.8.0\n"
ENVIRONMENT = Environment("xcube", "3.11", "0123456789abcdef", LOCK)
VERSIONS = {"python": "3.11.7.final.0", "dask": "2026.8.0", "distributed": "2026.8.0"}

SPEC = """\
name: sst
hosts:
  head: {address: 10.77.0.11, external: 80.1.2.3}
  node-[1-2]: {address: "10.77.0.[12-13]"}
scheduler: {host: head}
workers:
  default: {hosts: ["node-[1-2]"], per_host: 2}
"""


def inventory(spec: str = SPEC, **credentials: Any) -> Inventory:
    return read_inventory(text(spec, **credentials))


def text(spec: str = SPEC, **credentials: Any) -> str:
    parsed = parse(spec, {})
    places = Places.below("/var/state", "/var/data", parsed.name)
    return published(parsed, lay_out(parsed), ENVIRONMENT, places, credentials).decode()


def worker(number: int = 1, **other: Any) -> Any:
    """Return what stands for Dask's ``WorkerState``: the worker of that number as declared."""
    host, port = 12 + (number - 1) // 2, 9010 + 10 * ((number - 1) % 2)
    values: dict[str, Any] = {
        "name": f"dask-worker-000{number}",
        "host": f"10.77.0.{host}",
        "address": f"tcp://10.77.0.{host}:{port}",
        "nanny": f"tcp://10.77.0.{host}:{port + 1}",
        "services": {"dashboard": port + 2},
        "pid": 100 + number,
        "nthreads": 2,
        "memory_limit": 4 * GIB,
        "nbytes": GIB // 2,
        "status": SimpleNamespace(name="running"),
        "versions": {"packages": dict(VERSIONS)},
        "last_seen": NOW,
        "time_delay": 0.01,
        "server_id": f"Worker-{number}",
        "processing": (),
        "extra": {"fleet": {"started": NOW - 60, "environment": ENVIRONMENT.digest}},
        "metrics": {
            "cpu": 123.4,
            "memory": GIB,
            "spilled_bytes": {"memory": 0, "disk": 0},
            "task_counts": {"executing": 1, "ready": 5, "memory": 7},
            "host_net_io": {"read_bps": 1e6, "write_bps": 2e6},
        },
        **other,
    }
    return SimpleNamespace(**values)
