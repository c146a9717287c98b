"""What compose is given, and what Docker answers.

The files lie in ``data/compose``; a change of them replaces every container, so it is a decision.
``DASK_FLEET_GOLDEN=write pytest tests/unit/test_compose_runtime.py`` writes them anew.
"""

# ruff: noqa: E501 - what an engine says is as long as it is

from __future__ import annotations

import os
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from dask_fleet.command import UNBOUNDED
from dask_fleet.desired import host_target
from dask_fleet.environment import Environment
from dask_fleet.layout import lay_out
from dask_fleet.look import look_script, read_look
from dask_fleet.observed import LogLine, RuntimeObserved, UnitObserved
from dask_fleet.places import Places
from dask_fleet.runtimes.compose import ComposeRuntime
from dask_fleet.runtimes.compose_file import Contained, Mount, compose_file
from dask_fleet.runtimes.limits import NANNY_MEMORY
from dask_fleet.spec import parse
from dask_fleet.target import HostTarget
from tests.unit.simulator import LAUNCHER

DATA = Path(__file__).parent / "data" / "compose"
REWRITE = os.environ.get("DASK_FLEET_GOLDEN") == "write"
ROOT = "/var/lib/dask-fleet"
IMAGE = "quay.io/bcdev/xcube:1.13.3"
PLAIN = Contained("node-1", IMAGE, "8786:8786")
OWN = Contained("node-1", IMAGE, "0:0", rootless=True)
ENVIRONMENT = Environment(IMAGE, "", "0" * 16, None, (), IMAGE)

FLEET = """\
name: sst
hosts:
  head: {address: 192.168.1.166, external: 80.158.2.66}
  node-[1-2]: {address: "192.168.1.[11-12]", listen: %s}
scheduler: {host: head}
workers:
  default: {hosts: ["node-[1-2]"], per_host: 2, nthreads: 1, %s}
runtime: compose
environment: {image: "quay.io/bcdev/xcube:1.13.3"}
variables: {KEY: "a $HOME"}
"""


def target(
    host: str, *, limit: str = "memory_limit: 1 GiB", listen: str = "0.0.0.0", container=PLAIN
) -> HostTarget:
    layout = lay_out(parse(FLEET % (listen, limit), {}))
    places = Places.below(ROOT, ROOT, "sst")
    return host_target(
        layout, host, ENVIRONMENT, places, ComposeRuntime("sst", container), LAUNCHER
    )


def compose(host: str, **more) -> str:
    found = {file.path.rpartition("/")[2]: file for file in target(host, **more).files}
    return found["docker-compose.yml"].content.decode()


CASES = {
    "scheduler": ("head", {}),
    "workers": ("node-1", {"container": replace(PLAIN, volumes=("/data:/data", "cubes:/cubes"))}),
    "rootless": ("node-1", {"container": OWN}),
}


@pytest.mark.parametrize("name", CASES)
def test_golden_files(name: str):
    host, more = CASES[name]
    golden, text = DATA / f"{name}.yml", compose(host, **more)
    text = text.replace(target(host, **more).units[0].digest, "DIGEST")
    if REWRITE:
        golden.write_text(text, encoding="utf-8")
    assert text == golden.read_text(encoding="utf-8"), f"compare with {golden}"


def test_ports_are_published_on_the_declared_address():
    (service,) = yaml.safe_load(compose("node-1", listen="192.168.1.11"))["services"].values()
    assert service["ports"] == [
        f"192.168.1.11:{port}:{port}" for port in (9010, 9011, 9012, 9020, 9021, 9022)
    ]
    (service,) = yaml.safe_load(compose("node-1"))["services"].values()
    assert service["ports"][0] == "9010:9010"
    # Inside, processes bind whatever their container has; what they are dialled at stays.
    (unit,) = target("node-1").units
    assert [(worker["listen"], worker["contact"]) for worker in unit.declared["workers"]] == [
        ("0.0.0.0", "192.168.1.11")
    ] * 2


