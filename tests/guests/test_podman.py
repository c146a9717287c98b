"""What needs a kernel, with Podman: volumes by NFS, and a reboot."""

from __future__ import annotations

import pytest
from lab import Lab

from tests.containers.conftest import Contained
from tests.guests.computing import writes_by_nfs
from tests.guests.conftest import SECONDS, Archive
from tests.podman.test_podman import back
from tests.vms.operator import eventually

pytestmark = pytest.mark.timeout(3 * SECONDS)


@pytest.fixture(scope="module")
def engine() -> str:
    return "podman"


def test_a_volume_is_mounted_by_nfs(lab: Lab, fleet: Contained, archive: Archive):
    writes_by_nfs(lab, fleet, archive, "sst")


def test_after_a_reboot_everything_is_back(lab: Lab, fleet: Contained, archive: Archive):
    host = lab.scheduler
    before = host.boot_id
    host.run(["systemctl", "reboot"], check=False)
    eventually("the host is back", lambda: back(host, before), SECONDS)

    def running() -> bool:
        states = fleet.states()
        return len(states) == 2 and set(states.values()) == {"running"}

    eventually("scheduler and worker run", running, SECONDS)
    writes_by_nfs(lab, fleet, archive, "after-a-reboot")
