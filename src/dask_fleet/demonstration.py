"""The demo as a use case: the data at hand, and the job run in the fleet's own environment.

The job is an ordinary client of the cluster. It runs as a process of its own with the fleet's
interpreter, because the tool's environment need hold neither xarray nor xcube, and because a
client whose packages differ from the workers' is the commonest fault of Dask clusters. That
process is on this machine if the scheduler is, and else on the scheduler's host, as the fleet's
user, in a room (`dask_fleet.demo_rooms`) that ends with it.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import io
import json
import secrets
import tarfile
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from dask_fleet.builder import uv_program
from dask_fleet.command import Command
from dask_fleet.demo_rooms import Room
from dask_fleet.errors import (
    CommandFailedError,
    EnvironmentBuildError,
    JobError,
    UnreachableHostError,
)

if TYPE_CHECKING:
    from dask_fleet.fleet import Fleet
    from dask_fleet.transports.base import Transport

__all__ = ["fetch_data", "run_job", "runs_here"]

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


_PICTURE, _RESULT = "map.png", "result.json"


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


def runs_here(fleet: Fleet) -> bool:
    """Return whether the job runs on this machine: where the scheduler does."""
    return not fleet.scheduler_access.remote


async def run_job(
    fleet: Fleet,
    here: Transport,
    data: str,
    output: Path,
    *,
    factor: int | None = None,
    shared: str | None = None,
) -> AsyncGenerator[dict[str, Any], None]:
    """Run the job on the cluster and yield its events; the last one is its ``result``.

    Parameters
    ----------
    fleet : Fleet
        A fleet that is up.
    here : Transport
        To this machine.
    data : str
        The file of monthly fields, on this machine.
    output : Path
        Directory of the result on this machine: of all of it if the job runs here and no
        directory is shared, else of the picture and of ``result.json``.
    factor : int or None
        How many times finer the grid is to be; ``None`` leaves it to the job.
    shared : str or None
        A directory that all hosts share, where workers are to write the cube. Without one, a
        fleet on several machines brings the results back to the job's process, which writes them.

    Raises
    ------
    JobError
        With what the job says about it, and its last lines.
    """
    cube = _cube_folder(fleet, output, shared)
    if cube != str(output):
        _make_ready(output)
    job = _job(fleet, here, data, cube, factor, shared)
    async with contextlib.aclosing(_events(job)) as events:
        async for event in events:
            if event["event"] == "result":
                event["input"]["path"] = data
                event["host"] = fleet.layout.scheduler.host
                event["shared"] = shared
                if cube != str(output):
                    await _bring_home(job, event, output)
            yield event


@dataclass(frozen=True, slots=True)
class _Job:
    """The job's process: how it is run, and in which room if it is not on this machine."""

    transport: Transport
    command: Command
    room: Room | None = None


def _cube_folder(fleet: Fleet, output: Path, shared: str | None) -> str:
    if shared is not None:
        return f"{shared.rstrip('/')}/demo-{fleet.layout.name}"
    return str(output) if runs_here(fleet) else f"{fleet.scheduler_access.places.work}/demo"


def _job(
    fleet: Fleet, here: Transport, data: str, cube: str, factor: int | None, shared: str | None
) -> _Job:
    access, layout = fleet.scheduler_access, fleet.layout
    room = None if runs_here(fleet) else _room(fleet)
    argv = (
        # Certificates of clients are named there, if the fleet speaks TLS.
        *("env", f"DASK_CONFIG={access.places.deployed}/dask.yaml"),
        *(room.python if room else fleet.interpreter, "-u"),
        f"{room.path}/job.py" if room else str(_HERE / "demo" / "job.py"),
        *("--scheduler", layout.scheduler_address if room else layout.client_address),
        *("--data", f"{room.path}/{Path(data).name}" if room else data),
        *("--output", cube),
        *("--hosts", json.dumps({worker.name: worker.host for worker in layout.workers})),
        *(("--factor", str(factor)) if factor is not None else ()),
    )
    if shared is not None:
        argv += ("--shared", shared)
    elif _machines(fleet) > 1:
        argv += ("--write-here",)
    if room is None:
        return _Job(here, Command(argv, timeout=_SECONDS))
    return _Job(access.transport, room.run(argv, _packed(data), _SECONDS), room)


