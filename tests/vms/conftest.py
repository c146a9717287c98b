"""The lab and the operator that the tests of this folder share."""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from lab import HostSpec, Lab

from tests.vms.gate import Gate, open_gate
from tests.vms.operator import Operator
from tests.vms.reset import bring_down, bring_up
from tests.vms.secure import TLS, copied

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.integration.browser import Tab

CACHE = Path(__file__).parents[2] / ".cache" / "tests"
SHIPPING = Path(__file__).parents[2] / "src" / "dask_fleet" / "wheels"
LAYERS_KEPT = 2
"""How many environments stay in the cache: each has more than a gigabyte."""

ONE_HOST = """\
name: seed
hosts:
  dask-scheduler: {address: 10.77.0.11, memory: 4 GiB, ssh: {sudo: true}}
workers:
  default: {per_host: 2, nthreads: 1, memory_limit: 512 MiB}
"""


def lab_folder() -> Path:
    folder = os.environ.get("DASK_FLEET_LAB")
    if not folder or not Lab(Path(folder), 1).network.inside:
        pytest.fail(
            "tests/vms needs the lab's network: make test-vms, or "
            "python -m lab run -- .venv/bin/python -m pytest tests/vms",
            pytrace=False,
        )
    return Path(folder)


def new_operator(lab: Lab, folder: Path) -> Operator:
    folder.mkdir(parents=True, exist_ok=True)
    variables = {"XDG_CACHE_HOME": str(CACHE / "cache"), "XDG_DATA_HOME": str(folder / "data")}
    return Operator(lab, folder, variables)


def layer_name() -> str:
    """Return the name of a layer that the present code has shipped; other code makes another."""
    from dask_fleet.assembly import declare

    code = b"".join(path.read_bytes() for path in sorted(SHIPPING.glob("*.py")))
    digest = hashlib.sha256(code).hexdigest()[:8]
    return f"layer-{declare(None, {}).environment.digest}-{digest}"


@pytest.fixture(scope="session")
def environments(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A layer with the xcube environment, as a real `up` has shipped it to a bare host."""
    folder = lab_folder()
    where = "var/lib/dask-fleet/environments"
    layer = CACHE / "vms" / layer_name()
    if not layer.exists():
        lab = Lab(folder, [HostSpec("dask-scheduler", 11)])
        with lab:
            operator = new_operator(lab, tmp_path_factory.mktemp("seed"))
            operator.write(ONE_HOST)
            said = operator.call("up", "--yes", timeout=240).stdout
            assert "sending" in said
            assert "2 workers registered" in said
            half = layer.with_name(f"{layer.name}.half")
            shutil.rmtree(half, ignore_errors=True)
            shutil.copytree(lab.scheduler.upper / where, half / where, symlinks=True)
            half.rename(layer)
        by_age = sorted(layer.parent.glob("layer-*"), key=lambda path: path.stat().st_ctime)
        for old in by_age[:-LAYERS_KEPT]:
            shutil.rmtree(old)
    return layer


@pytest.fixture(scope="session")
def lab(environments: Path) -> Iterator[Lab]:
    """Five booted hosts: `lab.scheduler` and four `lab.workers`; the environment is there."""
    with Lab(lab_folder(), 5, layers=(environments,)) as lab:
        yield lab


@pytest.fixture(scope="session")
def operator(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Operator:
    """Somebody whose fleet.yaml is the set-up of the lab."""
    one = new_operator(lab, tmp_path_factory.mktemp("operator"))
    one.write()
    return one


@pytest.fixture
def fleet(operator: Operator) -> Operator:
    """A fleet that is up as declared."""
    bring_up(operator)
    return operator


@pytest.fixture
def bare(operator: Operator) -> Operator:
    """A fleet that is declared and of which nothing is there but the environment."""
    bring_down(operator)
    return operator


@pytest.fixture
def secure(lab: Lab, operator: Operator) -> Operator:
    """The fleet of the lab with TLS, and with a client's bundle."""
    bring_up(operator, TLS)
    operator.call("client-config", "bundle")
    copied(lab.scheduler, operator.folder / "bundle")
    return operator


@pytest.fixture(scope="module")
def opened(operator: Operator) -> Gate:
    """The fleet behind a door with https and login, for what a module keeps open at it.

    Of the module: logging in too often is refused, and browsers are slow to start.
    """
    one = Gate(operator)
    open_gate(one)
    return one


@pytest.fixture
def gate(opened: Gate) -> Gate:
    """The fleet of the lab behind a door with https and login, with ann among its users."""
    open_gate(opened)
    return opened


@pytest.fixture(scope="module")
def new_tab(opened: Gate) -> Iterator[Callable[[], Tab]]:
    """What opens a tab of a browser that takes the door's certificate."""
    with opened.browsing() as new_tab:
        yield new_tab
