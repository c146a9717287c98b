"""JupyterLab with dask-labextension shows a fleet by the URL that `dask fleet open` prints."""

from __future__ import annotations

import contextlib
import json
import re
import secrets
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from tests.integration.browser import Inset, Tab, browsing
from tests.integration.conftest import Desk, eventually, fleet_text, free_ports, make_desk

PATIENCE = 60.0

WORK = """\
import time
from distributed import Client
with Client(timeout=60) as client:
    assert client.gather(client.map(lambda n: time.sleep(0.02) or n, range(50))) == list(range(50))
"""


@dataclass(frozen=True)
class Jupyter:
    """A Jupyter server with its extensions, as somebody runs it beside a fleet."""

    url: str
    token: str

    def get(self, path: str) -> tuple[int, str]:
        request = urllib.request.Request(
            f"{self.url}{path}", headers={"Authorization": f"token {self.token}"}
        )
        with urllib.request.urlopen(request, timeout=PATIENCE) as response:
            return response.status, response.read().decode()

    def check(self, dashboard: str) -> dict[str, Any]:
        """Return what dask-labextension finds out about an address that a user has typed."""
        status, body = self.get(f"/dask/dashboard-check/{quote(dashboard, safe='')}")
        assert status == 200
        return json.loads(body)


@contextlib.contextmanager
def jupyter(place: Path) -> Iterator[Jupyter]:
    """Run JupyterLab from the tests' own environment, with nothing of the user's."""
    port, token, log = free_ports(1), secrets.token_hex(16), place / "jupyter.log"
    kept = {name: str(place / name.lower()) for name in ("CONFIG", "DATA", "RUNTIME")}
    variables = {f"JUPYTER_{name}_DIR": path for name, path in kept.items()}
    with log.open("w") as output:
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root"),
                *("--ServerApp.ip=127.0.0.1", f"--ServerApp.port={port}"),
                *("--ServerApp.port_retries=0", f"--ServerApp.root_dir={place}"),
                # Nothing is asked of the network.
                *(
                    "--LabApp.news_url=None",
                    "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
                ),
            ],
            cwd=place,
            env={"PATH": "/usr/bin:/bin", "HOME": str(place), "JUPYTER_TOKEN": token, **variables},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    one = Jupyter(f"http://127.0.0.1:{port}", token)

    def answers() -> bool:
        assert process.poll() is None, log.read_text()
        try:
            return one.get("/api/status")[0] == 200
        except (urllib.error.URLError, ConnectionError):
            return False

    try:
        eventually(answers, within=PATIENCE, what="Jupyter answers")
        yield one
        said = log.read_text()
        assert "Traceback" not in said, said
    finally:
        process.terminate()
        process.wait(timeout=PATIENCE)


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


def printed(desk: Desk, name: str) -> str:
    """Return the address of a dashboard as `dask fleet open` prints it for people."""
    lines = desk.call("open", "--print").out.splitlines()
    (url,) = (line.split()[1] for line in lines if line.startswith(f"{name} "))
    return url


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
        pane.wait_until_drawn()
        python = desk.call("env", "--python").out.strip()
        address = desk.call("env", "--address").out.strip()
        desk.run(python, "-c", WORK, DASK_SCHEDULER_ADDRESS=address)
        eventually(
            lambda: len(pane.data("worker_thread")["start"]) >= 50,
            within=PATIENCE,
            what="the tasks are drawn",
        )
        assert pane.painted() >= 1
        tab.look(f"jupyterlab-{'straight' if way == 'straight' else 'proxy'}.png")
        assert tab.faults == []


def open_pane(tab: Tab, lab: Jupyter, url: str, plot: str) -> Inset:
    """Do what a person does in JupyterLab: type the address, click on a plot."""
    page = tab.page
    tab.open(f"{lab.url}/lab?reset&token={lab.token}")  # with nothing of an earlier visit
    page.locator("li.lm-TabBar-tab[title=Dask]").click()
    address = page.locator(".dask-DashboardURL input, .dask-DaskDashboardLauncher input").first
    address.fill(url)
    address.press("Enter")
    page.get_by_role("button", name=re.compile(f"^{plot}$", re.I)).click()
    wanted = f"individual-{plot.lower().replace(' ', '-')}"
    frame = page.locator(f"iframe[src$='{wanted}']").element_handle().content_frame()
    assert frame is not None
    frame.wait_for_url(f"**/{wanted}")
    return Inset(frame)
