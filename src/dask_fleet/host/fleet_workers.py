"""Run all workers of a unit: their nannies live in this one process."""

from __future__ import annotations

import asyncio
import faulthandler
import functools
import time
from typing import Any

import fleet_dask
from fleet_labels import Labels
from fleet_process import bracketed, corrected_environment, host_port, run_again
from fleet_status import base_record, write_record
from fleet_unit import WorkerEntry, WorkersUnit

__all__ = ["run"]

#: How long all nannies together may take to close.
CLOSE_TIMEOUT = 12.0
#: How long a worker's process may take to start and register, user's preloads included.
START_TIMEOUT = 120.0
#: How long one try to reach the scheduler may take, at first and at most.
SHORTEST_CONNECT, LONGEST_CONNECT = 0.2, 5.0
#: How often nannies are looked at.
WATCH_INTERVAL = 1.0


def run(unit: WorkersUnit, labels: Labels) -> int:
    """Run the workers until they are stopped.

    Returns
    -------
    int
        0 if a signal has stopped them, 1 if one of them cannot be kept.
    """
    fleet_dask.configure()
    distributed = fleet_dask.import_distributed()
    import dask.config

    variables = dask.config.get("distributed.nanny.pre-spawn-environ")
    wanted = {key: str(value) for key, value in variables.items() if value is not None}
    if (environment := corrected_environment(wanted)) is not None:
        labels.release()
        run_again(environment)
    if dask.config.get("distributed.worker.multiprocessing-method") == "forkserver":
        import fleet_forks

        # Before the first thread and the event loop: forks of a quiet process are safe.
        fleet_forks.start(unit.name, unit.preload, labels, workers=len(unit.workers))
    fleet_dask.collect_garbage_again()
    from distributed.config import get_loop_factory

    loop = (get_loop_factory() or asyncio.new_event_loop)()
    asyncio.set_event_loop(loop)
    try:
        nanny_class = _reachable(distributed.Nanny)
        return loop.run_until_complete(_Workers(unit, labels, nanny_class).run())
    finally:
        # Whatever still holds the process is shown in the log, and ended.
        faulthandler.dump_traceback_later(5, exit=True)


def _reachable(nanny_class: Any) -> type:
    """Return a nanny that gives others the address that its worker gives.

    Dask's own gives that of an interface (``Server.address``), which behind NAT and in a container
    nobody else can dial.
    """

    class FleetNanny(nanny_class):
        async def listen(self, port_or_addr: Any = None, **kwargs: Any) -> None:
            await super().listen(port_or_addr, **kwargs)
            contact = self.contact_address.rpartition(":")[0]
            self._address = f"{contact}:{self.listener.bound_address[1]}"

    return FleetNanny


class _LostError(Exception):
    """A worker cannot be kept running."""


