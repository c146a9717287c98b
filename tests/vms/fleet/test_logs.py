"""Logs of hosts that are away, come back, or have many units."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from lab import Lab

from tests.vms.follower import following
from tests.vms.operator import FLEET, WORKERS, Operator
from tests.vms.reset import bring_down

if TYPE_CHECKING:
    from collections.abc import Iterator

UNIT = "dask-fleet.sst.dask-workers-default.service"

GROUPS = tuple(f"g{number}" for number in range(1, 10))

MANY = "\n".join(
    [
        "name: sst",
        "hosts:",
        "  dask-scheduler: {address: 10.77.0.11, ssh: {sudo: true}}",
        "  dask-worker-0001: {address: 10.77.0.12, ssh: {sudo: true}, memory: 4 GiB}",
        "workers:",
        *(
            f"  {group}: {{hosts: [dask-worker-0001], per_host: 1, nthreads: 1,"
            f" memory_limit: 256 MiB, prefix: {group}, ports: {{worker: {9010 + 10 * n},"
            f" nanny: {9011 + 10 * n}, dashboard: {9012 + 10 * n}}}}}"
            for n, group in enumerate(GROUPS)
        ),
        "",
    ]
)


def test_a_host_that_reboots_is_said_at_once_and_followed_again(lab: Lab, fleet: Operator):
    host = lab.workers[1]
    with following(fleet, "-n", "50") as follower:
        for name in WORKERS:
            follower.until(f"the log of {name}", lambda line, name=name: line.startswith(name))
        host.reboot()
        said = follower.until("it is away", lambda line: "not followed: " in line)
        assert said.startswith(f"{host.name} | not followed: ")
        again = f"{host.name} | followed again"
        follower.until("it is there", lambda line: line == again)
        follower.until(
            "what it said as it came up",
            lambda _: any(
                line.startswith(f"{WORKERS[1]} | 2")
                for line in follower.lines[follower.lines.index(again) :]
            ),
        )
        fleet.until_all_run(60)
        mark = len(follower.lines)
        for other in lab.workers:
            other.run(["systemctl", "restart", UNIT])
        for name in WORKERS:
            follower.until(
                f"new lines of {name}",
                lambda _, name=name: any(
                    line.startswith(f"{name} | ") for line in follower.lines[mark:]
                ),
            )
    assert follower.process.returncode == 130
    fleet.until_all_run(30)


def test_nothing_is_lost_while_a_host_is_out_of_reach(lab: Lab, fleet: Operator):
    host = lab.workers[2]
    with following(fleet, "-n", "50") as follower:
        follower.until("it follows", lambda line: line.startswith(WORKERS[2]))
        host.cut()
        try:
            follower.until("it is away", lambda line: "not followed: " in line)
            host.run(["systemctl", "restart", UNIT])
            mark = len(follower.lines)
        finally:
            host.heal()
        follower.until("it is there", lambda line: line == f"{host.name} | followed again")
        for words in ("Stopping ", "Started "):
            follower.until(
                "what it said meanwhile",
                lambda _, words=words: any(words in line for line in follower.lines[mark:]),
            )
    fleet.until_all_run(90)
    # Neither what was there before nor what came meanwhile is there twice.
    own = [line for line in follower.lines if line.startswith(f"{WORKERS[2]} | 2")]
    own = [line for line in own if not line.endswith("-----")]  # rules, several at one instant
    assert len(own) == len(set(own))


@pytest.fixture
def many(bare: Operator) -> Iterator[Operator]:
    """A host with more units than one connection has sessions."""
    bare.write(MANY)
    bare.call("up", "--yes")
    yield bare
    bring_down(bare, MANY)


def test_every_unit_of_a_host_is_followed_however_many_there_are(lab: Lab, many: Operator):
    lines = many.call("logs", "-n", "3").stdout.splitlines()
    labels = [line.split(" | ")[0] for line in lines]
    names = {f"{group}-0001" for group in GROUPS}
    assert {label for label in labels if label in names} == names
    with following(many, "-n", "2") as follower:
        for name in names:
            follower.until(f"the log of {name}", lambda line, name=name: line.startswith(name))
        said = len(follower.lines)
        assert len(set(follower.lines)) == said
        lab.workers[0].run("systemctl restart 'dask-fleet.sst.dask-workers-g*.service'")
        for name in names:
            follower.until(
                f"new lines of {name}",
                lambda _, name=name: any(line.startswith(name) for line in follower.lines[said:]),
            )


def test_a_fleet_of_which_no_host_answers_is_not_followed(lab: Lab, fleet: Operator):
    fleet.write(FLEET.replace("sudo: true", "sudo: true, port: 2"))
    done = fleet.call("logs", "-f", status=4, timeout=60)
    assert "dask-worker-0004" in done.stderr
