"""The demo job on the fleet, on a LocalCluster and in one process."""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import signal
import time
from collections.abc import Iterator

import psutil

from benchmarks.clusters import Fleet, incarnations
from benchmarks.figures import Figures
from benchmarks.machine import REPOSITORY, WORKERS, Bench, load_average
from benchmarks.processes import MeasurementError, Timed, timed, wait_until

__all__ = ["measure"]

JOB_SECONDS = 600.0
REST_SECONDS = 1.0

_SUBJECTS = (Fleet.name, "LocalCluster", "one process")


def measure(bench: Bench, fleet: Fleet, rounds: int, factor: int, *, warm: bool) -> Figures:
    """Measure the job on a fleet that is up beside its peers, in the same interpreter."""
    figures = Figures("job", f"seconds of the demo job, --factor {factor}")
    data = _data(bench)
    where = dict(
        zip(
            _SUBJECTS,
            (
                ["--scheduler", f"tcp://127.0.0.1:{fleet.scheduler}"],
                ["--local-cluster", str(WORKERS)],
                ["--threads"],
            ),
            strict=True,
        )
    )
    for number in range(-1 if warm else 0, rounds):
        for name in _SUBJECTS:
            load = load_average()
            ours = name == Fleet.name
            with contextlib.nullcontext() if ours else _suspended(fleet):
                done = _run(bench, where[name], data, factor)
            if number < 0:
                continue
            result = _result(done)
            figures.loads.append(load)
            figures.add("whole process", name, done.seconds)
            for stage in ("connect", "compute"):
                figures.add(stage, name, result["stages"][stage])
            figures.add("whole without connect", name, done.seconds - result["stages"]["connect"])
    first, second, third = _SUBJECTS
    figures.ratio("whole process", first, second, limit=1.05)
    figures.ratio("compute", first, second, limit=1.05)
    figures.ratio("whole without connect", first, second)
    figures.ratio("whole process", first, third)
    figures.ratio("compute", first, third)
    figures.remarks.append(
        "the fleet is stopped (SIGSTOP) while its peers run, so that it takes no time from them;"
        " its workers are warm, those of a LocalCluster are new each time"
    )
    return figures


def _data(bench: Bench) -> str:
    from dask_fleet.demonstration import fetch_data
    from dask_fleet.transports.local import LocalTransport

    root = str(bench.data_home / "dask-fleet")
    return asyncio.run(fetch_data(LocalTransport("this machine"), root, bench.python))


def _run(bench: Bench, where: list[str], data: str, factor: int) -> Timed:
    output = bench.place / "cube"
    job = str(REPOSITORY / "src/dask_fleet/demo/job.py")
    argv = [bench.python, "-u", job, *where, "--data", data, "--output", str(output)]
    try:
        return timed(
            [*argv, "--factor", str(factor)], bench.environ, bench.work, within=JOB_SECONDS
        )
    finally:
        shutil.rmtree(output, ignore_errors=True)


def _result(done: Timed) -> dict[str, dict[str, float]]:
    for line in reversed(done.out.splitlines()):
        event = json.loads(line)
        if event["event"] == "result":
            return event
    raise MeasurementError("the job has ended without a result")


@contextlib.contextmanager
def _suspended(fleet: Fleet) -> Iterator[None]:
    """Stop all processes of the fleet for a while; nothing in Dask times out within a minute."""
    processes = fleet.processes()
    try:
        for process in processes:
            process.send_signal(signal.SIGSTOP)
        yield
    finally:
        for process in reversed(processes):
            with contextlib.suppress(psutil.Error):
                process.send_signal(signal.SIGCONT)
        time.sleep(REST_SECONDS)
        wait_until(lambda: len(incarnations(fleet.dashboard)) == WORKERS, 30, "the fleet goes on")
