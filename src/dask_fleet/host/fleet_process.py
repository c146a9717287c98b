"""What every process of a unit does before Dask: environment, title, ports, output."""

# os.path: importing pathlib would cost every start and every labeller some milliseconds.
# ruff: noqa: PTH103, PTH108, PTH118, PTH123

from __future__ import annotations

import errno
import faulthandler
import importlib
import importlib.util
import os
import socket
import sys
import time

from fleet_unit import SchedulerUnit, Unit, UnitError, WorkersUnit

__all__ = [
    "PortHeldError",
    "apply_environment",
    "bind_address",
    "bracketed",
    "check_interpreter",
    "check_ports",
    "corrected_environment",
    "free_run_directory",
    "host_port",
    "import_modules",
    "prepare_output",
    "run_again",
    "set_title",
]

# distributed's default of `distributed.nanny.pre-spawn-environ`, and the hash seed that
# its nanny sets. Both have an effect only when they are set before the interpreter of a
# worker starts, and a worker that is forked has the launcher's interpreter.
WORKER_ENVIRONMENT = {
    "MALLOC_TRIM_THRESHOLD_": "65536",
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "PYTHONHASHSEED": "6640",
}

# Names the variables that the launcher itself has set, for its second life after exec.
_MARK = "DASK_FLEET_DEFAULTED"


class PortHeldError(OSError):
    """A declared port is held by something else."""


def check_interpreter(unit_path: str) -> None:
    """Refuse an interpreter that cannot run the unit."""
    if sys.version_info < (3, 10):  # noqa: UP036 (the host's interpreter may be any)
        version = ".".join(map(str, sys.version_info[:2]))
        raise UnitError(
            f"unit file {unit_path} needs Python >= 3.10, but {sys.executable} is {version}; "
            "declare another python in the environment of fleet.yaml"
        )
    if importlib.util.find_spec("distributed") is None:
        raise UnitError(
            f"unit file {unit_path} needs the package distributed, which {sys.executable} does "
            "not have; add it to the environment in fleet.yaml and run: dask fleet up"
        )


def apply_environment(unit: Unit) -> None:
    """Give this process the unit's environment, by running the interpreter anew if needed.

    Variables such as ``PYTHONHASHSEED``, ``MALLOC_TRIM_THRESHOLD_`` or ``LD_PRELOAD`` have
    no effect on a process that runs already. The second start costs little, and
    nothing when the supervisor has set the same variables.
    """
    declared = dict(unit.environment)
    if unit.configuration is not None:
        if not os.access(unit.configuration, os.R_OK):
            raise UnitError(
                f"unit {unit.name}: cannot read the Dask configuration {unit.configuration}; "
                "write it again with: dask fleet up"
            )
        declared["DASK_CONFIG"] = unit.configuration
    # Python's own buffering of a spawned worker.
    declared.setdefault("PYTHONUNBUFFERED", "1")
    wanted = {key: value for key, value in declared.items() if os.environ.get(key) != value}
    if isinstance(unit, WorkersUnit) and _MARK not in os.environ:
        defaults = {
            key: value
            for key, value in WORKER_ENVIRONMENT.items()
            if key not in os.environ and key not in declared
        }
        wanted |= defaults
        if defaults:
            wanted[_MARK] = ",".join(defaults)
    if wanted:
        run_again({**os.environ, **wanted})


def corrected_environment(configured: dict[str, str]) -> dict[str, str] | None:
    """Compare this process's environment with what the user's Dask configuration wants.

    Parameters
    ----------
    configured
        ``distributed.nanny.pre-spawn-environ`` as configured. It is known only after Dask
        has been imported; the usual case, its default, has been set before.

    Returns
    -------
    dict or None
        The environment to run again with, or ``None`` if all is as it must be.
    """
    defaulted = [key for key in os.environ.pop(_MARK, "").split(",") if key]
    environment = dict(os.environ)
    for key in defaulted:
        if key != "PYTHONHASHSEED":
            environment.pop(key, None)
    for key, value in configured.items():
        environment.setdefault(key, value)
    if environment == dict(os.environ):
        return None
    # An empty mark: nothing is to be defaulted any more.
    return {**environment, _MARK: ""}


def run_again(environment: dict[str, str]) -> None:
    """Replace this process by the same command with another environment."""
    os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], environment)  # noqa: S606


