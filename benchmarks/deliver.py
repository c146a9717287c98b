"""Bring the image of a fleet to some of its hosts: ``python -m benchmarks.deliver HOST...``.

What an `up` does before it touches a container, as a command of its own, so that it can be measured
beside others. It acts on the fleet.yaml where it is called.
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

from dask_fleet.assembly import open_fleet
from dask_fleet.errors import together
from dask_fleet.events import Event
from dask_fleet.images.supply import Supply


async def deliver(names: list[str]) -> None:
    """Bring the image to these hosts, all at once."""
    fleet = open_fleet(Path("fleet.yaml"), os.environ)
    try:
        supply = Supply(fleet.environment, fleet.hosts, _ignore)
        if failed := await supply.ready(names):
            raise together(failed.values())
        await asyncio.gather(*map(supply.deliver, names))
    finally:
        await fleet.close()


def _ignore(event: Event) -> None:
    del event


if __name__ == "__main__":
    asyncio.run(deliver(sys.argv[1:]))
