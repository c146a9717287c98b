"""The console in a browser without JavaScript: everything can be read."""

from __future__ import annotations

from tests.integration.browser import Tab, browsing
from tests.integration.conftest import Desk, eventually, fleet_text, free_ports

PROCESSES = ["dask-scheduler", "dask-worker-0001", "dask-worker-0002"]


def states(tab: Tab) -> list[str | None]:
    tab.page.reload()
    rows = tab.page.locator("[data-process]")
    return [rows.nth(i).get_attribute("data-state") for i in range(rows.count())]


def test_without_javascript_everything_can_be_read(desk: Desk) -> None:
    base = free_ports(40)
    desk.declare(fleet_text("plain", base))
    desk.call("up", "--yes")
    with browsing(java_script_enabled=False) as new_tab:
        tab = new_tab()
        tab.open(f"http://127.0.0.1:{base + 1}/fleet/")
        page = tab.page
        assert page.locator("[data-process] th [data-part=name]").all_inner_texts() == PROCESSES
        eventually(
            lambda: states(tab) == ["running"] * len(PROCESSES),
            within=120,
            what="all run, as a page says that is loaded anew",
        )
        assert "Nothing is wrong" in page.locator("#findings").inner_text()
        assert page.locator(".drawing.wide [data-drawn]").count() == len(PROCESSES)
        assert "clients send work" in page.locator("#contract").inner_text()
        assert page.locator("#history tbody tr").count() == 1
        # What needs JavaScript is not there, and the page loads itself again instead.
        assert page.locator("#filter").is_hidden()
        assert page.locator("#theme").is_hidden()
        assert page.locator("meta[http-equiv=refresh]").get_attribute("content") == "10"
        assert page.locator("#live-text").inner_text().startswith("as of ")
        tab.look("console-without-javascript.png")
        assert (tab.faults, tab.blocked) == ([], set())
