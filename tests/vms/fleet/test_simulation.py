"""The simulated hosts of the benchmarks say what booted ones say."""

from __future__ import annotations

import asyncio
import json
import os
import re
from pathlib import Path

from benchmarks.simulation.answers import look_text

from dask_fleet.assembly import open_fleet
from dask_fleet.observer import look_command
from dask_fleet.runtimes.systemd import SystemdRuntime
from tests.vms.operator import Operator

OF_THE_MACHINE = {"cgroup_memory_kib"}
OF_THE_PROCESS = ("pid", "started", "start_ticks", "restarts", "versions")


async def looks(path: Path) -> dict[str, tuple[str, str]]:
    """Return what each host said, and what it would say if it were simulated."""
    fleet = open_fleet(path, os.environ)
    try:
        found: dict[str, tuple[str, str]] = {}
        for target in fleet.targets(await fleet.look()):
            access = fleet.hosts[target.host]
            assert isinstance(access.runtime, SystemdRuntime)
            said = await access.transport.run(look_command(access))
            found[target.host] = said.stdout, look_text(target, access.runtime)
        return found
    finally:
        await fleet.close()


def sections(text: str) -> dict[str, list[str]]:
    parts: dict[str, list[str]] = {}
    for part in text.split("#### ")[1:]:
        name, *lines = part.splitlines()
        parts.setdefault(name, []).extend(line for line in lines if line)
    return parts


def normalised(text: str) -> dict[str, list[str]]:
    """Return a look without what differs from host to host and from start to start."""
    parts = sections(text)
    keys = {line.split()[0] for line in parts["facts"]}
    parts["facts"] = sorted(keys - OF_THE_MACHINE)
    parts["listeners"] = sorted(line.split()[0] for line in parts["listeners"])
    parts["files"].sort()
    parts["records"] = [record(line) for line in parts["records"]]
    changing = r"(MainPID=|NRestarts=|systemd )\d+"
    parts["runtime"] = [re.sub(changing, r"\1N", line) for line in parts["runtime"]]
    return parts


def record(line: str) -> str:
    if line.startswith("stat "):
        return f"stat with {len(line.rpartition(')')[2].split())} fields"
    value = json.loads(line)
    for key in OF_THE_PROCESS:
        value[key] = type(value[key]).__name__
    return json.dumps(value, sort_keys=True)


def test_a_simulated_host_says_what_a_booted_one_says(fleet: Operator):
    found = asyncio.run(looks(fleet.folder / "fleet.yaml"))
    assert set(found) == {host.name for host in fleet.lab.hosts}
    for real, simulated in found.values():
        assert normalised(simulated) == normalised(real)
