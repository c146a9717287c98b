"""Plans, events and tables as text."""

from __future__ import annotations

import time

import pytest

from dask_fleet.actions import Change, Plan
from dask_fleet.cli.inventory_table import cells, duration
from dask_fleet.cli.progress import Progress
from dask_fleet.cli.render import plan_value, show_plan, show_table, size
from dask_fleet.events import (
    ActionDone,
    ActionFailed,
    ActionStarted,
    Event,
    Note,
    Registered,
)
from tests.unit.test_inventory import WELL, WORKER, rows, seen

PLAN = Plan(
    (
        Change("vm-1", "create", "dask-scheduler", "it is not there"),
        Change("vm-2", "remove", "dask-workers-big", "it is no longer declared"),
    )
)


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1 KiB"),
        (1536 * 1024, "2 MiB"),
        (300 << 20, "300 MiB"),
        (1 << 30, "1.0 GiB"),
        (1536 << 20, "1.5 GiB"),
        (1 << 40, "1.0 TiB"),
        (5 << 50, "5120.0 TiB"),
        (-2048, "-2 KiB"),
    ],
)
def test_sizes(number: float, text: str):
    assert size(number) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, ""),
        (0.0, "0s"),
        (59.9, "59s"),
        (60, "1m00s"),
        (61, "1m01s"),
        (3599, "59m59s"),
        (3600, "1h00m"),
        (86399, "23h59m"),
        (86400, "1d00h"),
        (90 * 86400 + 7200, "90d02h"),
    ],
)
def test_durations(seconds: float | None, text: str):
    assert duration(seconds) == text


def test_cells_of_a_worker_and_of_the_scheduler():
    found = rows(seen(), WELL)
    assert cells(found[WORKER.name]) == [
        "dask-worker-0001",
        "worker",
        "running",
        "running",
        "yes",
        "localhost",
        "127.0.0.1",
        "9010/9011/9012",
        "77",
        time.strftime("%Y-%m-%d %H:%M", time.localtime(found[WORKER.name].started)),
        "1m40s",
        "3",
        "",
        "0%",
        "0+0",
        "2026.8.0",
        "",
    ]
    assert cells(found["dask-scheduler"])[12:15] == ["5 KiB", "", ""]


def test_cells_of_what_is_down():
    assert cells(rows(seen(alive=False, runtime=False), None)[WORKER.name])[1:] == [
        "worker", "down", "", "no", "localhost", "127.0.0.1", "9010/9011/9012",
        "", "", "", "3", "", "", "", "", "",
    ]  # fmt: skip


def test_a_plan_in_a_pipe(capsys: pytest.CaptureFixture[str]):
    show_plan("sst", PLAN)
    assert capsys.readouterr().out == (
        "fleet sst: plan\n"
        "  + create  dask-scheduler on vm-1: it is not there\n"
        "  - remove  dask-workers-big on vm-2: it is no longer declared\n"
    )


def test_a_plan_for_programs():
    nothing = {"changes": [], "replaced": [], "interrupts": False, "taken_over": []}
    assert plan_value("sst", Plan()) == {"fleet": "sst", "empty": True, **nothing}
    value = plan_value("sst", PLAN)
    assert not value["empty"]
    assert value["changes"][0] == {
        "host": "vm-1",
        "verb": "create",
        "subject": "dask-scheduler",
        "reason": "it is not there",
        "detail": "",
    }


def test_a_table_in_a_pipe(capsys: pytest.CaptureFixture[str]):
    show_table(["name", "pid"], [["one", "7"], ["longer", ""]], right={1})
    assert capsys.readouterr().out == "name    pid\none       7\nlonger    -\n"


def test_hosts_alike_stand_on_one_line_when_the_last_has_ended(
    capsys: pytest.CaptureFixture[str],
):
    with Progress(several=True) as progress:
        for host in ("vm-2", "vm-1", "vm-3", "gate"):
            progress(ActionStarted(host, "write 1 file"))
        progress(ActionDone("vm-1", "write 1 file", 0.1))
        progress(ActionFailed("gate", "write 1 file", "no space"))
        progress(ActionDone("vm-3", "write 1 file", 0.3))
        assert capsys.readouterr().out == "  failed write 1 file on gate: no space\n"
        progress(ActionDone("vm-2", "write 1 file", 0.2))
        assert capsys.readouterr().out == "  done write 1 file on vm-[1-3] (0.3 s)\n"
        progress(ActionStarted("vm-4", "write 1 file"))
        progress(Note("vm-4", "half of it"))
        progress(ActionFailed("vm-4", "write 1 file", "no space"))
        assert capsys.readouterr().out == (
            "  vm-4: half of it\n  failed write 1 file on vm-4: no space\n"
        )


def test_a_plan_of_several_hosts_alike(capsys: pytest.CaptureFixture[str]):
    new = [
        Change(f"vm-{n}", "create", "dask-workers-big", "it is not there", f"dask-worker-000{n}")
        for n in (1, 2, 3)
    ]
    one = Change("gate", "create", "dask-workers-big", "it was lost", "dask-worker-0009")
    show_plan("sst", Plan((*new, one)))
    assert capsys.readouterr().out == (
        "fleet sst: plan\n"
        "  + create  dask-workers-big on vm-[1-3]: it is not there\n"
        "  + create  dask-workers-big on gate: it was lost (dask-worker-0009)\n"
    )


@pytest.mark.parametrize(
    ("event", "text"),
    [
        (ActionStarted("a", "write 1 file"), ""),
        (ActionDone("a", "write 1 file", 1.26), "  done write 1 file (1.3 s)\n"),
        (ActionFailed("a", "write 1 file", "no space"), "  failed write 1 file: no space\n"),
        (Note("a", "[red]resolved"), "  [red]resolved\n"),
        (Registered(2, 2, ()), "  2 of 2 workers registered\n"),
        (Registered(1, 2, ("w2",)), "  1 of 2 workers registered; waiting for w2\n"),
        (
            Registered(0, 6, tuple("abcdef")),
            "  0 of 6 workers registered; waiting for a, b, c, d ...\n",
        ),
    ],
)
def test_events_in_a_pipe(event: Event, text: str, capsys: pytest.CaptureFixture[str]):
    with Progress() as progress:
        progress(event)
    assert capsys.readouterr().out == text
    with Progress(quiet=True) as progress:
        progress(event)
    assert capsys.readouterr().out == ""
