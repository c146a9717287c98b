"""JupyterLab with dask-labextension shows a fleet by the URL that `dask fleet open` prints."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.integration.browser import browsing
from tests.integration.conftest import Desk, fleet_text, free_ports, make_desk
from tests.integration.jupyter import (
    Jupyter,
    jupyter,
    open_pane,
    printed,
    tasks_are_drawn,
)


@pytest.fixture(scope="module")
def desk() -> Iterator[Desk]:
    with make_desk() as one:
        yield one


@pytest.fixture(scope="module")
def lab(desk: Desk) -> Iterator[Jupyter]:
    place = desk.directory / "notebooks"
    place.mkdir()
    with jupyter(place) as one:
        yield one


@pytest.fixture(scope="module")
def url(desk: Desk, lab: Jupyter) -> str:
    """The scheduler's dashboard, of a fleet whose pages nobody has asked for yet."""
    desk.declare(fleet_text("lab", free_ports(40)))
    desk.call("up", "--yes")
    return printed(desk, "dask-scheduler")


def test_the_server_finds_the_dashboard_and_its_plots(lab: Jupyter, url: str) -> None:
    # Right after `up`: the answer waits for Dask's pages.
    found = lab.check(url)
    assert found["isActive"] is True
    assert found["url"] == url.removesuffix("/status")
    assert len(found["plots"]) > 25
    assert found["plots"]["Individual Task Stream"] == "/individual-task-stream"


def test_what_is_no_dashboard_is_not_active(lab: Jupyter, url: str, desk: Desk) -> None:
    assert lab.check(lab.url)["isActive"] is False
    nobody = free_ports(1)
    assert lab.check(f"http://127.0.0.1:{nobody}/status")["isActive"] is False


def test_pages_come_through_jupyter_s_own_proxy(lab: Jupyter, url: str) -> None:
    port = url.removesuffix("/status").rpartition(":")[2]
    with browsing() as new_tab:
        tab = new_tab()
        tab.open(f"{lab.url}/proxy/{port}/status?token={lab.token}")
        tab.wait_until_drawn()
        assert tab.page.title() == "Dask: Status"
        assert tab.painted() >= 5
        assert tab.faults == []


@pytest.mark.parametrize("way", ["straight", "by Jupyter's proxy"])
def test_a_pane_of_jupyterlab_shows_the_fleet_at_work(
    lab: Jupyter, url: str, desk: Desk, way: str
) -> None:
    port = url.removesuffix("/status").rpartition(":")[2]
    typed = url if way == "straight" else f"{lab.url}/proxy/{port}"
    with browsing() as new_tab:
        tab = new_tab()
        pane = open_pane(tab, lab, typed, "Task Stream")
        assert pane.place.url == f"{typed.removesuffix('/status')}/individual-task-stream"
        tasks_are_drawn(pane, desk)
        assert pane.painted() >= 1
        tab.look(f"jupyterlab-{'straight' if way == 'straight' else 'proxy'}.png")
        assert tab.faults == []
