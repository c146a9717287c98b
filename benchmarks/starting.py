"""From nothing to all workers registered; then what that takes in memory, and what heals.

The three need the same clusters, so one round serves them all: each cluster is started (timed,
with nothing else of ours running), its memory is read, its processes are killed and their return
is timed, and it is taken down (not timed).
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Collection

from benchmarks.clusters import Fleet, Local, Naive, identity, incarnations
from benchmarks.figures import Figures
from benchmarks.machine import WORKERS, Bench, load_average
from benchmarks.processes import POLL_SECONDS, MeasurementError, wait_until

__all__ = ["measure"]

RETURN_SECONDS = 60.0
NEVER_SECONDS = 20.0
SETTLE_SECONDS = 2.0
"""Between registration and the reading of memory: the last imports end."""

_ALL = "all workers registered"
_WORKER = "worker killed, registered again"
_SCHEDULER = "scheduler killed, all registered again"


def measure(bench: Bench, rounds: int, wanted: Collection[str], *, warm: bool) -> list[Figures]:
    """Measure ``start``, ``memory`` and ``recovery``, or those of them that are wanted."""
    start = Figures("start", "seconds from nothing to four workers registered")
    memory = Figures("memory", "PSS by role, two seconds after the start")
    recovery = Figures("recovery", "seconds from SIGKILL until the scheduler lists all again")
    for number in range(-1 if warm else 0, rounds):
        counted = number >= 0
        for cluster in (Fleet(bench), Local(bench), Naive(bench)):
            if counted:
                load = load_average()
            try:
                seconds = cluster.start()
                if counted:
                    _note(start, load, _ALL, cluster.name, seconds)
                    if "memory" in wanted:
                        time.sleep(SETTLE_SECONDS)
                        for role, size in cluster.memory().items():
                            memory.add(role, cluster.name, size, "MB")
                    if "recovery" in wanted and not isinstance(cluster, Local):
                        _recover(recovery, cluster, first=number == 0)
            finally:
                cluster.stop()
    memory.loads = recovery.loads = start.loads
    start.ratio(_ALL, Fleet.name, Local.name, limit=1.0)
    start.ratio(_ALL, Fleet.name, Naive.name, limit=0.4)
    if "memory" in wanted:
        memory.ratio("total", Fleet.name, Naive.name)
        memory.ratio("total", Fleet.name, Local.name)
        memory.remarks.append(
            "the tool's own process is supervisord; labels (two small forks that pass logs on)"
            " and forkserver come with the launcher; `up` itself has ended"
        )
    if "recovery" in wanted:
        recovery.ratio(_WORKER, Fleet.name, Naive.name)
    found = {"start": start, "memory": memory, "recovery": recovery}
    return [figures for name, figures in found.items() if name in wanted]


def _note(figures: Figures, load: float, measure: str, subject: str, seconds: float) -> None:
    figures.loads.append(load)
    figures.add(measure, subject, seconds)


def _recover(figures: Figures, cluster: Fleet | Naive, *, first: bool) -> None:
    name, pid = cluster.a_worker()
    before = incarnations(cluster.dashboard)

    def back() -> bool:
        now = incarnations(cluster.dashboard)
        return len(now) == WORKERS and now[name] != before[name]

    began = time.perf_counter()
    os.kill(pid, signal.SIGKILL)
    wait_until(back, RETURN_SECONDS, f"{cluster.name}: a killed worker is back")
    figures.add(_WORKER, cluster.name, time.perf_counter() - began)
    if isinstance(cluster, Fleet):
        _kill_scheduler(figures, cluster)
    elif first:
        _kill_scheduler_by_hand(figures, cluster)


def _kill_scheduler(figures: Figures, fleet: Fleet) -> None:
    before = identity(fleet.dashboard)["id"]
    old = incarnations(fleet.dashboard)

    def back() -> bool:
        now = identity(fleet.dashboard)
        if not now or now["id"] == before:
            return False
        new = incarnations(fleet.dashboard)
        return len(new) == WORKERS and all(new[name] != old[name] for name in old)

    began = time.perf_counter()
    os.kill(fleet.pid("dask-scheduler"), signal.SIGKILL)
    wait_until(back, RETURN_SECONDS, "scheduler and workers are back")
    figures.add(_SCHEDULER, fleet.name, time.perf_counter() - began)


def _kill_scheduler_by_hand(figures: Figures, naive: Naive) -> None:
    """Give the script more than it has: somebody who starts the scheduler again at once."""
    began = time.perf_counter()
    naive.started[0].kill()
    naive.started[0].wait(timeout=10)
    naive.start_scheduler()
    most, answered = 0, False
    while time.perf_counter() - began < NEVER_SECONDS:
        now = identity(naive.dashboard)
        answered = answered or bool(now)
        most = max(most, len(now.get("workers", {})))
        if most == WORKERS:
            figures.add(_SCHEDULER, naive.name, time.perf_counter() - began)
            return
        time.sleep(POLL_SECONDS)
    if not answered:
        raise MeasurementError("the scheduler started by hand again does not answer")
    alive = sum(process.poll() is None for process in naive.started[1 : WORKERS + 1])
    figures.remarks.append(
        f"{naive.name}, scheduler killed and another started at its place at once:"
        f" {most} of {WORKERS} workers came back within {NEVER_SECONDS:g} s,"
        f" {alive} of {WORKERS} `dask worker` processes still ran"
    )
