"""A scheduler with simulated workers: ``python -m benchmarks.simulation.consoles N PORT``.

The scheduler, its HTTP server and the console are the real ones. The workers are not: each is a
``WorkerState`` of Dask's, put where a registration would have put it, that the scheduler hears of
by its own ``heartbeat_worker`` as often as it would ask a real worker to. Nobody connects, and no
task runs; numbers of tasks, memory and network are made up and change with every heartbeat.

It writes ``ready`` when pages can be asked for, and answers each line on standard input with a line
of JSON: seconds of CPU that it has used. It ends with its input.
"""

from __future__ import annotations

import asyncio
import json
import math
import os
import random
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from dask_fleet.environment import Environment
from dask_fleet.layout import Layout, lay_out
from dask_fleet.places import Places
from dask_fleet.published import published
from dask_fleet.spec import parse

__all__ = ["main", "simulate", "spec_text"]

HOST = Path(__file__).parents[2] / "src" / "dask_fleet" / "host"
GIB = 1 << 30
PER_HOST = 4
_BLOCK = 200
MISSING = 3
"""Workers that are declared and never there, in a fleet of ten and more."""


def spec_text(workers: int, port: int) -> str:
    """Return a fleet.yaml with so many workers, four to a host."""
    hosts = max(1, math.ceil(workers / PER_HOST))
    lines: list[str] = []
    for block in range(0, hosts, _BLOCK):
        size = min(_BLOCK, hosts - block)
        names = (
            f"node-[{block + 1:04d}-{block + size:04d}]" if size > 1 else f"node-{block + 1:04d}"
        )
        last = f"[1-{size}]" if size > 1 else "1"
        lines.append(f'  {names}: {{address: "10.77.{block // _BLOCK}.{last}"}}')
    listed = "\n".join(lines)
    per_host = min(workers, PER_HOST)
    return f"""\
name: simulated
hosts:
  head: {{address: 127.0.0.1, external: 80.158.2.66, transport: ssh}}
{listed}
scheduler: {{host: head, port: {port + 1}, dashboard: {port}}}
workers:
  cubes:
    per_host: {per_host}
    nthreads: 2
    memory_limit: 4 GiB
    prefix: dask-worker
"""


