"""What the tool sets for workers is what the launcher on the host would set itself.

The launcher (``src/dask_fleet/host``) imports nothing of ours, so both say it; here they are
held together.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

from dask_fleet import desired

HOST = Path(desired.__file__).parent / "host"


@pytest.fixture
def launcher(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Return the launcher's module as the host loads it: beside its neighbours, by plain name."""
    monkeypatch.syspath_prepend(str(HOST))
    for name in [path.stem for path in HOST.glob("*.py") if path.stem in sys.modules]:
        monkeypatch.delitem(sys.modules, name)
    spec = importlib.util.spec_from_file_location("fleet_process", HOST / "fleet_process.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    before = set(sys.modules)
    spec.loader.exec_module(module)
    for name in set(sys.modules) - before:
        monkeypatch.delitem(sys.modules, name)
    return module


def test_defaults_of_workers(launcher: ModuleType):
    assert dict(desired.WORKER_DEFAULTS) == launcher.WORKER_ENVIRONMENT


def test_the_mark_of_defaults(launcher: ModuleType):
    assert launcher._MARK == desired.DEFAULTED
