"""``python -m tests.suites``: run suites side by side and say in a table what they did."""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from lab.machine import REPOSITORY

from tests.suites.catalogue import QUICK, SHARDS, SUITES, Suite, of_path, shard
from tests.suites.jobs import Job, Outcome, Ran, run_all
from tests.suites.preparation import CACHE, prepare
from tests.suites.report import failures, read, table
from tests.suites.touched import changed_files, touched

REPORTS = REPOSITORY / ".cache" / "tests" / "reports"
BUDGET = 50 * 60
"""Seconds in which ``.ci/run`` starts suites, as many as should end within them."""
PLACES = 2
"""How many places each CPU has: tests wait most of their time."""


@dataclass(frozen=True, slots=True)
class Order:
    """In which order tests run: ``random`` by a seed, ``reverse``, or as ``written``."""

    name: str
    seed: int

    @property
    def words(self) -> tuple[str, ...]:
        """What pytest is told."""
        if self.name == "random":
            return ("-p", "randomly", f"--randomly-seed={self.seed}")
        return ("-p", "no:randomly", *(("--reverse",) if self.name == "reverse" else ()))

    def __str__(self) -> str:
        seed = f" by seed {self.seed} (--seed {self.seed} repeats it)"
        return f"{self.name} order{seed if self.name == 'random' else ''}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.suites", description=__doc__)
    parser.add_argument(
        "what",
        nargs="+",
        metavar="NAME",
        help="test, all, ci, or suites: a name, or what names of several begin with",
    )
    parser.add_argument("--only", default="", help="tests of one suite, as pytest is told them")
    parser.add_argument("--order", choices=("random", "reverse", "written"), default="random")
    parser.add_argument("--seed", type=int, default=None, help="of the random order")
    parser.add_argument("--spent", type=int, default=0, help="of the time of ci, in seconds")
    parser.add_argument("--places", type=int, default=PLACES * (os.cpu_count() or 1))
    return parser


def _suites(names: Iterable[str]) -> list[Suite]:
    chosen: list[Suite] = []
    for name in names:
        wanted = [
            suite
            for suite in SUITES
            if name == "all" or suite.name == name or suite.name.startswith(f"{name}-")
        ] or (list(QUICK) if name == "test" else [])
        if not wanted:
            known = ", ".join(suite.name for suite in SUITES)
            raise SystemExit(f"no suite is named {name}; there are: {known}")
        chosen += [suite for suite in wanted if suite not in chosen]
    return chosen


def _job(suite: Suite, order: Order, words: Sequence[str], stage: int, optional: bool) -> Job:
    """Return what runs the tests of a suite, or those that `words` name."""
    report = [f"--junitxml={REPORTS / suite.name}.xml", "-o", "junit_duration_report=total"]
    pytest = [sys.executable, "-m", "pytest", "-v", "-p", "tests.suites.profile", *report]
    pytest += [*order.words, *(words or suite.paths)]
    if suite.workers and not words:
        pytest += [f"-n{suite.workers}", "--dist=loadfile"]
    argv = pytest
    if suite.lab is not None:
        argv = [sys.executable, "-m", "lab", "--name", suite.name, *suite.lab, "run", "--", *pytest]
    return Job(
        suite.name,
        tuple(argv),
        frozenset(suite.needs),
        suite.weight,
        suite.seconds,
        limit=max(1200, 4 * suite.seconds),
        stage=stage,
        optional=optional,
        environment={**CACHE, "PROFILE": str(REPORTS / f"{suite.name}.profile.json")},
    )


def _say(text: str, since: float) -> None:
    minutes, seconds = divmod(int(time.monotonic() - since), 60)
    print(f"[{minutes:3}:{seconds:02}] {text}", flush=True)


