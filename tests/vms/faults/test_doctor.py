"""The doctor on booted hosts: silent about a sound fleet, and each fault with its remedy."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest
from lab import Lab

from tests.vms.operator import FLEET, WORKERS, Operator
from tests.vms.person import person

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

UNIT = "dask-fleet.sst.dask-workers-default.service"
FLEETS = "/var/lib/dask-fleet/fleets"
ENVIRONMENTS = "/var/lib/dask-fleet/environments"

Found = dict[tuple[str, str], dict[str, Any]]


@pytest.fixture
def bare(operator: Operator) -> Operator:
    """A fleet that is declared and of which nothing is there but the environment."""
    operator.write()
    operator.call("down", "--yes")
    return operator


@pytest.fixture(params=["before the first up", "up"], scope="module")
def when(request: pytest.FixtureRequest) -> str:
    """Of the module, so that pytest puts tests of the same time one after the other."""
    return request.param


@pytest.fixture
def declared(when: str, request: pytest.FixtureRequest) -> Operator:
    """A fleet of which nothing runs, and then one that is up."""
    return request.getfixturevalue("bare" if when == "before the first up" else "fleet")


def doctor(operator: Operator, *, status: int) -> Found:
    """Return the findings by check and place; each must have a remedy."""
    value = json.loads(operator.call("doctor", "--json", status=status).stdout)
    found = {(one["check"], one["place"]): one for one in value["findings"]}
    assert len(found) == len(value["findings"]), value
    assert all(one["remedy"] and one["fault"] for one in found.values())
    assert not set(value["passed"]) & {check for check, _ in found}
    assert bool(status == 11) == any(one["severity"] == "error" for one in found.values())
    return found


def traces(lab: Lab) -> dict[str, str]:
    """Return what listens on each host, what lies there, and which Pythons run."""
    look = (
        "ss -HltnO | sort; pgrep -a python | sort || true; "
        f"find {FLEETS} /etc/systemd/system /tmp -maxdepth 3 | sort"
    )
    return {host.name: host.run(look).stdout for host in lab.hosts}


# -- nothing is wrong --------------------------------------------------------------------------


def test_a_sound_lab_before_the_first_up_and_nothing_is_left(lab: Lab, bare: Operator):
    before = traces(lab)
    assert doctor(bare, status=0) == {}
    assert traces(lab) == before
    said = bare.call("doctor").stdout
    assert "nothing is wrong" in said
    assert "passed  connections: every host reaches every host" in said


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
    fleet.call("up", "--yes")


# -- the network -------------------------------------------------------------------------------


def test_a_blocked_pair_is_named_in_its_direction(lab: Lab, declared: Operator):
    one, _, three, _ = lab.workers
    lab.block(one, three, 9030)
    try:
        found = doctor(declared, status=11)
        said = declared.call("doctor", status=11).stdout
    finally:
        lab.unblock()
    assert list(found) == [("connections", "dask-worker-0001 -> dask-worker-0003")]
    (finding,) = found.values()
    assert finding["fault"].startswith("TCP port 9030: no answer (filtered)")
    assert "workers fetch data from each other" in finding["fault"]
    assert "dask fleet ports" in finding["remedy"]
    assert "dask-worker-0001 -> dask-worker-0003" in said
    assert "1 error" in said
    assert doctor(declared, status=0) == {}


def test_a_port_that_is_closed_to_all_is_one_finding(lab: Lab, declared: Operator):
    lab.block(None, lab.scheduler, 8786)
    try:
        found = doctor(declared, status=11)
    finally:
        lab.unblock()
    ((check, place),) = found
    assert check == "connections"
    sources, _, target = place.partition(" -> ")
    assert target == "dask-scheduler"
    assert "dask-worker-[0001-0004]" in sources
    assert "TCP port 8786" in found[check, place]["fault"]


def test_a_partition_names_both_directions(lab: Lab, bare: Operator):
    lab.partition(lab.workers[:2], lab.workers[2:])
    try:
        found = doctor(bare, status=11)
    finally:
        lab.heal_partition()
    assert {check for check, _ in found} == {"connections"}
    places = " ".join(place for _, place in found)
    assert "dask-scheduler" not in places
    assert all("TCP port" in one["fault"] for one in found.values())
    sources = {place.partition(" -> ")[0] for _, place in found}
    assert sources == {"dask-worker-[0001-0002]", "dask-worker-[0003-0004]"}


def test_the_time_to_the_scheduler_is_always_told_and_a_far_host_is_named(
    lab: Lab, declared: Operator
):
    far = lab.workers[1]
    near = seconds_to_scheduler(declared)
    assert set(near) == {host.name for host in lab.hosts}
    assert near.pop("dask-scheduler") is None  # nothing there has to reach it
    assert all(seconds and seconds > 0 for seconds in near.values())
    line = declared.call("doctor").stdout.splitlines()[-2].strip()
    assert re.fullmatch(
        r"a connection to the scheduler takes \d+\.\d ms from \S+, \d+\.\d ms from \S+", line
    )
    lab.lose_first(far, lab.scheduler, 8786)
    try:
        found = doctor(declared, status=0)
        assert 1 <= (seconds_to_scheduler(declared)[far.name] or 0) < 2
    finally:
        lab.unblock()
    assert list(found) == [("distance", far.name)]
    fault = found["distance", far.name]["fault"]
    assert re.fullmatch(r"a connection to the scheduler takes 1\d{3} ms", fault)
    assert doctor(declared, status=0) == {}


def seconds_to_scheduler(operator: Operator) -> dict[str, float | None]:
    return json.loads(operator.call("doctor", "--json").stdout)["seconds_to_scheduler"]


# -- hosts -------------------------------------------------------------------------------------


def test_a_host_without_sshd_does_not_keep_the_others_from_being_examined(
    lab: Lab, declared: Operator
):
    down = lab.workers[3]
    down.stop_sshd()
    lab.block(lab.workers[0], lab.workers[1], 9020)
    try:
        found = doctor(declared, status=11)
    finally:
        lab.unblock()
        down.start_sshd()
    assert set(found) == {
        ("hosts", down.name),
        ("connections", "dask-worker-0001 -> dask-worker-0002"),
    }
    silent = found["hosts", down.name]
    assert "10.77.0.15 port 22 refused the connection" in silent["fault"]
    assert "nothing else was tried there" in silent["fault"]
    assert "sshd runs there" in silent["remedy"]


def test_a_host_without_python(lab: Lab, bare: Operator):
    host = lab.workers[2]
    host.run("mv /usr/bin/python3 /usr/bin/python3.away")
    try:
        found = doctor(bare, status=11)
    finally:
        host.run("mv /usr/bin/python3.away /usr/bin/python3")
    assert list(found) == [("hosts", host.name)]
    assert "python3" in found["hosts", host.name]["fault"]


def test_a_clock_that_is_wrong(lab: Lab, declared: Operator):
    host = lab.workers[1]
    host.skew_clock(90)
    try:
        found = doctor(declared, status=11)
        host.skew_clock(20)
        warned = doctor(declared, status=0)
    finally:
        host.skew_clock(0)
    assert list(found) == list(warned) == [("clocks", host.name)]
    fault = found["clocks", host.name]["fault"]
    assert fault.endswith("s ahead of that of dask-scheduler")
    assert 85 < float(fault.split()[3]) < 95
    assert "set-ntp" in found["clocks", host.name]["remedy"]
    assert warned["clocks", host.name]["severity"] == "warning"


def test_an_environment_that_differs(lab: Lab, bare: Operator):
    host = lab.workers[0]
    host.run(f"mv {ENVIRONMENTS} {ENVIRONMENTS}.away; mkdir {ENVIRONMENTS}")
    try:
        found = doctor(bare, status=0)
    finally:
        host.run(f"rm -r {ENVIRONMENTS}; mv {ENVIRONMENTS}.away {ENVIRONMENTS}")
    assert list(found) == [("versions", host.name)]
    assert "is not there; dask-scheduler has it" in found["versions", host.name]["fault"]
    assert "dask fleet up" in found["versions", host.name]["remedy"]


def test_a_release_that_differs(lab: Lab, fleet: Operator):
    host = lab.workers[0]
    unit_file = f"{FLEETS}/sst/etc/units/dask-workers-default.json"
    before = host.run(["cat", unit_file]).stdout
    digest = json.loads(before)["release"]
    other = "0123456789abcdef"
    try:
        host.run(f"cat > {unit_file}", text=before.replace(digest, other))
        found = doctor(fleet, status=0)
    finally:
        host.run(f"cat > {unit_file}", text=before)
    assert list(found) == [("versions", host.name)]
    fault = found["versions", host.name]["fault"]
    assert fault == f"deployed is the environment {other}, declared is {digest}"
    assert fleet.plan()["empty"]


@pytest.mark.parametrize("package", ["dask", "distributed"])
def test_processes_of_different_versions(lab: Lab, fleet: Operator, package: str):
    host = lab.workers[1]
    record = f"{FLEETS}/sst/run/dask-worker-0002.json"
    before = host.run(["cat", record]).stdout
    value = json.loads(before)
    has = value["versions"][package]
    value["versions"][package] = "2020.1.0"
    try:
        host.run(f"cat > {record}", text=json.dumps(value))
        found = doctor(fleet, status=11)
    finally:
        host.run(f"cat > {record}", text=before)
    assert list(found) == [("versions", host.name)]
    fault = found["versions", host.name]["fault"]
    assert fault == (
        f"dask-worker-0002 runs {package} 2020.1.0, dask-scheduler runs {package} {has}"
    )
    assert doctor(fleet, status=0) == {}


@pytest.mark.parametrize(
    ("unit", "fault"),
    [
        ("dask-scheduler", "dask-scheduler may open 200 files, and may need 296"),
        (
            "dask-workers-default",
            "dask-worker-0003, dask-workers-default may open 200 files, and may need 264",
        ),
    ],
)
def test_a_process_that_may_open_too_few_files(lab: Lab, fleet: Operator, unit: str, fault: str):
    host = lab.scheduler if unit == "dask-scheduler" else lab.workers[2]
    drop_in = f"/etc/systemd/system/dask-fleet.sst.{unit}.service.d"
    host.run(
        f"mkdir -p {drop_in}; printf '[Service]\\nLimitNOFILE=200\\n' > {drop_in}/few.conf;"
        f"systemctl daemon-reload; systemctl restart dask-fleet.sst.{unit}"
    )
    try:
        fleet.until_all_run(60)
        found = doctor(fleet, status=0)
    finally:
        fleet.call("up", "--yes")  # a drop-in is an edit by hand
    finding = found["files", host.name]
    assert finding["severity"] == "warning"
    assert finding["fault"] == fault
    assert "LimitNOFILE" in finding["remedy"]
    assert {check for check, _ in found} == {"files"}
    assert doctor(fleet, status=0) == {}


def test_a_python_that_no_host_has_is_an_error_as_up_says_it(lab: Lab, bare: Operator):
    bare.write(FLEET + 'environment: {packages: [distributed], python: "3.13"}\n')
    try:
        found = doctor(bare, status=11)
    finally:
        bare.write()
    assert set(found) == {("versions", host.name) for host in lab.hosts}
    for finding in found.values():
        assert "there is no Python 3.13; it has: /usr/bin/python3.11" in finding["fault"]
        assert "install Python 3.13 there" in finding["remedy"]


def test_a_full_disk(lab: Lab, bare: Operator):
    host = lab.workers[3]
    for place, severity, status in ((FLEETS, "error", 11), (ENVIRONMENTS, "warning", 0)):
        host.small_disk(place, 64)
        try:
            host.fill_disk(place, 0)
            found = doctor(bare, status=status)
        finally:
            host.remove_disk(place)
        finding = found["disk", host.name]
        assert finding["severity"] == severity
        assert finding["fault"].startswith("0.00 GiB are free where")
        assert "free some" in finding["remedy"]
        assert {name for _, name in found} == {host.name}


def test_limits_above_the_memory_of_a_host(lab: Lab, bare: Operator):
    bare.write(FLEET.replace("    memory: 4 GiB\n", "").replace("1 GiB", "900 GiB"))
    try:
        found = doctor(bare, status=11)
    finally:
        bare.write()
    assert set(found) == {("memory", name) for name in WORKERS}
    assert all("may use 900.0 GiB" in one["fault"] for one in found.values())


def test_an_address_that_is_of_another_host(lab: Lab, bare: Operator):
    bare.write(FLEET.replace("    memory: 4 GiB\n", "    memory: 4 GiB\n    listen: 10.77.0.12\n"))
    try:
        found = doctor(bare, status=11)
    finally:
        bare.write()
    wrong = {place: one for (check, place), one in found.items() if check == "ports"}
    assert set(wrong) == set(WORKERS[1:])
    assert wrong["dask-worker-0003"]["fault"].startswith("10.77.0.12 is no address of this host")
    assert "`ip address`" in wrong["dask-worker-0003"]["remedy"]


BY_NAME = FLEET.replace("10.77.0.11", "dask-scheduler").replace(
    "10.77.0.[12-15]", '"dask-worker-[0001-0004]"'
)
"""The fleet with addresses that are names."""


@pytest.fixture
def wrong_name(lab: Lab, request: pytest.FixtureRequest) -> Iterator[str]:
    """Change ``/etc/hosts`` of a worker host by a sed script; return the name of the host."""
    host = lab.workers[0]
    before = host.run(["cat", "/etc/hosts"]).stdout
    host.run(["sed", "-i", request.param, "/etc/hosts"])
    try:
        assert host.run(["cat", "/etc/hosts"]).stdout != before
        yield host.name
    finally:
        host.run("cat > /etc/hosts", text=before)


@pytest.mark.parametrize(
    ("wrong_name", "severity", "fault"),
    [
        (
            r"/\bdask-worker-0003\b/s/^10\.77\.0\.14/10.77.0.99/",
            "warning",
            "dask-worker-0003 is 10.77.0.99 there, but 10.77.0.14 on dask-scheduler",
        ),
        (r"/\bdask-worker-0003\b/d", "error", "dask-worker-0003 cannot be resolved there"),
    ],
    indirect=["wrong_name"],
)
def test_a_name_that_is_wrong_on_one_host(
    bare: Operator, wrong_name: str, severity: str, fault: str
):
    bare.write(BY_NAME)
    try:
        found = doctor(bare, status=11)
    finally:
        bare.write()
    finding = found["names", wrong_name]
    assert (finding["severity"], finding["fault"]) == (severity, fault)
    assert "/etc/hosts" in finding["remedy"]
    # Whom the name leads astray is found out by dialling, too.
    assert ("connections", f"{wrong_name} -> dask-worker-0003") in found
    assert {place.partition(" -> ")[0] for _, place in found} == {wrong_name}


def test_a_host_that_does_not_know_its_own_name(lab: Lab, bare: Operator):
    host = lab.workers[3]
    before = host.run(["cat", "/etc/hosts"]).stdout
    host.run(["sed", "-i", f"/\\b{host.name}\\b/d", "/etc/hosts"])
    nss = host.run(["cat", "/etc/nsswitch.conf"]).stdout
    host.run(["sed", "-i", "s/myhostname//", "/etc/nsswitch.conf"])
    try:
        found = doctor(bare, status=0)
    finally:
        host.run("cat > /etc/hosts", text=before)
        host.run("cat > /etc/nsswitch.conf", text=nss)
    assert list(found) == [("names", host.name)]
    assert found["names", host.name]["fault"] == f"its own name {host.name} does not resolve there"


@pytest.fixture
def broken_unit(lab: Lab) -> Iterator[str]:
    """Return the name of a host on which a unit has failed that is none of ours."""
    host = lab.workers[1]
    host.run(["systemd-run", "--wait", "--quiet", "--unit=lab-broken", "false"], check=False)
    try:
        assert "degraded" in host.run(["systemctl", "is-system-running"], check=False).stdout
        yield host.name
    finally:
        host.run(["systemctl", "reset-failed"])


def test_a_failed_unit_of_the_host_is_a_note(bare: Operator, broken_unit: str):
    found = doctor(bare, status=0)
    assert list(found) == [("systemd", broken_unit)]
    assert found["systemd", broken_unit]["severity"] == "note"
    assert "systemctl --failed" in found["systemd", broken_unit]["remedy"]


def test_a_user_who_is_not_root(lab: Lab, bare: Operator, tmp_path: Path):
    me = person(lab, tmp_path)
    me.home.know(lab.hosts)
    me.write(FLEET.replace("    ssh: {sudo: true}\n    memory", "    memory"))
    found = doctor(me, status=11)
    assert set(found) == {("systemd", name) for name in WORKERS}
    assert all("do not run as root" in one["fault"] for one in found.values())
    assert all("sudo: true" in one["remedy"] for one in found.values())
