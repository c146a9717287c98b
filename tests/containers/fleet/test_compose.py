"""A fleet of containers on booted hosts: what it is given, changed by hand, and mended.

That it comes up from bare hosts, computes and leaves nothing is in `tests/journeys/docker`.
"""

from __future__ import annotations

import json
import urllib.request

import pytest
from lab import Host, Lab

from tests.containers.conftest import CONTAINED
from tests.vms.follower import following
from tests.vms.operator import RIGHT, WORKERS, Operator, all_run, eventually

pytestmark = pytest.mark.timeout(900)
"""Several hosts are changed one after the other, and the machine may be busy."""

FOLDER = "/var/lib/dask-fleet/fleets/sst/etc/compose"
UNIT = "dask-fleet.sst.dask-workers-default"


@pytest.fixture(scope="module")
def fleet(operator: Operator) -> Operator:
    """The fleet as declared, whatever was there before."""
    operator.write(CONTAINED)
    operator.call("up", "--yes", "--all-at-once")
    return operator


@pytest.fixture(autouse=True)
def as_declared(operator: Operator):
    """After each test the fleet is as declared again."""
    yield
    operator.write(CONTAINED)


def container(host: Host, name: str = UNIT) -> str:
    """Return the id of a container; empty when there is none."""
    return host.run(["docker", "ps", "-aqf", f"name=^{name}$", "--no-trunc"]).stdout.strip()


def inspect(host: Host, name: str = UNIT) -> dict:
    (found,) = json.loads(host.run(["docker", "inspect", name]).stdout)
    return found


def test_by_hand_the_old_procedure_gives_the_same_container(lab: Lab, fleet: Operator):
    names = dict.fromkeys(WORKERS, UNIT) | {"dask-scheduler": "dask-fleet.sst.dask-scheduler"}
    before = {host.name: container(host, names[host.name]) for host in lab.hosts}
    lab.each(lambda host: host.run(f"cd {FOLDER} && docker-compose up -d", timeout=120))
    assert {host.name: container(host, names[host.name]) for host in lab.hosts} == before
    host = lab.workers[0]
    host.run(["docker", "rm", "-f", UNIT])
    host.run(f"cd {FOLDER} && docker-compose up -d", timeout=60)
    fleet.until_all_run(120)
    assert fleet.plan()["empty"]


def test_what_a_container_is_given(lab: Lab, fleet: Operator):
    found = inspect(lab.workers[1])
    assert found["Config"]["User"] == "8786:8786"
    assert found["Config"]["Hostname"] == "dask-worker-0002"
    config = found["HostConfig"]
    assert found["Config"]["StopTimeout"] == 30
    assert config["RestartPolicy"]["Name"] == "always"
    assert config["Memory"] == config["MemorySwap"] == 2**30 + 512 * 2**20
    assert config["PortBindings"]["9020/tcp"] == [{"HostIp": "10.77.0.13", "HostPort": "9020"}]
    assert config["LogConfig"]["Config"] == {"max-file": "5", "max-size": "10m"}
    eventually(
        "the container is healthy",
        lambda: inspect(lab.workers[1])["State"]["Health"]["Status"] == "healthy",
        60,
    )
    rows = fleet.rows()
    assert rows["dask-worker-0002"]["memory_limit"] == 2**30


DRIFTS = {
    f"docker stop -t 5 {UNIT}": "it was stopped (exited with",
    f"docker rm -f {UNIT}": "it is not there",
    f"docker update --restart=no {UNIT}": "would not start at boot",
    f"docker pause {UNIT}": "it was stopped (paused",
    f"echo '# edited' >>{FOLDER}/docker-compose.yml": "edited or left behind: compose",
    f"echo X=1 >>{FOLDER}/.env": "edited or left behind: compose/.env",
    (
        f"cd {FOLDER} && sed 's/10m/20m/' docker-compose.yml >a.yml"
        " && docker-compose -f a.yml up -d && rm a.yml"
    ): "its container was not made from these files",
}
"""What somebody may do on a host by hand, and what a plan says of it."""


def test_drift_is_seen_named_and_mended(lab: Lab, fleet: Operator):
    drifts = list(DRIFTS)
    for first in range(0, len(drifts), len(lab.workers)):
        are_seen_named_and_mended(lab, fleet, drifts[first : first + len(lab.workers)])


