"""What the documentation tells a newcomer to type is typed here, on a real fleet."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import click
import pytest

from dask_fleet.cli import fleet
from tests.conftest import REPOSITORY
from tests.integration.conftest import Desk, eventually, free_ports

TUTORIAL = (REPOSITORY / "docs" / "tutorial.md").read_text(encoding="utf-8")
COMMANDS = fleet.list_commands(click.Context(fleet))


def block(kind: str, holding: str) -> str:
    """Return the first fenced block of a kind in the tutorial that holds this text."""
    found: list[str] | None = None
    for line in TUTORIAL.splitlines(keepends=True):
        if found is None and line.startswith("```"):
            found, opened = [], line.strip("`\n")
        elif found is not None and line == "```\n":
            if opened == kind and holding in "".join(found):
                return "".join(found)
            found = None
        elif found is not None:
            found.append(line)
    pytest.fail(f"the tutorial has no block of {kind or 'output'} with {holding!r}")


def shell(desk: Desk, text: str, *, status: int = 0) -> str:
    """Run a block of the tutorial as it stands and return what it printed."""
    path = os.pathsep.join([str(Path(sys.executable).parent), desk.environ["PATH"]])
    done = subprocess.run(
        ["bash", "-c", text],
        cwd=desk.directory,
        env={**desk.environ, "PATH": path},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=240,
    )
    assert done.returncode == status, f"{text}\nended with {done.returncode}\n{done.stdout}"
    return done.stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(desk: Desk, command: str) -> None:
    text = desk.call(command, "--help").out
    assert text.startswith(f"Usage: dask-fleet {command}")
    assert "Traceback" not in text


def test_the_tutorial_from_beginning_to_end(desk: Desk) -> None:
    written = desk.directory / "fleet.yaml"

    # Declare: as in the tutorial, but on ports that are free here.
    shell(desk, block("sh", "dask fleet init").split("dask fleet check")[0])
    base = free_ports(60, start=28000)
    text = written.read_text(encoding="utf-8")
    for default, own in (
        ("port: 8786", f"port: {base}"),
        ("dashboard: 8787", f"dashboard: {base + 1}"),
        ("worker: 9010", f"worker: {base + 10}"),
        ("nanny: 9011", f"nanny: {base + 11}"),
        ("dashboard: 9012", f"dashboard: {base + 12}"),
    ):
        assert text.count(default) == 1, default
        text = text.replace(default, own)
    desk.declare(text)
    assert "fleet first is well declared: 1 host, 4 workers" in shell(desk, "dask fleet check")

    # Bring it up.
    planned = shell(desk, block("sh", "dask fleet plan\n"), status=2)
    shown = block("", "it is not there (4 workers")
    for line in shown.splitlines():
        assert line in planned
    up = "dask fleet up\n"
    assert block("sh", up) == up
    assert "4 workers registered" in shell(desk, "dask fleet up --yes")  # nobody is here to ask
    assert "nothing to do" in shell(desk, "dask fleet up --yes")
    listed = shell(desk, block("sh", "dask fleet status\n"))
    assert f"{base + 20}/{base + 21}/{base + 22}" in listed

    # Compute.
    (desk.directory / "client.py").write_text(block("python", "import dask.array"))
    assert shell(desk, block("sh", "client.py")) == block("", "mean 0.5")

    # Change it.
    text = text.replace("nthreads: auto", "nthreads: 2")
    desk.declare(text)
    before = desk.rows()
    plan = shell(desk, "dask fleet plan", status=2)
    assert "nthreads" in plan
    shell(desk, "dask fleet up --yes")
    after = desk.rows()
    assert after["dask-scheduler"]["pid"] == before["dask-scheduler"]["pid"]
    assert after["dask-worker-0001"]["nthreads"] == 2

    # Hurt it.
    victim = after["dask-worker-0002"]["pid"]
    shell(desk, block("sh", "kill -9"))
    eventually(
        lambda: (
            (row := desk.rows()["dask-worker-0002"])["state"] == "running"
            and row["pid"] != victim
            and row["restarts"] == 1
        ),
        within=120,
        what="the worker is back",
    )
    told = shell(desk, "dask fleet logs dask-worker-0002 dask-workers-default -n 200")
    assert f"Worker process {victim} was killed by signal 9" in told
    assert {line.split(" | ")[0] for line in told.splitlines()} >= {
        "dask-worker-0002",
        "dask-workers-default",
    }

    # Make a data cube with xcube.
    (desk.directory / "make_inputs.py").write_text(block("python", "to_netcdf"))
    (desk.directory / "gen.yaml").write_text(block("yaml", "input_processor"))
    cube = 'eval "$(dask fleet env)"\n' + block("sh", "make_inputs.py")
    assert "INPUT is a valid cube." in shell(desk, cube)
    means = shell(
        desk,
        'eval "$(dask fleet env)"\n"$DASK_FLEET_PYTHON" -c "'
        "import xarray as x; d = x.open_zarr('cube.zarr').sst;"
        " print(d.shape, *d.mean(('lat', 'lon')).values.round(1))\"",
    )
    assert means.startswith("(3, 180, 320) ")
    first, second, third = map(float, means.rpartition(") ")[2].split())
    assert 300 < first < second < third < 320

    # Take it down.
    shell(desk, "dask fleet down --yes")
    assert desk.processes() == []
