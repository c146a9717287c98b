"""The door on booted hosts, in their own nginx: on the host of the scheduler, and on another."""

from __future__ import annotations

import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest
from lab import Host, Lab

from dask_fleet.tls.authority import Authority, authority_directory
from tests.vms.operator import FLEET, WORKERS, Operator, eventually
from tests.vms.reset import bring_up

ON_THE_SCHEDULERS_HOST = FLEET + "door: {login: none}\n"
ON_ITS_OWN = (
    FLEET.replace('["dask-worker-[0001-0004]"]', '["dask-worker-[0001-0003]"]')
    + "door: {host: dask-worker-0004, tls: fleet, login: none}\n"
)
SITE = "/etc/nginx/sites-available/dask-fleet.sst.conf"
FOREIGN = "server { listen 10.77.0.11:8080; location / { return 200 'not of the fleet'; } }"
SCHEDULER, GATE = "http://10.77.0.11", "https://10.77.0.15"


def ask(url: str, ca: str | None = None) -> tuple[int, str]:
    """Return status and text of an answer; 0 when there is none."""
    context = ssl.create_default_context(cafile=ca) if ca else None
    try:
        with urllib.request.urlopen(url, timeout=15, context=context) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
    except OSError:
        return 0, ""


def digest(host: Host, path: str) -> str:
    return host.run(["sha256sum", path]).stdout.split()[0]


@pytest.fixture
def behind(lab: Lab, operator: Operator) -> Iterator[Operator]:
    """A fleet with a door on the scheduler's host, whose nginx has a site of somebody else."""
    file = "/etc/nginx/conf.d/other.conf"
    lab.scheduler.run(["tee", file], text=FOREIGN)
    try:
        bring_up(operator, ON_THE_SCHEDULERS_HOST)
        # It may have been up, so that nginx has not read the other site.
        lab.scheduler.run("systemctl reload nginx")
        yield operator
    finally:
        lab.scheduler.run(["rm", file])


def test_all_dashboards_are_behind_one_address(lab: Lab, behind: Operator):
    paths = ["/status", "/metrics", *(f"/w/{name}/health" for name in WORKERS)]
    paths += [f"/proxy/90{n}2/10.77.0.{11 + n}/health" for n in (1, 2, 3, 4)]
    assert {path: ask(SCHEDULER + path)[0] for path in paths} == dict.fromkeys(paths, 200)
    for path in ("/proxy/22/10.77.0.12/", "/proxy/9010/10.77.0.12/", "/w/dask-worker-0009/health"):
        assert ask(SCHEDULER + path)[0] == 404
    assert behind.plan()["empty"]
    assert "nothing to do" in behind.call("up", "--yes").stdout
    row = behind.rows()["dask-door"]
    assert (row["state"], row["host"], row["unit"]) == ("running", "dask-scheduler", "nginx")
    assert lab.scheduler.run("systemctl is-enabled nginx").stdout.strip() == "enabled"


def test_one_address_in_place_of_all_and_all_in_place_of_one_leave_other_sites_as_they_are(
    lab: Lab, behind: Operator
):
    host, other = lab.scheduler, "http://10.77.0.11:8080/"
    kept = ["/etc/nginx/nginx.conf", "/etc/nginx/conf.d/other.conf"]
    before = [digest(host, path) for path in kept]
    assert ask(other) == (200, "not of the fleet")
    # nginx holds the port itself: it cannot by a reload, and goes on as before without a word.
    for listen, bound in (
        ("81", "0.0.0.0:81"),
        ("10.77.0.11:81", "10.77.0.11:81"),
        ("81", "0.0.0.0:81"),
    ):
        behind.write(
            ON_THE_SCHEDULERS_HOST.replace("login: none", f"login: none, listen: {listen!r}")
        )
        behind.call("up", "--yes")
        assert ask("http://10.77.0.11:81/health")[0] == 200
        assert host.run(["ss", "-Hltn", "sport = :81"]).stdout.split()[3] == bound
        assert ask(other) == (200, "not of the fleet")
        assert behind.plan()["empty"]
    behind.write(ON_THE_SCHEDULERS_HOST)
    behind.call("up", "--yes")
    assert [digest(host, path) for path in kept] == before
    assert ask(other) == (200, "not of the fleet")


def test_drift_is_mended_and_a_file_that_nginx_refuses_is_rolled_back(lab: Lab, behind: Operator):
    host = lab.scheduler
    right = digest(host, SITE)
    # Which of them is named first is decided in the plan: tests/unit/test_door_planning.py.
    host.run(
        f"echo '# edited' >>{SITE}; rm /etc/nginx/sites-enabled/dask-fleet.sst.conf;"
        " systemctl stop nginx; systemctl disable nginx"
    )
    assert len(behind.plan()["changes"]) == 1
    behind.call("up", "--yes")
    assert behind.plan()["empty"]
    assert (digest(host, SITE), ask(SCHEDULER + "/health")[0]) == (right, 200)
    assert host.run("systemctl is-enabled nginx").stdout.strip() == "enabled"
    host.run(["tee", "/etc/nginx/conf.d/broken.conf"], text="nonsense;\n")
    behind.write(ON_THE_SCHEDULERS_HOST.replace("login: none", "login: none, listen: 81"))
    said = behind.call("up", "--yes", status=9).stderr
    assert "nginx does not take it; the door is as it was before" in said
    assert "broken.conf" in said
    assert (digest(host, SITE), ask(SCHEDULER + "/health")[0]) == (right, 200)
    host.run("rm /etc/nginx/conf.d/broken.conf")


def test_a_door_on_a_host_of_its_own_with_a_certificate_of_the_fleet(lab: Lab, behind: Operator):
    behind.write(ON_ITS_OWN)
    behind.call("up", "--yes")
    folder = authority_directory(behind.folder / "data" / "dask-fleet", "sst")
    assert Authority(folder, "sst").is_there
    ca = str(folder / "ca.pem")
    paths = ["/status", *(f"/w/{name}/health" for name in WORKERS[:3])]
    assert {path: ask(GATE + path, ca)[0] for path in paths} == dict.fromkeys(paths, 200)
    assert ask(GATE + "/w/dask-worker-0004/health", ca)[0] == 404
    assert "its certificate holds until" in behind.call("status").stdout
    assert behind.plan()["empty"]
    # The old one is gone from the scheduler's host, the site of somebody else is not.
    assert ask(SCHEDULER + "/health")[0] in (0, 404)
    assert ask("http://10.77.0.11:8080/") == (200, "not of the fleet")
    gate = lab.workers[3]
    key = "/var/lib/dask-fleet/fleets/sst/door/key.pem"
    assert gate.run(["stat", "-c", "%U %a", key]).stdout.split() == ["root", "600"]
    began = time.monotonic()
    gate.reboot()
    eventually("the door is open again", lambda: ask(GATE + "/health", ca)[0] == 200, 60)
    assert time.monotonic() - began < 60
    behind.call("down", "--yes")
    assert ask(GATE + "/health", ca)[0] in (0, 404)
    assert (
        gate.run(f"ls {SITE} /var/lib/dask-fleet/fleets/sst 2>&1 || :").stdout.count("No such") == 2
    )
