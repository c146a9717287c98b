"""The bench: temporary places, free ports, and what must be known to read the figures."""

from __future__ import annotations

import datetime
import json
import os
import platform
import socket
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.processes import MeasurementError, remove_strays, timed

__all__ = ["REPOSITORY", "WORKERS", "Bench", "free_ports", "load_average"]

REPOSITORY = Path(__file__).parent.parent
WORKERS = 4
SPAN = 60
"""Ports of one cluster: scheduler and dashboard, then ten for each worker."""

_LOWEST, _HIGHEST = 20000, 32000
"""Below the range from which Linux takes ports of outgoing connections (32768 to 60999)."""

_VERSIONS = """\
import json, platform
from importlib.metadata import version
names = "dask distributed xcube-core xarray zarr numpy bokeh tornado".split()
print(json.dumps({"python": platform.python_version()} | {name: version(name) for name in names}))
"""


class Bench:
    """Where one run works: a temporary directory, the environment's interpreter, the tool.

    Attributes
    ----------
    environ : dict
        For every process that is measured, ours and the peers'.
    python : str
        The fleet environment's interpreter.
    """

    def __init__(self, data_home: Path) -> None:
        # Not below a long path: the path of a Unix socket has 107 bytes at most.
        self._temporary = tempfile.TemporaryDirectory(prefix="bench-", ignore_cleanup_errors=True)
        self.place = Path(self._temporary.name)
        self.work = self.place / "w"
        self.work.mkdir()
        self.data_home = data_home
        dropped = ("DASK_", "PYTHON", "DASK_FLEET_FILE")
        kept = {key: value for key, value in os.environ.items() if not key.startswith(dropped)}
        self.environ = {
            **kept,
            "XDG_STATE_HOME": str(self.place / "s"),
            "XDG_DATA_HOME": str(data_home),
            "NO_COLOR": "1",
            "COLUMNS": "120",
        }
        self.scripts = Path(sys.executable).parent
        self.tool = str(self.scripts / "dask-fleet")
        self.python = ""

    def find_interpreter(self) -> None:
        """Ask the tool for the fleet environment's interpreter."""
        out = timed([self.tool, "env", "--python"], self.environ, self.work, within=60).out
        self.python = out.strip()

    @property
    def has_environment(self) -> bool:
        """Whether the fleet environment is whole: a half one has its interpreter only."""
        return Path(self.python).with_name("dask").exists()

    def close(self) -> None:
        """Leave nothing running and no file."""
        strays = remove_strays(str(self.place))
        self._temporary.cleanup()
        if strays:
            print(f"had to kill: {', '.join(strays)}", file=sys.stderr)

    def about(self) -> dict[str, Any]:
        """Return what must be known to read the figures; no paths, no host names."""
        found = timed([self.python, "-c", _VERSIONS], self.environ, self.work, within=60)
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        return {
            "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
            "commit": _commit(),
            "cpus": len(os.sched_getaffinity(0)),
            "memory_gb": round(memory / 1e9, 1),
            "system": f"{platform.system()} {platform.release()} {platform.machine()}",
            "tool": {
                "python": platform.python_version(),
                **{name: version(name) for name in ("dask-fleet", "supervisor", "pydantic")},
            },
            "environment": json.loads(found.out),
        }


def _commit() -> str:
    git = ["git", "-C", str(REPOSITORY)]
    try:
        commit = subprocess.run(
            [*git, "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True
        ).stdout.strip()
        changed = subprocess.run(
            [*git, "status", "--porcelain", "--", "src"], capture_output=True, text=True, check=True
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return f"{commit} and changes" if changed else commit


def load_average() -> float:
    """Return the mean number of processes that wanted a CPU in the last minute."""
    return round(os.getloadavg()[0], 2)


def free_ports() -> int:
    """Return the first port of a free block of `SPAN`."""
    for base in range(_LOWEST + os.getpid() % 100 * 100, _HIGHEST, 100):
        if all(_free(port) for port in range(base, base + SPAN)):
            return base
    raise MeasurementError(f"no {SPAN} free ports in a row below {_HIGHEST}")


def _free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True
