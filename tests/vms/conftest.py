"""The lab and the operator that the tests of this folder share."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from lab import Lab

from tests.vms.gate import Gate, open_gate
from tests.vms.layers import layer, new_operator
from tests.vms.operator import Operator
from tests.vms.reset import bring_down, bring_up
from tests.vms.secure import TLS, copied

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.integration.browser import Tab


def lab_folder() -> Path:
    folder = os.environ.get("DASK_FLEET_LAB")
    if not folder or not Lab(Path(folder), 1).network.inside:
        pytest.fail(
            "tests/vms needs the lab's network: make test-vms, or "
            "python -m lab run -- .venv/bin/python -m pytest tests/vms",
            pytrace=False,
        )
    return Path(folder)


@pytest.fixture(scope="session")
def environments() -> Path:
    """A layer with the xcube environment, as a real `up` has shipped it to a bare host."""
    return layer(lab_folder())


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
