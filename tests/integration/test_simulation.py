"""The simulated hosts that `benchmarks.vms` measures on answer as the tool asks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from benchmarks.figures import Figures
from benchmarks.machine import Bench, free_ports
from benchmarks.processes import MeasurementError, measured
from benchmarks.simulated import check_asked, check_status, check_up, judge
from benchmarks.simulation.fleets import SimulatedFleet

HOSTS = 10


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path / "data")
    yield made
    made.close()


@pytest.fixture
def fleet(bench: Bench) -> Iterator[SimulatedFleet]:
    made = SimulatedFleet(bench, HOSTS, free_ports())
    try:
        made.start()
        yield made
    finally:
        made.stop()


def test_up_finds_nothing_to_do_and_status_lists_all_on_ten_hosts(
    bench: Bench, fleet: SimulatedFleet
):
    up = measured([bench.tool, "up", "--yes"], fleet.environ, fleet.directory, within=120)
    check_up(up.out, HOSTS)
    check_asked(fleet.asked(), HOSTS)
    assert 10 < up.peak < 1000
    assert up.cpu > 0
    status = measured([bench.tool, "status", "--json"], fleet.environ, fleet.directory, within=120)
    check_status(status.out, HOSTS)
    check_asked(fleet.asked(), HOSTS)
    assert fleet.cpu() > 0


def test_the_servers_count_what_they_are_asked(bench: Bench, fleet: SimulatedFleet):
    nothing = fleet.asked()
    assert (nothing.connections, nothing.commands, nothing.pages) == ({}, {}, 0)
    for _ in range(2):
        measured([bench.tool, "status"], fleet.environ, fleet.directory, within=120)
    twice = fleet.asked()
    with pytest.raises(MeasurementError, match="connections to 10 of 10 hosts, not one"):
        check_asked(twice, HOSTS)
    assert list(twice.commands.values()) == [2] * HOSTS
    assert twice.commands == twice.connections
    assert twice.pages == 2
    # A host behind --limit is the only one that is asked, with the scheduler's, whose page is read.
    argv = [bench.tool, "up", "--yes", "--limit", "dask-worker-0003"]
    measured(argv, fleet.environ, fleet.directory, within=120)
    limited = fleet.asked()
    with pytest.raises(MeasurementError, match="connections to 2 of 10 hosts"):
        check_asked(limited, HOSTS)
    assert set(limited.connections) == {"127.64.0.1", "127.65.0.3"}


@pytest.mark.parametrize(("power", "met"), [(1.0, True), (1.2, False)])
def test_memory_that_grows_faster_than_linear_misses_its_goal(power: float, met: bool):
    sizes = (10, 100, 1000)
    figures = Figures("scale", "invented")
    for size in sizes:
        for name in ("up", "status"):
            subject = f"{size:,} hosts"
            figures.add(f"{name}, whole command", subject, 0.3 + 0.004 * size)
            figures.add(f"{name}, per host", subject, 300 / size + 4, "ms")
            figures.add(f"{name}, peak memory", subject, 60 + 0.06 * size**power, "MB")
    judge(figures, sizes)
    goals = {goal.text: goal for goal in figures.goals if "memory" in goal.text}
    assert set(goals) == {
        f"{name}, memory for each host more: 100 to 1,000 hosts / 10 to 100 hosts"
        for name in ("up", "status")
    }
    assert {goal.met for goal in goals.values()} == {met}


def test_a_simulated_host_runs_nothing_but_the_look(bench: Bench, fleet: SimulatedFleet):
    path = fleet.directory / "fleet.yaml"
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace("nthreads: 2", "nthreads: 3"), encoding="utf-8")
    argv = [bench.tool, "up", "--yes"]
    with pytest.raises(MeasurementError, match="knows no command but the look"):
        measured(argv, fleet.environ, fleet.directory, within=120)
