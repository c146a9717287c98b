"""Measure everything, side by side in one run; print a table, and write JSON.

Exit status: 0 when all was measured, whatever the figures; 1 when a measurement did not run;
130 after Ctrl-C. Nothing is left running in any case.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from benchmarks import commands, jobs, layouts, starting
from benchmarks.clusters import Fleet
from benchmarks.figures import Figures, show
from benchmarks.machine import REPOSITORY, Bench, load_average
from benchmarks.processes import MeasurementError

SUITES = ("start", "noop", "job", "memory", "layout", "recovery")
ROUNDS = 5
BUILD_SECONDS = 1200.0
RESULTS = Path(__file__).parent / "results"


def parser(kind: type[Run]) -> argparse.ArgumentParser:
    """Describe the command line of a kind of run."""
    about = sys.modules[kind.__module__].__doc__ or ""
    result = argparse.ArgumentParser(prog=kind.program, description=about.splitlines()[0])
    result.add_argument(
        "--only", action="append", choices=kind.suites, metavar="NAME", help=", ".join(kind.suites)
    )
    result.add_argument("--rounds", type=positive, help=f"rounds that count (default: {ROUNDS})")
    result.add_argument("--quick", action="store_true", help=f"{kind.quickly}: does it run?")
    if "job" in kind.suites:
        result.add_argument(
            "--factor", type=int, help="of the demo job: fine cells along a side of a coarse one"
        )
    result.add_argument(
        "--data",
        type=Path,
        metavar="DIRECTORY",
        default=REPOSITORY / ".cache" / "tests" / "data",
        help="XDG_DATA_HOME, with the fleet's environment; it is made there if it is missing",
    )
    return result


def positive(text: str) -> int:
    """Return a number of rounds."""
    if (number := int(text)) < 1:
        raise argparse.ArgumentTypeError("at least one round")
    return number


def stop(*_: object) -> NoReturn:
    """End as Ctrl-C does."""
    raise KeyboardInterrupt


class Run:
    """One run of the suites that are wanted."""

    suites: tuple[str, ...] = SUITES
    file = "latest.json"
    program = "python -m benchmarks"
    quickly = "one round, a small job, no warm-up"

    def __init__(self, arguments: argparse.Namespace) -> None:
        self.wanted = tuple(arguments.only or self.suites)
        self.quick: bool = arguments.quick
        self.rounds: int = arguments.rounds or (1 if self.quick else ROUNDS)
        self.factor: int = getattr(arguments, "factor", None) or (4 if self.quick else 12)
        self.figures: list[Figures] = []
        self.failed: list[str] = []

    def everything(self, bench: Bench) -> None:
        """Measure; a suite that fails does not keep the others from running."""
        warm = not self.quick
        clusters = [name for name in ("start", "memory", "recovery") if name in self.wanted]
        if clusters:
            self.attempt(
                " and ".join(clusters),
                lambda: starting.measure(bench, self.rounds, clusters, warm=warm),
            )
        if {"noop", "job"} & set(self.wanted):
            fleet = Fleet(bench)
            try:
                if self.attempt("the fleet of noop and job", lambda: self._up(fleet)):
                    self._on(bench, fleet, warm=warm)
            finally:
                self.attempt("its end", lambda: self._down(fleet))
        if "layout" in self.wanted:
            largest = 1000 if self.quick else 5000
            self.attempt(
                "layout", lambda: [layouts.measure(bench, self.rounds, largest, warm=warm)]
            )

    def _on(self, bench: Bench, fleet: Fleet, *, warm: bool) -> None:
        if "noop" in self.wanted:
            self.attempt("noop", lambda: [commands.measure(bench, fleet, self.rounds, warm=warm)])
        if "job" in self.wanted:
            self.attempt(
                "job",
                lambda: [jobs.measure(bench, fleet, self.rounds, self.factor, warm=warm)],
            )

    @staticmethod
    def _up(fleet: Fleet) -> list[Figures]:
        fleet.start()
        return []

    @staticmethod
    def _down(fleet: Fleet) -> list[Figures]:
        fleet.stop()
        return []

    def attempt(self, name: str, work: Callable[[], list[Figures]]) -> bool:
        """Add what a suite measures; say whether it ran."""
        began = time.monotonic()
        print(f"{name}: load {load_average()} ...", file=sys.stderr, flush=True)
        try:
            self.figures += work()
        except (MeasurementError, OSError, KeyError, ValueError) as error:
            self.failed.append(name)
            print(f"{name}: did not run: {error}", file=sys.stderr, flush=True)
            return False
        seconds = time.monotonic() - began
        print(f"{name}: {seconds:.0f} s", file=sys.stderr, flush=True)
        return True

    def write(self, about: dict[str, Any]) -> Path:
        """Write the JSON: among the results if it is a whole run, else where git does not look."""
        whole = set(self.wanted) == set(self.suites) and self.rounds >= ROUNDS and not self.failed
        path = (RESULTS if whole and not self.quick else RESULTS / "local") / self.file
        path.parent.mkdir(parents=True, exist_ok=True)
        found = {figures.name: figures.value() for figures in self.figures}
        value = {
            **about,
            "rounds": self.rounds,
            "quick": self.quick,
            "did_not_run": self.failed,
            "suites": {name: found[name] for name in self.suites if name in found},
        }
        path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
        return path


def main(kind: type[Run] = Run) -> int:
    """Run the benchmarks; return the exit status."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    arguments = parser(kind).parse_args()
    return conduct(kind(arguments), arguments.data)


def conduct(run: Run, data: Path) -> int:
    """Measure, show and write; leave nothing behind, whatever happens."""
    if load_average() > 1:
        print(
            f"the machine is busy (load {load_average()}): read figures with care", file=sys.stderr
        )
    bench = Bench(data.absolute())
    try:
        bench.find_interpreter()
        if not bench.has_environment:
            make_environment(bench)
        about = bench.about()
        run.everything(bench)
    except KeyboardInterrupt:
        print("interrupted; nothing is left running", file=sys.stderr)
        return 130
    except MeasurementError as error:
        print(f"did not run: {error}", file=sys.stderr)
        return 1
    finally:
        # A second Ctrl-C must not leave processes behind.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
        bench.close()
    show(run.figures)
    path = run.write(about)
    print(f"written: {path.relative_to(REPOSITORY)}")
    return 1 if run.failed else 0


def make_environment(bench: Bench) -> None:
    """Bring a fleet up and down once, which makes the environment."""
    fleet = Fleet(bench)
    try:
        fleet.start(within=BUILD_SECONDS)
    finally:
        fleet.stop()


if __name__ == "__main__":
    sys.exit(main())
