"""What is installed from a wheel is whole: it works outside of a checkout."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import uv

from tests.conftest import REPOSITORY
from tests.integration.conftest import Desk, fleet_text, free_ports


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("wheel")
    command = [uv.find_uv_bin(), "build", "--quiet", "--wheel", "--out-dir", str(place)]
    subprocess.run([*command, str(REPOSITORY)], check=True, timeout=120)
    (built,) = place.glob("*.whl")
    return built


def test_a_wheel_holds_all_that_is_run_on_hosts_and_every_lock(wheel: Path) -> None:
    source = REPOSITORY / "src"
    wanted = {
        str(path.relative_to(source))
        for pattern in ("**/*.py", "**/*.lock", "py.typed")
        for path in (source / "dask_fleet").glob(pattern)
    }
    with zipfile.ZipFile(wheel) as archive:
        assert wanted <= set(archive.namelist())


def test_an_installed_wheel_brings_a_fleet_up(desk: Desk, wheel: Path, tmp_path: Path) -> None:
    place = tmp_path / "venv"
    program = uv.find_uv_bin()
    subprocess.run(
        [program, "venv", "--quiet", "--python", sys.executable, str(place)], check=True, timeout=60
    )
    install = [program, "pip", "install", "--quiet", "--python", str(place / "bin" / "python")]
    subprocess.run([*install, str(wheel)], check=True, timeout=120)
    desk.interpreter = str(place / "bin" / "python")
    desk.declare(fleet_text("installed", free_ports(40), workers=1))
    assert "1 worker registered" in desk.call("up", "--yes").out
    assert desk.all_running()
    desk.call("plan")
