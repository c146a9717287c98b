"""Facts about this machine, and where its platform keeps an application's files."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["cache_root", "cpus", "data_root", "memory", "state_root", "variables"]

_APPLICATION = "dask-fleet"

_CGROUP_LIMITS = (
    Path("/sys/fs/cgroup/memory.max"),
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
)

_STEP = 64 * 2**20
"""Memory is rounded down to this: it differs a little from boot to boot, and a limit that
follows it must not restart every worker after a reboot."""

_KEPT = ("HOME", "LANG", "LC_ALL", "LOGNAME", "PATH", "TMPDIR", "TZ", "USER")
"""Variables that a fleet on this machine gets from whoever starts it; all others it gets from
``variables`` in fleet.yaml, so that every shell starts the same fleet."""


def cpus() -> int:
    """Return the number of CPUs that a process here may use."""
    return len(os.sched_getaffinity(0))


def memory() -> int:
    """Return the bytes of memory that processes here may use: the machine's or the cgroup's."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for path in _CGROUP_LIMITS:
        if path.exists():
            text = path.read_text(encoding="ascii").strip()
            if text.isdecimal():
                total = min(total, int(text))
    return total - total % _STEP


def state_root() -> str:
    """Return the platform's directory for our state; ``XDG_STATE_HOME`` moves it."""
    import platformdirs

    return str(platformdirs.user_state_path(_APPLICATION))


def data_root() -> str:
    """Return the platform's directory for our data; ``XDG_DATA_HOME`` moves it."""
    import platformdirs

    return str(platformdirs.user_data_path(_APPLICATION))


def cache_root() -> str:
    """Return the platform's directory for what can be made again; ``XDG_CACHE_HOME`` moves it."""
    import platformdirs

    return str(platformdirs.user_cache_path(_APPLICATION))


def variables() -> tuple[tuple[str, str], ...]:
    """Return the environment that processes on this machine start from."""
    return tuple((name, os.environ[name]) for name in _KEPT if name in os.environ)
