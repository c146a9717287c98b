"""Who holds the ports that a plan needs."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dask_fleet.errors import PortHeldError
from dask_fleet.observed import (
    ForeignContainer,
    HostObserved,
    ProcessRecord,
    RuntimeObserved,
    UnitObserved,
    UnitState,
)
from dask_fleet.ports import (
    Holder,
    PortInTheWay,
    container_of,
    foreign,
    held_error,
    holders_script,
    read_holders,
    sentence,
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", {}),
        ("11\t100\t99\t/srv\tnginx: master \n", {11: Holder(100, 99, "/srv", "nginx: master")}),
        ("11\t100\t99\t\t\n", {11: Holder(100, 99, "", "")}),
        ("11\t100\t\t\t\n", {11: Holder(100, 0, "", "")}),  # it ended while we looked
        ("11\t100\t9\t/\tfirst\n11\t101\t9\t/\tforked\n", {11: Holder(100, 9, "/", "first")}),
        ("sh: 4: cannot open\n11\t100\t99\t/\tone\n", {11: Holder(100, 99, "/", "one")}),
    ],
)
def test_who_holds_a_port(text: str, expected: dict[int, Holder]) -> None:
    assert read_holders(text) == expected


@given(st.text())
def test_any_output_is_read(text: str) -> None:
    assert all(isinstance(holder, Holder) for holder in read_holders(text).values())


def test_inodes_are_arguments_of_the_script() -> None:
    assert holders_script((11, 12)).argv == ("sh", "-s", "--", "11", "12")


def test_a_holder_of_another_fleet_is_named_with_it() -> None:
    holder = Holder(7, 7, "/home/ada/.local/state/dask-fleet/fleets/sst", "dask-scheduler")
    assert str(holder) == "`dask-scheduler` of fleet sst (pid 7)"
    assert str(Holder(7, 7, "/srv", "nginx")) == "`nginx` (pid 7)"


def test_one_error_names_every_port_of_a_host() -> None:
    ports = [PortInTheWay("vm-1", "dask-scheduler", port, port) for port in (8786, 8787)]
    error = held_error("vm-1", ports, {8786: Holder(7, 7, "/", "nginx")})
    assert isinstance(error, PortHeldError)
    assert error.message.splitlines() == [
        "vm-1: 2 ports are held by others",
        "port 8786, which dask-scheduler needs, is held by `nginx` (pid 7)",
        "port 8787, which dask-scheduler needs, is held by a process that only root may look at",
    ]


def host_with(unit: UnitObserved, records: dict[str, ProcessRecord]) -> HostObserved:
    return HostObserved(
        host="vm-1",
        facts={},
        exists=True,
        files={},
        unit_files={},
        environments=frozenset(),
        records=records,
        runtime=RuntimeObserved(True, 9, {"u": unit}),
        listeners=(),
    )


@pytest.mark.parametrize(
    ("holder", "is_foreign"),
    [
        (Holder(40, 40, "/", "the unit itself, which the runtime knows"), False),
        (Holder(41, 40, "/", "a worker in its group"), False),
        (Holder(50, 50, "/", "an orphan, which its record knows"), False),
        (Holder(60, 60, "/", "what a dead record named"), True),
        (Holder(99, 99, "/", "somebody else"), True),
        (Holder(70, 70, "/", "/usr/bin/docker-proxy -proto tcp -container-ip 172.18.0.2"), False),
        (Holder(70, 70, "/", "/usr/bin/docker-proxy -proto tcp -container-ip 172.18.0.3"), True),
        (Holder(70, 70, "/", f"/usr/bin/conmon --api-version 1 -c 5f2fd3859e41{'0' * 52}"), False),
        (Holder(70, 70, "/", f"/usr/bin/conmon --api-version 1 -c 6f2fd3859e41{'0' * 52}"), True),
        (Holder(80, 80, "/", "rootlesskit --net=slirp4netns --port-driver=builtin"), False),
        (Holder(80, 80, "/", "/usr/lib/podman/rootlessport-child"), False),
        (Holder(80, 80, "/", "mine rootlesskit"), True),
        (None, True),
    ],
)
def test_what_is_our_own(holder: Holder | None, is_foreign: bool) -> None:
    def record(name: str, pid: int, alive: bool) -> ProcessRecord:
        return ProcessRecord(name, name, "workers", pid, 0.0, 0, "d", {}, alive)

    unit = UnitObserved(
        "u", "starting", 40, container="5f2fd3859e41", addresses=("172.18.0.2",), ports=(8786,)
    )
    records = {"orphan": record("orphan", 50, True), "dead": record("dead", 60, False)}
    seen = host_with(unit, records)
    port = PortInTheWay("vm-1", "u", 8786, 1)
    found = foreign([port], {1: holder} if holder else {}, seen)
    assert found == ((port,) if is_foreign else ())


def test_who_forwards_ports_for_all_holds_those_that_containers_of_the_fleet_have() -> None:
    def looked(state: UnitState, *ports: int) -> HostObserved:
        unit = UnitObserved("u", state, 40, container="5f2fd3859e41", ports=ports)
        return host_with(unit, {})

    held = {1: Holder(80, 80, "/", "rootlesskit --net=slirp4netns")}
    port = PortInTheWay("vm-1", "u", 8786, 1)
    assert foreign([port], held, looked("running", 8786, 8787)) == ()
    assert foreign([port], held, looked("stopped", 8786, 8787)) == (port,)
    assert foreign([port], held, looked("running", 8787)) == (port,)
    other = ForeignContainer("6f", "old", "x:1", "running", "always", pid=7, ports=(("", 8786),))
    assert container_of(held[1], [other], 8786) == other
    assert container_of(held[1], [other], 8787) is None
    assert container_of(held[1], [replace(other, pid=0)], 8786) is None
    assert sentence(port, held[1], [other]).endswith("is held by container old (image x:1)")
