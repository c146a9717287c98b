"""What is installed from a wheel is whole: it works outside of a checkout."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import uv

from tests.conftest import REPOSITORY
from tests.integration.conftest import Desk, fleet_text, free_ports
from tests.namespace import outside


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("wheel")
    command = [uv.find_uv_bin(), "build", "--quiet", "--wheel", "--out-dir", str(place)]
    with outside():  # hatchling comes from an index
        subprocess.run([*command, str(REPOSITORY)], check=True, timeout=120)
    (built,) = place.glob("*.whl")
    return built


def test_a_wheel_holds_all_that_is_run_on_hosts_and_every_lock(wheel: Path) -> None:
    source = REPOSITORY / "src"
    wanted = {
        str(path.relative_to(source))
        for pattern in ("**/*.py", "**/*.lock", "host/fleet_console/assets/*", "py.typed")
        for path in (source / "dask_fleet").glob(pattern)
    }
    with zipfile.ZipFile(wheel) as archive:
        assert wanted <= set(archive.namelist())


@pytest.fixture
def installed(wheel: Path, tmp_path: Path) -> Callable[..., Path]:
    """Install the wheel, and what else is named, into an environment of its own."""

    def install(*packages: str) -> Path:
        place = tmp_path / "venv"
        program = uv.find_uv_bin()
        make = [program, "venv", "--quiet", "--python", sys.executable, str(place)]
        subprocess.run(make, check=True, timeout=120)
        python = place / "bin" / "python"
        add = [program, "pip", "install", "--quiet", "--python", str(python)]
        with outside():
            subprocess.run([*add, str(wheel), *packages], check=True, timeout=120)
        return python

    return install


def test_an_installed_wheel_brings_a_fleet_up(desk: Desk, installed: Callable[..., Path]) -> None:
    desk.interpreter = str(installed())
    desk.declare(fleet_text("installed", free_ports(40), workers=1))
    assert "1 worker registered" in desk.call("up", "--yes").out
    assert desk.all_running()
    desk.call("plan")


@pytest.mark.parametrize("dask", ["dask==2023.5.0", "dask"])
def test_it_plugs_into_old_and_new_dask_and_imports_neither_distributed_nor_xcube(
    desk: Desk, installed: Callable[..., Path], dask: str
) -> None:
    python = installed(dask)
    absent = "import importlib.util as u; print(u.find_spec('distributed') or u.find_spec('xcube'))"
    command = [str(python.with_name("dask")), "fleet"]
    for words in ([str(python), "-c", absent], [*command, "--help"], [*command, "check"]):
        said = desk.run(*words)
        assert said.startswith(("None", "Usage: dask fleet", "fleet local is well"))
