"""The worker's side: what happens first in the process that a nanny has started."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from typing import Any

import dask.config
import fleet_dashboard
import fleet_dask
import fleet_drain
import fleet_labels
import fleet_process
import fleet_status
import fleet_tls
import fleet_vitals
from distributed import Worker

__all__ = ["FleetWorker", "open_worker"]


#: How long a worker may take to register; Dask itself sets no limit.
REGISTER_TIMEOUT = 15.0


class FleetWorker(fleet_dashboard.ExactDashboard, Worker):
    """Dask's worker, with its dashboard where it was declared."""

    pages_module = fleet_dashboard.WORKER_PAGES

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.handlers["fleet_work"] = self.fleet_work

    def fleet_work(self) -> dict[str, Any]:
        """Say what it does, to a scheduler that drains it."""
        return fleet_drain.work_of(self)

    async def _register_with_scheduler(self) -> None:
        """Register, within a limit.

        A scheduler that still lists a worker of this address, say after a power cut of the host,
        fails without an answer (``Scheduler.add_worker``), and the worker would wait for one
        until its nanny gives up after minutes.
        """
        try:
            await asyncio.wait_for(super()._register_with_scheduler(), REGISTER_TIMEOUT)
        except asyncio.TimeoutError:
            raise TimeoutError(
                f"the scheduler has not taken it in within {REGISTER_TIMEOUT:g} s"
            ) from None

    async def __aenter__(self) -> Any:
        """Start, or say in the exception itself why not."""
        try:
            entered = await super().__aenter__()
        except RuntimeError as error:
            if (cause := error.__cause__) is None:
                raise
            # On its way to the nanny an exception loses its cause.
            raise RuntimeError(f"{error} {type(cause).__name__}: {cause}") from cause
        # Its nanny has given it that class.
        if isinstance(self.security, fleet_tls.FleetSecurity):
            fleet_tls.keep_current(self.security)
        return entered


def open_worker(
    *,
    label: str,
    fifo: str,
    run_directory: str,
    record: dict[str, Any],
    preload_modules: tuple[str, ...],
    **worker_options: Any,
) -> Worker:
    """Make this process a worker of the fleet, and return the worker.

    A nanny calls it in the place of a class of workers: nothing of ours runs earlier in
    the new process, and nothing of Dask's has been logged yet.
    """
    fleet_labels.divert(fifo)
    fleet_process.prepare_output()
    fleet_dask.use_iso_timestamps()
    # The nanny decides when a worker ends, also when a terminal's Ctrl-C reaches all.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Without this variable Dask leaves the title of the process alone.
    os.environ.pop("__DASK_PARENT_PID", None)
    fleet_process.set_title(label)
    _seed_numpy()
    # Only what failed in the forkserver, or was not tried, is imported here: the log of
    # each worker then has the reason.
    if dask.config.get("distributed.worker.multiprocessing-method") == "forkserver":
        fleet_process.import_modules(tuple(m for m in preload_modules if m not in sys.modules))
    started = fleet_status.write_record(run_directory, label, **record)
    routes = dask.config.get("distributed.worker.http.routes")
    if "fleet_registered" not in routes:
        dask.config.set({"distributed.worker.http.routes": [*routes, "fleet_registered"]})
    return FleetWorker(**worker_options, **fleet_vitals.worker_options(started))


def _seed_numpy() -> None:
    """Give this fork its own random numbers; Python's own generator does that by itself."""
    random = sys.modules.get("numpy.random")
    if random is not None:
        random.seed()
