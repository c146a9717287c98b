"""Waiting for what a test wants to see, without taking the CPU from those who are to bring it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

__all__ = ["first_true"]

T = TypeVar("T")


def first_true(look: Callable[[], T], seconds: float) -> T:
    """Return the first true answer, or the last one when none came within so many seconds.

    Between two looks it rests for twice as long as a look took, up to a second: a look is often a
    command, and commands without a pause keep a CPU busy.
    """
    deadline = time.monotonic() + seconds
    while True:
        began = time.monotonic()
        answer = look()
        now = time.monotonic()
        if answer or now > deadline:
            return answer
        time.sleep(min(max(0.05, 2 * (now - began)), 1.0))