def test_dask_and_the_container_have_the_same_memory():
    (service,) = yaml.safe_load(compose("node-1"))["services"].values()
    assert service["mem_limit"] == service["memswap_limit"] == 2 * 2**30 + NANNY_MEMORY
    (service,) = yaml.safe_load(compose("node-1", limit="memory_limit: auto"))["services"].values()
    assert "mem_limit" not in service


def test_named_volumes_are_what_is_said_of_them():
    mount = Mount("cubes", "nfs", ":/a $b", "addr=10.0.0.9,rw")
    given = replace(PLAIN, volumes=("cubes:/cubes", "own:/own", "/data:/data"), mounts=(mount,))
    made = yaml.safe_load(compose("node-1", container=given))["volumes"]
    assert made["own"] is None
    assert made["cubes"]["driver_opts"] == {
        "type": "nfs",
        "device": ":/a $$b",
        "o": "addr=10.0.0.9,rw",
    }
    # Docker keeps a volume as it was made: with other options it is another.
    other = replace(given, mounts=(replace(mount, options="addr=10.0.0.8,rw"),))
    again = yaml.safe_load(compose("node-1", container=other))["volumes"]
    assert again["cubes"]["name"] != made["cubes"]["name"]
    assert made["cubes"]["name"].startswith("dask-fleet-sst_cubes_")


def test_cpus_are_limited_to_the_threads_of_workers_when_asked():
    limited = replace(PLAIN, limit_cpus=True)
    (service,) = yaml.safe_load(compose("node-1", container=limited))["services"].values()
    assert service["cpus"] == "2"
    for host, container in (("node-1", PLAIN), ("head", limited)):
        (service,) = yaml.safe_load(compose(host, container=container))["services"].values()
        assert "cpus" not in service


def test_whatever_changes_a_container_changes_its_digest():
    digests = {
        target("node-1").units[0].digest,
        target("node-1", listen="192.168.1.11").units[0].digest,
        target("node-1", limit="memory_limit: 2 GiB").units[0].digest,
        *(
            target("node-1", container=other).units[0].digest
            for other in (
                replace(PLAIN, image="quay.io/bcdev/xcube:1.14.0"),
                replace(PLAIN, user="1000:1000"),
                replace(PLAIN, interpreter="/opt/conda/bin/python"),
                replace(PLAIN, volumes=("/data:/data",)),
                replace(PLAIN, volumes=("a:/a",)),
                replace(PLAIN, volumes=("a:/a",), mounts=(Mount("a", "nfs", ":/a"),)),
                replace(PLAIN, limit_cpus=True),
            )
        ),
    }
    assert len(digests) == 10


def test_a_dollar_is_no_variable_of_compose():
    unit = replace(target("head").units[0], variables=(("KEY", "a $HOME ${B}"),))
    text = compose_file(Places.below(ROOT, ROOT, "sst"), "sst", (unit,), PLAIN)
    (service,) = yaml.safe_load(text)["services"].values()
    assert service["environment"]["KEY"] == "a $$HOME $${B}"


RECORDED = """\
login 0
prepared 1
engine docker
image sha256:06d0 quay.io/bcdev/xcube:1.13.3 quay.io/bcdev/xcube@<none>
compose 1
container dask-scheduler 0123456789a0 running 271 0 0 always healthy aaaa 172.18.0.2, {"8786/tcp":[{"HostIp":"","HostPort":"8786"}],"8787/tcp":[{"HostIp":"","HostPort":"8787"}]}
container dask-workers-default 0123456789a1 restarting 0 1 7 always unhealthy bbbb , {"9010/tcp":[{"HostIp":"","HostPort":"9010"}]}
container dask-workers-old 0123456789a2 exited 0 137 0 always - cccc , null
container dask-workers-loose 0123456789a3 running 300 0 0 no starting dddd , {}
container dask-workers-other 0123456789a4 running 301 0 0 always healthy eeee , {}
made dask-scheduler aaaa
made dask-workers-other ffff
"""


