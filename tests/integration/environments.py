"""Makes what the fleets of these tests run in, where there is a network.

Run it before the tests: in a network of its own (`tests.namespace`) a worker of pytest-xdist has no
way out.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from dask_fleet.builder import build
from dask_fleet.demonstration import fetch_data
from dask_fleet.environment import resolve_environment
from dask_fleet.events import Note
from dask_fleet.places import Places
from dask_fleet.spec import default_spec
from dask_fleet.transports.local import LocalTransport
from tests.conftest import REPOSITORY

__all__ = ["DATA", "make_environment"]

DATA = REPOSITORY / ".cache" / "tests" / "data" / "dask-fleet"
"""Holds environments by digest, shared by all tests; and the data of the demo."""


def make_environment() -> Path:
    """Return the interpreter of the xcube environment; make it and the demo's data if missing."""
    environment = resolve_environment(
        default_spec().environment, lambda path: Path(path).read_text(encoding="utf-8")
    )
    places = Places.below("/nowhere", str(DATA), "tests")
    here = LocalTransport("this machine")
    asyncio.run(build(here, places, environment, _show))
    asyncio.run(fetch_data(here, str(DATA), sys.executable))
    return Path(places.interpreter(environment.digest))


def _show(event: object) -> None:
    if isinstance(event, Note):
        print(event.text, flush=True)


if __name__ == "__main__":
    print(make_environment())
