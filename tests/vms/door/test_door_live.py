"""Every dashboard of booted hosts in a real browser, through https and login: live, whatever falls.

Its certificate is of the fleet's authority, its nginx is Debian's, and the browser is in the lab's
network as the operator is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from urllib.parse import quote, urldefrag, urlsplit

import pytest

from tests.integration.browser import Tab
from tests.integration.computing import Computation
from tests.integration.door import basic
from tests.integration.looking import (
    console,
    executes,
    follows,
    goes_on,
    peers_move,
    state,
    tasks_move,
)
from tests.vms.gate import Gate
from tests.vms.operator import WORKERS, eventually

ADDRESSES = {name: f"tcp://10.77.0.{11 + n}:90{n}0" for n, name in enumerate(WORKERS, start=1)}
LINKS = {name: f"proxy/90{n}2/10.77.0.{11 + n}" for n, name in enumerate(WORKERS, start=1)}
pytestmark = pytest.mark.timeout(600)
"""A browser that draws six pages takes all of two CPUs, on which five hosts are at work too."""

MONITOR = "Dask Worker Internal Monitor"

#: Where Dask's info pages load a style sheet from; nothing else outside may be asked for.
CDN = "cdnjs.cloudflare.com"


@pytest.fixture(scope="module")
def computation(opened: Gate) -> Iterator[Computation]:
    with opened.computing() as one:
        yield one


@pytest.fixture
def tab(new_tab: Callable[[], Tab]) -> Iterator[Tab]:
    """A tab in which nothing may go wrong."""
    one = new_tab()
    yield one
    one.page.close()
    assert one.faults == []
    assert {urlsplit(url).hostname for url in one.blocked} <= {CDN}


def worker_page(gate: Gate, name: str, tab: Tab) -> Tab:
    """Open the page of a worker by its name; return the tab when it is drawn."""
    tab.open(f"{gate.url}/w/{name}/status")
    tab.wait_until_drawn()
    assert tab.page.title() == MONITOR
    return tab


@contextmanager
def watched(gate: Gate, new_tab: Callable[[], Tab], *workers: str) -> Iterator[Callable[[], None]]:
    """Open the page of the scheduler, of workers and the console; yield what sees them go on.

    None of their websockets may have been closed at the end.
    """
    scheduler, overview, *pages = [new_tab() for _ in range(2 + len(workers))]
    scheduler.open(f"{gate.url}/status")
    scheduler.wait_until_drawn()
    console(overview, gate.url)
    for name, page in zip(workers, pages, strict=True):
        worker_page(gate, name, page)
    sockets = [one.sockets[-1] for one in (scheduler, *pages)]

    def all_go_on() -> None:
        for page in pages:
            goes_on(page)
        tasks_move(scheduler, [])
        asked = overview.page.expect_response(lambda answer: answer.url.endswith("/api/status"))
        with asked as answer:
            pass
        assert answer.value.status in (200, 304)

    try:
        yield all_go_on
        assert [socket.is_closed() for socket in sockets] == [False] * len(sockets)
        assert [page.faults for page in (scheduler, overview, *pages)] == [[]] * (2 + len(pages))
    finally:
        for page in (scheduler, overview, *pages):
            page.page.close()


def until_away(gate: Gate, name: str, tab: Tab) -> None:
    """Load the page of a worker until the door says that it is away."""

    def away() -> bool:
        answer = tab.page.goto(f"{gate.url}/w/{name}/status")
        assert answer is not None
        assert answer.status in (200, 503)
        return answer.status == 503

    eventually(f"{name} is away", away, 90)
    assert tab.page.locator("h1").inner_text() == f"{name} is away"


def until_back(name: str, tab: Tab) -> None:
    """Wait until the page that says so is the live page again; nobody loads it."""
    tab.page.wait_for_function("(title) => document.title === title", arg=MONITOR, timeout=120_000)
    tab.wait_until_drawn()
    goes_on(tab)
    assert tab.page.url.endswith(f"/w/{name}/status")


# -- every page ----------------------------------------------------------------------------------


def test_the_scheduler_draws_what_is_computed(gate: Gate, computation: Computation, tab: Tab):
    computation.work()
    tab.open(f"{gate.url}/status")
    tab.wait_until_drawn()
    assert tab.page.title() == "Dask: Status"
    assert tab.painted() >= 5
    tasks_move(tab, ADDRESSES.values(), keep="vms-scheduler.png")
    (cookie,) = tab.page.context.cookies()
    assert (cookie["name"], cookie["secure"], cookie["httpOnly"]) == ("dask_fleet_sst", True, True)


@pytest.mark.parametrize("name", [WORKERS[0], WORKERS[-1]])
def test_a_link_of_dask_and_the_name_lead_to_the_live_page_of_a_worker(
    name: str, gate: Gate, computation: Computation, tab: Tab
):
    computation.rest()
    tab.open(f"{gate.url}/info/main/workers.html")
    row = tab.page.get_by_role("row").filter(has_text=name)
    answer = tab.follow(row.get_by_role("link", name="dashboard"))
    assert (answer.status, tab.page.url) == (200, f"{gate.url}/{LINKS[name]}/status")
    tab.wait_until_drawn()
    assert tab.page.title() == MONITOR
    assert tab.painted() >= 3
    executes(tab, 0)
    # Nobody else works now, so it is this very worker that is seen here.
    computation.work(name)
    executes(tab, 1)
    worker_page(gate, name, tab)
    executes(tab, 1)
    computation.work()
    peers_move(tab, keep=f"vms-{name.removeprefix('dask-')}.png")


@pytest.mark.parametrize("name", ["", WORKERS[-1]])
def test_every_link_of_the_info_pages_leads_to_a_page(name: str, gate: Gate, tab: Tab):
    path = f"worker/{quote(ADDRESSES[name], safe='')}" if name else "main/workers"
    tab.open(f"{gate.url}/info/{path}.html")
    found = tab.page.locator("a[href]").evaluate_all("(all) => all.map((a) => a.href)")
    own = [link for link in found if urlsplit(link).hostname == "10.77.0.11"]
    # A task may be gone when it is asked for.
    links = {urldefrag(link).url for link in own if "/info/task/" not in link}
    wanted = [name] if name else WORKERS
    assert {f"{gate.url}/{LINKS[one]}/status" for one in wanted} <= links
    assert {link: gate.status_of(link) for link in links} == dict.fromkeys(links, 200)


def test_the_console_follows(gate: Gate, computation: Computation, tab: Tab):
    computation.rest()
    follows(console(tab, gate.url), computation, WORKERS)
    tab.look("vms-console-computing.png")


# -- while something falls -----------------------------------------------------------------------


def test_ten_reloads_of_the_door_close_no_websocket(
    gate: Gate, computation: Computation, new_tab: Callable[[], Tab]
):
    computation.work(WORKERS[0])
    with watched(gate, new_tab, *WORKERS) as all_go_on:
        for turn in range(5):
            token = gate.call("token", "add", f"turn-{turn}").strip()
            assert gate.ask(Authorization=f"Bearer {token}").status == 200
            gate.call("token", "rm", f"turn-{turn}")
            assert gate.ask(Authorization=f"Bearer {token}").status == 401
        all_go_on()


def test_others_go_on_while_a_worker_is_restarted(
    gate: Gate, computation: Computation, new_tab: Callable[[], Tab]
):
    computation.work()
    name, tab = WORKERS[1], new_tab()
    with watched(gate, new_tab, WORKERS[0], WORKERS[3]) as all_go_on:
        restarting = gate.operator.begin("restart", "--yes", name)
        until_away(gate, name, tab)
        tab.look("vms-worker-away.png")
        until_back(name, tab)
        out, err = restarting.communicate(timeout=120)
        assert restarting.returncode == 0, out + err
        all_go_on()
    tab.page.close()


def test_others_go_on_while_a_worker_is_frozen(
    gate: Gate, computation: Computation, new_tab: Callable[[], Tab]
):
    name, host = WORKERS[2], gate.lab.workers[2]
    pid = gate.operator.rows()[name]["pid"]
    computation.rest()
    computation.work(WORKERS[0])
    open_before, tab, overview = worker_page(gate, name, new_tab()), new_tab(), new_tab()
    page = console(overview, gate.url)
    with watched(gate, new_tab, *(one for one in WORKERS if one != name)) as all_go_on:
        host.run(["kill", "-STOP", str(pid)])
        try:
            # The door waits for it for ten seconds and no longer; a browser waits for a minute.
            until_away(gate, name, tab)
            all_go_on()
            eventually("the console says so", lambda: state(page, name) == "silent", 60)
            overview.look("vms-console-silent.png")
        finally:
            host.run(["kill", "-CONT", str(pid)])
        until_back(name, tab)
        eventually("the console says so", lambda: state(page, name) == "running", 60)
        goes_on(open_before)
        assert not open_before.sockets[-1].is_closed()
        all_go_on()
    assert gate.operator.rows()[name]["pid"] == pid
    for one in (open_before, tab, overview):
        one.page.close()


def test_others_go_on_while_the_host_of_a_worker_reboots(
    gate: Gate, computation: Computation, new_tab: Callable[[], Tab]
):
    name, host = WORKERS[3], gate.lab.workers[3]
    computation.work()
    tab = new_tab()
    with (
        watched(gate, new_tab, *WORKERS[:3]) as all_go_on,
        ThreadPoolExecutor(1) as beside,
    ):
        rebooting = beside.submit(host.reboot)
        until_away(gate, name, tab)
        until_back(name, tab)
        rebooting.result()
        all_go_on()
    tab.page.close()


def test_nobody_else_sees_any_of_it(gate: Gate):
    paths = ["/status", "/fleet/", "/fleet/api/status", f"/{LINKS[WORKERS[0]]}/status"]
    paths += [f"/w/{name}/status" for name in WORKERS]
    for headers in ({}, {"Authorization": basic("ann", "no password of hers")}):
        assert {path: gate.ask(path, **headers).status for path in paths} == dict.fromkeys(
            paths, 401
        )
