"""What a worker tells its scheduler of itself and its host, beyond what Dask's own does.

The scheduler's console shows it (``fleet_console``). Dask carries it with the registration and
with each heartbeat, and leaves out what raises.
"""

# os.path: importing pathlib would cost every start and every labeller some milliseconds.
# ruff: noqa: PTH119

from __future__ import annotations

import importlib.metadata
import os
import sys
from collections.abc import Callable, Mapping
from typing import Any

import psutil

__all__ = ["KEY", "of_host", "of_process", "worker_options"]

KEY = "fleet"
#: Versions that ``distributed.versions`` does not tell.
_PACKAGES = ("xcube-core",)


def worker_options(started: float) -> dict[str, Any]:
    """Return the options that make Dask's worker tell all of it.

    ``started`` is that of the process's record: where both say the same, the scheduler lists this
    process, and not one that was there before it with the same name and ports.
    """
    from distributed.worker import DEFAULT_METRICS, DEFAULT_STARTUP_INFORMATION

    # Taken when the process begins: a worker tells it again whenever it registers.
    once = of_process(started)
    told: Mapping[str, Callable[[Any], Any]] = {KEY: lambda _: once}
    often: Mapping[str, Callable[[Any], Any]] = {KEY: lambda w: of_host(w.local_directory)}
    return {
        "startup_information": {**DEFAULT_STARTUP_INFORMATION, **told},
        "metrics": {**DEFAULT_METRICS, **often},
    }


def of_process(started: float) -> dict[str, Any]:
    """Return since when this process runs, in which environment, and versions of packages."""
    versions: dict[str, str] = {}
    for package in _PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:  # noqa: PERF203
            continue  # not every environment has it
    # An environment lies in a directory that has its digest for a name.
    environment = os.path.basename(sys.prefix)
    return {"started": started, "environment": environment, "versions": versions}


def of_host(directory: str) -> dict[str, Any]:
    """Return CPUs, load, memory and the disk of a directory; bytes."""
    memory = psutil.virtual_memory()
    disk = os.statvfs(directory)
    return {
        "cpus": os.cpu_count() or 0,
        "load": os.getloadavg()[0],
        "memory": memory.total,
        "memory_available": memory.available,
        "disk": disk.f_blocks * disk.f_frsize,
        "disk_free": disk.f_bavail * disk.f_frsize,
    }
