"""Measure a fleet of VMs beside its peers, and commands on many simulated hosts; write JSON.

Run it in the lab's network, ``python -m lab run -- .venv/bin/python -m benchmarks.vms``, when
``python -m benchmarks.peers`` has made the peers; ``--only scale`` needs neither. Wheels are taken
from ``XDG_CACHE_HOME``. Exit status: as that of ``python -m benchmarks``.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks import simulated
from benchmarks.__main__ import Run, main
from benchmarks.machine import REPOSITORY, Bench
from benchmarks.processes import MeasurementError

if TYPE_CHECKING:
    from benchmarks.booted import BootedFleet
    from benchmarks.figures import Figures

_LAYERS = REPOSITORY / ".cache" / "tests" / "vms"


class VmsRun(Run):
    """One run of the suites on booted and on simulated hosts."""

    suites = ("vms start", "vms noop", "scale")
    file = "vms.json"
    program = "python -m benchmarks.vms"
    quickly = "one round, 100 hosts, no warm-up"

    def everything(self, bench: Bench) -> None:
        """Measure; a suite that fails does not keep the others from running."""
        if {"vms start", "vms noop"} & set(self.wanted):
            self.attempt("five booted hosts", lambda: self._booted(bench))
        if "scale" in self.wanted:
            sizes = simulated.SIZES[:2] if self.quick else simulated.SIZES
            self.attempt(
                "scale",
                lambda: [simulated.measure(bench, self.rounds, sizes, warm=not self.quick)],
            )

    def _booted(self, bench: Bench) -> list[Figures]:
        from lab import Lab, LabError

        from benchmarks import booted

        folder = os.environ.get("DASK_FLEET_LAB")
        if not folder or not Lab(Path(folder), 1).network.inside:
            raise MeasurementError("not in the lab's network: python -m lab run -- ...")
        # With a layer the environment need not be shipped first, which takes a minute.
        layers = sorted(_LAYERS.glob(f"layer-{Path(bench.python).parents[1].name}"))
        try:
            with Lab(Path(folder), 5, layers=layers) as lab:
                fleet = booted.BootedFleet(bench, lab)
                fleet.up(booted.SHIP_SECONDS)
                return self._suites_on(fleet)
        except LabError as error:
            raise MeasurementError(str(error)) from error

    def _suites_on(self, fleet: BootedFleet) -> list[Figures]:
        from benchmarks import booted

        warm = not self.quick
        measures = {"vms start": booted.measure_start, "vms noop": booted.measure_noop}
        return [
            measure(fleet, self.rounds, warm=warm)
            for name, measure in measures.items()
            if name in self.wanted
        ]


if __name__ == "__main__":
    sys.exit(main(VmsRun))
