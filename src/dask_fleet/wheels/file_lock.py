"""Mutual exclusion between processes of one operator: a lock on a file."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import threading
from collections.abc import AsyncGenerator
from pathlib import Path

__all__ = ["locked"]


@contextlib.asynccontextmanager
async def locked(path: Path) -> AsyncGenerator[None]:
    """Hold a lock on a file; the kernel gives it back when this process ends in any way."""
    with path.open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            await _wait(file.fileno())
        yield


async def _wait(descriptor: int) -> None:
    """Wait for a lock in a thread that keeps nobody from ending.

    A thread of the loop's pool would do neither: many waiters would fill it, and whoever holds
    the lock needs one.
    """
    loop = asyncio.get_running_loop()
    taken: asyncio.Future[None] = loop.create_future()
    own = os.dup(descriptor)

    def settle() -> None:
        if not taken.done():
            taken.set_result(None)

    def wait() -> None:
        try:
            fcntl.flock(own, fcntl.LOCK_EX)
            with contextlib.suppress(RuntimeError):  # the loop was closed meanwhile
                loop.call_soon_threadsafe(settle)
        finally:
            os.close(own)

    threading.Thread(target=wait, daemon=True).start()
    await taken
