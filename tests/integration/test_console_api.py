"""JSON below /fleet/api/ on a real fleet: as described, and nothing that changes anything."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
from pathlib import Path
from typing import Any

import psutil
import pytest
from jsonschema import Draft202012Validator
from openapi_spec_validator import validate as validate_openapi

import dask_fleet
from tests.integration.computing import Computation, Fleet, computing
from tests.integration.conftest import Desk, eventually, fleet_text, free_ports
from tests.integration.door import ALIVE

WORKERS = ["dask-worker-0001", "dask-worker-0002"]
PROCESSES = ["dask-scheduler", *WORKERS]
ANSWERS = {
    "status": "Status",
    "history": "History",
    "contract": "Contract",
    "prometheus-sd": "TargetGroups",
    "prometheus-sd?via=direct": "TargetGroups",
}
DESCRIPTION = Path(dask_fleet.__file__).parent / "host/fleet_console/assets/openapi.json"


@pytest.fixture(scope="module")
def description() -> dict[str, Any]:
    return json.loads(DESCRIPTION.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def fleet(desk_of_module: Desk) -> Fleet:
    base = free_ports(60)
    desk_of_module.declare(fleet_text("told", base, workers=2, more="port_range: 1024-65000\n"))
    desk_of_module.call("up", "--yes")
    return Fleet(desk_of_module, desk_of_module.rows())


def get(fleet: Fleet, path: str, **headers: str) -> tuple[int, dict[str, str], str]:
    return fleet.get("dask-scheduler", f"/fleet/{path}", **headers)


def told(fleet: Fleet, path: str = "status") -> Any:
    status, _, body = get(fleet, f"api/{path}")
    assert status == 200, body
    return json.loads(body)


def processes(fleet: Fleet) -> dict[str, dict[str, Any]]:
    return {row["name"]: row for row in told(fleet)["processes"]}


def all_running(fleet: Fleet) -> bool:
    return all(row["state"] == "running" for row in processes(fleet).values())


@pytest.fixture(autouse=True)
def _at_rest(fleet: Fleet) -> None:
    eventually(lambda: all_running(fleet), within=120, what="all processes run")


def test_the_description_is_openapi(description: dict[str, Any], fleet: Fleet) -> None:
    validate_openapi(description)
    assert told(fleet, "openapi.json") == description
    paths = {f"/{path.partition('?')[0]}" for path in (*ANSWERS, "openapi.json")}
    assert set(description["paths"]) == paths


@pytest.mark.parametrize("path", ANSWERS)
def test_answers_are_as_described(path: str, fleet: Fleet, description: dict[str, Any]) -> None:
    answer = told(fleet, path)
    schema = {**description, "$ref": f"#/components/schemas/{ANSWERS[path]}"}
    Draft202012Validator(schema).validate(answer)
    assert answer


def test_every_process_with_what_the_tool_itself_says_of_it(fleet: Fleet) -> None:
    rows = processes(fleet)
    assert list(rows) == PROCESSES
    for name, row in rows.items():
        own = fleet.rows[name]
        assert row["ports"] == own["ports"]
        assert (row["pid"], row["host"], row["unit"]) == (own["pid"], own["host"], own["unit"])
        assert row["versions"] == own["versions"]
        assert row["since"] == pytest.approx(own["started"], abs=5)
        assert (row["as_declared"], row["skew"], row["outdated"]) == (True, [], False)
    (host,) = told(fleet)["hosts"]
    assert (host["state"], host["workers"], host["cpus"]) == ("well", 2, os.cpu_count())
    assert 0 < host["memory_used"] < host["memory"]
    assert 0 < host["disk_free"] < host["disk"]


def test_the_contract_is_that_of_the_tool(fleet: Fleet) -> None:
    mine = told(fleet, "contract")
    assert {key: mine[key] for key in ("fleet", "rules")} == fleet.desk.call("ports", "--json").json


def test_the_history_is_that_of_the_tool(fleet: Fleet) -> None:
    mine = told(fleet, "history")["changes"]
    theirs = fleet.desk.call("history", "--json").json
    assert 0 < len(mine) <= len(theirs)
    assert all(
        change in [{key: entry[key] for key in change} for entry in theirs] for change in mine
    )
    assert told(fleet)["release"]["release"] == theirs[-1]["release"]


def test_prometheus_finds_the_metrics_of_each_process(fleet: Fleet) -> None:
    groups = told(fleet, "prometheus-sd")
    assert [group["labels"]["instance"] for group in groups] == PROCESSES
    for group in groups:
        (target,), labels = group["targets"], group["labels"]
        connection = http.client.HTTPConnection(target, timeout=120)
        connection.request("GET", labels["__metrics_path__"])
        answer = connection.getresponse()
        assert (answer.status, b"dask_" in answer.read()) == (200, True)
        connection.close()
    status, _, body = get(fleet, "api/prometheus-sd?via=door")
    assert (status, body) == (400, "400 no door is declared\n")


@pytest.mark.parametrize("path", ["", "api/status", "api/history", "assets/console.css"])
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
def test_nothing_can_be_changed(path: str, method: str, fleet: Fleet) -> None:
    port = fleet.rows["dask-scheduler"]["ports"]["dashboard"]
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    connection.request(method, f"/fleet/{path}", body=b"{}")
    answer = connection.getresponse()
    assert (answer.status, answer.getheader("Allow")) == (405, "GET, HEAD")
    connection.close()


@pytest.mark.parametrize(
    "path",
    [
        *("api", "api/", "api/status/", "api/identity", "nothing", "assets/", "assets/page.html"),
        *("assets/../handlers.py", "assets/..%2fhandlers.py", "assets/%2e%2e/console.py"),
        *("assets/openapi.json", "api/status%0a", "%0a", "assets/console.css%00"),
    ],
)
def test_what_is_not_there_is_not_found(path: str, fleet: Fleet) -> None:
    status, headers, body = get(fleet, path)
    assert (status, body) == (404, "404 Not Found\n")
    assert headers["Content-Type"].startswith("text/plain")


def test_headers_forbid_what_the_page_does_not_need(fleet: Fleet) -> None:
    for path in ("", "api/status", "assets/live.js", "nothing"):
        _, headers, _ = get(fleet, path)
        assert headers["Content-Security-Policy"].startswith("default-src 'none'")
        assert "unsafe" not in headers["Content-Security-Policy"]
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert "Server" not in headers


def test_who_knows_the_answer_is_told_so_in_no_byte(fleet: Fleet) -> None:
    for path in ("api/history", "api/contract", "api/openapi.json", "assets/console.css"):
        _, headers, body = get(fleet, path)
        again, more, nothing = get(fleet, path, **{"If-None-Match": headers["Etag"]})
        assert (again, nothing, more["Etag"]) == (304, "", headers["Etag"])
        assert len(body) > 0

    def same() -> bool:
        _, headers, _ = get(fleet, "api/status")
        return get(fleet, "api/status", **{"If-None-Match": headers["Etag"]})[0] == 304

    eventually(same, within=120, what="two asks within a second get the same answer")


def test_the_page_and_its_files_may_be_kept_by_their_digests(fleet: Fleet) -> None:
    _, _, page = get(fleet, "")
    (path,) = [part for part in page.split('"') if part.startswith("assets/console.css")]
    assert "immutable" in get(fleet, path)[1]["Cache-Control"]
    assert get(fleet, f"{path}0")[1]["Cache-Control"] == "no-cache"
    status, headers, _ = fleet.get("dask-scheduler", "/fleet")
    assert (status, headers["Location"]) == (308, "fleet/")


def test_the_numbers_follow_a_computation(fleet: Fleet) -> None:
    def busy(computation: Computation) -> bool:
        sums = told(fleet)["totals"]
        computation.results()
        return sums["busy"] > 0 and sums["cpu"] > 20 and sums["managed"] > 0

    with computing(fleet) as computation:
        eventually(lambda: busy(computation), within=120, what="workers are busy")
        assert told(fleet)["totals"]["clients"] == 1
        computation.rest()
        eventually(
            lambda: told(fleet)["totals"]["busy"] == told(fleet)["totals"]["ready"] == 0,
            within=120,
            what="nothing runs and nothing waits",
        )


def test_links_by_name_lead_to_workers_and_nowhere_else(fleet: Fleet) -> None:
    port = fleet.rows[WORKERS[0]]["ports"]["dashboard"]
    for rest in ("status", "metrics?a=b%20c", "", "x%0d%0aX-Bad:%20yes"):
        status, headers, _ = fleet.get("dask-scheduler", f"/w/{WORKERS[0]}/{rest}")
        assert (status, headers["Location"]) == (307, f"http://127.0.0.1:{port}/{rest}")
        assert "X-Bad" not in headers
    for path in ("", "/", "/x/status", f"/{WORKERS[0]}", f"/{WORKERS[0]}%0a/status", "/../fleet/"):
        status, headers, _ = fleet.get("dask-scheduler", f"/w{path}")
        assert (status, headers.get("Location")) == (404, None)


def test_the_scheduler_says_that_it_is_alive(fleet: Fleet) -> None:
    path = fleet.desk.state / "fleets" / "told" / "run" / "dask-scheduler.alive"
    first = path.read_text()
    assert re.fullmatch(ALIVE + "\n", first)
    eventually(lambda: path.read_text() != first, within=120, what="it says so again")
    assert len(path.read_text()) == len(first)


def test_a_worker_that_is_gone_is_missing_and_named_and_comes_back(fleet: Fleet) -> None:
    name = WORKERS[1]
    nannies = psutil.Process(
        psutil.Process(processes(fleet)[name]["pid"]).parent().parent().pid  # type: ignore[union-attr]
    )
    victim = processes(fleet)[name]["pid"]
    events = told(fleet)["events"]
    nannies.suspend()  # or its nanny would start it again before anybody sees that it is away
    try:
        os.kill(victim, signal.SIGKILL)
        eventually(
            lambda: processes(fleet)[name]["state"] == "missing", within=120, what="it is missing"
        )
        status = told(fleet)
        assert status["totals"]["registered"] == 1
        assert status["hosts"][0]["state"] == "partly"
        (warning,) = [one for one in status["warnings"] if one["check"] == "workers"]
        assert (warning["severity"], name in warning["fault"]) == ("error", True)
        group = told(fleet, "prometheus-sd")[2]
        assert group["labels"]["instance"] == name, "Prometheus is to see that it is down"
    finally:
        nannies.resume()
    eventually(lambda: all_running(fleet), within=120, what="it is back")
    assert processes(fleet)[name]["pid"] != victim
    new = told(fleet)["events"][: -len(events)]
    assert [(one["what"], one["name"]) for one in new] == [("came", name), ("left", name)]
    fleet.rows.update(fleet.desk.rows())


def test_a_frozen_worker_is_silent(fleet: Fleet) -> None:
    worker = psutil.Process(processes(fleet)[WORKERS[0]]["pid"])
    worker.suspend()
    try:
        eventually(
            lambda: processes(fleet)[WORKERS[0]]["state"] == "silent",
            within=120,
            what="nothing is heard of it",
        )
    finally:
        worker.resume()
    eventually(lambda: all_running(fleet), within=120, what="it is heard of again")


def test_a_stranger_is_shown(fleet: Fleet) -> None:
    python = fleet.desk.call("env", "--python").out.strip()
    address = fleet.desk.call("env", "--address").out.strip()
    options = ["--name", "mine", "--no-nanny", "--nthreads", "1", "--no-dashboard"]
    process = psutil.Popen(
        [python, "-m", "distributed.cli.dask_worker", address, *options],
        stdout=-3,
        stderr=-3,
        cwd=fleet.desk.directory,
    )
    try:
        eventually(lambda: "mine" in processes(fleet), within=120, what="it is registered")
        row = processes(fleet)["mine"]
        assert (row["state"], row["declared"]) == ("undeclared", False)
        assert told(fleet)["totals"]["undeclared"] == 1
        (warning,) = told(fleet)["warnings"]
        assert "mine" in warning["fault"]
        names = [group["labels"]["instance"] for group in told(fleet, "prometheus-sd")]
        assert names == PROCESSES
    finally:
        process.kill()
        process.wait()
    eventually(lambda: "mine" not in processes(fleet), within=120, what="it is gone")


def test_what_is_declared_anew_is_shown_and_nothing_restarts(fleet: Fleet) -> None:
    before = fleet.desk.rows()
    changes = len(told(fleet, "history")["changes"])
    (file,) = fleet.desk.files
    was = file.read_text()
    file.write_text(was.replace("127.0.0.1}", "127.0.0.1, external: localhost}"))
    plan = fleet.desk.call("plan", "--json", status=2).json["changes"]
    assert [(change["verb"], change["subject"]) for change in plan] == [("change", "console")]
    fleet.desk.call("up", "--yes")
    assert told(fleet)["hosts"][0]["external"] == "localhost"
    assert len(told(fleet, "history")["changes"]) == changes + 1
    assert {name: row["pid"] for name, row in fleet.desk.rows().items()} == {
        name: row["pid"] for name, row in before.items()
    }
    fleet.desk.call("plan")
    file.write_text(was)
    fleet.desk.call("up", "--yes")
    assert told(fleet)["hosts"][0]["external"] == "127.0.0.1"


def test_what_the_doctor_found_last_is_shown(fleet: Fleet) -> None:
    assert told(fleet)["doctor"] is None
    found = fleet.desk.call("doctor", "--json", status=None).json["findings"]
    eventually(lambda: told(fleet)["doctor"], within=120, what="the doctor has been here")
    assert told(fleet)["doctor"]["findings"] == found
    assert "@" in told(fleet)["doctor"]["who"]
    fleet.desk.call("plan")


def test_a_file_that_cannot_be_read_is_a_warning(fleet: Fleet) -> None:
    path = fleet.desk.state / "fleets" / "told" / "etc" / "inventory.json"
    was = path.read_text()
    path.write_text("{")
    eventually(
        lambda: [one["check"] for one in told(fleet)["warnings"]] == ["inventory"],
        within=120,
        what="the console says so",
    )
    assert list(processes(fleet)) == PROCESSES, "what was read last holds"
    path.write_text(was)
    eventually(lambda: told(fleet)["warnings"] == [], within=120, what="all is well again")