def test_what_docker_says():
    seen = ComposeRuntime("sst", PLAIN).read(RECORDED)
    assert (seen.alive, seen.prepared, seen.privileged) == (True, True, True)
    assert IMAGE in seen.images
    assert list(seen.units.values()) == [
        unit(
            0,
            "dask-scheduler",
            "running",
            271,
            "running",
            addresses=("172.18.0.2",),
            ports=(8786, 8787),
        ),
        unit(
            1,
            "dask-workers-default",
            "crashing",
            0,
            "restarting, unhealthy, 7 restarts",
            ports=(9010,),
        ),
        unit(2, "dask-workers-old", "stopped", 0, "exited with 137"),
        unit(
            *(3, "dask-workers-loose", "running", 300, "running, starting"),
            "it would not start at boot (its restart policy is no)",
        ),
        unit(
            *(4, "dask-workers-other", "running", 301, "running"),
            "its container was not made from these files",
        ),
    ]


def unit(number: int, *fields, **more) -> UnitObserved:
    return UnitObserved(*fields, container=f"0123456789a{number}", **more)


PODMAN = """login 0
prepared 1
engine podman
compose 1
socket SOCKET
restart RESTART
image sha256:06d0 docker.io/library/python:3.11 docker.io/library/python@sha256:6ccc
container dask-scheduler 5f2fd3859e41 running 361 0 0 always starting aaaa 10.89.0.2, {"8786/tcp":[{"HostIp":"","HostPort":"8786"}],"8787/tcp":[{"HostIp":"","HostPort":"8787"}]}
"""


@pytest.mark.parametrize(
    ("socket", "restart", "remedies"),
    [
        ("active", "enabled", []),
        ("inactive", "enabled", ["`systemctl enable --now podman.socket` there"]),
        ("active", "disabled", ["`systemctl enable podman-restart.service` there"]),
        (
            "active\nbridged netavark",
            "enabled",
            [
                "`sysctl net.bridge.bridge-nf-call-iptables=0` there, and the same in a file of"
                " /etc/sysctl.d"
            ],
        ),
        ("active\nbridged cni", "enabled", []),
        (
            "",
            "",
            [
                "`systemctl enable --now podman.socket` there",
                "`systemctl enable podman-restart.service` there",
            ],
        ),
    ],
)
def test_what_podman_says(socket: str, restart: str, remedies: list[str]):
    text = PODMAN.replace("SOCKET", socket).replace("RESTART", restart)
    seen = ComposeRuntime("sst", PLAIN).read(text)
    assert seen.alive
    assert "python:3.11" in seen.images
    assert seen.units["dask-scheduler"].container == "5f2fd3859e41"
    assert [remedy for _, remedy in seen.unfit] == remedies


@pytest.mark.parametrize(
    ("text", "refused"),
    [
        ("login 0\nrootless /run/user/1/docker.sock\nengine docker\ncompose 1\n", False),
        ("login 0\nrootless /run/user/1/docker.sock\n", True),
        ("login 1000\nrootless /run/user/1/podman/podman.sock\nengine podman\n", True),
        ("login 1000\nengine docker\n", False),
    ],
)
def test_an_engine_without_root_is_named(text: str, refused: bool):
    unfit = ComposeRuntime("sst", PLAIN).read(text).unfit
    assert ["somebody's own, without root (/run/user/1/" in fault for fault, _ in unfit] == (
        [True] if refused else []
    )


GOOD = {
    "login": "1000",
    "engine": "docker",
    "compose": "1",
    "own": "1",
    "name": "ann",
    "linger": "1",
    "restart": "enabled",
    "controls_memory": "1",
    "controls_cpu": "1",
}
DELEGATE = (
    "write `[Service]` and `Delegate=cpu memory pids` into"
    " /etc/systemd/system/user@.service.d/delegate.conf"
)


