"""The console: a page about the fleet and JSON for programs, on the scheduler's HTTP server.

A module of ``distributed.scheduler.http.routes``. What is there comes from the scheduler itself,
what should be from the file that ``dask fleet up`` writes. Nothing here changes anything.
"""

from __future__ import annotations

from fleet_console.console import Console
from fleet_console.handlers import routes

__all__ = ["Console", "routes"]
