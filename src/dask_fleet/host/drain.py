"""Drain workers, or say what hinders: ``python drain.py SCHEDULER SECONDS WORKER...``.

Runs on the scheduler's host in the fleet's environment, with its Dask configuration. Prints lines
of JSON: what is still to be done whenever that changes, and at last ``{"done": true}``, or what
hindered. After that, workers that were not drained in time go on as before; those that were stay
cordoned until they are stopped, or for a minute and a half.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import sys
import time
from typing import Any

__all__ = ["main"]

SHORTEST_PAUSE, LONGEST_PAUSE = 0.05, 1.0
#: Seconds without any worker that could take what is held, after which none is expected.
ALONE = 5.0


def say(value: dict[str, Any]) -> None:
    """Print a line."""
    print(json.dumps(value), flush=True)


async def drain(scheduler: Any, names: list[str], seconds: float) -> dict[str, Any]:
    """Drain workers until it is done, is hopeless, or has taken too long; return the last word."""
    token = secrets.token_hex(8)
    deadline = time.monotonic() + seconds
    alone_since: float | None = None
    pause, told = SHORTEST_PAUSE, {}
    first = True
    while True:
        seen = await scheduler.fleet_drain(names=names, token=token, first=first)
        if seen is None:
            return {"done": False, "unknown": True}
        if seen["done"] or seen["superseded"]:
            return seen
        first = False
        now = time.monotonic()
        if seen["recipients"] or seen["running"] or not seen["held"]:
            alone_since = None
        elif alone_since is None:
            alone_since = now
        if now > deadline or (alone_since is not None and now - alone_since > ALONE):
            await scheduler.fleet_keep(names=names, token=token)
            return seen
        if seen != told:
            say(seen)
            told = seen
        await asyncio.sleep(pause)
        pause = min(1.5 * pause, LONGEST_PAUSE)


async def main(address: str, seconds: float, names: list[str]) -> None:
    """Connect to the scheduler, as a client may, and drain."""
    from distributed import Security
    from distributed.core import rpc

    scheduler = rpc(address, connection_args=Security().get_connection_args("client"))
    try:
        say(await drain(scheduler, names, seconds))
    finally:
        await scheduler.close_rpc()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], float(sys.argv[2]), sys.argv[3:]))
