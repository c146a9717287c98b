"""``/json/identity.json`` of a scheduler whose workers are at work.

Workers tell of the tasks that have ended since they told last, under keys that are tuples. Dask's
own handler gives them to JSON, which has no such keys, and answers 500 until nobody works any more.
``dask fleet`` asks there, so what JSON cannot say is left out here.
"""

from __future__ import annotations

from typing import Any

from tornado import web

__all__ = ["IdentityJSON", "routes"]


class IdentityJSON(web.RequestHandler):
    """Tell what the scheduler is, and each of its workers."""

    def initialize(self, dask_server: Any = None) -> None:
        """Keep the scheduler that Dask hands to each of its handlers."""
        self.scheduler = dask_server

    def get(self) -> None:
        """Answer as Dask does, without measures that JSON cannot say."""
        identity = self.scheduler.identity()
        for worker in identity["workers"].values():
            worker["metrics"] = {
                name: metric for name, metric in worker["metrics"].items() if _sayable(metric)
            }
        self.write(identity)


def _sayable(metric: Any) -> bool:
    return not isinstance(metric, dict) or all(isinstance(key, str) for key in metric)


routes: list[tuple[str, type[web.RequestHandler], dict[str, Any]]] = [
    (r"json/identity\.json", IdentityJSON, {}),
]
