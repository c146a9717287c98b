"""What needs a kernel, with Podman: volumes by NFS, and a reboot."""

from __future__ import annotations

from pathlib import Path

import pytest
from lab import Lab

from tests.containers.conftest import Contained
from tests.guests.computing import writes_by_nfs
from tests.guests.conftest import SECONDS, Archive
from tests.guests.rootless import (
    comes_up,
    goes_away,
    is_refused_until_it_starts_at_boot,
    own_fleet,
)
from tests.journeys.steps import step
from tests.podman.test_podman import back
from tests.vms.operator import eventually

pytestmark = pytest.mark.timeout(3 * SECONDS)


@pytest.fixture(scope="module")
def engine() -> str:
    return "podman"


def test_a_volume_is_mounted_by_nfs_also_after_a_reboot(
    lab: Lab, fleet: Contained, archive: Archive
):
    host = lab.scheduler
    before = host.boot_id
    host.run(["systemctl", "reboot"], check=False)
    with step("the host is back"):
        eventually("the host is back", lambda: back(host, before), SECONDS)

    def running() -> bool:
        states = fleet.states()
        return len(states) == 2 and set(states.values()) == {"running"}

    with step("scheduler and worker run"):
        eventually("scheduler and worker run", running, SECONDS)
    with step("compute"):
        writes_by_nfs(lab, fleet, archive, "after-a-reboot")


def test_without_root_a_fleet_is_refused_comes_up_and_goes(lab: Lab, tmp_path: Path):
    """A whole life in one, for each of its steps takes a minute or more here."""
    own = own_fleet(lab, tmp_path)
    own.host.run("loginctl enable-linger operator")
    own.logged_in("systemctl --user enable --now podman.socket podman-restart.service")
    with step("what is missing is named"):
        is_refused_until_it_starts_at_boot(own, "podman-restart.service")
    comes_up(own)
    goes_away(own)
