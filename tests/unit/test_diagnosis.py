"""What the doctor found is kept where the fleet is, and nowhere else."""

from __future__ import annotations

import asyncio
import getpass
import json
import subprocess
from pathlib import Path
from typing import cast

import pytest

from dask_fleet.checks.findings import Finding
from dask_fleet.command import Command, Outcome
from dask_fleet.diagnosis import keep
from dask_fleet.observer import HostAccess
from dask_fleet.places import Places
from dask_fleet.runtimes.base import Runtime
from dask_fleet.runtimes.systemd import SystemdRuntime
from dask_fleet.transports.base import Transport
from tests.unit.simulator import RUNTIME

FINDING = Finding("disk", "warning", "vm-1", "it is full", "free some")


class Shell:
    """A transport that runs commands at once, in a shell here."""

    host = "head"

    async def run(self, command: Command, *, check: bool = True) -> Outcome:
        done = subprocess.run(command.argv, input=command.stdin, capture_output=True, check=check)
        return Outcome(0, done.stdout.decode(), "")


def places(folder: Path) -> Places:
    return Places.below(str(folder), str(folder), "sst")


def kept(folder: Path, runtime: Runtime, *findings: Finding) -> Path:
    asyncio.run(keep(HostAccess(cast("Transport", Shell()), runtime, places(folder)), findings))
    return Path(places(folder).findings)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A host on which the fleet is."""
    deployed = Path(places(tmp_path).deployed)
    deployed.mkdir(parents=True)
    (deployed / "inventory.json").write_text("{}")
    return tmp_path


def test_before_the_first_up_nothing_is_left(tmp_path: Path):
    assert not kept(tmp_path, RUNTIME, FINDING).exists()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("runtime", "mode"),
    [(RUNTIME, 0o600), (SystemdRuntime("sst", getpass.getuser()), 0o640)],
    ids=["the operator's own", "of another user"],
)
def test_the_last_findings_are_there_for_who_units_run_as(
    runtime: Runtime, mode: int, folder: Path
):
    kept(folder, runtime, FINDING, FINDING)
    path = kept(folder, runtime, FINDING)
    said = json.loads(path.read_text())
    assert [one["fault"] for one in said["findings"]] == ["it is full"]
    assert "@" in said["who"]
    assert path.stat().st_mode & 0o777 == mode
    assert sorted(one.name for one in path.parent.iterdir()) == ["doctor.json", "etc"]