def are_seen_named_and_mended(lab: Lab, fleet: Operator, drifts: list[str]) -> None:
    """Do some of `DRIFTS`, each on a host; have each named by a plan, and all mended by an `up`."""
    done = dict(zip(lab.workers, drifts, strict=False))
    lab.each(lambda host: host.run(done[host], timeout=60), list(done))
    changes = fleet.plan()["changes"]
    assert len(changes) == len(done)
    reasons = {change["host"]: change["reason"] for change in changes}
    for host, drift in done.items():
        assert DRIFTS[drift] in reasons[host.name]
    fleet.call("up", "--yes", "--all-at-once")
    assert fleet.plan()["empty"]
    assert all_run(fleet.rows())


def test_a_change_replaces_the_containers_that_it_concerns(lab: Lab, fleet: Operator):
    before = {host.name: container(host) for host in lab.workers}
    scheduler = container(lab.scheduler, "dask-fleet.sst.dask-scheduler")
    fleet.write(CONTAINED.replace("memory_limit: 1 GiB", "memory_limit: 900 MiB"))
    changes = fleet.plan()["changes"]
    assert {(one["verb"], one["subject"]) for one in changes} >= {
        ("change", "dask-workers-default")
    }
    fleet.call("up", "--yes")
    after = {host.name: container(host) for host in lab.workers}
    assert set(before.values()).isdisjoint(after.values())
    assert container(lab.scheduler, "dask-fleet.sst.dask-scheduler") == scheduler
    assert inspect(lab.workers[0])["HostConfig"]["Memory"] == (900 + 512) * 2**20
    fleet.write(CONTAINED)
    fleet.call("up", "--yes")
    assert fleet.compute() == RIGHT


def test_logs_exec_and_restart(lab: Lab, fleet: Operator):
    _, printed = logs_exec_and_restart(lab, fleet)
    assert len(printed) == 4


def logs_exec_and_restart(lab: Lab, fleet: Operator) -> tuple[list[str], list[str]]:
    """Try the three commands; return the lines of the log, and what `exec` has printed."""
    lines = fleet.call("logs", "-n", "40").stdout.splitlines()
    assert {line.split(" | ")[0] for line in lines} >= {"dask-scheduler", *WORKERS}
    version = "import dask; print(dask.__version__)"
    printed = fleet.call(
        "exec", "--hosts", "dask-worker-*", "--", "python", "-c", version
    ).stdout.splitlines()
    before = {name: row["pid"] for name, row in fleet.rows().items()}
    fleet.call("restart", "dask-worker-0004", "--yes")
    after = {name: row["pid"] for name, row in fleet.until_all_run(60).items()}
    assert [name for name in before if before[name] != after[name]] == ["dask-worker-0004"]
    assert after["dask-worker-0004"] in {
        int(pid) for pid in lab.workers[3].run("pgrep -f dask-worker-0004").stdout.split()
    }
    return lines, printed


def test_a_container_that_is_started_anew_is_followed_on(lab: Lab, fleet: Operator):
    with following(fleet, "-n", "1") as follower:
        for command in ("docker restart", "docker rm -f"):
            follower.until("it is followed", lambda line: line.startswith("dask-worker-0003 | "))
            before = len(follower.lines)
            lab.workers[2].run(f"{command} {UNIT}", timeout=60)
            if "rm" in command:
                fleet.call("up", "--yes")
            follower.until(
                "what it says next",
                lambda line, before=before: (
                    "Registered to" in line
                    and line.startswith("dask-worker-0003 | ")
                    and line in follower.lines[before:]
                ),
            )
        # Dask draws the same rule several times in a millisecond.
        said = [
            line
            for line in follower.lines
            if line.startswith("dask-worker-0003 | ") and not line.endswith("----")
        ]
        assert len(said) == len(set(said))
    assert all_run(fleet.until_all_run(60))


def test_the_console_shows_history_and_findings(lab: Lab, fleet: Operator):
    fleet.call("doctor", "--json", status=None)
    for what, key in (("history", "changes"), ("status", "doctor")):
        url = f"http://10.77.0.11:8787/fleet/api/{what}"
        said = eventually(
            f"the console has {key}", lambda url=url, key=key: _told(url)[key], seconds=30
        )
        assert said
    assert "@" in _told("http://10.77.0.11:8787/fleet/api/status")["doctor"]["who"]


def _told(url: str) -> dict:
    with urllib.request.urlopen(url, timeout=10) as answer:
        return json.load(answer)


def test_the_doctor_is_content(fleet: Operator):
    findings = json.loads(fleet.call("doctor", "--json").stdout)["findings"]
    assert [one for one in findings if one["severity"] == "error"] == []
