"""systemd itself reads our service files; it needs the Debian package systemd."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from dask_fleet.places import Places
from tests.unit.simulator import ENVIRONMENT
from tests.unit.test_systemd_runtime import CASES, ODD_ROOT, Case


def interpreter(root: str) -> Path:
    return Path(Places.below(root, root, "sst").interpreter(ENVIRONMENT.digest))


def verify(text: str, path: Path) -> str:
    """Return what systemd has to say about a service file: its complaints, if any."""
    assert shutil.which("systemd-analyze"), "the Debian package systemd is needed"
    path.write_text(text, encoding="utf-8")
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(path)],
        capture_output=True,
        text=True,
        timeout=120,
    )
    said = [line for line in done.stderr.splitlines() if path.name in line or str(path) in line]
    return "\n".join(said) or ("" if done.returncode == 0 else done.stderr)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_systemd_accepts_a_service_file_and_finds_its_program(case: Case, tmp_path: Path):
    # The program has to be there, and systemd has to read its odd path as we mean it.
    root = f"{tmp_path}{ODD_ROOT}" if case.root == ODD_ROOT else str(tmp_path)
    program = interpreter(root)
    program.parent.mkdir(parents=True)
    program.symlink_to("/bin/true")
    assert verify(case.text(root), tmp_path / f"{case.name}.service") == ""


def test_it_would_say_what_is_wrong(tmp_path: Path):
    root = str(tmp_path)
    path = tmp_path / "wrong.service"
    assert "not executable" in verify(CASES[0].text(root), path)
    program = interpreter(root)
    program.parent.mkdir(parents=True)
    program.symlink_to("/bin/true")
    text = CASES[0].text(root)
    assert verify(text, path) == ""
    assert "'Restrat'" in verify(text.replace("Restart=", "Restrat="), path)
