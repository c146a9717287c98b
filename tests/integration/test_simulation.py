"""The simulated hosts that `benchmarks.vms` measures on answer as the tool asks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from benchmarks.machine import Bench, free_ports
from benchmarks.processes import MeasurementError, measured
from benchmarks.simulated import check_status, check_up
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
    up = measured([bench.tool, "up", "--yes"], fleet.environ, fleet.directory, within=60)
    check_up(up.out, HOSTS)
    assert 10 < up.peak < 1000
    assert up.cpu > 0
    status = measured([bench.tool, "status", "--json"], fleet.environ, fleet.directory, within=60)
    check_status(status.out, HOSTS)
    assert fleet.cpu() > 0


def test_a_simulated_host_runs_nothing_but_the_look(bench: Bench, fleet: SimulatedFleet):
    path = fleet.directory / "fleet.yaml"
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace("nthreads: 2", "nthreads: 3"), encoding="utf-8")
    argv = [bench.tool, "up", "--yes"]
    with pytest.raises(MeasurementError, match="knows no command but the look"):
        measured(argv, fleet.environ, fleet.directory, within=60)
