"""A host with a kernel of its own and an engine, and a host that gives a folder to it by NFS.

Which engine it is says the fixture `engine` of each module.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from lab import Disk, Host, HostSpec, Lab

from tests.containers.conftest import Contained
from tests.journeys.steps import step
from tests.vms.conftest import lab_folder
from tests.vms.layers import IMAGE, new_operator, stored_images

SECONDS = 400.0
"""Within which a host is up that QEMU emulates, on a machine that is not idle."""

FLEET = f"""\
name: sst
hosts:
  dask-scheduler: {{address: 10.77.0.11, ssh: {{sudo: true}}}}
workers:
  default: {{per_host: 1, nthreads: 1, memory_limit: 1 GiB}}
runtime: compose
environment: {{image: "{IMAGE}"}}
containers:
  limit_cpus: true
  volumes: ["cubes:/cubes"]
  mounts:
    cubes: {{type: nfs, device: "10.77.0.20:/export/cubes", options: "addr=10.77.0.20,nfsvers=4.2"}}
"""

_SERVER = """\
NFS_CORE_PARAM { Protocols = 4; Enable_NLM = false; Enable_RQUOTA = false; }
NFSv4 { Graceless = true; }
EXPORT {
  Export_Id = 1;
  Path = /export/cubes;
  Pseudo = /export/cubes;
  Access_Type = RW;
  Squash = No_Root_Squash;
  SecType = sys;
  FSAL { Name = VFS; }
}
"""


class Archive:
    """The host that has the cubes; its server of NFS is a process, for the lab's kernel has none.

    Parameters
    ----------
    host
        The host.
    """

    def __init__(self, host: Host) -> None:
        self.host = host
        host.run("install -d -o 8786 -g 8786 /export/cubes /run/ganesha")
        host.run("cat >/etc/ganesha/ganesha.conf", text=_SERVER)

    def start(self) -> None:
        """Let everybody mount it."""
        self.host.run(
            "systemd-run --quiet --collect --unit=archive --property=LimitNOFILE=16384 "
            "ganesha.nfsd -F -L /var/log/ganesha.log -f /etc/ganesha/ganesha.conf"
        )

    def holds(self, name: str) -> str:
        """Return owner and content of a cube."""
        path = f"/export/cubes/{name}"
        return self.host.run(f"stat -c %u:%g {path} && cat {path}").stdout


@pytest.fixture(scope="module")
def lab(engine: str) -> Iterator[Lab]:
    """A booted host that has a kernel of its own, and one that has the cubes."""
    images = stored_images(lab_folder(), engine)
    hosts = [
        HostSpec("dask-scheduler", 11, engine=engine, guest=True),
        # A server of NFS opens files by what its clients know of them.
        HostSpec(
            *("archive", 20),
            engine=engine,
            disks=(Disk("/export"),),
            options=("--system-call-filter=open_by_handle_at",),
        ),
    ]
    lab = Lab(lab_folder(), hosts, images=images)
    try:
        with step("boot"):
            lab.up(SECONDS)
        yield lab
    finally:
        lab.down()


@pytest.fixture(scope="module")
def archive(lab: Lab) -> Archive:
    """The cubes, for everybody to mount."""
    archive = Archive(lab["archive"])
    archive.start()
    return archive


@pytest.fixture
def fleet(
    lab: Lab, archive: Archive, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Contained]:
    """A fleet of root's that is up on the host with a kernel of its own; it goes afterwards."""
    one = new_operator(lab, tmp_path_factory.mktemp("operator"))
    contained = Contained(lab, one.folder, one.variables)
    contained.write(FLEET)
    with step("up"):
        assert "1 worker registered" in contained.call("up", "--yes", timeout=SECONDS).stdout
    yield contained
    with step("down"):
        contained.call("down", "--yes", timeout=SECONDS)
