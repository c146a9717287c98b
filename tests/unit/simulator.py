"""A host that exists only in memory: files, environments, supervisord, units, records.

It behaves like the real ones where it matters to a plan. supervisord keeps the definitions that
it has read until it is told to read them again; a unit keeps running from the files that lay
there when it started, and its record says which digest that was; WriteFiles installs one file
after the other and may be interrupted between two of them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from dask_fleet.actions import (
    Action,
    BuildEnvironment,
    Plan,
    RemoveFleet,
    RestartUnits,
    StartRuntime,
    StopProcesses,
    StopRuntime,
    UpdateUnits,
    WriteFiles,
)
from dask_fleet.desired import host_target
from dask_fleet.environment import Environment
from dask_fleet.layout import Layout, lay_out
from dask_fleet.observed import HostObserved, ProcessRecord, RuntimeObserved, UnitObserved
from dask_fleet.places import Places
from dask_fleet.planner import plan_down, plan_up
from dask_fleet.runtimes.base import Runtime
from dask_fleet.runtimes.supervisor import SupervisorRuntime
from dask_fleet.spec import parse
from dask_fleet.target import HostTarget, ManagedFile

HOST = "localhost"
RUNTIME = SupervisorRuntime("/usr/bin/python3", (("HOME", "/home/operator"),))
PLACES = Places.below("/var/state", "/var/data", "sst")
LAUNCHER = {"launch.py": b"print('launch')\n", "fleet_unit.py": b"unit = 1\n"}
ENVIRONMENT = Environment("xcube", "3.11", "0" * 16, "dask==2024.1.0\n")

SPEC = """\
name: sst
hosts:
  localhost: {address: 127.0.0.1, memory: 16 GiB, cpus: 8}
scheduler: {host: localhost, port: 8786, dashboard: 8787}
workers:
  default:
    hosts: [localhost]
    per_host: 2
    nthreads: 1
    memory_limit: 1 GiB
    ports: {worker: 9010, nanny: 9011, dashboard: 9012, step: 10}
"""

SECOND_GROUP = """\
  big:
    hosts: [localhost]
    per_host: 1
    nthreads: 4
    memory_limit: 4 GiB
    prefix: dask-big
    ports: {worker: 9210, nanny: 9211, dashboard: 9212, step: 10}
