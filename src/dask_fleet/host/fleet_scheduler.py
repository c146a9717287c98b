"""Run the scheduler of a fleet."""

from __future__ import annotations

import asyncio
import faulthandler
import resource
from pathlib import Path
from typing import Any

import fleet_dask
from fleet_labels import Labels
from fleet_process import bracketed, host_port, import_modules
from fleet_status import base_record, write_record
from fleet_unit import SchedulerUnit

__all__ = ["run"]

#: How long a closing scheduler may take before it is left as it is.
CLOSE_TIMEOUT = 10.0


#: What `dask fleet up` tells the console, beside the directory of the launcher.
INVENTORY = Path(__file__).resolve().parent.parent / "inventory.json"


def own_routes(routes: list[str]) -> list[str]:
    """Put the redirect to workers in the place of Dask's open proxy, and add what else is ours."""
    replaced = ["fleet_redirect" if r == "distributed.http.proxy" else r for r in routes]
    ours = [one for one in ("fleet_redirect", "fleet_console") if one not in replaced]
    # The first that fits a path answers: ours stands before Dask's own.
    return ["fleet_identity", *replaced, *ours]


def run(unit: SchedulerUnit, labels: Labels) -> int:
    """Run the scheduler until it is stopped.

    Returns
    -------
    int
        0 if it was closed, by a signal or by a client, 1 if it failed.
    """
    fleet_dask.configure()
    fleet_dask.import_distributed()  # it brings its defaults
    import dask.config

    routes = dask.config.get("distributed.scheduler.http.routes")
    dask.config.set({"distributed.scheduler.http.routes": own_routes(routes)})
    import_modules(unit.preload)

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, hard // 2), hard))
    from distributed.config import get_loop_factory

    runner = asyncio.new_event_loop if (factory := get_loop_factory()) is None else factory
    loop = runner()
    asyncio.set_event_loop(loop)
    try:
        return loop.run_until_complete(_run(unit, labels))
    finally:
        # Whatever still holds the process is shown in the log, and ended.
        faulthandler.dump_traceback_later(5, exit=True)


async def _run(unit: SchedulerUnit, labels: Labels) -> int:
    from distributed import Scheduler
    from fleet_console import Console
    from fleet_console.metrics import export
    from fleet_dashboard import SCHEDULER_PAGES, ExactDashboard
    from fleet_drain import Drains
    from fleet_tls import FleetSecurity, keep_current

    class FleetScheduler(ExactDashboard, Scheduler):
        """Dask's scheduler, with its dashboard where it was declared; it can drain workers."""

        pages_module = SCHEDULER_PAGES

        def __init__(self, **options: Any) -> None:
            super().__init__(**options)
            self.drains = Drains(self)

        async def remove_worker(
            self, address: str, *, stimulus_id: str, expected: bool = False, close: bool = True
        ) -> Any:
            """Remove a worker; that one leaves which was drained speaks against no task."""
            return await super().remove_worker(
                address,
                stimulus_id=stimulus_id,
                expected=self.drains.gone(address) or expected,
                close=close,
            )

    signalled = asyncio.create_task(fleet_dask.stop_signal())
    unlabelled = asyncio.create_task(fleet_dask.labeller_death(labels))

    async def serve() -> None:
        nonlocal scheduler
        security = FleetSecurity()
        scheduler = FleetScheduler(
            security=security,
            host=bracketed(unit.listen),
            port=unit.port,
            contact_address=fleet_dask.contact_url(unit.contact, unit.port),
            dashboard=False,
            dashboard_address=host_port(unit.listen, unit.dashboard_port),
        )
        console = Console(
            scheduler,
            name=unit.name,
            inventory=str(INVENTORY),
            run_directory=unit.run_directory,
        )
        scheduler.console = console
        await scheduler
        console.start()
        export(console)
        keep_current(security)
        fleet_dask.collect_garbage_again()
        ports = {"port": unit.port, "dashboard_port": unit.dashboard_port}
        base = base_record(unit.name, unit.role, unit.digest)
        write_record(unit.run_directory, unit.name, base, **ports)
        await scheduler.finished()

    scheduler: Any = None
    served = asyncio.create_task(serve())
    await asyncio.wait({signalled, unlabelled, served}, return_when=asyncio.FIRST_COMPLETED)
    code = 0
    if served.done() and (error := served.exception()) is not None:
        cause = error.__cause__ or error
        fleet_dask.say(f"{unit.name} failed: {type(cause).__name__}: {cause}")
        code = 1
    elif unlabelled.done():
        code = 1
    if scheduler is not None and not served.done():
        reason = signalled.result() if signalled.done() else "the labeller has died"
        try:
            await asyncio.wait_for(scheduler.close(reason=reason), CLOSE_TIMEOUT)
        except asyncio.TimeoutError:
            fleet_dask.say(f"{unit.name} did not close within {CLOSE_TIMEOUT:g} s")
    return code
