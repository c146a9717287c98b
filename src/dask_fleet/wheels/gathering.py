"""Gathers the wheels of an environment for a host's platform on the operator's machine.

They lie in the user's cache, in a folder for each environment and platform. A folder without its
last file is not whole: gathering goes on with what is there. Two at once wait for each other.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from dask_fleet.builder import SECONDS, uv_program
from dask_fleet.command import Command
from dask_fleet.errors import EnvironmentBuildError
from dask_fleet.events import Note, Sink
from dask_fleet.this_machine import cache_root
from dask_fleet.wheels.downloads import BUNDLE, HERE, WHOLE, Gathering, run_here
from dask_fleet.wheels.file_lock import locked
from dask_fleet.wheels.platforms import HostPlatform, read_lock

if TYPE_CHECKING:
    from dask_fleet.environment import Environment

__all__ = ["Wheelhouse", "gather_wheels"]


@dataclass(frozen=True, slots=True)
class Wheelhouse:
    """Everything that a host needs for an environment, in one file.

    Attributes
    ----------
    bundle : str
        Path of a tar file with the wheels, their lock and uv.
    wheels : int
        How many wheels it holds.
    size : int
        Bytes of the file.
    installed : int
        Bytes of what is in the wheels once they are unpacked.
    """

    bundle: str
    wheels: int
    size: int
    installed: int


async def gather_wheels(environment: Environment, platform: HostPlatform, sink: Sink) -> Wheelhouse:
    """Return the wheels of an environment for a platform; download those that are not there.

    Call it once for each platform of a fleet, not once for each host.

    Parameters
    ----------
    environment : Environment
        What is to be installed. When it has ``packages`` instead of a lock, they are resolved
        here, once for all platforms, so that all hosts get the same versions.
    platform : HostPlatform
        The host's.
    sink : callable
        Takes a `Note` for each step.

    Raises
    ------
    EnvironmentBuildError
        A wheel cannot be had: names the packages, the last lines of pip, and the remedy.
    """
    root = Path(cache_root()) / "wheels"
    root.mkdir(parents=True, exist_ok=True)
    text = await _lock_text(root, environment, sink)
    lock = read_lock(text, platform)
    # Patch versions of Python share a folder unless a marker tells them apart.
    needed = "\n".join((*lock.options, *map(str, lock.pins)))
    mark = hashlib.sha256(needed.encode()).hexdigest()[:8]
    place = root / f"{environment.digest}-{platform}-{mark}"
    async with locked(place.with_name(f"{place.name}.flock")):
        found = _whole(place)
        if found is None:
            await Gathering(environment, platform, lock, place, sink).run(text)
            found = _whole(place)
    if found is None:
        raise EnvironmentBuildError(f"{place} vanished while it was filled", "try again")
    return found


async def _lock_text(root: Path, environment: Environment, sink: Sink) -> str:
    """Return the lock of an environment; one with names only is resolved once and kept.

    It is resolved for every platform (``--universal``): hosts of different machines or C
    libraries must not get different versions, for they exchange pickles.
    """
    if environment.lock_text is not None:
        return environment.lock_text
    kept = root / f"{environment.digest}.lock"
    async with locked(root / f"{environment.digest}.flock"):
        if not kept.exists():
            sink(Note(HERE, f"resolving {' '.join(environment.packages)}"))
            new = root / f"{environment.digest}.lock.new"
            argv = (
                uv_program(),
                *("--directory", str(root), "pip", "compile", "--quiet", "--no-header"),
                *("--universal", "--generate-hashes", "--python-version", environment.python),
                *("--output-file", str(new), "-"),
            )
            content = "\n".join(environment.packages).encode() + b"\n"
            await run_here(
                Command(argv, content, SECONDS),
                f"environment {environment.name} ({environment.digest}): its packages cannot be"
                " resolved",
                "correct `environment.packages`; uv says above which does not fit or exist",
            )
            new.replace(kept)
        return kept.read_text(encoding="utf-8")


def _whole(place: Path) -> Wheelhouse | None:
    bundle = place / BUNDLE
    try:
        record = json.loads((place / WHOLE).read_text(encoding="utf-8"))
        size = bundle.stat().st_size
    except FileNotFoundError:  # not yet, or somebody made room
        return None
    return Wheelhouse(str(bundle), record["wheels"], size, record["installed"])
