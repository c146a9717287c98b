"""Dask's pages, which come behind a server's HTTP port when there is time for them.

Importing bokeh and the pages takes as long as importing all the rest of distributed, and
neither a scheduler nor a worker needs them to be up. So the port is opened first, with
everything on it that is cheap (``/health``, ``/metrics``, the JSON), and the pages follow in a
thread: after a pause, or as soon as somebody asks for one. Who asks waits and never gets a 404.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import sys
from typing import Any

import fleet_dask
from tornado import web

__all__ = ["PAUSE", "SCHEDULER_PAGES", "WORKER_PAGES", "ExactDashboard", "Pages"]

SCHEDULER_PAGES = "distributed.dashboard.scheduler"
WORKER_PAGES = "distributed.dashboard.worker"

#: Seconds between a server's start and the import of its pages, when nobody asks for one: all
#: processes of a host start together, and each should be in its place before this begins.
PAUSE = 10.0

#: Answered by handlers of their own, but from the pages that are there.
_ABOUT_PAGES = ("/individual-plots.json", "/sitemap.json")


class Pages:
    """The pages of one scheduler or worker.

    Parameters
    ----------
    server
        Dask's server, started, without a dashboard.
    module
        `SCHEDULER_PAGES` or `WORKER_PAGES`; its ``connect`` puts them in their place.
    """

    def __init__(self, server: Any, module: str) -> None:
        self.server = server
        self.module = module
        self.wanted = asyncio.Event()
        self.fault: str | None = None
        self._done = asyncio.Event()
        self._application = server.http_application
        self._find_handler = self._application.find_handler
        if module in sys.modules:
            self._connect()
            self._done.set()
            self.task = None
        else:
            # On the object, where it hides the method of the class.
            self._application.find_handler = self.find_handler
            self.task = asyncio.create_task(self._follow())

    def find_handler(self, request: Any, **arguments: Any) -> Any:
        """Return what answers a request: whatever would be a 404 waits for the pages."""
        found = self._find_handler(request, **arguments)
        if request.path in _ABOUT_PAGES or issubclass(found.handler_class, web.ErrorHandler):
            self.wanted.set()
            return self._application.get_handler_delegate(request, _Waiting, {"pages": self})
        return found

    async def there(self) -> str | None:
        """Wait until the pages are there; return why they never will be, if so."""
        await self._done.wait()
        return self.fault

    async def _follow(self) -> None:
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self.wanted.wait(), PAUSE)
        try:
            await asyncio.to_thread(importlib.import_module, self.module)
            self._connect()
        except ImportError as error:
            # As without a launcher: the server runs, and says what its pages need.
            self.fault = f"The pages need bokeh, which cannot be imported: {error}\n"
            fleet_dask.say(self.fault.strip())
        else:
            del self._application.find_handler
        self._done.set()

    def _connect(self) -> None:
        module = importlib.import_module(self.module)
        module.connect(self._application, self.server.http_server, self.server)


class ExactDashboard:
    """Mix-in for Dask's servers: the dashboard has its declared port, or there is no start.

    Dask moves a dashboard to a random port when its port is taken, with a warning only. The
    server is to be made without a dashboard: the mix-in sees to the pages.
    """

    #: `SCHEDULER_PAGES` or `WORKER_PAGES`.
    pages_module: str

    def start_http_server(
        self, routes: list[Any], dashboard_address: str, *args: Any, **kwargs: Any
    ) -> None:
        """Start the server, and refuse to run on another port than declared."""
        host, _, port = dashboard_address.rpartition(":")
        declared = int(port)
        # As text Dask would take an IPv6 address for a list of something.
        place = (host.strip("[]"), declared)
        super().start_http_server(routes, place, *args, **kwargs)  # type: ignore[misc]
        server = self.http_server  # type: ignore[attr-defined]
        if server.port != declared:
            server.stop()
            raise OSError(
                f"dashboard port {declared} is held by another process (ss -ltnp names it); "
                "stop that process, or declare another port in fleet.yaml"
            )
        self.pages = Pages(self, self.pages_module)


class _Waiting(web.RequestHandler):
    """Hold a request until the pages are there, and send it to the same place again."""

    def initialize(self, pages: Pages) -> None:
        self.pages = pages

    async def prepare(self) -> None:
        if fault := await self.pages.there():
            self.set_status(404)
            self.set_header("Content-Type", "text/plain; charset=utf-8")
            self.finish(fault)
            return
        path, question, query = (self.request.uri or "/").partition("?")
        self.set_header("Cache-Control", "no-store")
        self.set_status(307)
        # Relative: a proxy may have taken a prefix from the path.
        self.set_header("Location", f"./{path.rpartition('/')[2]}{question}{query}")
        self.finish()