def _run(jobs: Sequence[Job], suites: Sequence[Suite], places: int, budget: float | None) -> int:
    """Run all jobs, print what became of them, and return the exit status."""
    began = time.monotonic()
    shutil.rmtree(REPORTS, ignore_errors=True)
    REPORTS.mkdir(parents=True)
    seen = sys.stdout.isatty()

    def tell(job: Job, ran: Ran | None) -> None:
        if ran is None:
            _say(f"{job.name}: begins, about {job.seconds:.0f} s", began)
            return
        _say(f"{job.name}: {ran.outcome.value} after {ran.seconds:.0f} s", began)
        if ran.outcome.red and ran.seconds:
            print(failures(REPORTS / f"{job.name}.log"), flush=True)

    def beat(running: Iterable[Job]) -> None:
        _say("; ".join(_progress(job) for job in running), began)

    ran = asyncio.run(
        run_all(
            jobs,
            places=places,
            folder=REPORTS,
            deadline=None if budget is None else began + budget,
            tell=tell,
            beat=beat,
            every=20 if seen else 60,
        )
    )
    return _report(ran, suites, time.monotonic() - began)


def _progress(job: Job) -> str:
    log = (REPORTS / f"{job.name}.log").read_text(errors="replace")
    done = log.count("PASSED") + log.count("FAILED") + log.count("ERROR ")
    return f"{job.name} runs" + (f" ({done} tests done)" if done else "")


def _report(ran: Sequence[Ran], suites: Sequence[Suite], seconds: float) -> int:
    by_name = {done.job.name: done for done in ran}
    results = [
        read(REPORTS, suite.name, by_name[suite.name].outcome.value, by_name[suite.name].seconds)
        for suite in suites
    ]
    empty = [
        result.name
        for result in results
        if by_name[result.name].outcome is Outcome.PASSED and not result.tests
    ]
    print()
    print(table(results, seconds))
    red = [done.job.name for done in ran if done.outcome.red] + empty
    later = [done.job.name for done in ran if done.outcome is Outcome.NO_TIME]
    if later:
        print(f"not run, for the time was used up: {', '.join(later)}")
    if empty:
        print(f"ran no test, which is a failure: {', '.join(empty)}")
    if red:
        print(f"failed: {', '.join(red)}; their output is in {REPORTS}")
    return 1 if red or not any(result.tests for result in results) else 0


def _ci(order: Order, places: int, budget: float) -> int:
    """Run what must hold before anything lands."""
    base, files = changed_files(REPOSITORY)
    concerned = touched(files)
    argv = ["git", "-C", str(REPOSITORY), "rev-list", "--count", "HEAD"]
    number = int(subprocess.run(argv, check=True, capture_output=True, text=True).stdout)
    turn = shard(number)
    print(f"{len(files)} files differ from {base[:12]}; the suites that they touch:")
    print(f"  {', '.join(suite.name for suite in SUITES if suite.name in concerned) or 'none'}")
    print(f"shard {number % SHARDS} of {SHARDS}: {', '.join(suite.name for suite in turn)}")
    jobs: list[Job] = []
    suites: list[Suite] = []
    for suite in SUITES:
        if suite.quick:
            stage = 0
        elif suite.name in concerned:
            stage = 1
        elif suite in turn:
            stage = 2
        else:
            continue
        suites.append(suite)
        jobs.append(_job(suite, order, (), stage, optional=not suite.quick))
    ahead = prepare(QUICK)
    made = {job.name for job in ahead}
    # What only the other suites need waits until `make test` has what it needs.
    ahead += [job for job in prepare(suites, 1, optional=True) if job.name not in made]
    status = _run([*ahead, *jobs], suites, places, budget)
    left = [suite.name for suite in SUITES if suite not in suites]
    if left:
        print(f"not run: untouched, and not their turn: {', '.join(left)}")
    return status


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status."""
    given = _parser().parse_args(argv)
    os.chdir(REPOSITORY)
    seed = random.SystemRandom().randrange(2**31) if given.seed is None else given.seed
    order = Order(given.order, seed)
    if given.what == ["ci"]:
        print(f"tests run in {order}")
        return _ci(order, given.places, BUDGET - given.spent)
    words = shlex.split(given.only)
    if words:
        try:
            suites = [of_path(next(word for word in words if word.startswith("tests/")))]
        except (StopIteration, KeyError):
            raise SystemExit(f"no suite holds the tests of {given.only!r}") from None
    else:
        suites = _suites(given.what)
    print(f"{', '.join(suite.name for suite in suites)}; tests run in {order}")
    jobs = [*prepare(suites), *(_job(suite, order, words, 0, optional=False) for suite in suites)]
    return _run(jobs, suites, given.places, None)


if __name__ == "__main__":
    sys.exit(main())
