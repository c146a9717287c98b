"""The console of booted hosts through https and login, and the door's own pages."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from tests.integration.browser import Tab
from tests.integration.door import ALIVE
from tests.integration.looking import anybody_can_use, console, leading_somewhere
from tests.vms.gate import ACCOUNTS, SCHEDULER_UNIT, Gate, until_all_run
from tests.vms.operator import WORKERS, eventually

SEEN = f"{ACCOUNTS}/seen/dask-scheduler"
WAYS = [(width, colours) for width in (390, 1280, 2560) for colours in ("light", "dark")]


@pytest.fixture
def tab(new_tab: Callable[[], Tab]) -> Iterator[Tab]:
    """A tab in which nothing may go wrong, and which asks nobody else."""
    one = new_tab()
    yield one
    one.page.close()
    assert (one.faults, one.blocked) == ([], set())


def told(gate: Gate, what: str) -> Any:
    answer = gate.show(f"/fleet/api/{what}")
    assert answer.status == 200
    return json.loads(answer.body)


# -- the console -----------------------------------------------------------------------------------


def test_it_tells_the_history_and_warns_of_nothing(gate: Gate, tab: Tab):
    eventually("no warning is left", lambda: told(gate, "status")["warnings"] == [], 60)
    changes = told(gate, "history")["changes"]
    # A history outlives its fleet: tests before this one stand in it, with what failed in them.
    last = {change["what"]: change["result"] for change in reversed(changes)}
    assert (last["up"], last["door user add ann"]) == ("done", "done")
    page = console(tab, gate.url)
    assert page.locator("#history tbody tr").count() == len(changes)
    assert "door user add ann" in page.locator("#history").inner_text()
    assert "Nothing is wrong" in page.locator("#findings").inner_text()
    until_all_run(page)


def test_the_door_is_drawn_and_named(gate: Gate, tab: Tab):
    page = console(tab, gate.url)
    drawn = page.locator("#drawing .wide").text_content() or ""
    assert "Door" in drawn
    assert "10.77.0.11" in drawn
    assert {port for port in ("443", "8786", "8787") if port in drawn} == {"443", "8786", "8787"}
    assert gate.url in page.locator("header").inner_text()
    door = told(gate, "status")["door"]
    assert door == {"url": gate.url, "host": "dask-scheduler", "login": "users", "tls": "fleet"}


def test_every_link_of_it_leads_somewhere(gate: Gate, tab: Tab):
    found = leading_somewhere(console(tab, gate.url), gate.status_of)
    assert {f"../w/{name}/status" for name in WORKERS} <= found


# -- what the door shows by itself ---------------------------------------------------------------


def own_page(tab: Tab, url: str, title: str, name: str) -> None:
    """See a page of the door's own in all widths and colours, and keep pictures of it."""
    for width, colours in WAYS:
        tab.page.set_viewport_size({"width": width, "height": 900})
        tab.page.emulate_media(color_scheme=colours)  # type: ignore[arg-type]
        answer = tab.page.goto(url)
        assert answer is not None
        assert (answer.status, tab.page.locator("h1").inner_text()) == (503, title)
        tab.look(f"vms-{name}-{width}-{colours}.png")
        anybody_can_use(tab.page)


def test_a_worker_that_is_away_has_a_page(gate: Gate, new_tab: Callable[[], Tab]):
    host, unit = gate.lab.workers[1], "dask-fleet.sst.dask-workers-default.service"
    tab = new_tab()
    host.run(["systemctl", "stop", unit])
    try:
        own_page(tab, f"{gate.url}/w/{WORKERS[1]}/status", f"{WORKERS[1]} is away", "worker-away")
        assert gate.ask(f"/w/{WORKERS[1]}/health").status == 401, "it is told to who may know"
        scripts = gate.show(f"/w/{WORKERS[1]}/static/js/bokeh.min.js")
        assert (scripts.status, scripts.one("Content-Type")) == (503, "text/html; charset=utf-8")
        tab.follow(tab.page.get_by_role("link", name="console"))
        assert tab.page.url == f"{gate.url}/fleet/"
    finally:
        host.run(["systemctl", "start", unit])
    tab.page.close()


def test_a_scheduler_that_is_down_has_a_page_that_says_since_when(
    gate: Gate, new_tab: Callable[[], Tab]
):
    host = gate.lab.scheduler
    mode = host.run(["stat", "-c", "%U:%G %a", f"{ACCOUNTS}/seen"]).stdout.strip()
    assert mode == "dask-fleet:www-data 750"
    open_before, tab = console(new_tab(), gate.url), new_tab()
    until_all_run(open_before)
    assert gate.show("/fleet/").status == 200
    host.run(["systemctl", "stop", SCHEDULER_UNIT])
    stopped = datetime.now(timezone.utc)
    try:
        answer = gate.show("/fleet/")
        assert answer.status == 503
        since = re.search(f'<p id="since">{ALIVE}\n</p>', answer.body)
        assert since is not None, answer.body
        own_page(tab, f"{gate.url}/fleet/", "The scheduler is down", "scheduler-down")
        said = tab.page.locator("#since").inner_text()
        at = datetime.strptime(said, "It was last alive on %Y-%m-%d at %H:%M:%S UTC.")
        at = at.replace(tzinfo=timezone.utc)
        # It says so every five seconds; a second is lost by writing no parts of one.
        assert stopped - timedelta(seconds=60) < at < stopped + timedelta(seconds=1)
        open_before.locator('#live[data-live="away"]').wait_for()
        host.run(["rm", SEEN])
        missing = gate.show("/status")
        assert (missing.status, '<p id="since"></p>' in missing.body) == (503, True)
        tab.page.goto(f"{gate.url}/fleet/")
        assert "Seen here since" in tab.page.locator("#since").inner_text()
    finally:
        host.run(["systemctl", "start", SCHEDULER_UNIT])
    # Nobody loads either of them.
    until_all_run(tab.page)
    until_all_run(open_before)
    tab.page.close()
    open_before.close()