def free_run_directory(unit: Unit) -> None:
    """Make the run directory, and prove that it can be written."""
    try:
        os.makedirs(unit.run_directory, exist_ok=True)
        directories = [w.directory for w in unit.workers] if isinstance(unit, WorkersUnit) else []
        for directory in directories:
            os.makedirs(directory, exist_ok=True)
        probe = os.path.join(unit.run_directory, f".{unit.name}.{os.getpid()}")
        with open(probe, "w") as stream:
            stream.write("\n")
        os.unlink(probe)
    except OSError as error:
        raise UnitError(
            f"unit {unit.name}: cannot write {error.filename}: {error.strerror}; "
            "free space or correct the rights of the directory"
        ) from error


def set_title(title: str) -> None:
    """Name this process in ``ps``, if the environment has setproctitle."""
    try:
        import setproctitle  # pyright: ignore[reportMissingImports]
    except ImportError:
        return
    setproctitle.setproctitle(title)


def prepare_output() -> None:
    """Write output line by line, and tracebacks of crashes too."""
    # Under -u, print() makes one write for the text and one for the line's end, and the
    # lines of two threads mix. The streams are opened anew, since those of the start may
    # believe that they are a file, or a terminal, which they no longer are.
    sys.stdout.flush()
    sys.stderr.flush()
    options = {"buffering": 1, "encoding": "utf-8", "errors": "backslashreplace"}
    sys.stdout = open(1, "w", closefd=False, **options)  # noqa: SIM115
    sys.stderr = open(2, "w", closefd=False, **options)  # noqa: SIM115
    faulthandler.enable()


def bracketed(host: str) -> str:
    """Return a host as it stands in an address; an IPv6 address gets its brackets."""
    return f"[{host}]" if ":" in host else host


def host_port(host: str, port: int) -> str:
    """Join host and port."""
    return f"{bracketed(host)}:{port}"


def check_ports(unit: Unit, patience: float = 3.0) -> None:
    """Refuse to start while something else holds a declared port.

    Dask itself moves a dashboard silently to another port. A predecessor that is just
    closing gets ``patience`` seconds.
    """
    deadline = time.monotonic() + patience
    if isinstance(unit, SchedulerUnit):
        ports = [
            (unit.name, "port", unit.listen, unit.port),
            (unit.name, "dashboard port", unit.listen, unit.dashboard_port),
        ]
    else:
        ports = [
            (w.name, what, w.listen, port)
            for w in unit.workers
            for what, port in (
                ("port", w.port),
                ("nanny port", w.nanny_port),
                ("dashboard port", w.dashboard_port),
            )
        ]
    while True:
        held = [entry for entry in ports if _held(entry[2], entry[3])]
        if not held:
            return
        if time.monotonic() > deadline:
            listing = ", ".join(f"{n}: {what} {p} on {host}" for n, what, host, p in held)
            raise PortHeldError(
                errno.EADDRINUSE,
                f"{unit.name} cannot start: held by another process: {listing}. "
                "Stop that process (ss -ltnp names it), or declare other ports in fleet.yaml",
            )
        time.sleep(0.1)


def _held(host: str, port: int) -> bool:
    """Try to bind as Dask will, and say whether something else has the port."""
    family, kind, protocol, _, address = bind_address(host, port)
    with socket.socket(family, kind, protocol) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        try:
            probe.bind(address)
            probe.listen(1)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return True
            raise PortHeldError(
                error.errno, f"cannot listen on {host_port(host, port)}: {error.strerror}"
            ) from error
    return False


def bind_address(host: str, port: int) -> tuple:
    """Resolve a listen address to what ``socket.bind`` takes."""
    try:
        return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    except socket.gaierror as error:
        raise PortHeldError(
            errno.EADDRNOTAVAIL, f"cannot listen on {host_port(host, port)}: {error.strerror}"
        ) from error


def import_modules(names: tuple[str, ...]) -> None:
    """Import the modules that the user wants preloaded, and say which of them fail.

    A module that is missing costs speed or a later task, but it must not keep a worker
    from starting: whatever its import raises is reported, not passed on.
    """
    for name in names:
        try:
            importlib.import_module(name)
        except (Exception, SystemExit) as error:  # noqa: BLE001, PERF203
            print(
                f"preload: cannot import {name!r}: {type(error).__name__}: {error}. The processes "
                "start without it; add it to the environment, or take it out of fleet.yaml",
                file=sys.stderr,
                flush=True,
            )
