"""The dashboards as people see them: a real browser, a real fleet, a real computation."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from urllib.parse import quote, urlsplit

import psutil
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.integration.browser import PATIENCE, Tab, browsing
from tests.integration.computing import Computation, Fleet, computing
from tests.integration.conftest import Desk, eventually, fleet_text, free_ports
from tests.integration.looking import executes, peers_move, tasks_move

WORKERS = ["dask-worker-0001", "dask-worker-0002", "dask-worker-0003", "dask-worker-0004"]
PROCESSES = ["dask-scheduler", *WORKERS]

#: Where Dask's info pages load a style sheet from; nothing else outside may be asked for.
CDN = "cdnjs.cloudflare.com"


@pytest.fixture(scope="module")
def fleet(desk_of_module: Desk) -> Fleet:
    desk_of_module.declare(fleet_text("seen", free_ports(60), workers=len(WORKERS)))
    desk_of_module.call("up", "--yes")
    rows = desk_of_module.rows()
    assert list(rows) == PROCESSES
    return Fleet(desk_of_module, rows)


@pytest.fixture(scope="module")
def computation(fleet: Fleet) -> Iterator[Computation]:
    with computing(fleet) as one:
        yield one


@pytest.fixture(scope="module")
def new_tab() -> Iterator[Callable[[], Tab]]:
    with browsing() as new_tab:
        yield new_tab


@pytest.fixture
def tab(new_tab: Callable[[], Tab]) -> Iterator[Tab]:
    one = new_tab()
    yield one
    one.page.close()
    print("blocked:", sorted(one.blocked))
    assert one.faults == []
    assert {urlsplit(url).hostname for url in one.blocked} <= {CDN}


def test_the_status_page_of_the_scheduler_draws_and_moves(
    fleet: Fleet, computation: Computation, tab: Tab
) -> None:
    computation.rest()
    tab.open(f"{fleet.url('dask-scheduler')}/status")
    tab.wait_until_drawn()
    assert tab.page.title() == "Dask: Status"
    # Memory of the fleet and of each worker, tasks of each worker, task stream, progress.
    assert tab.painted() >= 5
    assert len(tab.data("nprocessing")["nprocessing"]) == len(WORKERS)
    eventually(
        lambda: tab.data("nprocessing")["nprocessing"] == [0] * len(WORKERS),
        within=PATIENCE,
        what="no worker has anything to do",
    )

    computation.work()
    addresses = {f"tcp://127.0.0.1:{fleet.rows[name]['ports']['worker']}" for name in WORKERS}
    tasks_move(tab, addresses, keep="scheduler-status.png")
    assert set(tab.data("worker_thread")["worker"]) == addresses


@pytest.mark.parametrize("name", WORKERS)
def test_a_link_on_the_info_page_leads_to_the_live_page_of_its_worker(
    name: str, fleet: Fleet, computation: Computation, tab: Tab
) -> None:
    computation.rest()
    scheduler, worker = fleet.url("dask-scheduler"), fleet.url(name)
    tab.open(f"{scheduler}/info/main/workers.html")
    row = tab.page.get_by_role("row").filter(has_text=name)
    answer = tab.follow(row.get_by_role("link", name="dashboard"))

    asked = answer.request.redirected_from
    assert asked is not None
    assert asked.url == f"{scheduler}/proxy/{urlsplit(worker).port}/127.0.0.1/status"
    assert (tab.page.url, answer.status) == (f"{worker}/status", 200)
    tab.wait_until_drawn()
    assert tab.page.title() == "Dask Worker Internal Monitor"
    # Executing history, communication history, communication with peers.
    assert tab.painted() >= 3
    executes(tab, 0)

    # Nobody else works now, so it is this very worker that is seen here.
    computation.work(name)
    executes(tab, 1)
    computation.work()
    peers_move(tab, keep=f"{name.removeprefix('dask-')}.png")


@pytest.mark.parametrize(("name", "path"), [(WORKERS[0], "status"), ("dask-scheduler", "workers")])
def test_the_numbers_in_the_tables_move(
    name: str, path: str, fleet: Fleet, computation: Computation, tab: Tab
) -> None:
    computation.rest()
    tab.open(f"{fleet.url(name)}/{path}")
    tab.wait_until_drawn()
    eventually(tab.cells, within=PATIENCE, what="the table has cells")
    cells = tab.cells()
    computation.work()
    # With Bokeh 3.9.2 the data behind a table move and the table does not: bokeh issue 15328.
    eventually(
        lambda: tab.cells() != cells,
        within=120,
        what=f"other numbers in the table of {tab.page.url} (with Bokeh 3.9.1 and 3.9.2 tables "
        "stand still: the lock of the fleet's environment must have another)",
    )


def test_the_page_of_one_worker_links_to_its_dashboard_too(fleet: Fleet, tab: Tab) -> None:
    scheduler, worker = fleet.url("dask-scheduler"), fleet.url(WORKERS[2])
    tab.open(f"{scheduler}/info/main/workers.html")
    address = f"tcp://127.0.0.1:{fleet.rows[WORKERS[2]]['ports']['worker']}"
    tab.follow(tab.page.get_by_role("link", name=address))
    assert tab.page.url == f"{scheduler}/info/worker/{quote(address, safe='')}.html"
    tab.follow(tab.page.get_by_role("link", name="dashboard"))
    assert tab.page.url == f"{worker}/status"
    tab.wait_until_drawn()


def test_the_info_pages_list_the_workers(fleet: Fleet) -> None:
    status, _, page = fleet.get("dask-scheduler", "/info/main/workers.html")
    assert status == 200
    for name in WORKERS:
        ports = fleet.rows[name]["ports"]
        assert name in page
        assert f'"../../proxy/{ports["dashboard"]}/127.0.0.1/status"' in page
        address = quote(f"tcp://127.0.0.1:{ports['worker']}", safe="")
        for kind in ("worker", "logs", "call-stacks"):
            status, _, own = fleet.get("dask-scheduler", f"/info/{kind}/{address}.html")
            assert (status, str(ports["worker"]) in own) == (200, True), (kind, name)
    for page in ("logs", "exceptions"):
        assert fleet.get("dask-scheduler", f"/info/main/{page}.html")[0] == 200


def test_the_scheduler_tells_who_is_there_while_they_work(
    fleet: Fleet, computation: Computation
) -> None:
    """Workers tell of tasks that have ended, under keys that JSON has not."""
    computation.work()
    ended, told = len(computation.results()), set[tuple[int, int]]()

    def three_more() -> bool:
        status, _, body = fleet.get("dask-scheduler", "/json/identity.json")
        told.add((status, len(json.loads(body)["workers"]) if status == 200 else 0))
        return len(computation.results()) >= ended + 3

    eventually(three_more, within=PATIENCE, what="three rounds have ended")
    assert told == {(200, len(WORKERS))}


@pytest.mark.parametrize("name", PROCESSES)
def test_health_and_metrics_answer(name: str, fleet: Fleet) -> None:
    status, _, body = fleet.get(name, "/health")
    assert (status, body) == (200, "ok")

    status, headers, body = fleet.get(name, "/metrics")
    assert status == 200
    assert headers["Content-Type"].startswith("text/plain")
    # Without prometheus_client Dask answers with a comment, which is no sample.
    samples = [s for family in text_string_to_metric_families(body) for s in family.samples]
    if name == "dask-scheduler":
        workers = [s.value for s in samples if s.name == "dask_scheduler_workers"]
        assert sum(workers) == len(WORKERS)
    else:
        assert [s.value for s in samples if s.name == "dask_worker_threads"] == [1]


@pytest.mark.parametrize("name", WORKERS)
def test_the_redirect_leads_to_a_known_worker_and_keeps_what_was_asked(
    name: str, fleet: Fleet
) -> None:
    port = fleet.rows[name]["ports"]["dashboard"]
    for rest in ("status", "", "metrics?a=b%20c&d=%2F", "/example.org/", "x%0d%0aX-Bad:%20yes"):
        status, headers, _ = fleet.get("dask-scheduler", f"/proxy/{port}/127.0.0.1/{rest}")
        assert status == 307
        assert headers["Location"] == f"http://127.0.0.1:{port}/{rest}"
        assert "X-Bad" not in headers


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/",
        "/22/127.0.0.1/",
        "/80/169.254.169.254/latest/meta-data/",
        "/{dashboard}/169.254.169.254/latest/meta-data/",
        "/{dashboard}/unknown.invalid/status",
        "/{dashboard}/localhost/status",
        "/{dashboard}/0.0.0.0/status",
        "/{dashboard}/127.0.0.1",
        "/{dashboard}/127.0.0.1:22/status",
        "/{dashboard}/127.0.0.1@example.org/status",
        "/{dashboard}/example.org%2f127.0.0.1/status",
        "/{dashboard}%0a/127.0.0.1/status",
        "/{dashboard}/127.0.0.1%0a/status",
        "/0{dashboard}/127.0.0.1/status",
        "//{dashboard}/127.0.0.1/status",
        "/{worker}/127.0.0.1/status",
        "/{nanny}/127.0.0.1/status",
        "/{scheduler}/127.0.0.1/",
        "/{scheduler_dashboard}/127.0.0.1/status",
    ],
)
def test_nothing_but_dashboards_of_workers_is_led_to(path: str, fleet: Fleet) -> None:
    ports = fleet.rows["dask-scheduler"]["ports"]
    known = {
        **fleet.rows[WORKERS[0]]["ports"],
        "scheduler": ports["scheduler"],
        "scheduler_dashboard": ports["dashboard"],
    }
    status, headers, _ = fleet.get("dask-scheduler", f"/proxy{path.format(**known)}")
    assert (status, headers.get("Location")) == (404, None)


def test_no_websocket_is_passed_on(fleet: Fleet) -> None:
    port = fleet.rows[WORKERS[0]]["ports"]["dashboard"]
    websocket = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Version": "13",
    }
    for target in (f"{port}/127.0.0.1/status/ws", "22/127.0.0.1/"):
        status, headers, _ = fleet.get("dask-scheduler", f"/proxy/{target}", **websocket)
        assert (status, headers.get("Location")) == (404, None)


def test_everything_listens_on_loopback_only_and_on_declared_ports(fleet: Fleet) -> None:
    processes = {process.pid: process for process in fleet.desk.processes()}
    for process in list(processes.values()):
        processes |= {child.pid: child for child in process.children(recursive=True)}
    assert {row["pid"] for row in fleet.rows.values()} <= set(processes)

    holders: dict[int, int] = {}
    for pid, process in processes.items():
        for connection in process.net_connections("inet"):
            assert connection.laddr.ip in ("127.0.0.1", "::1"), (process.cmdline(), connection)
            if connection.status == psutil.CONN_LISTEN:
                holders[connection.laddr.port] = pid
    declared = {port for row in fleet.rows.values() for port in row["ports"].values()}
    assert set(holders) == declared
    for row in fleet.rows.values():
        assert holders[row["ports"]["dashboard"]] == row["pid"], row["name"]
