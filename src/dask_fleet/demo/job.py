"""The demo job: monthly sea-surface temperature becomes a verified cube and a picture.

It runs with the fleet's interpreter as a script of its own, so it imports nothing of dask_fleet.
On standard output it writes one JSON object a line, and nothing else:

``{"event": "stage", "name": ..., "text": ...}``
    A stage begins: connect, open, compute, verify, picture, publish.
``{"event": "progress", "done": n, "total": n}``
    So many of the chunks of the result are written.
``{"event": "folder", "path": ...}``
    Where the unfinished result lies, for whoever has to kill the job.
``{"event": "result", ...}``
    The end of a good run, see `Job.run`.
``{"event": "error", "message": ..., "remedy": ...}``
    The end of a bad run; exit status 1.

Heavy modules are imported where they are used: processes of a LocalCluster import this file
again when they start, and a missing package must become an error event.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import time
import traceback
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from collections.abc import Iterator

    from engine import Engine

DEFAULT_FACTOR = 12
"""Fine cells along each side of a source cell: 0.07 by 0.05 degrees, 0.46 GB of results."""

LARGEST_FACTOR = 40
"""With more, a block and its intermediates no longer fit a worker of 1 GiB."""

POINTS = 400

SHARED_REMEDY = (
    "mount one directory (NFS or the like) at this path on all hosts and let the fleet's user"
    " write there, or leave --shared out: results then come back to the job, which writes them"
)

PROGRESS_INTERVAL = 0.1


class Events:
    """Writes events to what was standard output; everything else that prints goes to stderr."""

    def __init__(self) -> None:
        sys.stdout.flush()
        self._out = os.fdopen(os.dup(1), "w", encoding="utf-8")
        os.dup2(2, 1)
        self._last = 0.0

    def emit(self, event: str, **fields: Any) -> None:
        """Write one event at once."""
        self._out.write(json.dumps({"event": event, **fields}, allow_nan=False) + "\n")
        self._out.flush()

    def progress(self, done: int, total: int) -> None:
        """Write progress, ten times a second at most, first and last always."""
        now = time.monotonic()
        if done in (0, total) or now - self._last >= PROGRESS_INTERVAL:
            self._last = now
            self.emit("progress", done=done, total=total)


class Parser(argparse.ArgumentParser):
    """Turns wrong arguments into an error event."""

    def error(self, message: str) -> NoReturn:
        """Raise what `main` reports."""
        from engine import JobError

        raise JobError(message, f"see `{self.prog} --help`")


def parser() -> Parser:
    """Describe the command line."""
    result = Parser(prog="job.py", description=(__doc__ or "").splitlines()[0])
    where = result.add_mutually_exclusive_group(required=True)
    where.add_argument("--scheduler", metavar="ADDRESS", help="compute on this cluster")
    where.add_argument("--threads", action="store_true", help="compute in this process")
    where.add_argument("--local-cluster", type=int, metavar="N", help="N processes of one thread")
    result.add_argument("--data", type=Path, required=True, help="ostia_monthly.nc")
    result.add_argument("--output", type=Path, required=True, help="folder of the result")
    result.add_argument("--shared", type=Path, metavar="FOLDER", help="all hosts have to see it")
    result.add_argument("--write-here", action="store_true", help="workers write nothing")
    result.add_argument("--hosts", type=json.loads, default={}, help="host of each worker, JSON")
    result.add_argument("--factor", type=int, default=DEFAULT_FACTOR, help="default: %(default)s")
    result.add_argument("--seed", type=int, default=2006, help="of the points that are checked")
    return result


class Job:
    """One run of the job.

    Parameters
    ----------
    arguments
        As `parser` returns them.
    events
        Where to report.
    """

    def __init__(self, arguments: argparse.Namespace, events: Events) -> None:
        self.arguments = arguments
        self.events = events
        self.seconds: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str, text: str) -> Iterator[None]:
        """Announce a stage and take its time."""
        self.events.emit("stage", name=name, text=text)
        begin = time.perf_counter()
        yield
        self.seconds[name] = round(time.perf_counter() - begin, 3)

    def run(self) -> None:
        """Do everything, and report the result.

        The result says ``input`` and ``output`` (path, bytes), ``cubes`` (path, variables, shape,
        chunks), ``written_by`` (``workers``, or ``client`` for this process), ``seconds`` (all,
        with imports and connecting), ``stages`` (seconds of each),
        ``mb_per_s`` (uncompressed bytes of all variables per second of the stage compute, in
        millions), ``uncompressed_bytes``, ``tasks_per_worker``, ``checks`` and ``picture``.
        """
        begin = time.perf_counter()
        arguments = self.arguments
        from engine import JobError
        from folder import output_folder

        data = arguments.data.expanduser().resolve()
        output = arguments.output.expanduser()
        # A link means on each host what that host says, so a shared path is taken as it is given.
        output = output.absolute() if arguments.shared is not None else output.resolve()
        if not data.is_file():
            raise JobError(f"there is no file {data}", "give --data the path of ostia_monthly.nc")
        if not 2 <= arguments.factor <= LARGEST_FACTOR:
            raise JobError(
                f"--factor {arguments.factor} is out of range", f"give 2 to {LARGEST_FACTOR}"
            )
        if arguments.local_cluster is not None and arguments.local_cluster < 1:
            raise JobError("--local-cluster needs at least one process", "give 1 or more")
        if arguments.shared is not None and not arguments.shared.is_dir():
            raise JobError(
                f"there is no directory {arguments.shared} on the host where the job runs",
                SHARED_REMEDY,
            )
        with output_folder(output) as folder:
            self.events.emit("folder", path=str(folder.path))
            with self.stage("connect", "Connecting to the scheduler"):
                engine = self._engine()
            try:
                result = self._work(engine, data, folder.path)
            finally:
                engine.close()
            with self.stage("publish", f"Moving the result to {output}"):
                result["output"] = {"path": str(output), "bytes": _bytes(folder.path)}
                folder.publish()
        for cube in result["cubes"]:
            cube["path"] = str(output / Path(cube["path"]).name)
        result["picture"] = str(output / "map.png")
        result["seconds"] = round(time.perf_counter() - begin, 3)
        result["stages"] = self.seconds
        self.events.emit("result", **result)

    def _engine(self) -> Engine:
        from engine import ClusterEngine, ThreadEngine

        if self.arguments.threads:
            return ThreadEngine()
        return ClusterEngine(self.arguments.scheduler, self.arguments.local_cluster or 0)

    def _work(self, engine: Engine, data: Path, folder: Path) -> dict[str, Any]:
        """Compute, check and draw, all inside the temporary folder."""
        from check import check_numpy, check_xcube
        from cube import build, encoding, fine_grid, read_source
        from engine import JobError
        from writing import begin, write_here

        if not self.arguments.write_here:
            self._check_folder(engine, folder)
        with self.stage("open", f"Reading {data.name}"):
            try:
                source = read_source(data)
            except (OSError, KeyError, ValueError) as error:
                raise JobError(
                    f"{data} is not the file of OSTIA monthly fields: {error}",
                    "take ostia_monthly.nc of the PyPI package iris-sample-data",
                ) from error
            cubes = build(source, fine_grid(source, self.arguments.factor))
        paths = {name: folder / f"{name}.zarr" for name in cubes}
        size = sum(v.nbytes for cube in cubes.values() for v in cube.data_vars.values())
        with self.stage("compute", "Resampling, climatology, anomaly and trend"):
            writes = begin(cubes, paths)
            if self.arguments.write_here:
                write_here(engine, cubes, paths, self.events.progress)
            else:
                engine.run(writes, self.events.progress)
        tasks = engine.tasks_per_worker()
        with self._reading():
            with self.stage("verify", "Verifying with xcube and with plain numpy"):
                checks = {
                    "xcube": check_xcube(paths),
                    "numpy": check_numpy(data, paths, POINTS, self.arguments.seed),
                }
            wrong = [name for name, check in checks.items() if not check["passed"]]
            if wrong:
                raise JobError(
                    f"the cube is wrong, says {' and '.join(wrong)}: {json.dumps(checks)}",
                    "this is a fault of the job or of its environment; please report it",
                )
            with self.stage("picture", "Drawing the map"):
                from picture import draw

                draw(paths, folder / "map.png")
        first = next(iter(cubes["sst"].data_vars))
        described = [
            _describe(name, paths[name], encoding(cube), cube) for name, cube in cubes.items()
        ]
        return {
            "input": {"path": str(data), "bytes": data.stat().st_size},
            "shape": list(cubes["sst"][first].shape),
            "chunks": described[0]["chunks"],
            "cubes": described,
            "written_by": "client" if self.arguments.write_here else "workers",
            "uncompressed_bytes": int(size),
            "mb_per_s": round(size / 1e6 / self.seconds["compute"], 1),
            "tasks_per_worker": tasks,
            "checks": checks,
        }

    def _reading(self) -> AbstractContextManager[Any]:
        """Read the cubes where they can be read: on the cluster only if its workers see them."""
        import dask.config

        return dask.config.set(scheduler="threads") if self.arguments.write_here else nullcontext()

    def _check_folder(self, engine: Engine, folder: Path) -> None:
        """Raise an error that names every worker's host that cannot write into the folder."""
        from engine import JobError

        hosts, faults = self.arguments.hosts, engine.strangers(folder)
        if faults:
            # Several workers of one host say the same.
            named = dict.fromkeys(f"{hosts.get(n, n)}: {fault}" for n, fault in faults.items())
            shared = self.arguments.shared
            raise JobError(
                f"not every worker can write into {shared or folder.parent}\n" + "\n".join(named),
                SHARED_REMEDY if shared else "give --output a folder that all workers see",
            )


