"""The doctor on booted hosts: silent about a sound fleet, and each fault with its remedy.

What it concludes from what it was told is tested in tests/unit/test_checks.py; here hosts tell it.
A doctor takes seconds, so several things are wrong at once, each on a host of its own.
"""

from __future__ import annotations

import json
import re
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

from lab import Host, Lab

from tests.vms.operator import FLEET, WORKERS, Operator
from tests.vms.person import person

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

UNIT = "dask-fleet.sst.dask-workers-default.service"
FLEETS = "/var/lib/dask-fleet/fleets"
ENVIRONMENTS = "/var/lib/dask-fleet/environments"

Found = dict[tuple[str, str], dict[str, Any]]


def examined(operator: Operator, *, status: int) -> dict[str, Any]:
    """Return what a doctor says, with the findings by check and place; each must have a remedy."""
    value = json.loads(operator.call("doctor", "--json", status=status).stdout)
    found = {(one["check"], one["place"]): one for one in value["findings"]}
    assert len(found) == len(value["findings"]), value
    assert all(one["remedy"] and one["fault"] for one in found.values())
    assert not set(value["passed"]) & {check for check, _ in found}
    assert bool(status == 11) == any(one["severity"] == "error" for one in found.values())
    return value | {"found": found}


def doctor(operator: Operator, *, status: int) -> Found:
    """Return the findings by check and place."""
    return examined(operator, status=status)["found"]


def traces(lab: Lab) -> dict[str, str]:
    """Return what listens on each host, what lies there, and which Pythons run."""
    look = (
        "ss -HltnO | sort; pgrep -a python | sort || true; "
        f"find {FLEETS} /etc/systemd/system /tmp -maxdepth 3 | sort"
    )
    return {host.name: host.run(look).stdout for host in lab.hosts}


# -- what makes hosts unsound, and sound again -------------------------------------------------


@contextmanager
def edited(host: Host, path: str, old: str, new: str) -> Iterator[None]:
    """Replace words in a file of a host, which keeps its owner and mode."""
    before = host.run(["cat", path]).stdout
    assert old in before
    host.run(f"cat > {path}", text=before.replace(old, new))
    try:
        yield
    finally:
        host.run(f"cat > {path}", text=before)


@contextmanager
def without(host: Host, path: str) -> Iterator[None]:
    host.run(f"mv {path} {path}.away")
    try:
        yield
    finally:
        host.run(f"mv {path}.away {path}")


@contextmanager
def full(host: Host, path: str) -> Iterator[None]:
    host.small_disk(path, 64)
    try:
        host.fill_disk(path, 0)
        yield
    finally:
        host.remove_disk(path)


@contextmanager
def clock_ahead(host: Host, seconds: int) -> Iterator[None]:
    host.skew_clock(seconds)
    try:
        yield
    finally:
        host.skew_clock(0)


@contextmanager
def few_files(host: Host, unit: str) -> Iterator[None]:
    """Let a unit and its processes open few files; it is restarted."""
    drop_in = f"/etc/systemd/system/dask-fleet.sst.{unit}.service.d"
    again = f"systemctl daemon-reload; systemctl restart dask-fleet.sst.{unit}"
    limit = f"printf '[Service]\\nLimitNOFILE=200\\n' > {drop_in}/few.conf"
    host.run(f"mkdir -p {drop_in}; {limit}; {again}")
    try:
        yield
    finally:
        host.run(f"rm -r {drop_in}; {again}")


@contextmanager
def failed_unit(host: Host) -> Iterator[None]:
    """Let a unit fail that is none of ours."""
    host.run(["systemd-run", "--wait", "--quiet", "--unit=lab-broken", "false"], check=False)
    try:
        assert "degraded" in host.run(["systemctl", "is-system-running"], check=False).stdout
        yield
    finally:
        host.run(["systemctl", "reset-failed"])


@contextmanager
def bad_links(lab: Lab) -> Iterator[None]:
    """Block a port of a pair in one direction, and let another host be far from the scheduler."""
    one, two, three, _ = lab.workers
    lab.block(one, three, 9030)
    lab.lose_first(two, lab.scheduler, 8786)
    try:
        yield
    finally:
        lab.unblock()


