"""What the scheduler knows of the fleet at this moment, beside what is declared."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from typing import Any

import fleet_vitals

from fleet_console.declared import Inventory
from fleet_console.hosts import host_rows, totals
from fleet_console.presence import Presence
from fleet_console.processes import (
    frame,
    missing_row,
    packages,
    port_of,
    scheduler_row,
    worker_row,
)

__all__ = ["View"]


class View:
    """Looks at a scheduler and changes nothing of it.

    Parameters
    ----------
    scheduler
        Dask's scheduler.
    name
        Name of its process.
    run_directory
        A directory on its host, whose disk is looked at where no worker tells of one.
    changed
        Is called when a worker has come or left.
    """

    def __init__(
        self, scheduler: Any, name: str, run_directory: str, changed: Callable[[], None]
    ) -> None:
        self.scheduler = scheduler
        self.name = name
        self.run_directory = run_directory
        self.presence = Presence(changed)
        self._own = fleet_vitals.of_process(time.time())
        self._versions: dict[str, str] = {}
        self._frames: dict[str, tuple[str, dict[str, Any]]] = {}

    def look(self, inventory: Inventory, edition: str) -> dict[str, Any]:
        """Return processes, hosts and sums.

        Parameters
        ----------
        inventory
            What is declared.
        edition
            Changes when the inventory does.
        """
        rows = [self._scheduler(inventory), *self._workers(inventory, edition)]
        told, clocks = self._told(rows)
        hosts = host_rows(inventory, rows, told, clocks)
        return {
            "totals": {**totals(rows, hosts), **self._tasks()},
            "hosts": hosts,
            "processes": rows,
        }

    def _scheduler(self, inventory: Inventory) -> dict[str, Any]:
        ports = {
            "scheduler": port_of(self.scheduler.address),
            "dashboard": int(self.scheduler.services["dashboard"].port),
        }
        own = {
            **self._own,
            "pid": os.getpid(),
            "address": self.scheduler.address,
            "versions": self._packages() | self._own["versions"],
        }
        monitor = self.scheduler.monitor.recent()
        return scheduler_row(inventory, self.name, ports, own, monitor)

    def _workers(self, inventory: Inventory, edition: str) -> list[dict[str, Any]]:
        """Return the declared workers in their order, then those that nobody declared."""
        now = time.time()
        wanted = {**self._packages(), **inventory.versions}
        rows: dict[str, dict[str, Any]] = {}
        strangers: list[dict[str, Any]] = []
        frames: dict[str, tuple[str, dict[str, Any]]] = {}
        for worker in self.scheduler.workers.values():
            key = worker.server_id
            known, fixed = self._frames.get(key, (None, {}))
            if known != edition:
                fixed = frame(inventory, worker, wanted)
            frames[key] = edition, fixed
            row = worker_row(fixed, worker, now)
            if row["declared"]:
                rows[row["name"]] = row
            else:
                strangers.append(row)
        self._frames = frames
        began = float(self._own["started"])
        every = [
            rows.get(one.name) or missing_row(one, self.presence.left.get(one.name, began))
            for one in inventory.workers
        ]
        return [*every, *strangers]

    def _told(
        self, rows: list[dict[str, Any]]
    ) -> tuple[dict[str, Mapping[str, Any]], dict[str, float]]:
        """Return what workers tell of their hosts, and how far the clocks of these are ahead."""
        told: dict[str, Mapping[str, Any]] = {}
        clocks: dict[str, float] = {}
        for row in rows:
            worker = self.scheduler.workers.get(row["address"])
            host = row["host"]
            if worker is None or not host:
                continue
            if facts := worker.metrics.get(fleet_vitals.KEY):
                told[host] = facts
            # A heartbeat is under way for a while: the shortest way tells most of the clock.
            ahead = -worker.time_delay
            clocks[host] = min(clocks.get(host, ahead), ahead, key=abs)
        own = rows[0]["host"]
        if own and own not in told:
            told[own] = fleet_vitals.of_host(self.run_directory)
        return told, clocks

    def _packages(self) -> dict[str, str]:
        """Return the versions that the scheduler itself has; older releases import to find out."""
        if not self._versions:
            from distributed.versions import get_versions

            self._versions = packages(get_versions())
        return self._versions

    def _tasks(self) -> dict[str, int]:
        scheduler = self.scheduler
        return {
            "tasks": len(scheduler.tasks),
            "queued": len(scheduler.queued),
            "unrunnable": len(scheduler.unrunnable),
            "processing": sum(len(worker.processing) for worker in scheduler.workers.values()),
            "erred": sum(group.states["erred"] for group in scheduler.task_groups.values()),
            "clients": sum(key != "fire-and-forget" for key in scheduler.clients),
        }
