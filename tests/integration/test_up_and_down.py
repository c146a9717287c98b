"""The life of a fleet on this machine, as an operator sees it."""

from __future__ import annotations

import socket
import subprocess

from tests.integration.conftest import Desk, eventually, fleet_text, free_ports


def test_a_fleet_comes_up_stays_and_goes(desk: Desk) -> None:
    base = free_ports(40)
    desk.declare(fleet_text("life", base))

    plan = desk.call("plan", "--json", status=2).json
    assert [c["subject"] for c in plan["changes"]][-2:] == [
        "dask-scheduler",
        "dask-workers-default",
    ]

    up = desk.call("up", "--yes")
    assert "2 workers registered" in up.out
    rows = desk.rows()
    assert list(rows) == ["dask-scheduler", "dask-worker-0001", "dask-worker-0002"]
    assert {row["state"] for row in rows.values()} == {"running"}
    assert rows["dask-worker-0002"]["ports"] == {
        "worker": base + 20,
        "nanny": base + 21,
        "dashboard": base + 22,
    }
    for row in rows.values():
        for port in row["ports"].values():
            with socket.create_connection(("127.0.0.1", port), timeout=120):
                pass

    again = desk.call("up", "--yes")
    assert "nothing to do" in again.out
    assert desk.call("plan").out == "fleet life: nothing to do\n"
    assert {n: r["pid"] for n, r in desk.rows().items()} == {n: r["pid"] for n, r in rows.items()}

    desk.call("down", "--yes")
    assert desk.processes() == []
    left = {path.name for path in desk.state.rglob("*")}
    assert left == {"fleets", "life.history.jsonl"}
    assert [entry["what"] for entry in desk.call("history", "--json").json] == ["up", "down"]
    assert "it is not up" in desk.call("down", "--yes").out


def test_an_edit_changes_just_what_differs(desk: Desk) -> None:
    base = free_ports(60)
    desk.declare(fleet_text("edit", base))
    desk.call("up", "--yes")
    before = desk.rows()

    desk.declare(fleet_text("edit", base, workers=3))
    plan = desk.call("plan", "--json", status=2).json["changes"]
    assert [(c["verb"], c["subject"]) for c in plan] == [("change", "dask-workers-default")]
    desk.call("up", "--yes")

    after = desk.rows()
    assert after["dask-scheduler"]["pid"] == before["dask-scheduler"]["pid"]
    assert after["dask-worker-0003"]["state"] == "running"
    desk.call("plan")


def test_two_fleets_live_side_by_side(desk: Desk) -> None:
    one = desk.declare(fleet_text("one", free_ports(40), workers=1), "one.yaml")
    two = desk.declare(fleet_text("two", free_ports(40), workers=1), "two.yaml")
    desk.call("up", "--yes", "--file", str(one))
    desk.call("up", "--yes", "--file", str(two))
    pids = {row["pid"] for row in desk.rows("--file", str(one)).values()}
    desk.call("down", "--yes", "--file", str(two))
    assert {row["pid"] for row in desk.rows("--file", str(one)).values()} == pids
    eventually(lambda: desk.all_running("--file", str(one)), within=120, what="fleet one runs")


def test_spill_and_logs_go_where_the_file_says_and_go_with_the_fleet(desk: Desk) -> None:
    work, logs = desk.directory / "fast", desk.directory / "kept"
    more = f"directories: {{work: {work}, logs: {logs}}}\n"
    text = fleet_text("places", free_ports(40), workers=1, more=more)
    desk.declare(text.replace("    nthreads: 1\n", "    nthreads: 2\n    resources: {GPU: 1}\n"))
    desk.call("up", "--yes")
    assert {path.name for path in (logs / "places").glob("*.log")} == {
        "supervisord.log",
        "dask-scheduler.log",
        "dask-workers-default.log",
    }
    assert list((work / "places").iterdir())
    assert desk.rows()["dask-worker-0001"]["nthreads"] == 2
    python = desk.call("env", "--python").out.strip()
    address = desk.call("env", "--address").out.strip()
    code = (
        "import sys, distributed\n"
        "with distributed.Client(sys.argv[1]) as client:\n"
        "    print(client.submit(lambda: 6 * 7, resources={'GPU': 1}).result(timeout=120))\n"
    )
    done = subprocess.run(
        [python, "-c", code, address], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.stdout == "42\n", done.stderr
    desk.call("down", "--yes")
    assert not (work / "places").exists()
    assert not (logs / "places").exists()
