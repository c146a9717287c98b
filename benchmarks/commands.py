"""Commands that have nothing to do: how long the operator waits for them."""

from __future__ import annotations

import sys

from benchmarks.clusters import Fleet
from benchmarks.figures import Figures
from benchmarks.machine import Bench, load_average
from benchmarks.processes import timed

__all__ = ["measure"]


def measure(bench: Bench, fleet: Fleet, rounds: int, *, warm: bool) -> Figures:
    """Measure commands on a fleet that is up, whole processes, one after the other."""
    figures = Figures("noop", "seconds of a whole command with nothing to do")
    dask = str(bench.scripts / "dask")
    commands = {
        "dask-fleet up --yes": [bench.tool, "up", "--yes"],
        "dask-fleet plan": [bench.tool, "plan"],
        "dask-fleet --help": [bench.tool, "--help"],
        "dask fleet --help": [dask, "fleet", "--help"],
        "dask --help": [dask, "--help"],
        "python -c 'import distributed'": [sys.executable, "-c", "import distributed"],
        "python -c pass": [sys.executable, "-c", "pass"],
    }
    for number in range(-1 if warm else 0, rounds):
        load = load_average()
        for name, argv in commands.items():
            seconds = timed(argv, bench.environ, bench.work, within=60).seconds
            if number >= 0:
                figures.add("whole command", name, seconds)
        if number >= 0:
            figures.loads.append(load)
    up = "dask-fleet up --yes"
    figures.goal("second `up`, nothing to do", figures.values("whole command", up), 0.5)
    figures.ratio("whole command", up, "python -c 'import distributed'")
    figures.ratio("whole command", "dask fleet --help", "dask --help")
    figures.remarks.append(f"{fleet.name} was up; all in the tool's own environment")
    return figures
