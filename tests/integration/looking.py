"""What tests look for on Dask's pages and on the console: that they are drawn, and move."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any
from urllib.parse import urljoin

import pytest
from playwright.sync_api import Page

from tests.conftest import REPOSITORY
from tests.integration.browser import PATIENCE, Tab, changed
from tests.integration.computing import Computation
from tests.integration.conftest import eventually

AXE = REPOSITORY / ".cache" / "tests" / "axe" / "node_modules" / "axe-core" / "axe.min.js"

_RUNNING_OUT = """() => [...document.querySelectorAll("td, th, p, h1, h2, h3, li, article")]
    .filter((one) => one.clientWidth > 1 && one.scrollWidth > one.clientWidth + 1)
    .map((one) => one.textContent.trim())"""

# -- Dask's pages ------------------------------------------------------------------------------


def progress(tab: Tab) -> str:
    """Return the line above the progress bars: how many tasks there are in which state."""
    return next(title for title in tab.titles() if title.startswith("Progress"))


def tasks_move(tab: Tab, workers: Collection[str], keep: str | None = None) -> None:
    """Wait until a status page of the scheduler shows tasks of these workers, and moves."""
    eventually(
        lambda: set(tab.data("worker_thread")["worker"]) >= set(workers),
        within=PATIENCE,
        what="the task stream shows tasks of every worker",
    )
    eventually(
        lambda: sum(tab.data("nprocessing")["nprocessing"]) > 0,
        within=PATIENCE,
        what="workers process tasks",
    )
    tasks, counts = tab.data("worker_thread")["start"][-1], progress(tab)
    picture = tab.look()
    eventually(
        lambda: tab.data("worker_thread")["start"][-1] != tasks and progress(tab) != counts,
        within=PATIENCE,
        what="the task stream and the progress have moved",
    )
    eventually(
        lambda: changed(picture, tab.look(keep)) > 0.01,
        within=PATIENCE,
        what="the picture has moved",
    )


def executes(tab: Tab, number: int) -> None:
    """Wait until the page of a worker shows that it executes so many tasks, or rests."""
    # A task may be shorter than the time between two looks; a rest must last.
    wanted = [number] if number else [0, 0, 0]
    eventually(
        lambda: tab.data("x", "y")["y"][-len(wanted) :] == wanted,
        within=PATIENCE,
        what=f"the plot of {tab.page.url} shows that {number} tasks are executed",
    )


def peers_move(tab: Tab, keep: str | None = None) -> None:
    """Wait until the page of a worker shows that it exchanges data, and moves."""
    peers = tab.data("who", "bandwidth")["start"]
    picture = tab.look()
    eventually(
        lambda: tab.data("who", "bandwidth")["start"] != peers,
        within=PATIENCE,
        what=f"{tab.page.url} shows that data are exchanged with peers",
    )
    eventually(
        lambda: changed(picture, tab.look(keep)) > 0.001,
        within=PATIENCE,
        what="the picture has moved",
    )


def goes_on(tab: Tab) -> None:
    """Wait until the page of a worker has got new values, whatever the worker does."""
    last = tab.data("x", "y")["x"][-1]
    eventually(
        lambda: tab.data("x", "y")["x"][-1] != last,
        within=PATIENCE,
        what=f"{tab.page.url} goes on",
    )


# -- the console ---------------------------------------------------------------------------------


def console(tab: Tab, url: str, *, width: int = 1280, colours: str = "light") -> Page:
    """Open the console below the address of a scheduler or a door; return it when it is live."""
    tab.page.set_viewport_size({"width": width, "height": 900})
    tab.page.emulate_media(color_scheme=colours)  # type: ignore[arg-type]
    tab.open(f"{url}/fleet/")
    tab.page.locator('#live[data-live="live"]').wait_for()
    return tab.page


def cell(page: Page, name: str, part: str) -> str:
    return page.locator(f'[data-process="{name}"] [data-part="{part}"]').inner_text()


def state(page: Page, name: str) -> str | None:
    return page.locator(f'[data-process="{name}"]').get_attribute("data-state")


def follows(page: Page, computation: Computation, workers: Sequence[str]) -> None:
    """Let a computation that rests work; the numbers and the drawing of the console follow."""
    busy = page.locator('[data-total="busy"]')
    eventually(lambda: busy.inner_text() == "0", within=PATIENCE, what="nobody works")
    eventually(
        lambda: all(cell(page, name, "busy") == "0 of 1" for name in workers),
        within=PATIENCE,
        what="no thread is busy",
    )
    levels = f'[data-drawn="{workers[0]}"] .level >> nth=0'
    before = page.locator(levels).get_attribute("width")
    computation.work()
    eventually(lambda: busy.inner_text() != "0", within=PATIENCE, what="somebody works")
    eventually(
        lambda: any(cell(page, name, "busy") == "1 of 1" for name in workers),
        within=PATIENCE,
        what="a thread is busy",
    )
    eventually(
        lambda: page.locator(levels).get_attribute("width") != before,
        within=PATIENCE,
        what="the bar in the drawing has moved",
    )


def leading_somewhere(page: Page, ask: Callable[[str], int]) -> set[str]:
    """Return the links of a page of ours, each of which has led somewhere.

    ``ask`` gets a URL and returns the status of the answer.
    """
    links: set[str] = set(
        page.locator("a[href]:visible").evaluate_all(
            "(all) => all.map((a) => a.getAttribute('href'))"
        )
    )
    assert all(not link.startswith(("/", "http")) for link in links), "a door may stand before"
    for link in sorted(links):
        if link.startswith("#"):
            assert page.locator(link).count() == 1, link
        else:
            assert ask(urljoin(page.url, link)) == 200, link
    return links


# -- any page of ours ----------------------------------------------------------------------------


def anybody_can_use(page: Page) -> None:
    """Check a page with axe, and that each text on it has room."""
    if not AXE.exists():
        pytest.fail(f"{AXE} is not there; `make test` fetches it by scripts/axe.sh", pytrace=False)
    page.evaluate(AXE.read_text(encoding="utf-8"))
    found: dict[str, Any] = page.evaluate("() => axe.run()")
    assert found["passes"], "it has looked at something"
    faults = [(one["id"], [n["target"] for n in one["nodes"]]) for one in found["violations"]]
    assert faults == [], faults
    wide, window = page.evaluate("() => [document.documentElement.scrollWidth, innerWidth]")
    assert wide <= window, "nothing makes the page itself scroll sideways"
    running_out: list[str] = page.evaluate(_RUNNING_OUT)
    assert running_out == [], running_out
