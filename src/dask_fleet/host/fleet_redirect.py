"""A route of the scheduler's dashboard that leads to the dashboards of its workers.

Dask's pages link to ``/proxy/PORT/HOST/PATH``. Its own handler needs jupyter-server-proxy,
which opens websockets to any address for whoever asks. This one proxies nothing: it
answers with a redirect, and only to the dashboard of a worker that the scheduler knows.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote

import dask.config
from tornado import web

__all__ = ["DashboardRedirect", "routes"]


class DashboardRedirect(web.RequestHandler):
    """Redirect ``/proxy/PORT/HOST/PATH?query`` to ``http://HOST:PORT/PATH?query``."""

    def initialize(self, dask_server: Any = None) -> None:
        """Keep the scheduler that Dask hands to each of its handlers."""
        self.scheduler = dask_server

    def get(self) -> None:
        """Answer 307 for the dashboard of a known worker, else 404."""
        if "Upgrade" in self.request.headers:
            self.refuse("Websockets are not passed on: open the worker's own dashboard.\n")
            return
        # The path as it was sent: tornado has decoded its arguments.
        path, question, query = (self.request.uri or "").partition("?")
        port, _, rest = path.partition("/proxy/")[2].partition("/")
        host, slash, tail = rest.partition("/")
        target = self.worker_dashboard(unquote(host), port) if slash else None
        if target is None:
            self.refuse("No worker of this scheduler has its dashboard there.\n")
            return
        self.set_status(307)
        self.set_header("Location", f"{target}/{tail}{question}{query}")
        self.finish()

    head = get

    def worker_dashboard(self, host: str, port: str) -> str | None:
        """Return the URL of a worker's dashboard, or None if no worker has it.

        The URL is made of what the scheduler knows, not of what was asked for.
        """
        for worker in list(self.scheduler.workers.values()):
            known = worker.services.get("dashboard")
            if known is not None and str(known) == port and worker.host == host:
                # Workers serve TLS by the same key of the configuration.
                tls = dask.config.get("distributed.scheduler.dashboard.tls.cert", None)
                address = f"[{worker.host}]" if ":" in worker.host else worker.host
                return f"{'https' if tls else 'http'}://{address}:{known}"
        return None

    def refuse(self, text: str) -> None:
        """Answer 404 with a text that repeats nothing of the question."""
        self.set_status(404)
        self.set_header("Content-Type", "text/plain; charset=utf-8")
        self.finish(text)


# Whatever follows /proxy is ours, so that nothing falls through to another handler.
routes: list[tuple[str, type[web.RequestHandler], dict[str, Any]]] = [
    (r"proxy(?:/[\s\S]*)?", DashboardRedirect, {})
]
