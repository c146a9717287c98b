"""A forkserver that has imported what workers need, while the nannies start.

The launcher forks it after it has imported ``distributed`` itself, so that the import is
paid for once and its memory is shared. Python's own way (``ensure_running``) starts an
interpreter that imports everything again, without a word when an import fails.
"""

# os.path: importing pathlib would cost every start and every labeller some milliseconds.
# ruff: noqa: PTH101, PTH112, PTH118, PTH208

from __future__ import annotations

import contextlib
import ctypes
import gc
import importlib
import multiprocessing
import multiprocessing.forkserver
import os
import signal
import socket
import sys
import threading
from typing import Any

from fleet_labels import Labels
from fleet_process import import_modules, set_title

__all__ = ["start"]

#: What a worker imports before it registers, and what its first task needs.
WORKER_MODULES = ("distributed", "fleet_worker")

_PR_SET_PDEATHSIG = 1


def start(unit: str, modules: tuple[str, ...], labels: Labels, *, workers: int) -> None:
    """Start the forkserver of this process.

    Parameters
    ----------
    unit
        The unit's name, for the process title.
    modules
        What the user wants preloaded.
    labels
        The launcher's labeller, of which the forkserver must not be a part.
    workers
        How many workers there will be. Several share the memory of their pages, which are
        imported here for that; one imports them when it has registered.
    """
    own = (*WORKER_MODULES, "distributed.dashboard.worker") if workers > 1 else WORKER_MODULES
    # For a forkserver that replaces a dead one, and for Pythons not known below.
    multiprocessing.set_forkserver_preload([*own, *modules])
    # Dask would set its own list, and import pandas here to make it.
    import distributed.utils

    distributed.utils._forkserver_preload_set = True
    # The attributes are not public; they are the same from Python 3.4 to 3.13.
    server: Any = multiprocessing.forkserver._forkserver
    if sys.version_info >= (3, 14) or server._forkserver_pid is not None:
        # 3.14 has changed the protocol (authentication): use what Python offers.
        multiprocessing.forkserver.ensure_running()
        return

    directory = labels.directory
    address = os.path.join(directory, "forks")
    if len(address.encode()) > 100:
        # The path of a socket has 107 bytes at most.
        arbitrary: Any = importlib.import_module("multiprocessing.connection")
        address = arbitrary.arbitrary_address("AF_UNIX")
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(address)
    os.chmod(address, 0o600)
    listener.listen()
    alive_read, alive_write = os.pipe()
    launcher = os.getpid()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            os.close(alive_write)
            labels.forget()
            _serve(unit, launcher, own, modules, listener.detach(), alive_read)
            code = 0
        except SystemExit:
            # main() ends so when its last client has gone.
            code = 0
        except BaseException as error:  # noqa: BLE001 (the end of a forked process)
            sys.excepthook(type(error), error, error.__traceback__)
        finally:
            os._exit(code)
    listener.close()
    os.close(alive_read)
    server._forkserver_address = address
    server._forkserver_alive_fd = alive_write
    server._forkserver_pid = pid


def _serve(
    unit: str,
    launcher: int,
    own: tuple[str, ...],
    modules: tuple[str, ...],
    listener: int,
    alive_read: int,
) -> None:
    """Import everything, then fork a worker for each request."""
    set_title(f"{unit} forkserver")
    _die_with_parent()
    if os.getppid() != launcher:
        # It died before the kernel was asked.
        return
    # A worker dies with the forkserver, and so with the launcher, even while a task holds
    # the interpreter lock and Dask's own watch cannot run.
    server = os.getpid()
    os.register_at_fork(after_in_child=lambda: _die_with_forkserver(server))
    for module in own:
        with contextlib.suppress(ImportError):
            # bokeh may be missing: Dask then runs without that dashboard.
            importlib.import_module(module)
    # A worker tells its scheduler the versions of some packages. Older releases of
    # distributed import these for it, pandas among them, in each worker at each start.
    importlib.import_module("distributed.versions").get_versions()
    before = _threads()
    import_modules(modules)
    started = _threads() - before
    if started:
        print(
            f"preload: the modules {', '.join(modules)} have started {started} threads. "
            "Threads do not live on in a forked worker: if workers hang, take the module out "
            "of the preload list, or set distributed.worker.multiprocessing-method: spawn",
            file=sys.stderr,
            flush=True,
        )
    # What is here now stays: do not touch it, so that its pages remain shared. Collecting first
    # would take a tenth of a second and find a thousand objects.
    gc.freeze()
    gc.enable()
    multiprocessing.forkserver.main(listener, alive_read, [])


def _threads() -> int:
    """Count the threads of this process, native ones too where that can be known."""
    tasks = "/proc/self/task"
    return len(os.listdir(tasks)) if os.path.isdir(tasks) else threading.active_count()


def _die_with_parent() -> None:
    """Ask the kernel to kill this process when its parent dies (Linux)."""
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _die_with_forkserver(server: int) -> None:
    # Processes that a task forks inherit this hook, but they belong to the task.
    if os.getppid() == server:
        _die_with_parent()
