"""Where the job computes: on a cluster, or in this process for comparison.

Both engines take the same optimised graph, so that a benchmark compares schedulers and nothing
else, and both report when a chunk of the result has been written.
"""

from __future__ import annotations

import os
import secrets
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import CancelledError
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

import dask.base
from blocks import ByValue

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np

__all__ = ["ClusterEngine", "Engine", "JobError", "ThreadEngine"]

CONNECT_TIMEOUT = 15
WORKERS_TIMEOUT = 30

Progress = Callable[[int, int], None]


class JobError(Exception):
    """A failure that its reader can do something about.

    Attributes
    ----------
    remedy
        What to try, as one sentence.
    """

    def __init__(self, message: str, remedy: str) -> None:
        super().__init__(message)
        self.remedy = remedy


class Engine(Protocol):
    """What the job needs of a place to compute."""

    def strangers(self, folder: Path) -> dict[str, str]:
        """Return the workers that cannot write into the folder as we see it, and why."""
        ...

    def run(self, writes: Iterable[Any], progress: Progress) -> None:
        """Compute the writes, and report (chunks written, chunks in all)."""
        ...

    def blocks(self, arrays: list[Any]) -> Iterator[list[np.ndarray]]:
        """Compute arrays of the same blocks along their last axis; yield them block by block."""
        ...

    def tasks_per_worker(self) -> dict[str, int]:
        """Return how many Dask tasks each worker has executed for this job."""
        ...

    def close(self) -> None:
        """Let go of the cluster; a cluster that this engine did not start keeps running."""
        ...


def chunk_keys(graph: dict[Any, Any], finals: list[Any]) -> list[Any]:
    """Find the keys of the tasks that each write one block.

    xarray ends every write with one task that depends on one task per variable, which depends
    on the tasks that write. Those belong to an array, and so their keys are tuples.
    """
    found: dict[Any, None] = {}
    stack, seen = list(finals), set(finals)
    while stack:
        for key in sorted(graph[stack.pop()].dependencies, key=str):
            if isinstance(key, tuple):
                found[key] = None
            elif key in graph and key not in seen:
                seen.add(key)
                stack.append(key)
    return list(found)


def prepare(writes: Iterable[Any]) -> tuple[dict[Any, Any], list[Any], list[Any]]:
    """Optimise the writes together; return the graph, the keys of the chunks, the last keys."""
    optimised = dask.base.optimize(*writes)
    graph: dict[Any, Any] = {}
    finals: list[Any] = []
    for write in optimised:
        graph.update(write.__dask_graph__())
        finals.extend(write.__dask_keys__())
    return graph, chunk_keys(graph, finals), finals


SIGN = ".seen-by"
"""Begins the names of the files by which this process and the workers find that they see the
same folder."""


def visit(folder: str, token: str, dask_worker: Any) -> str:
    """Say why this worker cannot use the folder that bears the token; runs on a worker."""
    import getpass
    from pathlib import Path

    above = Path(folder).parent
    try:
        if not above.is_dir():
            return f"there is no directory {above}"
        sign = Path(folder, SIGN)
        if not sign.is_file() or sign.read_text(encoding="ascii") != token:
            return f"its {above} is not the same directory as the one where the job runs"
        Path(folder, f"{SIGN}-{dask_worker.name}").write_text(token, encoding="ascii")
    except OSError as error:
        return f"user {getpass.getuser()} may not use {error.filename}: {error.strerror}"
    return ""


def executed(dask_worker: Any) -> tuple[str, int]:
    """Return name and own count of executed tasks; runs on a worker."""
    return str(dask_worker.name), int(dask_worker.state.executed_count)


