"""Which workers have come and gone since the scheduler began."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import Any

from distributed.diagnostics.plugin import SchedulerPlugin

__all__ = ["Presence"]

#: Events that are remembered.
_KEPT = 50


class Presence(SchedulerPlugin):
    """Notes when workers register and leave; Dask calls it.

    Parameters
    ----------
    changed
        Is called after each of it.
    """

    name = "fleet-console"
    idempotent = True

    def __init__(self, changed: Callable[[], None]) -> None:
        self._changed = changed
        #: When each worker that is away has left, by name.
        self.left: dict[str, float] = {}
        #: The last events, the newest first.
        self.events: deque[dict[str, Any]] = deque(maxlen=_KEPT)
        self._names: dict[str, str] = {}

    def add_worker(self, scheduler: Any, worker: str) -> None:
        """Note that a worker has registered."""
        name = str(scheduler.workers[worker].name)
        self._names[worker] = name
        self.left.pop(name, None)
        self._note("came", name, worker)

    def remove_worker(self, scheduler: Any, worker: str, **_: Any) -> None:
        """Note that a worker has left; the scheduler has forgotten it already."""
        del scheduler
        name = self._names.pop(worker, worker)
        self.left[name] = time.time()
        self._note("left", name, worker)

    def _note(self, what: str, name: str, address: str) -> None:
        self.events.appendleft(
            {"time": round(time.time(), 1), "what": what, "name": name, "address": address}
        )
        self._changed()
