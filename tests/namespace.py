"""A network of its own for each worker of pytest-xdist, so that ports do not meet.

A worker leaves the machine's network namespace for a new one that has loopback and nothing else.
The namespace is gone with the last process in it. Without pytest-xdist nothing is done.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import subprocess
import threading
from collections.abc import Iterator

import pytest

__all__ = ["enter", "outside"]

_NEW = 0x40000000  # CLONE_NEWNET
_libc = ctypes.CDLL(None, use_errno=True)  # Python has os.unshare and os.setns from 3.12 on
_machine: list[int] = []
"""The machine's namespace as an open file; empty for whoever has not left it."""


def enter() -> None:
    """Move a worker into a network of its own; whatever it starts from now on is there too."""
    if _machine or "PYTEST_XDIST_WORKER" not in os.environ:
        return
    if os.geteuid() != 0:
        raise pytest.UsageError("several workers need root, for a network of its own each: -n 0")
    # The namespace of the first thread is the one that /proc/net shows.
    assert threading.current_thread() is threading.main_thread()
    _machine.append(_current())
    _checked(_libc.unshare(_NEW))
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)


@contextlib.contextmanager
def outside() -> Iterator[None]:
    """Be in the machine's own network meanwhile, for what has to come from an index."""
    if not _machine:
        yield
        return
    own = _current()
    try:
        _checked(_libc.setns(_machine[0], _NEW))
        yield
    finally:
        _checked(_libc.setns(own, _NEW))
        os.close(own)


def _current() -> int:
    return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)


def _checked(status: int) -> None:
    if status != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
