"""What the launcher on a host says of a unit file that somebody has edited."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

FILE = Path(__file__).parents[2] / "src" / "dask_fleet" / "host" / "fleet_unit.py"
SECRET = "correct-horse-battery"
NUMBER = 98765432101
UNIT: dict[str, Any] = {
    "role": "scheduler",
    "name": "dask-scheduler",
    "digest": "0123456789abcdef",
    "run_directory": "/run/x",
    "environment": {"S3_SECRET_KEY": SECRET, "OMP_NUM_THREADS": "1"},
    "listen": "127.0.0.1",
    "contact": "127.0.0.1",
    "port": 8786,
    "dashboard_port": 8787,
}


@pytest.fixture(scope="module")
def fleet_unit() -> Iterator[ModuleType]:
    """Return the module, which stands outside of the package: it runs on hosts."""
    spec = importlib.util.spec_from_file_location("fleet_unit", FILE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["fleet_unit"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    yield module
    del sys.modules["fleet_unit"]


def test_what_up_writes_is_read(fleet_unit: ModuleType, tmp_path: Path):
    path = tmp_path / "unit.json"
    path.write_text(json.dumps(UNIT))
    unit = fleet_unit.read_unit(str(path))
    assert unit.environment == UNIT["environment"]
    assert unit.port == 8786


@pytest.mark.parametrize(
    ("environment", "fault"),
    [
        ({"S3_SECRET_KEY": NUMBER}, "environment.S3_SECRET_KEY must be str, not int"),
        ({"PASSWORDS": [SECRET]}, "environment.PASSWORDS must be str, not list"),
        ({"TOKENS": {"a": SECRET}}, "environment.TOKENS must be str, not dict"),
        ({"NOTHING": None}, "environment.NOTHING must be str, not NoneType"),
        (f"S3_SECRET_KEY={SECRET}", "environment must be dict, not str"),
        ([f"S3_SECRET_KEY={SECRET}"], "environment must be dict, not list"),
    ],
)
def test_a_variable_that_is_no_text_is_named_without_its_value(
    fleet_unit: ModuleType, environment: object, fault: str, tmp_path: Path
):
    path = tmp_path / "unit.json"
    path.write_text(json.dumps({**UNIT, "environment": environment}))
    with pytest.raises(fleet_unit.UnitError) as caught:
        fleet_unit.read_unit(str(path))
    assert str(caught.value) == (
        f"unit file {path} is invalid: {fault}; write it again with: dask fleet up"
    )
    assert SECRET not in str(caught.value)
    assert str(NUMBER) not in str(caught.value)
