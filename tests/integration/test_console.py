"""The console as people see it: a real browser, a real fleet, a real computation."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil
import pytest
from playwright.sync_api import Page

import dask_fleet
from tests.integration.browser import PATIENCE, SCREENSHOTS, Tab, browsing
from tests.integration.computing import Computation, Fleet, computing
from tests.integration.conftest import Desk, eventually, fleet_text, free_ports
from tests.integration.looking import (
    anybody_can_use,
    console,
    follows,
    leading_somewhere,
    state,
)

WORKERS = ["dask-worker-0001", "dask-worker-0002", "dask-worker-0003", "dask-worker-0004"]
PROCESSES = ["dask-scheduler", *WORKERS]
WIDTHS = [390, 1280, 2560]
WORDS = Path(dask_fleet.__file__).parent / "host" / "fleet_console" / "words.py"


@pytest.fixture(scope="module")
def fleet(desk_of_module: Desk) -> Fleet:
    desk_of_module.declare(fleet_text("watched", free_ports(60), workers=len(WORKERS)))
    desk_of_module.call("up", "--yes")
    return Fleet(desk_of_module, desk_of_module.rows())


@pytest.fixture
def computation(fleet: Fleet) -> Iterator[Computation]:
    with computing(fleet) as one:
        yield one


@pytest.fixture(scope="module")
def new_tab() -> Iterator[Callable[[], Tab]]:
    with browsing() as new_tab:
        yield new_tab


@pytest.fixture
def tab(new_tab: Callable[[], Tab], fleet: Fleet) -> Iterator[Tab]:
    """A tab of which every request must have gone to the scheduler's own port."""
    one = new_tab()
    asked: set[str] = set()
    one.page.on("request", lambda request: asked.add(urlsplit(request.url).netloc))
    yield one
    one.page.close()
    assert one.faults == []
    assert one.blocked == set()
    assert asked <= {urlsplit(fleet.url("dask-scheduler")).netloc}


def opened(tab: Tab, fleet: Fleet, *, width: int = 1280, colours: str = "light") -> Page:
    return console(tab, fleet.url("dask-scheduler"), width=width, colours=colours)


def names(page: Page) -> list[str]:
    return page.locator("[data-process]:visible th [data-part=name]").all_inner_texts()


def test_the_numbers_and_the_drawing_follow_a_computation(
    fleet: Fleet, computation: Computation, tab: Tab
) -> None:
    computation.rest()
    page = opened(tab, fleet)
    follows(page, computation, WORKERS)
    eventually(
        lambda: len(page.locator('[data-chart="cpu"] .line').get_attribute("d") or "") > 10,
        within=PATIENCE,
        what="a curve is drawn",
    )
    assert page.locator('[data-total="clients-words"]').inner_text() == "1 client"


def test_a_killed_worker_is_missing_and_comes_back(fleet: Fleet, tab: Tab) -> None:
    page = opened(tab, fleet)
    name, rows = WORKERS[3], fleet.desk.rows()
    nannies = psutil.Process(
        psutil.Process(rows[name]["pid"]).parent().parent().pid  # type: ignore[union-attr]
    )
    nannies.suspend()  # or it would be back before anybody sees that it is away
    try:
        os.kill(rows[name]["pid"], signal.SIGKILL)
        eventually(lambda: state(page, name) == "missing", within=120, what="its row says so")
        drawn = page.locator(f'.wide [data-drawn="{name}"]')
        assert drawn.get_attribute("data-state") == "missing"
        assert name in page.locator("#findings").inner_text()
        assert page.locator('[data-total="registered"]').inner_text() == "3"
        assert page.locator(f'[data-process="{name}"] [data-part=log]').is_hidden()
        tab.look("console-missing.png")
    finally:
        nannies.resume()
    eventually(lambda: state(page, name) == "running", within=120, what="its row says it is back")
    said = page.locator("#event-list").inner_text()
    assert (name in said, "has left" in said, "has registered" in said) == (True, True, True)
    eventually(
        lambda: "Nothing is wrong" in page.locator("#findings").inner_text(),
        within=PATIENCE,
        what="there is no warning left",
    )


def test_a_scheduler_that_goes_is_said_and_the_page_returns_by_itself(
    fleet: Fleet, new_tab: Callable[[], Tab]
) -> None:
    tab = new_tab()  # what fails while it is away is no fault here
    page = opened(tab, fleet)
    scheduler = fleet.desk.rows()["dask-scheduler"]["pid"]
    pid = (fleet.desk.state / "fleets" / "watched" / "supervisord.pid").read_text()
    supervisord = psutil.Process(int(pid))
    supervisord.suspend()  # or the scheduler would be back before the page asks again
    try:
        os.kill(scheduler, signal.SIGKILL)
        page.locator('#live[data-live="away"]').wait_for(timeout=30_000)
        assert "since" in page.locator("#live-text").inner_text()
        tab.look("console-away.png")
    finally:
        supervisord.resume()
    page.locator('#live[data-live="live"]').wait_for(timeout=60_000)
    eventually(
        lambda: [state(page, name) for name in PROCESSES] == ["running"] * len(PROCESSES),
        within=120,
        what="all are back",
    )
    page.close()