"""


def layout_of(spec: str = SPEC) -> Layout:
    return lay_out(parse(spec, {}))


def target_of(
    spec: str = SPEC,
    *,
    launcher: Mapping[str, bytes] = LAUNCHER,
    environment: Environment = ENVIRONMENT,
    places: Places = PLACES,
    runtime: Runtime = RUNTIME,
    inventory: bytes | None = None,
) -> HostTarget:
    layout = layout_of(spec)
    return host_target(layout, HOST, environment, places, runtime, launcher, inventory=inventory)


@dataclass
class Running:
    """A process of a unit: the definition and the unit file that it was started from."""

    pid: int
    definition: bytes
    unit_file: bytes

    @property
    def digest(self) -> str:
        """As the launcher records it (`fleet_status.base_record`)."""
        own = str(json.loads(self.unit_file)["digest"])
        found = re.search(r'DASK_FLEET_DIGEST="?(\w+)"', self.definition.decode())
        assert found is not None
        return own if found[1] == own else f"{found[1]}+{own}"


@dataclass
class Supervisord:
    pid: int
    configuration: bytes
    definitions: dict[str, bytes]
    silent: bool = False


@dataclass
class SimulatedHost:
    """What is on a host, and what actions and accidents do to it."""

    runtime: ClassVar[Runtime] = RUNTIME
    places: ClassVar[Places] = PLACES

    files: dict[str, ManagedFile] = field(default_factory=dict[str, ManagedFile])
    environments: set[str] = field(default_factory=set[str])
    supervisord: Supervisord | None = None
    processes: dict[str, Running] = field(default_factory=dict[str, Running])
    states: dict[str, str] = field(default_factory=dict[str, str])
    exists: bool = False
    pids: int = 100

    # What is asked.

    def observe(self) -> HostObserved:
        return HostObserved(
            host=HOST,
            facts={"clock": "1000"},
            exists=self.exists,
            files={path: file.digest for path, file in self.files.items()},
            unit_files={
                path: parsed(file.content) for path, file in self.files.items() if "/units/" in path
            },
            environments=frozenset(self.environments),
            records={
                name: ProcessRecord(
                    name, name, "workers", running.pid, 900.0, 0, running.digest, {}, alive=True
                )
                for name, running in self.processes.items()
            },
            runtime=self._runtime(),
            listeners=(),
        )

    def _runtime(self) -> RuntimeObserved:
        daemon = self.supervisord
        units: dict[str, UnitObserved] = {}
        if daemon is not None and not daemon.silent:
            for name in daemon.definitions:
                running = self.processes.get(name)
                units[name] = UnitObserved(
                    name,
                    "running" if running else self.states.get(name, "stopped"),  # type: ignore[arg-type]
                    running.pid if running else 0,
                    f"pid {running.pid}" if running else "Not started",
                )
        return RuntimeObserved(
            alive=daemon is not None and not daemon.silent,
            pid=daemon.pid if daemon else 0,
            units=units,
        )

    def plan(self, target: HostTarget) -> Plan:
        return plan_up([target], {HOST: self.observe()}, {HOST: self.runtime})

    def plan_down(self) -> Plan:
        return plan_down({HOST: self.observe()}, {HOST: self.runtime}, {HOST: self.places})

    def differs_from(self, target: HostTarget) -> list[str]:
        """Return what a person who looked very closely would find wrong; no plan can see it all."""
        wrong: list[str] = []
        content = {file.path: file.content for file in target.files}
        if {path: file.content for path, file in self.files.items()} != content:
            wrong.append("files")
        if target.environment.digest not in self.environments:
            wrong.append("environment")
        daemon = self.supervisord
        if daemon is None or daemon.silent:
            return [*wrong, "no supervisord"]
        if daemon.configuration != content[f"{self.places.deployed}/supervisord.conf"]:
            wrong.append("supervisord runs on another configuration")
        if set(self.processes) != {unit.name for unit in target.units}:
            wrong.append(f"runs {sorted(self.processes)}")
        for unit in target.units:
            definition = content[f"{self.places.deployed}/programs/{unit.name}.conf"]
            running = self.processes.get(unit.name)
            if running is not None:
                if running.unit_file != content[unit.path]:
                    wrong.append(f"{unit.name} runs from another unit file")
                if running.definition != definition:
                    wrong.append(f"{unit.name} runs from another definition")
        return wrong

    # What acts.

    def apply(self, plan: Plan) -> None:
        for _ in self.steps(plan):
            pass

    def steps(self, plan: Plan) -> Iterator[None]:
        """Do what a plan says and yield wherever it may be interrupted."""
        for phase in plan.phases:
            for action in phase:
                yield from self._do(action)

    def _do(self, action: Action) -> Iterator[None]:
        self.exists = True  # the journal lies there
        yield
        match action:
            case BuildEnvironment(environment=environment):
                self.environments.add(environment.digest)
            case WriteFiles(files=files, removed=removed):
                for file in files:
                    self.files[file.path] = file
                    yield
                for path in removed:
                    del self.files[path]
                    yield
            case StopProcesses(processes=processes):
                for name, pid in processes:
                    assert self.processes.pop(name).pid == pid
                    yield
            case StopRuntime():
                assert self.supervisord is not None, "there is nothing to stop"
                self.supervisord = None
                self.processes.clear()
                self.states.clear()
            case StartRuntime(units=units):
                assert self.supervisord is None, "another supervisord listens on the socket"
                assert not self.processes, "the ports are held by what runs already"
                definitions = self._programs()
                assert set(units) == set(definitions)
                self.supervisord = Supervisord(
                    self._pid(), self._content("supervisord.conf"), definitions
                )
                for name in definitions:
                    self._start(name)
            case UpdateUnits(units=units):
                yield from self._update(units)
            case RestartUnits(units=units):
                for name in units:
                    self._start(name)
                    yield
            case RemoveFleet():
                assert self.supervisord is None
                assert not self.processes
                self.files.clear()
                self.exists = False
        yield

    def _update(self, units: tuple[str, ...]) -> Iterator[None]:
        daemon = self.supervisord
        assert daemon is not None
        assert not daemon.silent
        programs = self._programs()
        assert set(units) <= set(programs) | set(daemon.definitions), "no such group"
        for name in units:
            if name in programs:
                daemon.definitions[name] = programs[name]
                self._start(name)
            else:
                del daemon.definitions[name]
                self.processes.pop(name, None)
            yield

    def _start(self, name: str) -> None:
        daemon = self.supervisord
        assert daemon is not None
        release = json.loads(self._content(f"units/{name}.json"))["release"]
        assert release in self.environments, "there is no such interpreter"
        self.states.pop(name, None)
        self.processes[name] = Running(
            self._pid(), daemon.definitions[name], self._content(f"units/{name}.json")
        )

    def _pid(self) -> int:
        self.pids += 1
        return self.pids

    def _content(self, name: str) -> bytes:
        return self.files[f"{self.places.deployed}/{name}"].content

    def _programs(self) -> dict[str, bytes]:
        start = f"{self.places.deployed}/programs/"
        return {
            path.removeprefix(start).removesuffix(".conf"): file.content
            for path, file in self.files.items()
            if path.startswith(start)
        }

    # What happens to it.

    def kill_supervisord(self) -> None:
        self.supervisord = None
        self.states.clear()

    def reboot(self) -> None:
        self.supervisord = None
        self.processes.clear()
        self.states.clear()

    def hang(self) -> None:
        if self.supervisord is not None:
            self.supervisord.silent = True

    def start_again(self, name: str) -> None:
        """Let supervisord start a unit again, from whatever files lie there now."""
        unit_file = self.files.get(f"{self.places.deployed}/units/{name}.json")
        known = self.supervisord is not None and name in self.supervisord.definitions
        if known and unit_file and parsed(unit_file.content).get("release") in self.environments:
            self._start(name)

    def set_state(self, name: str, state: str) -> None:
        if self.supervisord is not None and name in self.supervisord.definitions:
            self.processes.pop(name, None)
            self.states[name] = state

    def edit(self, name: str, content: bytes = b"edited\n") -> None:
        path = f"{self.places.deployed}/{name}"
        if path in self.files:
            self.files[path] = ManagedFile(path, content)

    def add(self, name: str, content: bytes = b"stray\n") -> None:
        path = f"{self.places.deployed}/{name}"
        self.files[path] = ManagedFile(path, content)
        self.exists = True


def parsed(content: bytes) -> dict[str, Any]:
    try:
        return dict(json.loads(content))
    except (ValueError, TypeError):
        return {}


def up(target: HostTarget | None = None) -> SimulatedHost:
    """Return a host on which a fleet is up."""
    host = SimulatedHost()
    target = target or target_of()
    host.apply(host.plan(target))
    return host
