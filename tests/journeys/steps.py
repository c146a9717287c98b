"""The steps of a journey."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["step"]


@contextmanager
def step(name: str) -> Iterator[None]:
    """Print the name of a step and its seconds, also of the one that fails."""
    began = time.monotonic()
    said = f"{name}: FAILED"
    try:
        yield
        said = name
    finally:
        print(f"{said} after {time.monotonic() - began:.1f} s", flush=True)
