"""Start one unit of a fleet on its host: the scheduler, or all workers of a group.

Run as ``PYTHON -u launch.py UNIT.json`` by the interpreter of the fleet's environment.
What keeps the process alive (supervisord, systemd, Docker) restarts it whenever it exits.

Exit codes: 0 closed as asked, 1 a failure that a restart may heal, 2 a fault of the unit
file or of the environment that a restart does not heal.

Every worker that is started with the method "spawn" runs this file again as
``__mp_main__``: it must import nothing heavy, and do nothing, at the top level.
"""

from __future__ import annotations

import gc
import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fleet_labels import Labels
    from fleet_unit import SchedulerUnit, WorkersUnit

__all__ = ["main"]


def main(argv: list[str]) -> int:
    """Read the unit file, set up the process and run the unit until it ends.

    Parameters
    ----------
    argv
        The arguments after the script's name: one path to a unit file.

    Returns
    -------
    int
        The exit code.
    """
    from fleet_unit import UnitError, WorkersUnit, read_unit

    # Importing Dask and bokeh makes a million objects that stay; looking for garbage among them
    # again and again takes time and frees nothing. Each role turns it on when it has imported.
    gc.disable()
    try:
        if len(argv) != 1:
            raise UnitError("usage: PYTHON -u launch.py UNIT.json")  # noqa: TRY301
        unit = read_unit(argv[0])

        from fleet_process import apply_environment, check_interpreter, free_run_directory

        check_interpreter(argv[0])
        apply_environment(unit)
        free_run_directory(unit)
    except UnitError as error:
        print(f"launch.py: {error}", file=sys.stderr, flush=True)
        return 2

    import fleet_labels

    names = [worker.name for worker in unit.workers] if isinstance(unit, WorkersUnit) else []
    # From here on, everything that this process writes goes through the labeller.
    labels = fleet_labels.start(unit.name, names, unit.run_directory)
    try:
        return _run(unit, labels)
    except Exception as error:  # noqa: BLE001 (the process ends: reported as Python does it)
        sys.excepthook(type(error), error, error.__traceback__)
        return 1
    finally:
        # systemd and Docker end the labeller with this process: the last words, which say why
        # it ends, would be lost.
        labels.flush()


def _run(unit: SchedulerUnit | WorkersUnit, labels: Labels) -> int:
    import fleet_process

    fleet_process.set_title(unit.name)
    fleet_process.prepare_output()
    try:
        fleet_process.check_ports(unit)
    except fleet_process.PortHeldError as error:
        print(error, file=sys.stderr, flush=True)
        return 1

    from fleet_unit import WorkersUnit

    # The roles import Dask: only now, when everything cheap has been checked.
    if isinstance(unit, WorkersUnit):
        import fleet_workers

        return fleet_workers.run(unit, labels)
    import fleet_scheduler

    return fleet_scheduler.run(unit, labels)


if __name__ == "__main__":
    code = main(sys.argv[1:])
    sys.stdout.flush()
    sys.stderr.flush()
    # Both roles have closed what they opened. Leftover non-daemonic threads, such as a
    # task that never returns, must not hold the process: its supervisor waits for it.
    os._exit(code)