def metrics_of(number: int, seconds: float) -> dict[str, Any]:
    """Return what a worker would tell: a computation that comes and goes, and some that spills."""
    wave = (math.sin(seconds / 40 + number / 9) + 1) / 2
    jitter = random.random()
    memory = int(GIB * (0.3 + 2.6 * wave + 0.1 * jitter))
    busy = round(2 * wave)
    return {
        "task_counts": {"executing": busy, "ready": int(30 * wave), "memory": int(200 * wave)},
        "bandwidth": {"total": 1e8, "workers": {}, "types": {}},
        "digests_total_since_heartbeat": {},
        "managed_bytes": int(memory * 0.7),
        "spilled_bytes": {"memory": 0, "disk": GIB // 8 if number % 17 == 5 else 0},
        "transfer": {},
        "event_loop_interval": 0.02,
        "cpu": 200 * wave * (0.85 + 0.15 * jitter),
        "memory": memory,
        "time": time.time(),
        "host_net_io": {"read_bps": 4e7 * wave * jitter, "write_bps": 3e7 * wave * jitter},
        "num_fds": 40,
        "fleet": {
            "cpus": 8,
            "load": 8 * wave,
            "memory": 32 * GIB,
            "memory_available": int((30 - 20 * wave) * GIB),
            "disk": 200 * GIB,
            "disk_free": 150 * GIB,
        },
    }


def join(scheduler: Any, layout: Layout, digest: str) -> list[str]:
    """Put workers where registrations would put them; return their addresses."""
    from distributed.core import Status
    from distributed.scheduler import WorkerState
    from distributed.versions import get_versions

    versions = get_versions()
    there = layout.workers[: -MISSING or None] if len(layout.workers) > 10 else layout.workers
    addresses: list[str] = []
    for worker in there:
        address = f"tcp://{worker.contact}:{worker.port}"
        state = WorkerState(
            address=address,
            status=Status.running,
            pid=1000 + len(addresses),
            name=worker.name,
            nthreads=worker.nthreads,
            memory_limit=worker.memory_limit or 0,
            local_directory="/var/lib/dask-fleet/fleets/simulated/work",
            nanny=f"tcp://{worker.contact}:{worker.nanny_port}",
            server_id=worker.name,
            services={"dashboard": worker.dashboard_port},
            versions=versions,
            extra={"fleet": {"started": time.time(), "environment": digest, "versions": {}}},
            scheduler=scheduler,
        )
        scheduler.workers[address] = state
        scheduler.aliases[worker.name] = address
        scheduler.running.add(state)
        scheduler.host_info.setdefault(worker.contact, {"addresses": set(), "nthreads": 0})
        scheduler.total_nthreads += worker.nthreads
        addresses.append(address)
    return addresses


def _remember(scheduler: Any, addresses: list[str], seconds: int) -> None:
    """Let the console measure what would have been: a picture of a fleet that is up for long."""
    for ago in range(seconds, 0, -5):
        for number, address in enumerate(addresses):
            told = metrics_of(number, -ago)
            scheduler.workers[address].metrics = told
            scheduler.workers[address].nbytes = told["managed_bytes"]
        scheduler.console.measure()


async def simulate(
    workers: int, port: int, place: Path, past: int = 0
) -> tuple[Any, list[asyncio.Task[None]]]:
    """Start a scheduler with a console and simulated workers; return it and what keeps it going."""
    sys.path.insert(0, str(HOST))
    import dask.config
    import distributed  # it brings its defaults

    del distributed
    routes = dask.config.get("distributed.scheduler.http.routes")
    dask.config.set({"distributed.scheduler.http.routes": [*routes, "fleet_console"]})
    from distributed import Scheduler
    from distributed.scheduler import heartbeat_interval
    from fleet_console import Console  # pyright: ignore[reportMissingImports]

    spec = parse(spec_text(workers, port), {})
    layout = lay_out(spec)
    # Whatever runs this is right, so that versions are no warning.
    environment = Environment("simulated", "3", Path(sys.prefix).name)
    places = Places.below(str(place), str(place), spec.name)
    Path(places.run).mkdir(parents=True, exist_ok=True)
    told = Path(places.state) / "inventory.json"
    told.write_bytes(published(spec, layout, environment, places, {}))

    class Simulated(Scheduler):
        console: Any = None

    scheduler = Simulated(
        host="127.0.0.1", port=port + 1, dashboard_address=f"127.0.0.1:{port}", dashboard=True
    )
    scheduler.console = Console(
        scheduler, name="dask-scheduler", inventory=str(told), run_directory=places.run
    )
    await scheduler
    addresses = join(scheduler, layout, environment.digest)
    began = time.time()

    async def beat(number: int, address: str) -> None:
        interval = heartbeat_interval(len(addresses))
        await asyncio.sleep(interval * number / len(addresses))
        while True:
            now = time.time()
            told = metrics_of(number, now - began)
            scheduler.workers[address].nbytes = told["managed_bytes"]
            scheduler.heartbeat_worker(
                address=address,
                resolve_address=False,
                now=now,
                metrics=told,
                executing={},
            )
            await asyncio.sleep(interval)

    for number, address in enumerate(addresses):
        scheduler.workers[address].metrics = metrics_of(number, 0)
    scheduler.console.start()
    if past:
        _remember(scheduler, addresses, past)
    return scheduler, [
        asyncio.create_task(beat(number, address)) for number, address in enumerate(addresses)
    ]


async def _serve(workers: int, port: int, past: int) -> None:
    with tempfile.TemporaryDirectory(prefix="console-") as place:
        scheduler, beating = await simulate(workers, port, Path(place), past)
        print("ready", flush=True)
        loop = asyncio.get_running_loop()
        while await loop.run_in_executor(None, sys.stdin.readline):
            used = os.times()
            print(json.dumps({"cpu": used.user + used.system}), flush=True)
        for task in beating:
            task.cancel()
        await scheduler.close()


def main(argv: list[str]) -> None:
    """Serve until standard input ends."""
    workers, port, *past = map(int, argv)
    asyncio.run(_serve(workers, port, sum(past)))


if __name__ == "__main__":
    main(sys.argv[1:])