class _Workers:
    """Keeps one nanny for each declared worker."""

    def __init__(self, unit: WorkersUnit, labels: Labels, nanny_class: type) -> None:
        self.unit = unit
        self.labels = labels
        self.nanny_class = nanny_class
        self.nannies: dict[str, Any] = {}
        self.base = base_record(unit.name, unit.role, unit.digest)
        self.gate = asyncio.Lock()
        self.seen_at = 0.0
        # It brings distributed along, which configure() comes before.
        import fleet_tls

        self.security = fleet_tls.FleetSecurity()

    async def run(self) -> int:
        """Keep all workers until a signal comes or one of them is lost."""
        import fleet_tls

        fleet_tls.keep_current(self.security)
        names = [worker.name for worker in self.unit.workers]
        write_record(self.unit.run_directory, self.unit.name, {**self.base, "workers": names})
        signalled = asyncio.create_task(fleet_dask.stop_signal())
        unlabelled = asyncio.create_task(fleet_dask.labeller_death(self.labels))
        keepers = [asyncio.create_task(self.keep(worker)) for worker in self.unit.workers]
        done, _ = await asyncio.wait(
            {signalled, unlabelled, *keepers}, return_when=asyncio.FIRST_COMPLETED
        )
        code = 0 if signalled in done else 1
        reason = signalled.result() if signalled in done else "the labeller has died"
        for keeper in keepers:
            if keeper in done and (error := keeper.exception()) is not None:
                reason = str(error)
                fleet_dask.say(f"{self.unit.name} exits, to be started again: {reason}")
        for task in (unlabelled, *keepers):
            task.cancel()
        await self.close(reason)
        return code

    async def close(self, reason: str) -> None:
        """Close all nannies at the same time, within a limit."""
        closing = [
            asyncio.create_task(nanny.close(timeout=CLOSE_TIMEOUT / 2, reason=reason))
            for nanny in self.nannies.values()
        ]
        if not closing:
            return
        done, late = await asyncio.wait(closing, timeout=CLOSE_TIMEOUT)
        for task in done:
            if (error := task.exception()) is not None:
                fleet_dask.say(f"a nanny has not closed cleanly: {error!r}")
        if late:
            fleet_dask.say(f"{len(late)} workers did not close within {CLOSE_TIMEOUT:g} s")

    async def keep(self, worker: WorkerEntry) -> None:
        """Keep one worker running, for ever.

        A nanny ends when its scheduler goes away, when its worker is retired, and when it
        cannot start the worker again. In each case a new nanny takes its place: that
        costs a fork, a new launcher all its imports.

        Raises
        ------
        _LostError
            When the worker has failed for longer than the unit's patience although the
            scheduler can be reached.
        """
        failing_since: float | None = None
        pause = 0.1
        while True:
            if await self.wait_for_scheduler():
                failing_since, pause = None, 0.1
            nanny = self.nannies[worker.name] = self.make_nanny(worker)
            began = time.monotonic()
            fault = "it ended at once"
            try:
                await nanny
                await self.watch(nanny)
            except Exception as error:  # noqa: BLE001 (whatever it is, it is reported)
                fault = _root(error)
            self.seen_at = 0.0
            await nanny.close(reason="the fleet replaces this nanny")
            now = time.monotonic()
            if nanny.worker_started and now - began > 5:
                failing_since, pause = None, 0.1
                fleet_dask.say(f"{worker.name}: its nanny has ended; starting another")
                continue
            failing_since = began if failing_since is None else failing_since
            if now - failing_since > self.unit.patience:
                raise _LostError(
                    f"{worker.name} did not start for {now - failing_since:.0f} s: {fault}"
                )
            fleet_dask.say(f"{worker.name} did not start ({fault}); again in {pause:g} s")
            await asyncio.sleep(pause)
            pause = min(2 * pause, 5.0)

    async def watch(self, nanny: Any) -> None:
        """Wait until a nanny ends, or until it has been without a worker for too long."""
        from distributed.core import Status

        nanny.worker_started = True
        finished = asyncio.ensure_future(nanny.finished())
        without_since: float | None = None
        while not finished.done():
            await asyncio.wait({finished}, timeout=WATCH_INTERVAL)
            now = time.monotonic()
            process = nanny.process
            if process is not None and process.status == Status.running:
                without_since = None
            elif without_since is None:
                without_since = now
            elif now - without_since > self.unit.patience and not finished.done():
                finished.cancel()
                nanny.worker_started = False
                raise TimeoutError(f"it has had no worker process for {self.unit.patience:g} s")

    async def wait_for_scheduler(self) -> bool:
        """Wait until the scheduler answers.

        Returns
        -------
        bool
            Whether it was away.
        """
        from distributed.comm.core import connect

        arguments = self.security.get_connection_args("worker")
        away = False
        said_at = 0.0
        # Dask pauses longer and longer between the tries of one `connect`, so that a long one
        # finds a scheduler late that has just come up. Short ones find it at once; they
        # grow only where the network is slow, not where the connection is refused.
        patience = SHORTEST_CONNECT
        # All workers of the unit share one look at the scheduler.
        async with self.gate:
            while time.monotonic() - self.seen_at > 1.0:
                try:
                    comm = await connect(self.unit.scheduler, timeout=patience, **arguments)
                    await comm.close()
                    self.seen_at = time.monotonic()
                except (OSError, asyncio.TimeoutError) as error:  # noqa: PERF203
                    if time.monotonic() - said_at > 30:
                        if away or said_at == 0.0:
                            fleet_dask.say(f"waiting for the scheduler: {error}")
                        said_at = time.monotonic()
                    away = True
                    if isinstance(error.__cause__, asyncio.TimeoutError):
                        patience = min(2 * patience, LONGEST_CONNECT)
        return away

    def make_nanny(self, worker: WorkerEntry) -> Any:
        """Make the nanny of a worker, with all its declared ports."""
        import fleet_worker

        ports = {
            "port": worker.port,
            "nanny_port": worker.nanny_port,
            "dashboard_port": worker.dashboard_port,
        }
        factory = functools.partial(
            fleet_worker.open_worker,
            label=worker.name,
            fifo=self.labels.path(worker.name),
            run_directory=self.unit.run_directory,
            record={"base": {**self.base, "role": "worker"}, **ports},
            preload_modules=self.unit.preload,
        )
        nanny = self.nanny_class(
            self.unit.scheduler,
            security=self.security,
            name=worker.name,
            nthreads=worker.nthreads,
            memory_limit=worker.memory_limit,
            resources=worker.resources or None,
            local_directory=worker.directory,
            host=bracketed(worker.listen),
            port=worker.nanny_port,
            worker_port=worker.port,
            contact_address=fleet_dask.contact_url(worker.contact, worker.port),
            dashboard=False,
            dashboard_address=host_port(worker.listen, worker.dashboard_port),
            death_timeout=START_TIMEOUT,
            worker_class=factory,
        )
        nanny.worker_started = False
        return nanny


def _root(error: BaseException) -> str:
    """Return what an error began with: Dask's own says only that the nanny has failed."""
    seen = {id(error)}
    while (deeper := error.__cause__ or error.__context__) is not None and id(deeper) not in seen:
        error = deeper
        seen.add(id(error))
    return f"{type(error).__name__}: {error}"
