"""Gathers wheels for the lab's hosts and data for the demo, where there is a network.

Run it before the tests: inside the lab's network there is no way out.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from dask_fleet.demonstration import fetch_data
from dask_fleet.environment import resolve_environment
from dask_fleet.events import Note
from dask_fleet.spec.model import EnvironmentSpec
from dask_fleet.transports.local import LocalTransport
from dask_fleet.wheels.gathering import gather_wheels
from dask_fleet.wheels.platforms import HostPlatform

PLATFORM = HostPlatform("x86_64", (2, 36), "3.11.2")
"""Debian 12, which the lab's hosts are."""

DATA = Path(__file__).parents[2] / ".cache" / "tests" / "data" / "dask-fleet"
"""Where the integration tests keep the data of the application."""


def main() -> None:
    environment = resolve_environment(
        EnvironmentSpec(name="xcube"), lambda path: Path(path).read_text(encoding="utf-8")
    )

    def show(event: object) -> None:
        if isinstance(event, Note):
            print(event.text)

    found = asyncio.run(gather_wheels(environment, PLATFORM, show))
    print(f"{found.wheels} wheels, {found.size / 2**20:.0f} MiB")
    print(asyncio.run(fetch_data(LocalTransport("here"), str(DATA), sys.executable)))


if __name__ == "__main__":
    main()