def _describe(name: str, path: Path, how: dict[str, Any], cube: Any) -> dict[str, Any]:
    variables = [str(variable) for variable in cube.data_vars]
    return {
        "name": name,
        "path": str(path),
        "variables": variables,
        "dims": [str(dim) for dim in cube[variables[0]].dims],
        "shape": list(cube[variables[0]].shape),
        "chunks": list(how[variables[0]]["chunks"]),
    }


def _bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _stop(*_: object) -> NoReturn:
    """Make SIGTERM end the run as Ctrl-C does, so that the temporary folder goes."""
    raise KeyboardInterrupt


def main() -> int:
    """Run the job; return the exit status."""
    events = Events()
    signal.signal(signal.SIGTERM, _stop)
    try:
        Job(parser().parse_args(), events).run()
    except BrokenPipeError:
        return 1  # nobody listens any more
    except KeyboardInterrupt:
        message, remedy = "interrupted", "nothing is left behind; run it again"
    except ImportError as error:
        message = f"this interpreter ({sys.executable}) lacks a package: {error}"
        remedy = "run this script with the fleet's interpreter, not with the tool's"
    except MemoryError:
        message, remedy = "not enough memory", "give a smaller --factor"
    except Exception as error:  # noqa: BLE001 - the last line of defence reports everything
        traceback.print_exc(file=sys.stderr)
        message = str(error) or type(error).__name__
        remedy = getattr(error, "remedy", "the traceback is on standard error")
        if isinstance(error, OSError) and not hasattr(error, "remedy"):
            message = f"{type(error).__name__}: {error}"
            remedy = "make room or give another --output, then run it again"
    else:
        return 0
    events.emit("error", message=message, remedy=remedy)
    return 1


if __name__ == "__main__":
    sys.exit(main())
