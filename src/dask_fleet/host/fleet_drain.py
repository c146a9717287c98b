"""The scheduler's side of a drain: a worker gets nothing new, ends what runs, and hands over.

`drain.py` asks for it over Dask's own protocol, before a worker is stopped on purpose. Dask's
``retire_workers`` moves what a worker holds, and nothing else: tasks that run are lost with it, and
what waits for it counts as a death of a worker against each task
(``distributed.scheduler.allowed-failures``). Here a worker is first cordoned. What it has not begun
goes to others at once, what runs ends there, its results are moved; and when it leaves, it was
expected to.

A cordon that nobody renews ends by itself: whoever asked for it may be gone.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import dask.config
import fleet_dask
from dask.utils import parse_timedelta
from distributed.core import Status

__all__ = ["Drains", "work_of"]

#: Key of Dask's configuration: how long a cordon lasts after it was last asked for. A container has
#: 30 s to stop.
KEPT = "fleet.drain.kept"
#: Seconds that a worker has to say what it does.
ANSWER = 5.0
#: How many keys of each kind an answer names.
NAMED = 5

_QUEUED = ("waiting", "ready", "constrained")


def work_of(worker: Any) -> dict[str, Any]:
    """Return what a worker does: its status, the keys that run, and those it has not begun.

    The keys of running tasks come with those of tasks that have seceded from its threads.
    """
    state = worker.state
    return {
        "status": worker.status.name,
        "running": [ts.key for ts in state.executing | state.long_running],
        "queued": [ts.key for ts in state.tasks.values() if ts.state in _QUEUED],
    }


@dataclass
class _Cordon:
    """Whose word a cordon is, and what takes it back."""

    token: str
    end: asyncio.TimerHandle


class Drains:
    """Drains workers of a scheduler, by handlers of its own: ``fleet_drain``, ``fleet_keep``.

    Parameters
    ----------
    scheduler
        Dask's scheduler; it gets the handlers.
    """

    def __init__(self, scheduler: Any) -> None:
        self.scheduler = scheduler
        self.kept = parse_timedelta(dask.config.get(KEPT, "90s"))
        self.cordons: dict[str, _Cordon] = {}
        self.moving: asyncio.Task[None] | None = None
        scheduler.handlers["fleet_drain"] = self.drain
        scheduler.handlers["fleet_keep"] = self.keep

    def gone(self, address: str) -> bool:
        """Note that a worker leaves; return whether it was being drained."""
        cordon = self.cordons.pop(address, None)
        if cordon is not None:
            cordon.end.cancel()
        return cordon is not None

    async def drain(self, names: list[str], token: str, first: bool = False) -> dict[str, Any]:
        """Go on with the drain of workers and say how far it is.

        Parameters
        ----------
        names
            Of workers; those that are not registered need nothing.
        token
            Tells one who drains from another. The one who came last is heeded.
        first
            Whether this is the first time that this one asks.

        Returns
        -------
        dict
            ``done`` if they may be stopped, else what hinders: ``running`` and ``held`` have the
            first keys of each worker, ``actors`` their number, ``silent`` the workers that do not
            answer, and ``recipients`` is the number of workers that could take something.
            ``superseded`` if another one drains them now.
        """
        there = self._registered(names)
        others = (self.cordons.get(address) for address in there.values())
        if not first and any(one is not None and one.token != token for one in others):
            return {"done": False, "superseded": True}
        for address in there.values():
            self._cordon(address, token)
        works = await asyncio.gather(*(self._ask(address) for address in there.values()))
        running: dict[str, list[str]] = {}
        held: dict[str, list[str]] = {}
        silent: list[str] = []
        actors = unsettled = 0
        for (name, address), work in zip(there.items(), works, strict=True):
            ws = self.scheduler.workers.get(address)
            if ws is None:
                continue  # it has left meanwhile
            if work is None:
                silent.append(name)
                continue
            if work["status"] in ("running", "paused"):
                unsettled += 1  # it has not heard of its cordon
                continue
            self._requeue(address, work["queued"])
            # What it has ended may still be on its way here.
            unsettled += len(ws.processing)
            if work["running"]:
                running[name] = [str(key) for key in work["running"]]
            if unique := self._unique(ws):
                held[name] = unique
            actors += len(ws.actors)
        if held:
            self._move(list(there.values()))
        return {
            "done": not (running or held or actors or unsettled or silent),
            "superseded": False,
            "running": {name: keys[:NAMED] for name, keys in running.items()},
            "held": {name: keys[:NAMED] for name, keys in held.items()},
            "counts": [sum(map(len, running.values())), sum(map(len, held.values()))],
            "actors": actors,
            "silent": silent,
            "recipients": len(self.scheduler.running),
        }

    async def keep(self, names: list[str], token: str) -> None:
        """Let workers go on as before, unless another one drains them now."""
        for address in self._registered(names).values():
            cordon = self.cordons.get(address)
            if cordon is not None and cordon.token == token:
                self._uncordon(address)

    def _registered(self, names: Iterable[str]) -> dict[str, str]:
        found = {name: self.scheduler.aliases.get(name) for name in names}
        return {
            name: address for name, address in found.items() if address in self.scheduler.workers
        }

    def _cordon(self, address: str, token: str) -> None:
        """Give a worker nothing new, and let it begin nothing that it has."""
        before = self.cordons.get(address)
        if before is not None:
            before.end.cancel()
        later = asyncio.get_running_loop().call_later(self.kept, self._uncordon, address)
        self.cordons[address] = _Cordon(token, later)
        ws = self.scheduler.workers[address]
        if ws.status == Status.closing_gracefully:
            return
        stimulus = f"fleet-drain-{time.time()}"
        # As `Scheduler.retire_workers` does: here at once, for the message takes its time.
        self.scheduler.handle_worker_status_change(Status.closing_gracefully, ws, stimulus)
        self._tell(address, Status.closing_gracefully, stimulus)

    def _uncordon(self, address: str) -> None:
        self.gone(address)
        if address in self.scheduler.workers:
            name = self.scheduler.workers[address].name
            fleet_dask.say(f"{name} is not drained any more; it goes on")
            self._go_on(address)

    def _go_on(self, address: str) -> None:
        """Tell a worker that it runs; it confirms that, and is given work then."""
        self._tell(address, Status.running, f"fleet-keep-{time.time()}")

    def _tell(self, address: str, status: Status, stimulus: str) -> None:
        message = {"op": "worker-status-change", "status": status.name, "stimulus_id": stimulus}
        self.scheduler.stream_comms[address].send(message)

    async def _ask(self, address: str) -> dict[str, Any] | None:
        try:
            return await asyncio.wait_for(self.scheduler.rpc(address).fleet_work(), ANSWER)
        except (OSError, asyncio.TimeoutError):
            return None  # it is about to be missed, busy or frozen: it is asked again

    def _requeue(self, address: str, keys: Iterable[Any]) -> None:
        """Let others do what a worker has been given and has not begun; paused, it does not."""
        stimulus = f"fleet-drain-{time.time()}"
        for key in keys:
            ts = self.scheduler.tasks.get(key)
            if ts is None or ts.state != "processing" or ts.processing_on.address != address:
                continue
            # It is released, the worker told to forget it, and given to another if it is wanted.
            self.scheduler.transitions({key: "released"}, stimulus_id=stimulus)

    def _unique(self, ws: Any) -> list[str]:
        """Return the keys of which no worker that stays has a copy."""
        return [
            str(ts.key)
            for ts in ws.has_what
            if not any(one.address not in self.cordons for one in ts.who_has)
        ]

    def _move(self, addresses: list[str]) -> None:
        """Have what these workers hold copied to others, once at a time."""
        if self.moving is not None:
            if not self.moving.done():
                return
            self.moving.result()  # raises what went wrong, for the one who asks

        async def move() -> None:
            try:
                await self.scheduler.retire_workers(
                    workers=addresses, close_workers=False, remove=False
                )
            finally:
                # It has told them again that they close; those that are kept meanwhile do not.
                for address in addresses:
                    if address in self.scheduler.workers and address not in self.cordons:
                        self._go_on(address)

        self.moving = asyncio.create_task(move())
