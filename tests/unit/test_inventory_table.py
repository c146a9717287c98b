"""The inventory of five hosts on terminals of several widths, and what stands below it."""

# ruff: noqa: E501 - cases are data, one to a line

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import pytest
from rich.console import Console

from dask_fleet.cli.inventory_table import columns_that_fit, fitted, notes, plain
from dask_fleet.errors import UnreachableHostError
from dask_fleet.inventory import Row, Stranger
from dask_fleet.layout import Layout, lay_out
from dask_fleet.outcomes import Status
from dask_fleet.spec import load

FLEET = """\
name: sst
hosts:
  dask-scheduler: {address: 10.77.0.11}
  "dask-worker-[0001-0004]": {address: "10.77.0.[12-15]"}
scheduler: {host: dask-scheduler}
workers:
  default:
    hosts: ["dask-worker-[0001-0004]"]
    nthreads: 2
    memory_limit: 1 GiB
    ports: {per: group}
port_range: 9000-9100
"""


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    path = tmp_path / "fleet.yaml"
    path.write_text(FLEET, encoding="utf-8")
    return lay_out(load(path, {}))


@pytest.fixture
def status(layout: Layout) -> Status:
    """Everything runs, and has run for a while."""
    scheduler, workers = layout.scheduler, layout.workers
    versions = {"dask": "2026.8.0", "xcube-core": "1.14.1"}
    first = Row(
        name=scheduler.name,
        role="scheduler",
        unit="dask-scheduler",
        host=scheduler.host,
        address=layout.hosts[scheduler.host].address,
        ports=scheduler.ports,
        state="running",
        unit_state="running",
        pid=212,
        started=1_800_000_000.0,
        uptime=7_200.0,
        restarts=0,
        registered=True,
        nthreads=0,
        versions=MappingProxyType(versions),
        memory=98 << 20,
        memory_limit=0,
        cpu=0.0,
        executing=0,
        ready=0,
        fault="",
    )
    others = [
        replace(
            first,
            name=worker.name,
            role="worker",
            unit="dask-workers-default",
            host=worker.host,
            address=layout.hosts[worker.host].address,
            ports=worker.ports,
            pid=1234,
            memory=146 << 20,
            memory_limit=1 << 30,
            cpu=101.0,
            executing=2,
            ready=14,
        )
        for worker in workers
    ]
    return Status((first, *others), True)


def drawn(layout: Layout, status: Status, width: int) -> list[str]:
    screen = Console(width=width, color_system=None, highlight=False)
    with screen.capture() as captured:
        screen.print(fitted(layout, status, screen.width))
    return captured.get().splitlines()


@pytest.mark.parametrize(
    ("width", "titles"),
    [
        (60, "process state host uptime"),
        (80, "process state host uptime memory tasks"),
        (100, "process state host ports uptime memory tasks"),
        (120, "process state unit host ports uptime restarts memory cpu tasks"),
        (160, "process state unit registered host address ports uptime restarts memory cpu tasks dask"),
        (200, "process role state unit registered host address ports pid since uptime restarts memory cpu tasks dask xcube"),
    ],
)  # fmt: skip
def test_a_terminal_shows_what_it_has_room_for(
    layout: Layout, status: Status, width: int, titles: str
):
    lines = drawn(layout, status, width)
    assert lines[0] == "fleet sst · 5 of 5 running"
    assert lines[2].split() == titles.split() == columns_that_fit(status.rows, width)
    assert max(map(len, lines)) <= width
    for row, line in zip(status.rows, lines[4:9], strict=True):
        assert line.split()[0] == row.name
        assert line.count(row.host) == (1 if row.name != row.host else 2)
    assert "…" not in "".join(lines)


def test_columns_do_not_come_and_go_with_what_they_show(layout: Layout, status: Status):
    other = [
        replace(row, state="unreachable", uptime=86399.0, memory=0, memory_limit=0, restarts=12)
        for row in status.rows
    ]
    for width in range(40, 240):
        assert columns_that_fit(other, width) == columns_that_fit(status.rows, width)
        assert max(map(len, drawn(layout, replace(status, rows=tuple(other)), width))) <= width


def test_one_host_needs_no_column_of_its_own(status: Status):
    here = [replace(row, host="localhost", address="127.0.0.1") for row in status.rows]
    assert columns_that_fit(here, 80) == ["process", "state", "ports", "uptime", "memory", "tasks"]
    assert {"host", "address"} < set(columns_that_fit(here, 200))


def test_what_is_wrong_stands_below_the_table_and_below_the_plain_one(
    layout: Layout, status: Status, capsys: pytest.CaptureFixture[str]
):
    first, second, third, *others = status.rows
    second = replace(second, state="wrong", fault="port is 9999, declared is 9010")
    third = replace(third, state="unreachable", fault="dask-worker-0002: no answer")
    seen = Status(
        rows=(first, second, third, *others),
        answers=True,
        failures={third.host: UnreachableHostError(third.host, "no answer\nand more")},
        strangers=(Stranger("process", "dask-worker-0003", "nc", "port 9030 is held by nc (7)"),),
    )
    layout = replace(layout, tls=True)
    said = [
        "dask-worker-0001: port is 9999, declared is 9010",
        "dask-worker-0002: no answer",
        "warning: dask-worker-0003: port 9030 is held by nc (7)",
        "certificates: none is there yet; `dask fleet up` brings them",
    ]
    assert list(notes(layout, seen)) == said
    lines = drawn(layout, seen, 80)
    assert lines[0] == "fleet sst · 3 of 5 running"
    assert lines[-4:] == said
    plain(layout, seen)
    assert capsys.readouterr().out.splitlines()[-4:] == said
