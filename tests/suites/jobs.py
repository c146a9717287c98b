"""Runs programs side by side: each when what it needs is done, as many as there are places."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

__all__ = ["Job", "Outcome", "Ran", "run_all"]

GRACE = 90.0
"""Seconds in which a program that is interrupted may clean up: a lab takes its hosts down."""


class Outcome(Enum):
    """How a job ended, or why it never began."""

    PASSED = "passed"
    FAILED = "failed"
    TIMED_OUT = "timed out"
    NEEDS_FAILED = "not run: what it needs failed"
    NO_TIME = "not run: the time was used up"
    STOPPED = "stopped"

    @property
    def red(self) -> bool:
        """Whether the whole run failed with it."""
        return self not in (Outcome.PASSED, Outcome.NO_TIME)


@dataclass(frozen=True, slots=True)
class Job:
    """A program to run.

    Parameters
    ----------
    name
        Its name among all jobs.
    argv
        Its command line.
    needs
        Names of the jobs that must have passed before it starts.
    weight
        How many places it takes.
    seconds
        About how long it takes; of jobs with the same stage the longest starts first.
    limit
        Seconds after which it is ended.
    stage
        Jobs with a lower one start first.
    optional
        Whether it is left out when the time is used up.
    environment
        What is added to the environment.
    """

    name: str
    argv: tuple[str, ...]
    needs: frozenset[str] = frozenset()
    weight: int = 1
    seconds: float = 10
    limit: float = 1800
    stage: int = 0
    optional: bool = False
    environment: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True, slots=True)
class Ran:
    """What became of a job."""

    job: Job
    outcome: Outcome
    seconds: float = 0.0


def choose(waiting: Iterable[Job], passed: Iterable[str], free: int, busy: bool) -> Job | None:
    """Return the job to start next, if one can start.

    Parameters
    ----------
    waiting
        Jobs that have not started.
    passed
        Names of jobs that passed.
    free
        Places that nobody takes.
    busy
        Whether any job runs: alone, a job may take more places than there are.
    """
    waiting, done = list(waiting), set(passed)
    # What may be left out begins when all has begun that may not.
    must = any(not job.optional for job in waiting)
    ready = [job for job in waiting if job.needs <= done and not (must and job.optional)]
    for job in sorted(ready, key=lambda job: (job.stage, -job.seconds, job.name)):
        if job.weight <= free or not busy:
            return job
    return None


async def run_all(
    jobs: Iterable[Job],
    *,
    places: int,
    folder: Path,
    deadline: float | None = None,
    tell: Callable[[Job, Ran | None], None],
    beat: Callable[[Iterable[Job]], None],
    every: float = 60.0,
    grace: float = GRACE,
) -> list[Ran]:
    """Run jobs and return what became of each, in the order in which they ended.

    Parameters
    ----------
    jobs
        What to run.
    places
        How much weight may run at the same time.
    folder
        Where the output of each goes, ``NAME.log``.
    deadline
        By the monotonic clock: an optional job starts only if it should end before it.
    tell
        Called with a job when it starts, and with what became of it.
    beat
        Called every `every` seconds with what runs.
    every
        See `beat`.
    grace
        Seconds in which a job that is interrupted may clean up before it is killed.
    """
    waiting = {job.name: job for job in jobs}
    running: dict[asyncio.Task[Ran], Job] = {}
    ran: list[Ran] = []
    passed: set[str] = set()
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, stop.set)

    def settle(result: Ran) -> None:
        ran.append(result)
        if result.outcome is Outcome.PASSED:
            passed.add(result.job.name)
        tell(result.job, result)

    def drop(outcome: Outcome, jobs: Sequence[Job]) -> None:
        for job in jobs:
            del waiting[job.name]
            settle(Ran(job, outcome))

    while waiting or running:
        if stop.is_set():
            drop(Outcome.STOPPED, list(waiting.values()))
        known = passed | set(waiting) | {job.name for job in running.values()}
        drop(Outcome.NEEDS_FAILED, [job for job in waiting.values() if not job.needs <= known])
        if deadline is not None:
            left = deadline - time.monotonic()
            late = [job for job in waiting.values() if job.optional and job.seconds > left]
            drop(Outcome.NO_TIME, late)
        free = places - sum(job.weight for job in running.values())
        while job := choose(waiting.values(), passed, free, bool(running)):
            del waiting[job.name]
            tell(job, None)
            running[asyncio.create_task(_run(job, folder, stop, grace))] = job
            free -= job.weight
        if not running:
            drop(Outcome.NEEDS_FAILED, list(waiting.values()))  # they need each other
            continue
        done, _ = await asyncio.wait(running, timeout=every, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            del running[task]
            settle(task.result())
        if not done:
            beat(running.values())
    return ran


async def _run(job: Job, folder: Path, stop: asyncio.Event, grace: float) -> Ran:
    began = time.monotonic()
    with (folder / f"{job.name}.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            *job.argv,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=log,
            stderr=asyncio.subprocess.STDOUT,
            env={**os.environ, **job.environment},
            start_new_session=True,
        )
        ended = asyncio.create_task(process.wait())
        told = asyncio.create_task(stop.wait())
        await asyncio.wait((ended, told), timeout=job.limit, return_when=asyncio.FIRST_COMPLETED)
        outcome = Outcome.STOPPED if told.done() else Outcome.TIMED_OUT
        told.cancel()
        if ended.done():
            outcome = Outcome.FAILED if process.returncode else Outcome.PASSED
        else:
            await _end(process.pid, ended, grace)
    return Ran(job, outcome, time.monotonic() - began)


async def _end(group: int, ended: asyncio.Task[int], grace: float) -> None:
    """Interrupt a process group; kill what does not heed it."""
    for number, seconds in ((signal.SIGINT, grace), (signal.SIGKILL, 10.0)):
        os.killpg(group, number)
        await asyncio.wait((ended,), timeout=seconds)
        if ended.done():
            return
