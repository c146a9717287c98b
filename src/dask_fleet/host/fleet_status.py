"""The record of each process: one small JSON file that a shell script can read."""

# os.path: importing pathlib would cost every start and every labeller some milliseconds.
# ruff: noqa: PTH101, PTH105, PTH118, PTH123

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import sys
import tempfile
import time
from typing import Any

__all__ = ["base_record", "write_record"]


def base_record(unit: str, role: str, digest: str) -> dict[str, Any]:
    """Return what the records of all processes of a unit have in common.

    The digest is that of the unit file and, where they differ, that of the definition by which
    the runtime has started this process: a runtime may start a unit again by the definition
    that it has in mind while another unit file lies there already.
    """
    defined = os.environ.get("DASK_FLEET_DIGEST", digest)
    if defined != digest:
        digest = f"{defined}+{digest}"
    versions = {"python": platform.python_version()}
    for package in ("dask", "distributed", "xcube-core"):
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:  # noqa: PERF203
            # Not every environment has xcube.
            continue
    return {
        "unit": unit,
        "role": role,
        "digest": digest,
        "python": sys.executable,
        "versions": versions,
    }


def write_record(run_directory: str, name: str, base: dict[str, Any], **ports: Any) -> float:
    """Write ``NAME.json`` for this process, and return since when it says that this one runs.

    ``restarts`` counts how often the process was started again since the digest last
    changed: it is taken from the record that is replaced.
    """
    path = os.path.join(run_directory, f"{name}.json")
    record = {
        "name": name,
        **base,
        "pid": os.getpid(),
        "started": time.time(),
        # With the pid it tells this process from a later one that got the same number.
        "start_ticks": _start_ticks(),
        "restarts": _restarts(path, base["digest"]),
        **ports,
    }
    handle, temporary = tempfile.mkstemp(prefix=f".{name}.", dir=run_directory)
    with os.fdopen(handle, "w", encoding="utf-8") as stream:
        json.dump(record, stream)
        stream.write("\n")
    os.chmod(temporary, 0o644)
    os.replace(temporary, path)
    return record["started"]


def _restarts(path: str, digest: str) -> int:
    try:
        with open(path, encoding="utf-8") as stream:
            previous = json.load(stream)
        return int(previous["restarts"]) + 1 if previous["digest"] == digest else 0
    except FileNotFoundError:
        return 0
    except (OSError, ValueError, KeyError, TypeError) as error:
        # A record that a full disk has cut must not keep a process from starting.
        print(f"the record {path} was unreadable and starts anew: {error!r}", file=sys.stderr)
        return 0


def _start_ticks() -> int | None:
    """Return field 22 of ``/proc/self/stat``; ``None`` where there is no such file."""
    try:
        with open("/proc/self/stat", encoding="utf-8", errors="replace") as stream:
            # The second field, in parentheses, may itself contain spaces.
            return int(stream.read().rpartition(")")[2].split()[19])
    except FileNotFoundError:
        return None