# What else is said, or not at all, and how each remedy begins.
@pytest.mark.parametrize(
    ("facts", "remedies"),
    [
        ({}, []),
        ({"login": "0"}, ["log in as its user, without sudo; or remove `rootless`"]),
        ({"engine": None}, []),
        (
            {"engine": None, "rootless": "/run/user/1000/docker.sock"},
            ["log in as the user whose it is; of Docker, this makes it known: `docker context"],
        ),
        ({"own": None}, ["`docker context use rootless` there, or remove `rootless`"]),
        ({"linger": None}, ["`loginctl enable-linger ann` there"]),
        ({"restart": "disabled"}, ["`systemctl --user enable --now docker.service` there, as ann"]),
        ({"controls_cpu": None}, [DELEGATE]),
        ({"controls_memory": None}, [DELEGATE]),
        ({"unwritable": "/srv"}, ["make the folder that `containers.rootless` names"]),
        ({"engine": "podman", "socket": "active"}, []),
        (
            {"engine": "podman", "restart": "", "linger": None},
            [
                "`loginctl enable-linger ann`",
                "`systemctl --user enable --now podman-restart.service` there, as ann",
                "`systemctl --user enable --now podman.socket` there, as ann",
            ],
        ),
    ],
)  # fmt: skip
def test_an_engine_of_the_login_is_fit_or_says_what_mends_it(
    facts: dict[str, str | None], remedies: list[str]
):
    text = "".join(f"{key} {value}\n" for key, value in {**GOOD, **facts}.items() if value)
    seen = ComposeRuntime("sst", replace(OWN, limit_cpus=True)).read(text)
    assert seen.privileged
    assert seen.alive == ("engine" not in facts or facts["engine"] is not None)
    assert len(seen.unfit) == len(remedies)
    for (_, remedy), beginning in zip(seen.unfit, remedies, strict=True):
        assert remedy.startswith(beginning)


def test_a_look_ends_where_nothing_of_the_folder_is_there(tmp_path: Path):
    (tmp_path / "home").mkdir()
    runtime = ComposeRuntime("sst", OWN)
    for root in ("/not-there/at-all", f"{tmp_path}/home/ann/fleet"):
        command = look_script(Places.below(root, root, "sst"), runtime)
        done = subprocess.run(command.argv, input=command.stdin, capture_output=True, check=True)
        seen = read_look("node-1", done.stdout.decode(), runtime)
        assert not seen.exists
        assert not seen.runtime.prepared


def test_who_limits_no_cpus_needs_no_such_control():
    text = "".join(f"{key} {value}\n" for key, value in GOOD.items() if key != "controls_cpu")
    assert ComposeRuntime("sst", OWN).read(text).unfit == ()


def test_files_of_a_login_belong_to_nobody_else():
    runtime = ComposeRuntime("sst", OWN)
    assert (runtime.reader, runtime.owner) == ("", "")
    assert {
        oct(file.mode) for file in target("node-1", container=OWN).files if "units/" in file.path
    } == {"0o600"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", RuntimeObserved(prepared=False, privileged=False)),
        ("login 0\n", RuntimeObserved(prepared=False)),
        ("login 1000\nengine docker\n", RuntimeObserved(prepared=False, privileged=False)),
        ("container a b\nmade\nimage\nx\n\n", RuntimeObserved(prepared=False, privileged=False)),
    ],
)
def test_less_than_that(text: str, expected: RuntimeObserved):
    assert ComposeRuntime("sst", PLAIN).read(text) == expected


def test_lines_of_a_log():
    runtime = ComposeRuntime("sst", PLAIN)
    assert runtime.read_log("dask-scheduler 2026-11-26T02:15:16.123456789Z it is up") == LogLine(
        "dask-scheduler", "it is up", "2026-11-26T02:15:16.123456789Z"
    )
    there = "2026-11-26T02:15:16.123456789+02:00"
    assert runtime.read_log(f"dask-scheduler {there} it is up") == LogLine(
        "dask-scheduler", "it is up", there
    )
    assert runtime.read_log("Error response from daemon") == LogLine(
        "", "Error response from daemon"
    )
    places = Places.below(ROOT, ROOT, "sst")
    assert runtime.log(places, ["a"], lines=1, follow=True).timeout == UNBOUNDED
