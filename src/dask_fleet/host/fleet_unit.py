"""The unit file: what one launcher has to start, as frozen values."""

# os.path: importing pathlib would cost every start and every labeller some milliseconds.
# ruff: noqa: PTH123

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

__all__ = ["SchedulerUnit", "UnitError", "WorkerEntry", "WorkersUnit", "read_unit"]


class UnitError(Exception):
    """The unit file or the environment is unusable; restarting does not help."""


@dataclass(frozen=True)
class WorkerEntry:
    """One worker of a unit, with exactly the ports that it must have."""

    name: str
    listen: str
    contact: str
    port: int
    nanny_port: int
    dashboard_port: int
    nthreads: int
    memory_limit: int
    directory: str
    resources: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class SchedulerUnit:
    """The scheduler's process."""

    name: str
    digest: str
    run_directory: str
    configuration: str | None
    environment: dict[str, str]
    preload: tuple[str, ...]
    listen: str
    contact: str
    port: int
    dashboard_port: int
    role: str = "scheduler"


@dataclass(frozen=True)
class WorkersUnit:
    """One process with the nannies of several workers.

    ``patience`` is the number of seconds during which a worker that does not start is
    started again, before the whole unit gives up and exits.
    """

    name: str
    digest: str
    run_directory: str
    configuration: str | None
    environment: dict[str, str]
    preload: tuple[str, ...]
    scheduler: str
    workers: tuple[WorkerEntry, ...]
    patience: float = 40.0
    role: str = "workers"


Unit = SchedulerUnit | WorkersUnit

_MISSING = object()


class _Fields:
    """Takes keys out of a JSON object, checks them, and collects all faults."""

    def __init__(self, where: str, data: Any, faults: list[str]) -> None:
        self.where = where
        self.faults = faults
        self.data: dict[str, Any] = dict(data) if isinstance(data, dict) else {}
        if not isinstance(data, dict):
            faults.append(f"{where or 'the file'} is not a JSON object")

    def path(self, key: str) -> str:
        return f"{self.where}.{key}" if self.where else key

    def take(
        self,
        key: str,
        kind: type | tuple[type, ...],
        default: Any = _MISSING,
        *,
        secret: bool = False,
    ) -> Any:
        """Return the value of a key; what is wrong with a ``secret`` one is said without it."""
        value = self.data.pop(key, default)
        path = self.path(key)
        if value is _MISSING:
            self.faults.append(f"{path} is missing")
            return None
        # bool is an int for Python, but not for a port.
        if value is not default and (not isinstance(value, kind) or isinstance(value, bool)):
            kinds = kind if isinstance(kind, tuple) else (kind,)
            wanted = " or ".join(k.__name__ for k in kinds)
            is_ = type(value).__name__ if secret else repr(value)
            self.faults.append(f"{path} must be {wanted}, not {is_}")
            return None
        return value

    def port(self, key: str) -> int:
        value = self.take(key, int)
        if isinstance(value, int) and not 0 < value < 65536:
            self.faults.append(f"{self.path(key)} is no port: {value}")
        return value

    def name(self) -> str:
        value = self.take("name", str)
        # The name becomes a file name and a label.
        if isinstance(value, str) and (
            not value or not all(c.isalnum() or c in "-_." for c in value) or value[0] == "."
        ):
            self.faults.append(f"{self.path('name')} is unusable: {value!r}")
        return value

    def end(self) -> None:
        for key in self.data:
            self.faults.append(f"unknown key {self.path(key)}")


def read_unit(path: str) -> Unit:
    """Read and check a unit file.

    Raises
    ------
    UnitError
        With one line that names the file, all its faults, and the remedy.
    """
    remedy = "write it again with: dask fleet up"
    try:
        with open(path, encoding="utf-8") as stream:
            data = json.load(stream)
    except OSError as error:
        raise UnitError(f"cannot read unit file {path}: {error.strerror}; {remedy}") from error
    except ValueError as error:
        raise UnitError(f"unit file {path} is not JSON: {error}; {remedy}") from error
    faults: list[str] = []
    unit = _parse(data, faults)
    if unit is None or faults:
        raise UnitError(f"unit file {path} is invalid: {'; '.join(faults)}; {remedy}")
    return unit


def _parse(data: Any, faults: list[str]) -> Unit | None:
    fields = _Fields("", data, faults)
    role = fields.take("role", str)
    if role not in ("scheduler", "workers"):
        faults.append(f"role must be scheduler or workers, not {role!r}")
        return None
    # The values of variables may be secrets, and what is said here goes to the log.
    environment = fields.take("environment", dict, {}, secret=True)
    faults += [
        f"environment.{key} must be str, not {type(value).__name__}"
        for key, value in (environment or {}).items()
        if not isinstance(value, str)
    ]
    preload = fields.take("preload", list, [])
    if any(not isinstance(module, str) for module in preload or []):
        faults.append(f"preload must be a list of names of modules, not {preload!r}")
    # The digest of the environment; it stands there for people and for plans.
    fields.take("release", str, None)
    common: dict[str, Any] = {
        "name": fields.name(),
        "digest": fields.take("digest", str),
        "run_directory": fields.take("run_directory", str),
        "configuration": fields.take("configuration", str, None),
        "environment": environment,
        "preload": tuple(preload or ()),
    }
    if role == "scheduler":
        unit: Unit = SchedulerUnit(
            **common,
            listen=fields.take("listen", str),
            contact=fields.take("contact", str),
            port=fields.port("port"),
            dashboard_port=fields.port("dashboard_port"),
        )
    else:
        entries = fields.take("workers", list) or []
        if not entries:
            faults.append("workers is empty")
        workers = tuple(_parse_worker(i, entry, faults) for i, entry in enumerate(entries))
        names = [worker.name for worker in workers]
        for name in sorted({n for n in names if n and names.count(n) > 1}):
            faults.append(f"two workers have the name {name!r}")
        unit = WorkersUnit(
            **common,
            scheduler=fields.take("scheduler", str),
            workers=workers,
            patience=fields.take("patience", (int, float), 40.0),
        )
    fields.end()
    return unit


def _parse_worker(index: int, data: Any, faults: list[str]) -> WorkerEntry:
    fields = _Fields(f"workers[{index}]", data, faults)
    entry = WorkerEntry(
        name=fields.name(),
        listen=fields.take("listen", str),
        contact=fields.take("contact", str),
        port=fields.port("port"),
        nanny_port=fields.port("nanny_port"),
        dashboard_port=fields.port("dashboard_port"),
        nthreads=fields.take("nthreads", int),
        memory_limit=fields.take("memory_limit", int),
        directory=fields.take("directory", str),
        resources=fields.take("resources", dict, {}),
    )
    fields.end()
    return entry