def links_are_named(value: dict[str, Any]) -> None:
    found, seconds = value["found"], value["seconds_to_scheduler"]
    blocked = found.pop(("connections", "dask-worker-0001 -> dask-worker-0003"))
    assert blocked["fault"].startswith("TCP port 9030: no answer (filtered)")
    assert "workers fetch data from each other" in blocked["fault"]
    assert "dask fleet ports" in blocked["remedy"]
    assert 1 <= (seconds["dask-worker-0002"] or 0) < 2
    fault = found.pop(("distance", "dask-worker-0002"))["fault"]
    assert re.fullmatch(r"a connection to the scheduler takes 1\d{3} ms", fault)


# -- nothing is wrong --------------------------------------------------------------------------


def test_a_sound_lab_before_the_first_up_and_nothing_is_left(lab: Lab, bare: Operator):
    before = traces(lab)
    value = examined(bare, status=0)
    assert value["found"] == {}
    assert traces(lab) == before
    near = value["seconds_to_scheduler"]
    assert set(near) == {host.name for host in lab.hosts}
    assert near.pop("dask-scheduler") is None  # nothing there has to reach it
    assert all(seconds and seconds > 0 for seconds in near.values())
    said = bare.call("doctor").stdout
    assert "nothing is wrong" in said
    assert "passed  connections: every host reaches every host" in said
    line = said.splitlines()[-2].strip()
    assert re.fullmatch(
        r"a connection to the scheduler takes \d+\.\d ms from \S+, \d+\.\d ms from \S+", line
    )


def test_a_fleet_that_is_up_and_one_that_is_half_up(lab: Lab, fleet: Operator):
    assert doctor(fleet, status=0) == {}
    pids = {name: row["pid"] for name, row in fleet.rows().items()}
    for host in lab.workers[:2]:
        host.run(["systemctl", "stop", UNIT])
    assert doctor(fleet, status=0) == {}
    rows = fleet.rows()
    assert {name: rows[name]["pid"] for name in WORKERS[2:]} == {
        name: pids[name] for name in WORKERS[2:]
    }


# -- what is wrong -----------------------------------------------------------------------------


def test_what_is_wrong_before_the_first_up(lab: Lab, bare: Operator):
    one, two, three, four = lab.workers
    with ExitStack() as wrong:
        wrong.enter_context(bad_links(lab))
        wrong.enter_context(full(one, FLEETS))
        wrong.enter_context(clock_ahead(two, 90))
        wrong.enter_context(failed_unit(three))
        wrong.enter_context(full(four, ENVIRONMENTS))
        wrong.enter_context(edited(four, "/etc/hosts", f"10.77.0.15 {four.name}\n", ""))
        value = examined(bare, status=11)
        said = bare.call("doctor", status=11).stdout
    links_are_named(value)
    found = value["found"]
    assert set(found) == {
        ("disk", one.name),
        ("clocks", two.name),
        ("systemd", three.name),
        ("disk", four.name),
        ("names", four.name),
        ("versions", four.name),
    }
    for host, severity in ((one, "error"), (four, "warning")):
        finding = found["disk", host.name]
        assert finding["severity"] == severity
        assert finding["fault"].startswith("0.00 GiB are free where")
        assert "free some" in finding["remedy"]
    clock = found["clocks", two.name]
    assert clock["severity"] == "error"
    assert clock["fault"].endswith("s ahead of that of dask-scheduler")
    assert 85 < float(clock["fault"].split()[3]) < 95
    assert "set-ntp" in clock["remedy"]
    assert found["systemd", three.name]["severity"] == "note"
    assert "systemctl --failed" in found["systemd", three.name]["remedy"]
    assert found["names", four.name]["fault"] == f"its own name {four.name} does not resolve there"
    assert "is not there; dask-scheduler has it" in found["versions", four.name]["fault"]
    assert "dask fleet up" in found["versions", four.name]["remedy"]
    assert "dask-worker-0001 -> dask-worker-0003" in said
    assert "3 errors" in said
    assert doctor(bare, status=0) == {}


