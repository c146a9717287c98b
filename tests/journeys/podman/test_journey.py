"""A fleet of containers with Podman, from bare hosts to bare hosts again.

It takes minutes, for it is a fleet's whole life on booted hosts; every step prints what it took.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.journeys.contained import SECONDS, journey
from tests.journeys.steps import step
from tests.podman.test_podman import back
from tests.vms.operator import eventually


@pytest.mark.timeout(1000)
def test_a_fleet_with_podman_lives_from_up_to_down(tmp_path: Path):
    with journey("podman", tmp_path) as fleet:
        host = fleet.lab.workers[1]
        assert "podman" in host.run("docker --version").stdout
        with step("up"):
            fleet.comes_up()
        with step("a second up has nothing to do"):
            assert "nothing to do" in fleet.call("up", "--yes").stdout
        with step("compute"):
            fleet.computes()
        with step("a host boots"):
            before = host.boot_id
            host.run(["systemctl", "reboot"], check=False)
            eventually("the host is back", lambda: back(host, before), SECONDS)
            fleet.is_back()
        with step("down"):
            fleet.leaves_nothing()