class ClusterEngine:
    """A cluster at an address, or a LocalCluster for benchmarks.

    Parameters
    ----------
    address
        Where the scheduler listens; None starts a LocalCluster.
    workers
        Number of processes of that LocalCluster, of one thread each.
    """

    def __init__(self, address: str | None, workers: int = 0) -> None:
        from distributed import Client, LocalCluster

        self._cluster: Any = None
        if address is None:
            self._cluster = LocalCluster(
                n_workers=workers,
                threads_per_worker=1,
                processes=True,
                host="127.0.0.1",
                dashboard_address="127.0.0.1:0",
            )
        try:
            target = address if address is not None else self._cluster
            self._client: Any = Client(target, timeout=CONNECT_TIMEOUT, name="dask-fleet-demo")
        except (OSError, TimeoutError) as error:
            raise JobError(
                f"no scheduler answers at {address} within {CONNECT_TIMEOUT} s: {error}",
                "start the fleet with `dask fleet up`, and look at it with `dask fleet status`",
            ) from error
        except ValueError as error:
            raise JobError(
                f"{address} is not an address of a scheduler: {error}",
                "give it as tcp://HOST:PORT, for example tcp://127.0.0.1:8786",
            ) from error
        try:
            self._client.wait_for_workers(max(1, workers), timeout=WORKERS_TIMEOUT)
        except TimeoutError as error:
            self.close()
            raise JobError(
                f"the scheduler at {address} lists no worker within {WORKERS_TIMEOUT} s",
                "look at `dask fleet status` and at the workers' logs with `dask fleet logs`",
            ) from error
        self._before = self._counts()

    def strangers(self, folder: Path) -> dict[str, str]:
        """Return the workers that cannot write into the folder as we see it, and why.

        Each worker reads a sign that was written here and writes one that is then looked for
        here, so that folders that are merely alike are told from one that is shared.
        """
        token = secrets.token_hex(16)
        (folder / SIGN).write_text(token, encoding="ascii")
        said = self._client.run(ByValue(visit), str(folder), token, on_error="return")
        names = {address: name for address, (name, _) in self._counts().items()}
        faults: dict[str, str] = {}
        for address, fault in said.items():
            name = names.get(address, str(address))
            sign = folder / f"{SIGN}-{name}"
            if not fault and not sign.is_file():
                fault = f"what it writes into {folder.parent} does not arrive"
            if fault:
                faults[name] = str(fault)
            sign.unlink(missing_ok=True)
        (folder / SIGN).unlink()
        return dict(sorted(faults.items()))

    def run(self, writes: Iterable[Any], progress: Progress) -> None:
        """Submit everything at once; each written chunk is a future that reports itself."""
        from distributed import as_completed

        graph, chunks, finals = prepare(writes)
        futures = self._client.get(graph, chunks + finals, sync=False)
        last = set(map(id, futures[len(chunks) :]))
        done = 0
        progress(0, len(chunks))
        with _explained():
            for future in as_completed(futures):
                future.result()
                if id(future) not in last:
                    done += 1
                    progress(done, len(chunks))

    def blocks(self, arrays: list[Any]) -> Iterator[list[np.ndarray]]:
        """Compute two blocks for each thread of the workers at a time, and yield them in order.

        Results that wait for the client lie in the workers' memory; so does what they have not
        yet been asked to forget. Both are bounded by that number.
        """
        ahead = 2 * sum(self._client.nthreads().values())
        waiting: deque[Any] = deque()
        with _explained():
            for number in range(len(arrays[0].chunks[-1])):
                parts = [array.blocks[..., number] for array in arrays]
                waiting.append(self._client.compute(parts))
                if len(waiting) == ahead:
                    yield self._client.gather(waiting.popleft())
            while waiting:
                yield self._client.gather(waiting.popleft())

    def tasks_per_worker(self) -> dict[str, int]:
        """Return what the workers counted since this engine connected.

        The count is the worker's own, so tasks of other clients at the same time are in it. A
        worker that was restarted in between starts from zero.
        """
        result: dict[str, int] = {}
        for address, (name, count) in sorted(self._counts().items(), key=lambda item: item[1]):
            before = self._before.get(address, (name, 0))[1]
            result[name] = count - before if count >= before else count
        return result

    def close(self) -> None:
        """Disconnect; stop the cluster only if it is a LocalCluster of ours."""
        self._client.close()
        if self._cluster is not None:
            self._cluster.close()

    def _counts(self) -> dict[str, tuple[str, int]]:
        counts = self._client.run(ByValue(executed), on_error="return")
        # A worker that is just being restarted does not answer; it has nothing to tell.
        return {
            address: count
            for address, count in counts.items()
            if not isinstance(count, BaseException)
        }


@contextmanager
def _explained() -> Iterator[None]:
    """Say what the ends of a computation mean that are the cluster's and not the job's."""
    from distributed.scheduler import KilledWorker

    try:
        yield
    except CancelledError as error:
        raise JobError(
            "the scheduler went away while the job ran",
            "see `dask fleet status`; when all workers are back, run it again",
        ) from error
    except KilledWorker as error:
        raise JobError(
            f"workers died again and again on one task: {error}",
            "give the workers more memory, or this job a smaller --factor",
        ) from error


class ThreadEngine:
    """One process with Dask's threaded scheduler, one thread for each core."""

    def __init__(self) -> None:
        self._tasks = 0

    def strangers(self, folder: Path) -> dict[str, str]:  # noqa: ARG002
        """Return nothing: whoever made the folder sees it."""
        return {}

    def run(self, writes: Iterable[Any], progress: Progress) -> None:
        """Compute with threads; a callback of Dask reports each chunk."""
        import dask.threaded
        from dask.callbacks import Callback

        graph, chunks, finals = prepare(writes)
        wanted, done = set(chunks), 0
        progress(0, len(chunks))

        def finished(key: Any, *_: Any) -> None:
            nonlocal done
            self._tasks += 1
            if key in wanted:
                done += 1
                progress(done, len(chunks))

        with Callback(posttask=finished):
            dask.threaded.get(graph, finals, num_workers=os.cpu_count())

    def blocks(self, arrays: list[Any]) -> Iterator[list[np.ndarray]]:
        """Compute with threads, one block after the other."""
        from dask.callbacks import Callback

        def finished(*_: Any) -> None:
            self._tasks += 1

        for number in range(len(arrays[0].chunks[-1])):
            parts = [array.blocks[..., number] for array in arrays]
            with Callback(posttask=finished):
                block = list(dask.base.compute(*parts, scheduler="threads"))
            yield block

    def tasks_per_worker(self) -> dict[str, int]:
        """Return the tasks of this process."""
        return {"this process": self._tasks}

    def close(self) -> None:
        """Do nothing: there is nothing to close."""
