"""Routes of the scheduler's dashboard that lead to the dashboards of its workers.

Dask's pages link to ``/proxy/PORT/HOST/PATH``. Its own handler needs jupyter-server-proxy,
which opens websockets to any address for whoever asks. This one proxies nothing: it
answers with a redirect, and only to the dashboard of a worker that the scheduler knows.

The console's links go to ``/w/NAME/PATH``. A door serves that path itself; where there is none,
it leads to the worker in the same way.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote

import dask.config
from tornado import web

__all__ = ["DashboardRedirect", "NameRedirect", "routes"]


class DashboardRedirect(web.RequestHandler):
    """Redirect ``/proxy/PORT/HOST/PATH?query`` to ``http://HOST:PORT/PATH?query``."""

    #: What the path begins with.
    place = "/proxy/"

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
        target, tail = self.target(path.partition(self.place)[2])
        if target is None:
            self.refuse("No worker of this scheduler has its dashboard there.\n")
            return
        self.set_status(307)
        self.set_header("Location", f"{target}/{tail}{question}{query}")
        self.finish()

    head = get

    def target(self, rest: str) -> tuple[str | None, str]:
        """Return the URL of a worker's dashboard, or None if no worker has it, and the path there.

        The URL is made of what the scheduler knows, not of what was asked for.
        """
        port, _, rest = rest.partition("/")
        host, slash, tail = rest.partition("/")
        host = unquote(host)
        for worker in list(self.scheduler.workers.values()) if slash else ():
            known = worker.services.get("dashboard")
            if known is not None and str(known) == port and worker.host == host:
                return dashboard(worker.host, known), tail
        return None, tail

    def refuse(self, text: str) -> None:
        """Answer 404 with a text that repeats nothing of the question."""
        self.set_status(404)
        self.set_header("Content-Type", "text/plain; charset=utf-8")
        self.finish(text)


class NameRedirect(DashboardRedirect):
    """Redirect ``/w/NAME/PATH?query`` to the dashboard of the worker of that name."""

    place = "/w/"

    def target(self, rest: str) -> tuple[str | None, str]:
        """Return the URL of a worker's dashboard at the address that people dial."""
        name, slash, tail = rest.partition("/")
        address = self.scheduler.aliases.get(unquote(name)) if slash else None
        worker = self.scheduler.workers.get(address)
        if worker is None or (known := worker.services.get("dashboard")) is None:
            return None, tail
        return dashboard(self.scheduler.console.external(worker.host), known), tail


def dashboard(host: str, port: int) -> str:
    """Return the URL of a worker's dashboard."""
    # Workers serve TLS by the same key of the configuration.
    tls = dask.config.get("distributed.scheduler.dashboard.tls.cert", None)
    address = f"[{host}]" if ":" in host else host
    return f"{'https' if tls else 'http'}://{address}:{port}"


# Whatever follows /proxy and /w is ours, so that nothing falls through to another handler.
routes: list[tuple[str, type[web.RequestHandler], dict[str, Any]]] = [
    (r"proxy(?:/[\s\S]*)?", DashboardRedirect, {}),
    (r"w(?:/[\s\S]*)?", NameRedirect, {}),
]