def _room(fleet: Fleet) -> Room:
    """Return a room on the scheduler's host; in a container, where the container has it too."""
    access, name = fleet.scheduler_access, f"demo-{secrets.token_hex(6)}"
    runtime, places = access.runtime, access.places
    python = runtime.interpreter(places, fleet.environment.digest)
    if not runtime.contained:
        return Room(f"{places.state}/{name}", runtime.owner, python)
    inside = runtime.inside([fleet.layout.scheduler.name])
    return Room(f"{places.work}/{name}", runtime.owner, python, inside)


def _machines(fleet: Fleet) -> int:
    """Return on how many machines scheduler and workers are; all local hosts are this one."""
    hosts = {unit.host for unit in fleet.layout.units}
    return len({host if fleet.hosts[host].remote else "" for host in hosts})


def _packed(data: str) -> bytes:
    """Return the job's files and its data as a tar archive."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for path in (*sorted((_HERE / "demo").glob("*.py")), Path(data)):
            archive.add(path, path.name)
    return buffer.getvalue()


async def _events(job: _Job) -> AsyncGenerator[dict[str, Any], None]:
    """Run the job and yield its events; whatever ends it, nothing half done stays on a host."""
    said: list[str] = []
    failure: dict[str, Any] = {}
    partial = ""
    ended = False
    try:
        async for line in job.transport.lines(job.command):
            event = _event(line)
            if event is None:
                said.append(line)
            elif event["event"] == "error":
                failure = event
            elif event["event"] == "folder":
                partial = event["path"]
            else:
                yield event
        ended = True
    except CommandFailedError as error:
        ended = error.status is not None
        last = "\n".join(f"  | {line}" for line in said[-12:])
        fault = failure.get("message") or f"it ended with status {error.status}"
        raise JobError(
            f"the demo job failed: {fault}" + (f"\n{last}" if last else ""),
            failure.get("remedy") or "see its last lines above and `dask fleet logs`",
        ) from error
    except UnreachableHostError:
        ended = True  # nobody is left to ask; there the job ends as its output is closed
        raise
    finally:
        # One that we have killed could not tidy up itself.
        if job.room and not ended:
            await job.transport.run(job.room.tidy(partial))


def _make_ready(output: Path) -> None:
    """Make the directory for what is brought back; nothing that is not ours may be in it."""
    try:
        output.mkdir(parents=True, exist_ok=True)
        others = sorted({path.name for path in output.iterdir()} - {_PICTURE, _RESULT})
    except OSError as error:
        raise JobError(
            f"cannot use {output}: {error.strerror}", "give --output another folder"
        ) from error
    if others:
        raise JobError(
            f"{output} holds {others[0]}, which this demo would not write there",
            "give --output another folder",
        )


async def _bring_home(job: _Job, result: dict[str, Any], output: Path) -> None:
    """Write the picture and the result on this machine; the result then names that picture."""
    content = await _content(job, result["picture"])
    picture = output / _PICTURE
    result["picture"] = str(picture)
    try:
        picture.write_bytes(content)
        (output / _RESULT).write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise JobError(
            f"cannot write into {output}: {error.strerror}", "give --output another folder"
        ) from error


async def _content(job: _Job, path: str) -> bytes:
    if job.room is None:
        return Path(path).read_bytes()
    return base64.b64decode((await job.transport.run(job.room.show(path, _SECONDS))).stdout)


def _event(line: str) -> dict[str, Any] | None:
    """Return the event that a line is, or ``None`` for anything else that the job prints."""
    if not line.startswith("{"):
        return None
    try:
        value = json.loads(line)
    except ValueError:
        return None
    return cast("dict[str, Any]", value) if isinstance(value, dict) and "event" in value else None
