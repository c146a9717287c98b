"""A host under systemd that exists only in memory.

Its systemd behaves like the one of the recorded answers (``data/systemd``): it keeps the
definitions that it has read until it reads all of them again, a process runs on from the
definition that it was started from, a unit whose file was away while files were read is one that
it has no definition of, and it starts enabled units at boot. What it would print is read by the
runtime itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import ClassVar

from dask_fleet.actions import (
    Action,
    BuildEnvironment,
    PrepareHost,
    RemoveFleet,
    RestartUnits,
    StopRuntime,
    UpdateUnits,
    WriteFiles,
)
from dask_fleet.observed import RuntimeObserved
from dask_fleet.places import Places
from dask_fleet.runtimes.base import Runtime
from dask_fleet.runtimes.systemd import SystemdRuntime
from dask_fleet.target import HostTarget, ManagedFile
from tests.unit.simulator import Running, SimulatedHost, parsed

SYSTEMD = SystemdRuntime("sst")
SYSTEM_PLACES = Places.below("/var/lib/dask-fleet", "/var/lib/dask-fleet", "sst")
PREFIX = "/etc/systemd/system/dask-fleet.sst."

_ACTIVE = {"crashing": ("activating", "auto-restart"), "starting": ("activating", "start")}


@dataclass
class SystemdHost(SimulatedHost):
    """What is on a host under systemd, and what actions and accidents do to it.

    Attributes
    ----------
    loaded : dict
        The definitions as systemd has them in mind; empty ones are of units that it runs and
        whose file was away when it read all files.
    enabled : set
        Units that it starts at boot.
    ready : bool
        Whether the user and the directories of the fleet are there.
    strangers : bool
        Whether somebody else has let systemd read its files again.
    """

    runtime: ClassVar[Runtime] = SYSTEMD
    places: ClassVar[Places] = SYSTEM_PLACES

    loaded: dict[str, bytes] = field(default_factory=dict[str, bytes])
    enabled: set[str] = field(default_factory=set[str])
    ready: bool = False
    strangers: bool = False

    def _definition(self, name: str) -> bytes | None:
        """Return what systemd would read of a unit now: its file and its drop-ins."""
        path = f"{PREFIX}{name}.service"
        if path not in self.files:
            return None
        drop_ins = sorted(other for other in self.files if other.startswith(f"{path}.d/"))
        return b"".join(self.files[one].content for one in (path, *drop_ins))

    def _services(self) -> list[str]:
        """Return the units whose file is there."""
        inside = (path.removeprefix(PREFIX) for path in self.files if path.startswith(PREFIX))
        return [name.removesuffix(".service") for name in inside if name.endswith(".service")]

    # What is asked.

    def _runtime(self) -> RuntimeObserved:
        lines = [
            f"{file.digest}  {path}" for path, file in self.files.items() if path.startswith(PREFIX)
        ]
        lines += ["login 0", "systemd 252", *(["prepared 1"] if self.ready else [])]
        for name in sorted({*self.loaded, *self._services()}):
            lines += self._shown(name)
        return SYSTEMD.read("\n".join(lines))

    def _shown(self, name: str) -> list[str]:
        """Return what ``systemctl show`` prints; it reads a unit that it does not know yet."""
        there = self._definition(name)
        known = self.loaded.get(name, there)
        running = self.processes.get(name)
        active, sub = _ACTIVE.get(self.states.get(name, ""), ("inactive", "dead"))
        if running:
            active, sub = "active", "running"
        load = "loaded" if known else "not-found" if there is None else "error"
        enabled = "enabled" if name in self.enabled else "disabled"
        if there is None:
            enabled = "bad" if known else ""
        return [
            f"MainPID={running.pid if running else 0}",
            "Result=success",
            "NRestarts=0",
            "ExecMainStatus=0",
            f"Id=dask-fleet.sst.{name}.service",
            f"LoadState={load}",
            f"ActiveState={active}",
            f"SubState={sub}",
            f"UnitFileState={enabled}",
            f"NeedDaemonReload={'yes' if known and known != there else 'no'}",
        ]

    def differs_from(self, target: HostTarget) -> list[str]:
        """Return what a person who looked very closely would find wrong.

        What no plan can see: somebody edits a service file, lets systemd read it and start from
        it, and lets it read once more when an ``up`` that was killed has written the right one.
        """
        wrong: list[str] = []
        content = {file.path: file.content for file in target.files}
        if {path: file.content for path, file in self.files.items()} != content:
            wrong.append("files")
        if target.environment.digest not in self.environments:
            wrong.append("environment")
        if not self.ready:
            wrong.append("no user")
        if set(self.processes) != {unit.name for unit in target.units}:
            wrong.append(f"runs {sorted(self.processes)}")
        for unit in target.units:
            there = self._definition(unit.name)
            if self.loaded.get(unit.name) != there:
                wrong.append(f"systemd has another {unit.name} in mind")
            if unit.name not in self.enabled:
                wrong.append(f"{unit.name} would not start at boot")
            running = self.processes.get(unit.name)
            if running is not None and running.digest != unit.digest:
                wrong.append(f"{unit.name} runs from another digest")
            if running is not None and running.definition != there and not self.strangers:
                wrong.append(f"{unit.name} runs from another definition")
        return wrong

    # What acts.

    def _do(self, action: Action) -> Iterator[None]:
        match action:
            case BuildEnvironment():
                yield from super()._do(action)
            case PrepareHost():
                self.exists = True
                yield
                self.ready = True
            case WriteFiles():
                assert self.ready, "there is no group that could read them"
                yield from super()._do(action)
            case UpdateUnits(units=units):
                yield from self._update(units)
            case RestartUnits(units=units):
                for name in units:
                    self._start(name)
                    yield
            case StopRuntime():
                yield from self._end()
            case RemoveFleet():
                assert not self.processes
                self.files = {p: f for p, f in self.files.items() if p.startswith(PREFIX)}
                self.exists = False
                self.ready = False
            case _:
                raise AssertionError(f"systemd is neither started nor left: {action}")
        yield

    def _update(self, units: tuple[str, ...]) -> Iterator[None]:
        """Do what `update` of the runtime does, step by step."""
        self._read_again()
        yield
        there = [name for name in units if self._definition(name) is not None]
        gone = [name for name in units if name not in there]
        self.enabled.difference_update(gone)
        yield
        for name in gone:
            self.stop(name)
            yield
        if gone:
            self._read_again()
            yield
        self.enabled.update(there)
        yield
        for name in there:
            self._start(name)
            yield

    def _end(self) -> Iterator[None]:
        for name in sorted(self.loaded):
            self.stop(name)
            yield
        self.enabled.clear()
        yield
        for path in [path for path in self.files if path.startswith(PREFIX)]:
            del self.files[path]
            yield
        self._read_again()

    def _read_again(self) -> None:
        for name in {*self.loaded, *self._services()}:
            there = self._definition(name)
            if there is not None or name in self.processes:
                self.loaded[name] = there or b""
            else:
                del self.loaded[name]
                self.states.pop(name, None)

    def _start(self, name: str) -> None:
        """Start a unit from the definition in mind; the launcher reads the unit file."""
        definition = self.loaded.setdefault(name, self._definition(name) or b"")
        self.processes.pop(name, None)
        self.states.pop(name, None)
        unit_file = self.files.get(f"{self.places.deployed}/units/{name}.json")
        release = parsed(unit_file.content).get("release") if unit_file else None
        if definition and unit_file and release in self.environments:
            self.processes[name] = Running(self._pid(), definition, unit_file.content)
        else:
            self.states[name] = "crashing"

    # What happens to it.

    def read_again(self) -> None:
        """Let somebody else, such as a package that is installed, make systemd read its files."""
        self.strangers = True
        self._read_again()

    def stop(self, name: str) -> None:
        self.processes.pop(name, None)
        self.states.pop(name, None)

    def crash(self, name: str) -> None:
        if self.processes.pop(name, None):
            self.states[name] = "crashing"

    def disable(self, name: str) -> None:
        self.enabled.discard(name)

    def start_again(self, name: str) -> None:
        """Let systemd restart a unit, as it does whenever one exits."""
        if name in self.processes and self.loaded[name]:
            self._start(name)

    def reboot(self) -> None:
        self.processes.clear()
        self.states.clear()
        self.loaded.clear()
        for name in self._services():
            if name in self.enabled:
                self._start(name)

    def edit_service(self, name: str) -> None:
        path = f"{PREFIX}{name}.service"
        if path in self.files:
            self.files[path] = ManagedFile(path, self.files[path].content + b"# edited\n")

    def add_drop_in(self, name: str) -> None:
        path = f"{PREFIX}{name}.service.d/override.conf"
        if f"{PREFIX}{name}.service" in self.files:
            self.files[path] = ManagedFile(path, b"[Service]\nNice=5\n")

    def remove_service(self, name: str) -> None:
        self.files.pop(f"{PREFIX}{name}.service", None)

    def remove_state(self) -> None:
        """Remove the fleet's directory; its processes and service files stay."""
        self.files = {p: f for p, f in self.files.items() if p.startswith(PREFIX)}
        self.exists = False
        self.ready = False
