"""The state of the fleet as the scheduler sees it, made at most once a second for all who ask."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fleet_console.declared import (
    Inventory,
    Watched,
    read_findings,
    read_history,
    read_inventory,
)
from fleet_console.findings import findings
from fleet_console.view import View

__all__ = ["Answer", "Console"]

#: Seconds for which an answer is kept, at least and at most.
_KEPT, _LONGEST = 1.0, 5.0
#: Share of a CPU that may be spent on making them.
_SHARE = 0.004
#: Seconds between two asks of a page, at least.
_REFRESH = 2.0
#: How often the fleet is measured for the charts, and how many measures are kept.
_STEP, _MEASURES = 5.0, 120
#: How often the scheduler says that it is alive, for a door that shows since when it is not.
_ALIVE = 5.0
_MEASURED = ("cpu", "busy", "memory", "managed", "spilled", "executing", "ready", "net")


@dataclass(frozen=True)
class Answer:
    """An answer as it is sent."""

    value: Any
    body: bytes
    etag: str

    @classmethod
    def of(cls, value: Any) -> Answer:
        """Return the answer with a value as JSON."""
        body = json.dumps(value, separators=(",", ":")).encode()
        return cls(value, body, f'"{hashlib.sha1(body, usedforsecurity=False).hexdigest()[:20]}"')


class Console:
    """What handlers ask.

    Parameters
    ----------
    scheduler
        Dask's scheduler; nothing of it is changed.
    name
        Name of its process.
    inventory
        The file that ``dask fleet up`` writes.
    run_directory
        Where the scheduler says that it is alive.
    """

    def __init__(self, scheduler: Any, *, name: str, inventory: str, run_directory: str) -> None:
        self.scheduler = scheduler
        self.name = name
        self.path = inventory
        self.run_directory = run_directory
        self.view = View(scheduler, name, run_directory, changed=self.forget)
        self.inventory = Watched(read_inventory, Inventory())
        self.history = Watched[tuple[dict[str, Any], ...]](read_history, ())
        self.doctor = Watched[dict[str, Any] | None](read_findings, None)
        self._measures: deque[tuple[float, ...]] = deque(maxlen=_MEASURES)
        self._answer = Answer({}, b"", "")
        #: Digest of the inventory that the answer is made of.
        self._declared = ""
        #: The page that was made last.
        self.page = Answer(None, b"", "")
        self._made = self._until = 0.0
        self._callbacks: list[Any] = []

    def start(self) -> None:
        """Begin to note who comes and goes, to measure and to say that the scheduler lives."""
        from tornado.ioloop import PeriodicCallback

        presence = self.view.presence
        self.scheduler.add_plugin(presence, name=presence.name)
        for work, seconds in ((self.measure, _STEP), (self.touch, _ALIVE)):
            work()
            callback = PeriodicCallback(work, seconds * 1000)
            callback.start()
            self._callbacks.append(callback)

    def touch(self) -> None:
        """Write the time where a door finds it that shows since when the scheduler is gone."""
        paths = [Path(self.run_directory) / f"{self.name}.alive"]
        door = self.declared().door
        if door and door.get("seen"):
            paths.append(Path(door["seen"]))
        for path in paths:
            # The door's own directory is there when the door is, and not ours to make.
            if os.access(path.parent, os.W_OK):
                _write_time(path)

    def measure(self) -> None:
        """Note the sums over all workers, for the charts."""
        sums = self.view.look(self.declared(), self.inventory.digest)["totals"]
        sums = {**sums, "net": sums["net_read"] + sums["net_write"]}
        self._measures.append(tuple(sums[key] for key in _MEASURED))

    def status(self) -> Answer:
        """Return the state of the fleet, made anew when the last one is too old.

        The larger a fleet, the longer an answer is kept: making it never takes more than a small
        share of the scheduler's time, however many pages ask. What was declared anew since is not
        waited for: who has changed the fleet looks whether it is so.
        """
        now = time.monotonic()
        self.declared()
        if now >= self._until or self.inventory.digest != self._declared:
            began = time.thread_time()
            self._answer = Answer.of(self._state())
            self._declared = self.inventory.digest
            took = time.thread_time() - began
            self._made = now
            self._until = now + min(max(_KEPT, took / _SHARE), _LONGEST)
        return self._answer

    def forget(self) -> None:
        """Keep the last answer no longer than any: somebody has come or left."""
        self._until = min(self._until, self._made + _KEPT)

    @property
    def refresh(self) -> float:
        """How many seconds a page should wait before it asks again."""
        return max(_REFRESH, 2 * (self._until - time.monotonic()))

    def changes(self) -> tuple[dict[str, Any], ...]:
        """Return who changed the fleet, when, to what, and how it ended; the newest first."""
        return self.history.read(self.declared().history)

    def declared(self) -> Inventory:
        """Return what is declared."""
        return self.inventory.read(self.path)

    def external(self, address: str) -> str:
        """Return the address that people dial for the host with a contact address."""
        inventory = self.declared()
        host = inventory.hosts.get(inventory.host_of(address))
        return host["external"] if host else address

    def _state(self) -> dict[str, Any]:
        inventory, history = self.declared(), self.changes()
        doctor = self.doctor.read(inventory.findings)
        seen = self.view.look(inventory, self.inventory.digest)
        faults = [w.fault for w in (self.inventory, self.history, self.doctor) if w.fault]
        if not inventory.fleet and not self.inventory.fault:
            faults = [f"{self.path} is not there: nothing is known of what is declared"]
        return {
            "fleet": inventory.fleet,
            "client": inventory.client,
            "tls": inventory.tls,
            "door": inventory.door
            and {key: inventory.door.get(key, "") for key in ("url", "host", "login", "tls")},
            "environment": {
                key: inventory.environment.get(key, "") for key in ("name", "digest", "python")
            },
            "release": _release(history),
            **seen,
            "warnings": findings(
                seen["processes"], seen["hosts"], history[0] if history else None, faults
            ),
            "doctor": doctor,
            "editions": {"declared": self.inventory.digest, "history": self.history.digest},
            "events": list(self.view.presence.events),
            "recent": {
                "step": _STEP,
                **{
                    key: [measure[i] for measure in self._measures]
                    for i, key in enumerate(_MEASURED)
                },
            },
        }


def _release(history: tuple[dict[str, Any], ...]) -> dict[str, Any] | None:
    """Return the last change that succeeded: what the fleet is now."""
    keys = ("release", "spec", "environment", "what", "who", "time")
    ended = (one for one in history if one["result"] == "done" and one["what"] != "down")
    done = next(ended, None)
    return {key: done[key] for key in keys} if done else None


def _write_time(path: Path) -> None:
    """Write the time in place; it is always as long, so whoever reads it finds it whole.

    It is a sentence, for a page that shows it as it is.
    """
    text = time.strftime("It was last alive on %Y-%m-%d at %H:%M:%S UTC.\n", time.gmtime())
    handle = os.open(path, os.O_WRONLY | os.O_CREAT, 0o644)
    try:
        # Who may pass through the directory may read it, whatever the umask of the unit.
        os.fchmod(handle, 0o644)
        os.pwrite(handle, text.encode(), 0)
    finally:
        os.close(handle)
