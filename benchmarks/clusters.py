"""Three ways to a scheduler and four workers: dask-fleet, LocalCluster, a script by hand."""

from __future__ import annotations

import http.client
import json
import re
import select
import subprocess
import time
from pathlib import Path
from typing import Any

import psutil

from benchmarks.machine import WORKERS, Bench, free_ports
from benchmarks.processes import (
    MeasurementError,
    begin,
    end,
    pss,
    timed,
    tree,
    wait_until,
)

__all__ = ["Fleet", "Local", "Naive", "identity", "incarnations"]

START_SECONDS = 120.0
MEMORY = "1 GiB"

_FLEET = """\
name: bench
hosts:
  localhost: {{address: 127.0.0.1}}
scheduler: {{host: localhost, port: {scheduler}, dashboard: {dashboard}}}
workers:
  default:
    hosts: [localhost]
    per_host: {workers}
    nthreads: 1
    memory_limit: {memory}
    ports: {{worker: {worker}, nanny: {nanny}, dashboard: {page}, step: 10}}
"""

_LOCAL = """\
import sys
from distributed import Client, LocalCluster
if __name__ == "__main__":
    with LocalCluster(
        n_workers=int(sys.argv[1]), processes=True, threads_per_worker=1, memory_limit=sys.argv[2],
        dashboard_address=f"127.0.0.1:{sys.argv[3]}", local_directory=sys.argv[4],
    ) as cluster, Client(cluster) as client:
        client.wait_for_workers(int(sys.argv[1]), timeout=100)
        print("ready", flush=True)
        sys.stdin.read()
"""


def identity(dashboard: int) -> dict[str, Any]:
    """Return what a scheduler says of itself and its workers, empty if it does not answer.

    ``/json/identity.json`` is one of distributed's own routes; asking costs it 0.4 ms.
    """
    connection = http.client.HTTPConnection("127.0.0.1", dashboard, timeout=2)
    try:
        connection.request("GET", "/json/identity.json")
        response = connection.getresponse()
        return json.loads(response.read()) if response.status == http.client.OK else {}
    except (OSError, http.client.HTTPException, ValueError):
        return {}
    finally:
        connection.close()


def incarnations(dashboard: int) -> dict[str, str]:
    """Return, for each registered worker's name, what is new with each of its processes."""
    workers = identity(dashboard).get("workers", {}).values()
    return {
        str(worker["name"]): worker["local_directory"]
        for worker in workers
        if worker["status"] == "running"
    }


class Fleet:
    """The cluster of ``dask-fleet up``."""

    name = "dask-fleet"

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.state = Path(bench.environ["XDG_STATE_HOME"]) / "dask-fleet/fleets/bench"
        self.scheduler = self.dashboard = 0

    def start(self, within: float = START_SECONDS) -> float:
        """Bring it up from nothing; return the seconds of the whole command."""
        base = free_ports()
        self.scheduler, self.dashboard = base, base + 1
        text = _FLEET.format(
            scheduler=base,
            dashboard=base + 1,
            workers=WORKERS,
            memory=MEMORY,
            worker=base + 10,
            nanny=base + 11,
            page=base + 12,
        )
        (self.bench.work / "fleet.yaml").write_text(text, encoding="utf-8")
        done = self.run("up", "--yes", within=within)
        if len(incarnations(self.dashboard)) != WORKERS:
            raise MeasurementError(f"`up` has ended and not {WORKERS} workers are registered")
        return done

    def run(self, *words: str, within: float = 60) -> float:
        """Run a command of the tool; return its seconds."""
        argv = [self.bench.tool, *words]
        return timed(argv, self.bench.environ, self.bench.work, within=within).seconds

    def stop(self) -> None:
        """Take it down."""
        if (self.bench.work / "fleet.yaml").exists():
            self.run("down", "--yes", "--break-lease")

    def processes(self) -> list[psutil.Process]:
        """Return supervisord and everything below it."""
        return tree(int((self.state / "supervisord.pid").read_text(encoding="ascii")))

    def memory(self) -> dict[str, float]:
        """Return MB of PSS by role, with Dask's pages, which peers have from their start."""
        # It lists every page, so it is answered when they are there.
        connection = http.client.HTTPConnection("127.0.0.1", self.dashboard, timeout=30)
        try:
            connection.request("GET", "/sitemap.json")
            connection.getresponse().read()
        finally:
            connection.close()
        return _sum((_fleet_role(_title(one)), one) for one in self.processes())

    def pid(self, process: str) -> int:
        """Return the pid of the scheduler or a worker, as it has written it down itself."""
        return json.loads((self.state / f"run/{process}.json").read_text(encoding="utf-8"))["pid"]

    def a_worker(self) -> tuple[str, int]:
        """Return name and pid of a worker's process."""
        return "dask-worker-0001", self.pid("dask-worker-0001")


