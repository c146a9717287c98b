"""Folders that are carried to hosts by hand give the fleet that `up` gives."""

from __future__ import annotations

import subprocess

from lab import Host, Lab

from tests.containers.conftest import CONTAINED
from tests.vms.operator import RIGHT, Operator


def test_by_hand_on_every_host_and_a_plan_is_empty(lab: Lab, operator: Operator):
    operator.write(CONTAINED)
    operator.call("down", "--yes", status=None)
    operator.call("render", "carried")

    def carry(host: Host) -> None:
        folder = operator.folder / "carried" / host.name
        packed = subprocess.run(
            ["tar", "-C", str(folder), "-cf", "-", "."], capture_output=True, check=True
        )
        argv = host.command(["sh", "-euc", "mkdir -p /root/carried; tar -C /root/carried -xf -"])
        subprocess.run(argv, input=packed.stdout, check=True, timeout=30)
        host.run("/root/carried/install.sh", timeout=120)

    lab.each(carry)
    operator.until_all_run(60)
    assert operator.plan()["empty"]
    assert operator.compute() == RIGHT
    before = lab.workers[0].run("docker ps -q").stdout
    operator.call("up", "--yes")
    assert lab.workers[0].run("docker ps -q").stdout == before
    lab.each(lambda host: host.run("rm -r /root/carried"))
