"""A page of each worker that says whether it is registered: ``/fleet/registered``.

A worker that answers is not yet one that computes: the health check of a container asks here.
"""

from __future__ import annotations

from typing import Any

from distributed.core import Status
from tornado import web

__all__ = ["Registered", "routes"]


class Registered(web.RequestHandler):
    """Answer 200 when the scheduler has taken the worker in and their connection is open."""

    def initialize(self, dask_server: Any = None) -> None:
        """Keep the worker that Dask hands to each of its handlers."""
        self.worker = dask_server

    def get(self) -> None:
        """Say so in a word, or why not."""
        self.set_header("Content-Type", "text/plain; charset=utf-8")
        self.set_header("Cache-Control", "no-store")
        status, stream = self.worker.status, self.worker.batched_stream
        if status not in (Status.running, Status.paused):
            self.set_status(503)
            self.finish(f"it is {status.name}\n")
        elif stream is None or stream.comm is None or stream.closed():
            self.set_status(503)
            self.finish("it has no connection to its scheduler\n")
        else:
            self.finish("registered\n")


routes: list[tuple[str, type[web.RequestHandler], dict[str, Any]]] = [
    (r"fleet/registered", Registered, {}),
]
