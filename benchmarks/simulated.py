"""How a command grows with the number of hosts, on hosts that are simulated on this machine."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Sequence
from itertools import pairwise

from benchmarks.figures import Figures
from benchmarks.machine import Bench, free_ports, load_average
from benchmarks.processes import Measured, MeasurementError, measured
from benchmarks.simulation.fleets import Asked, SimulatedFleet

__all__ = ["SIZES", "check_asked", "check_status", "check_up", "judge", "measure"]

SIZES = (10, 100, 1000)
_WITHIN = 300.0
_COMMANDS = {"up": ("up", "--yes"), "status": ("status", "--json")}


def measure(bench: Bench, rounds: int, sizes: Sequence[int] = SIZES, *, warm: bool) -> Figures:
    """Measure an `up` with nothing to do and a `status`, whole processes, one after the other."""
    figures = Figures("scale", "commands on simulated hosts that are up as declared")
    # Each fleet has ports of its own, on addresses that all of them share.
    base = free_ports()
    fleets = [SimulatedFleet(bench, size, base + 3 * at) for at, size in enumerate(sizes)]
    try:
        for fleet in fleets:
            fleet.start()
        for number in range(-1 if warm else 0, rounds):
            load = load_average()
            for fleet in fleets:
                _round(figures if number >= 0 else None, bench, fleet)
            if number >= 0:
                figures.loads.append(load)
    finally:
        for fleet in fleets:
            fleet.stop()
    judge(figures, sizes)
    return figures


def check_up(out: str, hosts: int) -> None:
    """Raise an error unless an `up` said that there is nothing to do and all are registered."""
    if f"nothing to do; {hosts - 1} workers registered" not in out:
        raise MeasurementError(f"`up` on {hosts} simulated hosts said:\n{out[-2000:]}")


def check_status(out: str, hosts: int) -> None:
    """Raise an error unless a `status` lists every process as running."""
    rows = json.loads(out)["processes"]
    wrong = {row["name"]: row["state"] for row in rows if row["state"] != "running"}
    if wrong or len(rows) != hosts:
        raise MeasurementError(f"`status` on {hosts} hosts: {len(rows)} processes; {wrong}")


def check_asked(asked: Asked, hosts: int) -> None:
    """Raise an error unless each host was asked one command, on one connection."""
    for what, counts in (("connections", asked.connections), ("commands", asked.commands)):
        other = {address: count for address, count in counts.items() if count != 1}
        if other or len(counts) != hosts:
            raise MeasurementError(f"{what} to {len(counts)} of {hosts} hosts, not one: {other}")
    if asked.pages != 1:
        raise MeasurementError(f"the scheduler's page was read {asked.pages} times, not once")


def _round(figures: Figures | None, bench: Bench, fleet: SimulatedFleet) -> None:
    for name, words in _COMMANDS.items():
        before = fleet.cpu()
        fleet.asked()  # from here on it counts
        argv = [bench.tool, *words]
        done = measured(argv, fleet.environ, fleet.directory, within=_WITHIN)
        served = fleet.cpu() - before
        (check_up if name == "up" else check_status)(done.out, fleet.hosts)
        check_asked(fleet.asked(), fleet.hosts)
        if figures is not None:
            _add(figures, name, fleet.hosts, done, served)


def _add(figures: Figures, name: str, hosts: int, done: Measured, served: float) -> None:
    subject = _subject(hosts)
    figures.add(f"{name}, whole command", subject, done.seconds)
    figures.add(f"{name}, CPU of the tool", subject, done.cpu)
    figures.add(f"{name}, CPU of the servers", subject, served)
    figures.add(f"{name}, per host", subject, done.seconds / hosts * 1000, "ms")
    figures.add(f"{name}, peak memory", subject, done.peak, "MB")


def _subject(hosts: int) -> str:
    return f"{hosts:,} hosts"


def judge(figures: Figures, sizes: Sequence[int]) -> None:
    """Compare what was measured with what was promised: time on the largest, and growth."""
    largest = _subject(sizes[-1])
    for name in _COMMANDS:
        whole = f"{name}, whole command"
        figures.goal(f"`{name}` on {largest}", figures.values(whole, largest), 30.0)
        if len(sizes) > 1:
            figures.ratio(f"{name}, per host", largest, _subject(sizes[-2]), 1.1)
        _judge_memory(figures, name, sizes)
        medians = [statistics.median(figures.values(whole, _subject(size))) for size in sizes]
        steps = list(zip(sizes, medians, strict=True))
        figures.remarks += [
            f"`{name}`, from {m:,} to {n:,} hosts: {1000 * (b - a) / (n - m):.1f} ms for each host"
            f" more, growth exponent {math.log(b / a) / math.log(n / m):.2f}"
            for (m, a), (n, b) in pairwise(steps)
        ]
    figures.remarks.append("the tool and the servers share this machine's CPUs")
    figures.series = dict(sorted(figures.series.items(), key=lambda item: item[0][0]))


def _judge_memory(figures: Figures, name: str, sizes: Sequence[int]) -> None:
    """Compare what each host more costs at the last step with what it costs at the one before.

    What the tool needs without any host would hide a growth that is worse than linear.
    """
    measure = f"{name}, memory for each host more"
    steps: list[str] = []
    for m, n in pairwise(sizes):
        steps.append(f"{m:,} to {n:,} hosts")
        of = [figures.values(f"{name}, peak memory", _subject(size)) for size in (m, n)]
        for less, more in zip(*of, strict=True):
            figures.add(measure, steps[-1], 1000 * (more - less) / (n - m), "kB")
    if len(steps) > 1:
        figures.ratio(measure, steps[-1], steps[-2], 1.1)
