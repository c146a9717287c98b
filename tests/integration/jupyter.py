"""A real JupyterLab with dask-labextension, and somebody who uses it."""

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

from tests.integration.browser import Inset, Tab
from tests.integration.conftest import Desk, eventually, free_ports

__all__ = ["PATIENCE", "Jupyter", "compute", "jupyter", "open_pane", "printed"]

PATIENCE = 120.0

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
def jupyter(
    place: Path, *, port: int | None = None, settings: str = "", **variables: str
) -> Iterator[Jupyter]:
    """Run JupyterLab from the tests' own environment, with nothing of the user's.

    ``settings`` is its ``jupyter_server_config.py``, ``variables`` are more of its environment.
    """
    port, token, log = port or free_ports(1), secrets.token_hex(16), place / "jupyter.log"
    kept = {name: str(place / name.lower()) for name in ("CONFIG", "DATA", "RUNTIME")}
    variables |= {f"JUPYTER_{name}_DIR": path for name, path in kept.items()}
    (place / "config").mkdir()
    (place / "config" / "jupyter_server_config.py").write_text(settings, encoding="utf-8")
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
        # jupyter-server-proxy complains when a page is closed while something is on its way to it.
        faults = [
            one
            for one in said.split("Traceback")[1:]
            if "\ntornado.websocket.WebSocketClosedError\n" not in one
        ]
        assert not faults, said
    finally:
        process.terminate()
        process.wait(timeout=PATIENCE)


def printed(desk: Desk, name: str) -> str:
    """Return the address of a dashboard as `dask fleet open` prints it for people."""
    lines = desk.call("open", "--print").out.splitlines()
    (url,) = (line.split()[1] for line in lines if line.startswith(f"{name} "))
    return url


def compute(desk: Desk) -> None:
    """Let a client of the fleet compute for a second."""
    python = desk.call("env", "--python").out.strip()
    address = desk.call("env", "--address").out.strip()
    desk.run(python, "-c", WORK, DASK_SCHEDULER_ADDRESS=address)


def open_pane(tab: Tab, lab: Jupyter, url: str, plot: str, *, refused: bool = False) -> Inset:
    """Do what a person does in JupyterLab: type the address, click on a plot.

    A pane that the browser refuses to show never gets to its address.
    """
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
    if not refused:
        frame.wait_for_url(f"**/{wanted}")
    return Inset(frame)


def tasks_are_drawn(pane: Inset, desk: Desk) -> None:
    """Let the fleet compute, and see its tasks come into a pane with the task stream."""
    pane.wait_until_drawn()
    compute(desk)
    eventually(
        lambda: len(pane.data("worker_thread")["start"]) >= 50,
        within=PATIENCE,
        what="the tasks are drawn",
    )
