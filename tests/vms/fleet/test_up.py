"""A fleet of VMs comes up, stays as declared, says what differs, and goes."""

from __future__ import annotations

import json

from lab import Lab

from tests.vms.operator import FLEET, RIGHT, WORKERS, Operator, all_run


def unit(name: str) -> str:
    return f"dask-fleet.sst.{name}.service"


def test_units_run_as_an_unprivileged_user_at_boot_and_forever(lab: Lab, fleet: Operator):
    host = lab.workers[0]
    name = unit("dask-workers-default")
    show = host.run(["systemctl", "show", name]).stdout
    facts = dict(line.split("=", 1) for line in show.splitlines() if "=" in line)
    assert facts["User"] == "dask-fleet"
    assert facts["Restart"] == "always"
    assert facts["StartLimitIntervalUSec"] == "0"
    assert facts["UnitFileState"] == "enabled"
    assert facts["LimitNOFILE"] == "524288"
    assert int(facts["MemoryMax"]) == (1 << 30) + (512 << 20)
    pid = facts["MainPID"]
    owner = host.run(f"stat -c %U /proc/{pid}").stdout.strip()
    assert owner == "dask-fleet"
    rows = fleet.rows()
    assert rows["dask-worker-0001"]["memory_limit"] == 1 << 30
    security = host.run(["systemd-analyze", "security", "--no-pager", name]).stdout
    exposure = float(security.strip().splitlines()[-1].split(":")[1].split()[0])
    assert exposure < 4.0
    # The service cannot write what it is started from.
    assert host.run(
        "runuser -u dask-fleet -- sh -c 'echo x >>/var/lib/dask-fleet/fleets/sst/etc/dask.yaml'",
        check=False,
    ).returncode


def test_drift_is_seen_named_and_mended(lab: Lab, fleet: Operator):
    one, two, three, four = lab.workers
    name = unit("dask-workers-default")
    one.run(f"sed -i s/RestartSec=1/RestartSec=99/ /etc/systemd/system/{name}")
    two.run(["systemctl", "stop", name])
    three.run(["systemctl", "disable", name])
    four.run(
        f"mkdir -p /etc/systemd/system/{name}.d && "
        f"printf '[Service]\\nNice=5\\n' >/etc/systemd/system/{name}.d/nice.conf"
    )
    changes = {change["host"]: change for change in fleet.plan()["changes"]}
    assert set(changes) == {host.name for host in lab.workers}
    assert "edited by hand" in changes[one.name]["reason"]
    assert "stopped" in changes[two.name]["reason"]
    assert "at boot" in changes[three.name]["reason"]
    assert "edited by hand" in changes[four.name]["reason"]
    diff = fleet.call("plan", "--diff", status=2).stdout
    assert "-RestartSec=99" in diff
    assert "+RestartSec=1" in diff
    fleet.call("up", "--yes")
    assert fleet.plan()["empty"]
    assert all_run(fleet.rows())
    assert fleet.compute() == RIGHT


def test_a_change_of_the_spec_changes_just_what_differs(lab: Lab, fleet: Operator):
    before = fleet.rows()
    fleet.write(FLEET.replace("nthreads: 1", "nthreads: 2"))
    said = fleet.call("up", "--yes", "--limit", "dask-worker-0002").stdout
    assert "nthreads 1 -> 2" in said
    after = fleet.rows()
    changed = {name for name in before if before[name]["pid"] != after[name]["pid"]}
    assert changed == {"dask-worker-0002"}
    last = json.loads(fleet.call("history", "--json").stdout)[-1]
    assert (last["hosts"], last["limit"]) == (["dask-worker-0002"], ["dask-worker-0002"])
    assert "up --limit dask-worker-0002" in fleet.call("history").stdout.splitlines()[-1]


def test_exec_runs_in_the_environment_of_the_fleet(fleet: Operator):
    done = fleet.call(
        *("exec", "--hosts", "dask-worker-*", "--", "python", "-c"),
        "import sys, dask; print(sys.prefix)",
    )
    said = [line.split(" | ") for line in done.stdout.splitlines()]
    hosts = {host.strip(): prefix for host, prefix in said}
    assert set(hosts) == set(WORKERS)
    assert all("/var/lib/dask-fleet/environments/" in prefix for prefix in hosts.values())
    failed = fleet.call("exec", "--", "sh", "-c", "exit 7", status=7)
    assert "ended with status 7" in failed.stderr