class Local:
    """``LocalCluster`` in a fresh interpreter of the fleet's environment."""

    name = "LocalCluster"

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.process: subprocess.Popen[str] | None = None

    def start(self) -> float:
        """Start it; return the seconds until its client has waited for all workers."""
        began = time.perf_counter()
        directory = str(self.bench.place / "local")
        argv = [str(WORKERS), MEMORY.replace(" ", ""), str(free_ports() + 1), directory]
        process = self.process = begin(
            [self.bench.python, "-c", _LOCAL, *argv],
            self.bench.environ,
            self.bench.work,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert process.stdout is not None
        ready, _, _ = select.select([process.stdout], [], [], START_SECONDS)
        if not ready or process.stdout.readline() != "ready\n":
            raise MeasurementError("LocalCluster did not start")
        return time.perf_counter() - began

    def stop(self) -> None:
        """End it."""
        if self.process is not None:
            assert self.process.stdin is not None
            self.process.stdin.close()
            # Its own way out first: it closes the workers and removes their directories.
            psutil.wait_procs(tree(self.process.pid), timeout=10)
            end([self.process])
            self.process = None

    def memory(self) -> dict[str, float]:
        """Return MB of PSS by role."""
        assert self.process is not None
        first, *others = tree(self.process.pid)
        return _sum(
            [("scheduler and nannies", first), *((_peer_role(_title(one)), one) for one in others)]
        )


class Naive:
    """What people script: ``dask scheduler``, and ``dask worker`` four times."""

    name = "by hand"

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.base = self.dashboard = 0
        self.started: list[subprocess.Popen[str]] = []

    def start(self) -> float:
        """Start all five at once; return the seconds until the scheduler lists all workers."""
        self.base = base = free_ports()
        self.dashboard = base + 1
        began = time.perf_counter()
        self.start_scheduler()
        for number in range(1, WORKERS + 1):
            port = base + 10 * number
            self._begin(
                "worker",
                f"tcp://127.0.0.1:{base}",
                *("--name", f"worker-{number}", "--host", "127.0.0.1"),
                *("--worker-port", str(port), "--nanny-port", str(port + 1)),
                *("--dashboard-address", f"127.0.0.1:{port + 2}"),
                *("--nthreads", "1", "--memory-limit", MEMORY.replace(" ", "")),
                *("--local-directory", str(self.bench.place / "naive")),
            )
        wait_until(
            lambda: len(incarnations(self.dashboard)) == WORKERS,
            START_SECONDS,
            "the scheduler lists the workers started by hand",
        )
        return time.perf_counter() - began

    def start_scheduler(self) -> None:
        """Start the scheduler; by hand, once more, when it was killed."""
        self._begin(
            "scheduler",
            *("--host", "127.0.0.1", "--port", str(self.base)),
            *("--dashboard-address", f"127.0.0.1:{self.dashboard}"),
        )

    def _begin(self, *words: str) -> None:
        dask = str(Path(self.bench.python).parent / "dask")
        self.started.append(begin([dask, *words], self.bench.environ, self.bench.work))

    def stop(self) -> None:
        """End all."""
        end(reversed(self.started))
        self.started.clear()

    def memory(self) -> dict[str, float]:
        """Return MB of PSS by role."""
        roles: list[tuple[str, psutil.Process]] = []
        for role, process in zip(["scheduler", *["nannies"] * WORKERS], self.started, strict=True):
            first, *others = tree(process.pid)
            roles += [(role, first), *((_peer_role(_title(one)), one) for one in others)]
        return _sum(roles)

    def a_worker(self) -> tuple[str, int]:
        """Return name and pid of a worker's process, the child of its nanny."""
        for one in tree(self.started[1].pid)[1:]:
            if _peer_role(_title(one)) == "workers":
                return "worker-1", one.pid
        raise MeasurementError("the nanny started by hand has no worker")


def _title(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline()).strip()
    except psutil.Error:
        return ""


def _fleet_role(title: str) -> str:
    if "supervisord" in title:
        return "supervisord"
    for word, role in ((" labels", "labels"), (" forkserver", "forkserver")):
        if title.endswith(word):
            return role
    if re.match(r"dask-worker-\d", title):
        return "workers"
    if title.startswith("dask-scheduler"):
        return "scheduler"
    return "launcher" if title.startswith("dask-workers-") else "other"


def _peer_role(title: str) -> str:
    # `multiprocessing` starts a resource tracker beside the workers.
    return "other" if "resource_tracker" in title else "workers"


def _sum(roles: Any) -> dict[str, float]:
    total: dict[str, float] = {}
    for role, process in roles:
        total[role] = total.get(role, 0.0) + pss(process.pid)
    total["total"] = sum(total.values())
    return {role: round(value, 1) for role, value in total.items()}