def test_what_is_wrong_with_a_fleet_that_is_up(lab: Lab, fleet: Operator):
    one, two, three, four = lab.workers
    unit_file = f"{FLEETS}/sst/etc/units/dask-workers-default.json"
    digest = json.loads(one.run(["cat", unit_file]).stdout)["release"]
    records = {host: f"{FLEETS}/sst/run/{host.name}.json" for host in (two, three)}
    has = json.loads(two.run(["cat", records[two]]).stdout)["versions"]
    other = "0123456789abcdef"
    with ExitStack() as wrong:
        wrong.enter_context(few_files(lab.scheduler, "dask-scheduler"))
        wrong.enter_context(few_files(four, "dask-workers-default"))
        fleet.until_all_run(60)
        wrong.enter_context(bad_links(lab))
        wrong.enter_context(edited(one, unit_file, digest, other))
        for host, package in ((two, "dask"), (three, "distributed")):
            old, new = (f'"{package}": "{version}"' for version in (has[package], "2020.1.0"))
            wrong.enter_context(edited(host, records[host], old, new))
        wrong.enter_context(clock_ahead(three, 20))
        value = examined(fleet, status=11)
    links_are_named(value)
    found = value["found"]
    assert found.pop(("clocks", three.name))["severity"] == "warning"
    assert {place: one["fault"] for (_, place), one in found.items()} == {
        "dask-scheduler": "dask-scheduler may open 200 files, and may need 296",
        one.name: f"deployed is the environment {other}, declared is {digest}",
        two.name: f"{two.name} runs dask 2020.1.0, dask-scheduler runs dask {has['dask']}",
        three.name: f"{three.name} runs distributed 2020.1.0, "
        f"dask-scheduler runs distributed {has['distributed']}",
        four.name: f"{four.name}, dask-workers-default may open 200 files, and may need 264",
    }
    for host in (lab.scheduler, four):
        assert found["files", host.name]["severity"] == "warning"
        assert "LimitNOFILE" in found["files", host.name]["remedy"]
    fleet.until_all_run(60)
    assert doctor(fleet, status=0) == {}


def test_hosts_that_cannot_be_examined_do_not_keep_the_others_from_it(lab: Lab, bare: Operator):
    one, two, three, down = lab.workers
    down.stop_sshd()
    lab.block(one, two, 9020)
    try:
        with without(three, "/usr/bin/python3"):
            found = doctor(bare, status=11)
    finally:
        lab.unblock()
        down.start_sshd()
    assert set(found) == {
        ("hosts", three.name),
        ("hosts", down.name),
        ("connections", "dask-worker-0001 -> dask-worker-0002"),
    }
    assert "python3" in found["hosts", three.name]["fault"]
    silent = found["hosts", down.name]
    assert "10.77.0.15 port 22 refused the connection" in silent["fault"]
    assert "nothing else was tried there" in silent["fault"]
    assert "sshd runs there" in silent["remedy"]


def test_an_address_that_is_of_another_host(bare: Operator):
    bare.write(FLEET.replace("    memory: 4 GiB\n", "    memory: 4 GiB\n    listen: 10.77.0.12\n"))
    found = doctor(bare, status=11)
    wrong = {place: one for (check, place), one in found.items() if check == "ports"}
    assert set(wrong) == set(WORKERS[1:])
    assert wrong["dask-worker-0003"]["fault"].startswith("10.77.0.12 is no address of this host")
    assert "`ip address`" in wrong["dask-worker-0003"]["remedy"]


BY_NAME = FLEET.replace("10.77.0.11", "dask-scheduler").replace(
    "10.77.0.[12-15]", '"dask-worker-[0001-0004]"'
)
"""The fleet with addresses that are names."""


def test_names_that_are_wrong_on_some_hosts(lab: Lab, bare: Operator):
    one, two, three, four = lab.workers
    astray, lost = f"10.77.0.14 {three.name}\n", f"10.77.0.15 {four.name}\n"
    bare.write(BY_NAME)
    with (
        edited(one, "/etc/hosts", astray, astray.replace(".14", ".99")),
        edited(two, "/etc/hosts", lost, ""),
    ):
        found = doctor(bare, status=11)
    for host, severity, fault in (
        (one, "warning", f"{three.name} is 10.77.0.99 there, but 10.77.0.14 on dask-scheduler"),
        (two, "error", f"{four.name} cannot be resolved there"),
    ):
        finding = found["names", host.name]
        assert (finding["severity"], finding["fault"]) == (severity, fault)
        assert "/etc/hosts" in finding["remedy"]
    # Whom the name leads astray is found out by dialling, too.
    assert ("connections", f"{one.name} -> {three.name}") in found
    assert ("connections", f"{two.name} -> {four.name}") in found
    assert {place.partition(" -> ")[0] for _, place in found} == {one.name, two.name}


def test_a_user_who_is_not_root(lab: Lab, bare: Operator, tmp_path: Path):
    me = person(lab, tmp_path)
    me.home.know(lab.hosts)
    me.write(FLEET.replace("    ssh: {sudo: true}\n    memory", "    memory"))
    found = doctor(me, status=11)
    assert set(found) == {("systemd", name) for name in WORKERS}
    assert all("do not run as root" in one["fault"] for one in found.values())
    assert all("sudo: true" in one["remedy"] for one in found.values())
