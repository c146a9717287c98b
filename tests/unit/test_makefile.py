"""What `make` would do is what CONTRIBUTING.md says."""

from __future__ import annotations

import os
import subprocess

import pytest

from tests.conftest import REPOSITORY

FAULTS = "tests/integration/test_faults.py -k 'scheduler or drift'"


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
    ("words", "suites"),
    [
        (["test"], "test"),
        (["test", f"TESTS={FAULTS}"], f'test --only "{FAULTS}"'),
        (["test-all"], "all"),
        (["test-unit"], "unit"),
        (["test-vms"], "vms"),
        (["test-vms-door"], "vms-door"),
        (["test-guests"], "guests"),
    ],
    ids=" ".join,
)
def test_which_suites_run(words: list[str], suites: str):
    (line,) = [line for line in would(*words) if " -m tests.suites " in line]
    assert line.partition(" -m tests.suites ")[2].rstrip() == suites


@pytest.mark.parametrize("goal", ["demo", "test"])
def test_what_takes_long_says_first_what_it_downloads_and_how_long_it_takes(goal: str):
    first = would(goal)[0]
    assert first.startswith("echo ")
    assert "downloads about" in first
    assert "minutes" in first


def test_the_example_of_contributing_is_one_of_these():
    text = (REPOSITORY / "CONTRIBUTING.md").read_text(encoding="utf-8")
    assert f'`make test TESTS="{FAULTS}"`' in text


@pytest.mark.parametrize(("words", "number"), [([], "5"), (["HOSTS=8"], "8")], ids=str)
def test_how_many_hosts_the_lab_boots(words: list[str], number: str):
    (line,) = [line for line in would("lab", *words) if " -m lab up" in line]
    assert line.endswith(f" -m lab up --hosts {number}")
