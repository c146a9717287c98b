"""What `make` would do is what CONTRIBUTING.md says."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
FAULTS = "tests/integration/test_faults.py -k scheduler"
BOXES = "tests/containers/test_faults.py -k boots"
GUESTS = "tests/guests/test_docker.py -k nfs"
IN_A_LAB = ("tests/vms", "tests/containers", "tests/podman", "tests/guests")
PODS = "tests/podman/test_podman.py -k root"
UP = "tests/vms/test_up.py -k 'drift or limit'"


def would(*words: str) -> list[str]:
    """Return the commands that `make` would run, whatever a `make` around these tests was told."""
    dropped = ("MAKEFLAGS", "MAKELEVEL", "MFLAGS", "MAKEOVERRIDES", "TESTS", "HOSTS")
    environ = {name: value for name, value in os.environ.items() if name not in dropped}
    argv = ["make", "--dry-run", "--no-print-directory", *words]
    done = subprocess.run(
        argv, cwd=REPOSITORY, env=environ, capture_output=True, text=True, check=True
    )
    return done.stdout.splitlines()


@pytest.mark.parametrize(
    ("words", "outside", "inside"),
    [
        (
            ["test"],
            [" ".join(f"--ignore={folder}" for folder in IN_A_LAB)],
            list(IN_A_LAB),
        ),
        (["test", f"TESTS={FAULTS}"], [FAULTS], []),
        (["test", f"TESTS={UP}"], [], [UP]),
        (["test", f"TESTS={BOXES}"], [], [BOXES]),
        (["test", f"TESTS={PODS}"], [], [PODS]),
        (["test", f"TESTS={GUESTS}"], [], [GUESTS]),
        (["test-vms"], [], ["tests/vms"]),
        (["test-podman"], [], ["tests/podman"]),
        (["test-guests"], [], ["tests/guests"]),
        (["test-containers"], [], ["tests/containers"]),
        (["test-containers", f"TESTS={BOXES}"], [], [BOXES]),
        (["test-vms", f"TESTS={UP}"], [], [UP]),
        (["test-unit"], ["tests/unit"], []),
    ],
    ids=" ".join,
)
def test_which_tests_run_and_which_of_them_in_the_lab(
    words: list[str], outside: list[str], inside: list[str]
):
    lines = "\n".join(would(*words)).replace("\\\n", "").splitlines()
    pytests = [line.partition(" -m pytest ") for line in lines if " -m pytest " in line]
    assert [tests for before, _, tests in pytests if " -m lab " not in before] == outside
    assert [tests for before, _, tests in pytests if " -m lab " in before] == inside


def test_the_example_of_contributing_is_one_of_these():
    text = (REPOSITORY / "CONTRIBUTING.md").read_text(encoding="utf-8")
    assert f'`make test TESTS="{FAULTS}"`' in text


@pytest.mark.parametrize(("words", "number"), [([], "5"), (["HOSTS=8"], "8")], ids=str)
def test_how_many_hosts_the_lab_boots(words: list[str], number: str):
    (line,) = [line for line in would("lab", *words) if " -m lab up" in line]
    assert line.endswith(f" -m lab up --hosts {number}")
