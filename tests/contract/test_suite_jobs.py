"""Programs that run side by side for a run of tests: order, failure, time and interruption."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from pathlib import Path

from tests.suites.jobs import Job, Outcome, Ran, run_all

FOREVER = (sys.executable, "-c", "import time; print('begun', flush=True); time.sleep(600)")


def run(folder: Path, *jobs: Job, places: int = 2, deadline: float | None = None) -> list[Ran]:
    return asyncio.run(
        run_all(
            jobs,
            places=places,
            folder=folder,
            deadline=deadline,
            tell=lambda *_: None,
            beat=lambda _: None,
            every=1,
            grace=0.5,
        )
    )


def outcomes(ran: list[Ran]) -> dict[str, Outcome]:
    return {result.job.name: result.outcome for result in ran}


def shell(name: str, text: str, *needs: str, **more: object) -> Job:
    return Job(name, ("sh", "-c", text), frozenset(needs), **more)  # type: ignore[arg-type]


def test_a_job_starts_when_what_it_needs_is_done(tmp_path: Path):
    made = tmp_path / "made"
    ran = run(tmp_path, shell("use", f"cat {made}", "make"), shell("make", f"echo here >{made}"))
    assert [result.job.name for result in ran] == ["make", "use"]
    assert set(outcomes(ran).values()) == {Outcome.PASSED}
    assert (tmp_path / "use.log").read_text() == "here\n"


def test_what_needs_a_job_that_failed_is_red_and_the_others_run(tmp_path: Path):
    ran = run(
        tmp_path,
        shell("bad", "echo why >&2; exit 3"),
        shell("after", "true", "bad"),
        shell("later", "true", "after"),
        shell("other", "true"),
    )
    assert outcomes(ran) == {
        "bad": Outcome.FAILED,
        "after": Outcome.NEEDS_FAILED,
        "later": Outcome.NEEDS_FAILED,
        "other": Outcome.PASSED,
    }
    assert {result.job.name for result in ran if result.outcome.red} == {"bad", "after", "later"}
    assert (tmp_path / "bad.log").read_text() == "why\n"


def test_jobs_that_need_each_other_are_red_and_hold_nothing_up(tmp_path: Path):
    ran = run(tmp_path, shell("one", "true", "two"), shell("two", "true", "one"))
    assert set(outcomes(ran).values()) == {Outcome.NEEDS_FAILED}


def test_no_more_run_at_once_than_there_are_places(tmp_path: Path):
    busy = tmp_path / "busy"
    alone = f"mkdir {busy} && sleep 0.05 && rmdir {busy}"
    ran = run(tmp_path, *(shell(f"job-{n}", alone) for n in range(4)), places=1)
    assert set(outcomes(ran).values()) == {Outcome.PASSED}
    # With a place more, two of them meet.
    both = f"touch {busy}-$$; until [ $(ls -d {busy}-* | wc -l) = 2 ]; do sleep 0.01; done"
    ran = run(tmp_path, *(shell(f"job-{n}", both, limit=60.0) for n in range(2)), places=2)
    assert set(outcomes(ran).values()) == {Outcome.PASSED}


def test_an_optional_job_for_which_no_time_is_left_does_not_start_and_is_not_red(tmp_path: Path):
    jobs = [
        shell("must", "true", seconds=1000.0),
        shell("may", "true", seconds=1000.0, optional=True),
        shell("short", "true", seconds=1.0, optional=True),
    ]
    ran = run(tmp_path, *jobs, deadline=time.monotonic() + 500)
    assert outcomes(ran) == {
        "must": Outcome.PASSED,
        "may": Outcome.NO_TIME,
        "short": Outcome.PASSED,
    }
    assert not any(result.outcome.red for result in ran)


def test_a_job_that_takes_too_long_is_ended_with_all_that_it_started(tmp_path: Path):
    pid = tmp_path / "pid"
    ran = run(tmp_path, shell("long", f"trap '' INT; sleep 600 & echo $! >{pid}; wait", limit=0.5))
    assert outcomes(ran) == {"long": Outcome.TIMED_OUT}
    assert not alive(int(pid.read_text()))


def test_an_interrupt_ends_what_runs_and_starts_nothing_more(tmp_path: Path):
    log = tmp_path / "begun.log"

    async def interrupted() -> list[Ran]:
        jobs = [Job("begun", FOREVER), Job("waiting", ("true",), frozenset({"begun"}))]
        whole = asyncio.create_task(
            run_all(
                jobs,
                places=2,
                folder=tmp_path,
                tell=lambda *_: None,
                beat=lambda _: None,
            )
        )
        while not (log.exists() and log.read_text()):
            await asyncio.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)
        return await whole

    assert outcomes(asyncio.run(interrupted())) == {
        "begun": Outcome.STOPPED,
        "waiting": Outcome.STOPPED,
    }


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
