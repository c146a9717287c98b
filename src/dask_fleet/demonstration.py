"""The demo as a use case: the data at hand, and the job run in the fleet's own environment.

The job is an ordinary client of the cluster. It runs as a process of its own with the fleet's
interpreter, because the tool's environment need hold neither xarray nor xcube, and because a
client whose packages differ from the workers' is the commonest fault of Dask clusters.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from dask_fleet.builder import uv_program
from dask_fleet.command import Command
from dask_fleet.errors import CommandFailedError, EnvironmentBuildError, JobError

if TYPE_CHECKING:
    from dask_fleet.fleet import Fleet
    from dask_fleet.transports.base import Transport

__all__ = ["fetch_data", "run_job"]

_HERE = Path(__file__).parent
_FILE = "iris_sample_data/sample_data/ostia_monthly.nc"
_SECONDS = 3600.0

_FETCH = """\
set -eu
uv=$1 directory=$2 file=$3
mkdir -p "${directory%/*}"
exec 9<"${directory%/*}"
flock 9
if [ -f "$directory/$file" ]; then exit 0; fi
cat >"$directory.lock"
rm -rf "$directory"
cd "${directory%/*}"
"$uv" pip install --quiet --no-deps --require-hashes --python "$4" --target "$directory.new" \\
  --requirement "$directory.lock"
mv "$directory.new" "$directory"
rm "$directory.lock"
"""


async def fetch_data(transport: Transport, data_root: str, interpreter: str) -> str:
    """Return the path of the demo's data, fetched when it is not there yet.

    Parameters
    ----------
    transport : Transport
        To this machine.
    data_root : str
        Directory for the application's data.
    interpreter : str
        A Python, which uv asks what fits.

    Raises
    ------
    EnvironmentBuildError
        The data cannot be fetched.
    """
    lock = (_HERE / "environments" / "demo-data.lock").read_bytes()
    directory = f"{data_root}/demo-data/{hashlib.sha256(lock).hexdigest()[:16]}"
    command = Command(
        ("sh", "-c", _FETCH, "fetch", uv_program(), directory, _FILE, interpreter), lock, _SECONDS
    )
    try:
        await transport.run(command)
    except CommandFailedError as error:
        raise EnvironmentBuildError(
            f"the demo's data cannot be fetched\n{error.message}",
            "the demo needs the network once; run it again when there is one",
        ) from error
    return f"{directory}/{_FILE}"


async def run_job(
    fleet: Fleet, transport: Transport, data: str, output: Path, factor: int | None
) -> AsyncIterator[dict[str, Any]]:
    """Run the job on the cluster and yield its events; the last one is its ``result``.

    Parameters
    ----------
    fleet : Fleet
        A fleet that is up.
    transport : Transport
        To this machine.
    data : str
        The file of monthly fields.
    output : Path
        Directory of the result.
    factor : int or None
        How many times finer the grid is to be; ``None`` leaves it to the job.

    Raises
    ------
    JobError
        With what the job says about it, and its last lines.
    """
    argv = [
        fleet.interpreter,
        "-u",
        str(_HERE / "demo" / "job.py"),
        "--scheduler",
        fleet.layout.client_address,
        "--data",
        data,
        "--output",
        str(output),
    ]
    if factor is not None:
        argv += ["--factor", str(factor)]
    said: list[str] = []
    failure: dict[str, Any] = {}
    try:
        async for line in transport.lines(Command(tuple(argv), timeout=_SECONDS)):
            event = _event(line)
            if event is None:
                said.append(line)
            elif event["event"] == "error":
                failure = event
            else:
                yield event
    except CommandFailedError as error:
        last = "\n".join(f"  | {line}" for line in said[-12:])
        fault = failure.get("message") or f"it ended with status {error.status}"
        raise JobError(
            f"the demo job failed: {fault}" + (f"\n{last}" if last else ""),
            failure.get("remedy") or "see its last lines above and `dask fleet logs`",
        ) from error


def _event(line: str) -> dict[str, Any] | None:
    """Return the event that a line is, or ``None`` for anything else that the job prints."""
    if not line.startswith("{"):
        return None
    try:
        value = json.loads(line)
    except ValueError:
        return None
    return cast("dict[str, Any]", value) if isinstance(value, dict) and "event" in value else None