def test_it_asks_no_more_while_nobody_looks(fleet: Fleet, tab: Tab) -> None:
    page = opened(tab, fleet)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    hide = """(hidden) => {
        Object.defineProperty(document, "hidden", {configurable: true, get: () => hidden});
        document.dispatchEvent(new Event("visibilitychange"));
    }"""
    page.evaluate(hide, True)
    page.locator('#live[data-live="still"]').wait_for()
    page.wait_for_timeout(500)  # an ask that was under way
    asked.clear()
    page.wait_for_timeout(5000)
    assert asked == []
    with page.expect_request("**/api/status"):
        page.evaluate(hide, False)
    page.locator('#live[data-live="live"]').wait_for()


def test_what_has_not_changed_is_answered_in_no_byte(fleet: Fleet, tab: Tab) -> None:
    page = opened(tab, fleet)
    with page.expect_request(lambda request: "if-none-match" in request.headers) as asked:
        pass
    assert asked.value.headers["if-none-match"].startswith('"')


def test_by_keyboard_alone(fleet: Fleet, tab: Tab) -> None:
    page = opened(tab, fleet)
    keyboard, focus = page.keyboard, "() => document.activeElement"
    keyboard.press("Tab")
    assert page.evaluate(f"({focus})().textContent") == "To the content"
    keyboard.press("Enter")
    assert page.evaluate(f"({focus})().id") == "main"

    keyboard.press("/")
    assert page.evaluate(f"({focus})().id") == "filter"
    keyboard.type("worker-0003")
    assert names(page) == ["dask-worker-0003"]
    assert page.locator("#shown").inner_text() == "1 of 5"
    keyboard.press("Escape")
    assert names(page) == PROCESSES

    page.get_by_role("button", name="Process").focus()
    keyboard.press("Enter")
    keyboard.press("Enter")
    assert names(page) == PROCESSES[:0:-1] + PROCESSES[:1]
    head = page.locator('[data-key="name"]')
    assert head.get_attribute("aria-sort") == "descending"

    page.locator("#theme").focus()
    for colours in ("light", "dark", None):
        keyboard.press("Enter")
        assert page.locator("html").get_attribute("data-colours") == colours


def test_the_chosen_colours_stay(fleet: Fleet, tab: Tab) -> None:
    page = opened(tab, fleet)
    ground = "() => getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(ground)
    page.locator("#theme").click()
    page.locator("#theme").click()
    dark = page.evaluate(ground)
    assert dark != light
    page.reload()
    assert page.evaluate(ground) == dark
    page.locator("#theme").click()
    assert page.evaluate(ground) == light


@pytest.mark.parametrize("colours", ["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
def test_anybody_can_use_it(width: int, colours: str, fleet: Fleet, tab: Tab) -> None:
    page = opened(tab, fleet, width=width, colours=colours)
    page.screenshot(path=SCREENSHOTS / f"console-{width}-{colours}.png", full_page=True)
    anybody_can_use(page)


def test_every_link_leads_somewhere(fleet: Fleet, new_tab: Callable[[], Tab]) -> None:
    tab = new_tab()
    page = opened(tab, fleet)
    wanted = {f"../w/{name}/status" for name in WORKERS} | {"../info/main/logs.html"}
    assert wanted <= leading_somewhere(page, lambda url: page.request.get(url).status)
    page.close()


def test_script_and_server_write_numbers_alike(fleet: Fleet, tab: Tab) -> None:
    page = opened(tab, fleet)
    given: dict[str, list[list[Any]]] = {
        "size": [[n] for n in (0, 1, 999, 1000, 1536, 10189, 10 << 20, 3 << 30, 5 << 50)],
        "of": [[3 << 29, 4 << 30], [5 << 20, 4 << 30], [5 << 20, 0]],
        "amount": [[n] for n in (0, 7, 999, 1234, 1234567)],
        "share": [[1, 3], [5, 4], [-1, 4], [1, 0]],
        "duration": [[n] for n in (0, 59, 60, 3599, 3600, 86399, 90000)],
        "curve": [[[1], 0, 3], [[0, 1, 2], 2, 3], [[0, 9], 0, 120], [[3, 4, 5], 0, 9]],
        "area": [[""], ["M50.0 29.0L100.0 1.0"]],
    }
    namespace: dict[str, Any] = {"__name__": "words"}
    exec(compile(WORDS.read_text(encoding="utf-8"), WORDS, "exec"), namespace)
    for name, calls in given.items():
        theirs = page.evaluate(
            """async ([name, calls]) => {
                const words = await import(new URL("assets/words.js", location.href));
                return calls.map((call) => words[name](...call));
            }""",
            [name, calls],
        )
        assert theirs == [namespace[name](*call) for call in calls], name


def test_what_is_declared_anew_is_on_the_page_by_itself(fleet: Fleet, tab: Tab) -> None:
    page = opened(tab, fleet)
    (file,) = fleet.desk.files
    file.write_text(file.read_text().replace("127.0.0.1}", "127.0.0.1, external: localhost}"))
    fleet.desk.call("up", "--yes")
    eventually(
        lambda: "localhost" in page.locator("#host-table").inner_text(),
        within=120,
        what="the address of the host has changed on the page",
    )
    eventually(
        lambda: page.locator('#history tbody tr[data-result="done"]').count() == 2,
        within=120,
        what="the history has the second up, ended",
    )


def test_open_prints_where_it_is(fleet: Fleet, tab: Tab) -> None:
    url = fleet.desk.call("open", "--json").json["console"]
    assert urlsplit(url).path == "/fleet/"
    assert url in fleet.desk.call("open", "--print").out
    tab.page.request.get(url.replace("localhost", "127.0.0.1"))
