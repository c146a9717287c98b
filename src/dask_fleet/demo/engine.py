"""Where the job computes: on a cluster, or in this process for comparison.

Both engines take the same optimised graph, so that a benchmark compares schedulers and nothing
else, and both report when a chunk of the result has been written.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Protocol

import dask.base
from blocks import ByValue

if TYPE_CHECKING:
    from pathlib import Path

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

    def check_folder(self, folder: Path) -> None:
        """Raise `JobError` unless every worker sees the folder."""
        ...

    def run(self, writes: Iterable[Any], progress: Progress) -> None:
        """Compute the writes, and report (chunks written, chunks in all)."""
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

    def check_folder(self, folder: Path) -> None:
        """Raise `JobError` unless every worker sees the folder, because workers write into it."""
        seen = self._client.run(os.path.isdir, str(folder))
        blind = sorted(address for address, there in seen.items() if there is not True)
        if blind:
            raise JobError(
                f"workers do not see {folder}: {', '.join(blind)}",
                "give --output a folder that is shared by all hosts of the fleet",
            )

    def run(self, writes: Iterable[Any], progress: Progress) -> None:
        """Submit everything at once; each written chunk is a future that reports itself."""
        from distributed import as_completed
        from distributed.scheduler import KilledWorker

        graph, chunks, finals = prepare(writes)
        futures = self._client.get(graph, chunks + finals, sync=False)
        last = set(map(id, futures[len(chunks) :]))
        done = 0
        progress(0, len(chunks))
        try:
            for future in as_completed(futures):
                if future.status == "cancelled":
                    raise JobError(
                        "the scheduler went away while the job ran",
                        "see `dask fleet status`; when all workers are back, run it again",
                    )
                if future.status == "error":
                    raise future.exception()
                if id(future) not in last:
                    done += 1
                    progress(done, len(chunks))
        except KilledWorker as error:
            raise JobError(
                f"workers died again and again on one task: {error}",
                "give the workers more memory, or this job a smaller --factor",
            ) from error

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


class ThreadEngine:
    """One process with Dask's threaded scheduler, one thread for each core."""

    def __init__(self) -> None:
        self._tasks = 0

    def check_folder(self, folder: Path) -> None:
        """Do nothing: whoever made the folder sees it."""

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

    def tasks_per_worker(self) -> dict[str, int]:
        """Return the tasks of this process."""
        return {"this process": self._tasks}

    def close(self) -> None:
        """Do nothing: there is nothing to close."""
