"""Measure the door beside no door and beside jupyter-server-proxy, in one run; write JSON.

``python -m benchmarks.door``; nginx and wrk must be there (``make bench-door`` sees to both). Exit
status: as that of ``python -m benchmarks``.
"""

from __future__ import annotations

import sys

from benchmarks import door_requests, door_routes, door_throughput
from benchmarks.__main__ import Run, main
from benchmarks.door_fleets import PLAIN, SECURE, Behind, Peer
from benchmarks.machine import Bench

__all__ = ["DoorRun"]


class DoorRun(Run):
    """One run of the suites about the door."""

    suites = ("door requests", "door throughput", "door routes")
    file = "door.json"
    program = "python -m benchmarks.door"
    quickly = "one short round, no warm-up"

    def everything(self, bench: Bench) -> None:
        """Measure; a suite that fails does not keep the others from running."""
        if {"door requests", "door throughput"} & set(self.wanted):
            fleets = (Behind(bench, "plain", PLAIN), Behind(bench, "secure", SECURE))
            peer = Peer(bench)
            try:
                for one in (*fleets, peer):
                    one.start()
                self._behind(bench, *fleets, peer)
            finally:
                for one in (*fleets, peer):
                    self.attempt(f"the end of {one.name}", lambda one=one: one.stop() or [])
        if "door routes" in self.wanted:
            sizes = door_routes.SIZES[:2] if self.quick else door_routes.SIZES
            self.attempt("door routes", lambda: [door_routes.measure(bench, self.rounds, sizes)])

    def _behind(self, bench: Bench, plain: Behind, secure: Behind, peer: Peer) -> None:
        seconds = 1 if self.quick else 4
        if "door requests" in self.wanted:
            self.attempt(
                "door requests",
                lambda: [door_requests.measure(bench, plain, secure, peer, self.rounds, seconds)],
            )
        if "door throughput" in self.wanted:
            self.attempt(
                "door throughput",
                lambda: [
                    door_throughput.measure(bench, plain, peer, self.rounds, quick=self.quick)
                ],
            )


if __name__ == "__main__":
    sys.exit(main(DoorRun))
