"""Work in a process of its own, which may be killed on the way."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

__all__ = ["ended", "in_a_child", "is_killed_at"]


def in_a_child(act: Callable[[], object]) -> int:
    """Run something in a process of its own, and return its pid."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            act()
            status = 0
        finally:
            os._exit(status)
    return pid


def ended(pid: int) -> int:
    """Wait for such a process, and return how it ended, as `os.waitpid` says."""
    return os.waitpid(pid, 0)[1]


def is_killed_at(step: int, act: Callable[[], object]) -> bool:
    """Run something in a process that is killed at so many calls of fsync; say whether it was."""
    taken = 0
    sync = os.fsync

    def die(handle: int) -> None:
        nonlocal taken
        taken += 1
        if taken == step:
            os.kill(os.getpid(), signal.SIGKILL)
        sync(handle)

    def run() -> None:
        os.fsync = die
        act()

    return os.WIFSIGNALED(ended(in_a_child(run)))
