"""Each helper of the lab does what its name says."""

from __future__ import annotations

import datetime
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from lab import Disk, Host, HostSpec, Lab, LabError
from lab.machine import call, unmount_below, wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator

PORT = 8799  # of no fleet: one may be up on these hosts


@pytest.fixture
def worker(lab: Lab) -> Host:
    return lab.workers[0]


@pytest.fixture
def listener(lab: Lab) -> Iterator[Host]:
    """The scheduler host, with a listener on a TCP port."""
    host = lab.scheduler
    serve = f"python3 -m http.server --bind :: --directory /var/empty {PORT}"
    host.run("mkdir -p /var/empty")
    host.run(["systemd-run", "--collect", "--unit=lab-listener", *serve.split()])
    wait_for("a listener", lambda: connects(host, host), 10)
    try:
        yield host
    finally:
        host.run(["systemctl", "stop", "lab-listener"])


def connects(source: Host, target: Host, port: int = PORT, address: str = "") -> bool:
    code = f"import socket; socket.create_connection(({(address or target.address)!r}, {port}), 2)"
    return source.run(["python3", "-c", code], check=False).returncode == 0


def test_hosts_are_real_systems(lab: Lab) -> None:
    for host in lab.hosts:
        assert host.run(["systemctl", "is-system-running"]).stdout.strip() == "running"
        assert host.run(["hostname"]).stdout.strip() == host.name
        assert host.ssh("sudo", "id", "-u").stdout.strip() == "0"
    assert len({host.boot_id for host in lab.hosts}) == len(lab.hosts)
    assert len({host.host_key for host in lab.hosts}) == len(lab.hosts)


def test_hosts_reach_each_other_by_both_protocols(listener: Host, worker: Host) -> None:
    for address in ("", listener.address6, listener.name):
        there = f"{worker.name} reaches {listener.name} at {address or listener.address}"
        wait_for(there, lambda address=address: connects(worker, listener, address=address), 10)


def test_lab_addresses_are_in_its_network_only(lab: Lab) -> None:
    assert lab.network.inside
    assert "10.77.0.1/" in lab.call(["ip", "-4", "addr"]).stdout
    # `lab run` is this process's ancestor and stands outside.
    here = Path("/proc/self/ns/net").readlink()
    pid = os.getppid()
    while Path(f"/proc/{pid}/ns/net").readlink() == here:
        pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    assert "10.77.0." not in call(["nsenter", f"--net=/proc/{pid}/ns/net", "ip", "addr"]).stdout


def test_known_hosts_can_be_right_empty_and_wrong(lab: Lab, worker: Host) -> None:
    try:
        lab.home.know_nobody()
        assert "Host key verification failed" in worker.ssh("true", check=False).stderr
        lab.home.know_wrongly([worker])
        assert "IDENTIFICATION HAS CHANGED" in worker.ssh("true", check=False).stderr
    finally:
        lab.home.know(lab.hosts)
    assert worker.answers


def test_reboot(worker: Host) -> None:
    before = worker.boot_id
    worker.run("echo kept > /var/kept; echo lost > /run/lost")
    worker.reboot()
    assert worker.boot_id != before
    assert worker.run("cat /var/kept").stdout == "kept\n"
    assert worker.run("test -e /run/lost", check=False).returncode
    assert worker.answers
    assert (worker.upper / "var/kept").read_text() == "kept\n"


def test_power_cut_leaves_nothing_running(worker: Host) -> None:
    worker.run(["systemd-run", "--unit=long", "sleep", "1000"])
    before = worker.boot_id
    worker.power_cut()
    assert not worker.is_on
    assert not worker.answers
    with pytest.raises(LabError, match="is off"):
        worker.run(["true"])
    worker.power_on()
    assert worker.boot_id != before
    assert worker.run(["systemctl", "is-active", "long"], check=False).returncode
    assert worker.answers


def test_cut_and_heal(lab: Lab, listener: Host, worker: Host) -> None:
    before = worker.boot_id
    worker.cut()
    assert not worker.answers
    assert not connects(worker, listener)
    assert worker.boot_id == before  # it runs; only its network is gone
    worker.heal()
    assert connects(worker, listener)
    assert worker.answers


def test_stopped_sshd(lab: Lab, worker: Host) -> None:
    nap = "86397"
    session = subprocess.Popen(lab.home.ssh(worker.name, "sleep", nap), env=lab.environment())
    napping = ["pgrep", "-f", f"^sleep {nap}"]
    try:
        wait_for("a session", lambda: not worker.run(napping, check=False).returncode, 10)
        worker.stop_sshd()
        assert "refused" in worker.ssh("true", check=False).stderr
        assert session.poll() is None
        worker.stop_sshd(sessions=True)
        assert session.wait(timeout=10) == 255
        assert not worker.run(napping, check=False).returncode  # as when sshd crashes
    finally:
        session.kill()
        session.wait()
        worker.start_sshd()
        worker.run(["pkill", "-f", f"^sleep {nap}"], check=False)
    assert worker.answers


def test_partition(lab: Lab, listener: Host) -> None:
    near, far = lab.workers[:2], lab.workers[2:]
    lab.partition([listener, *near], far)
    try:
        assert connects(near[0], listener)
        assert not connects(far[0], listener)
        assert not connects(far[0], listener, address=listener.address6)
        assert connects(far[0], far[1], port=22)
        assert all(host.answers for host in lab.hosts)
    finally:
        lab.heal_partition()
    assert connects(far[0], listener)


def test_block_of_one_port(lab: Lab, listener: Host) -> None:
    blocked, other = lab.workers[:2]
    lab.block(blocked, listener, PORT)
    try:
        assert not connects(blocked, listener)
        assert not connects(blocked, listener, address=listener.address6)
        assert connects(blocked, listener, port=22)
        assert connects(other, listener)
        lab.block(None, listener, PORT)
        assert not connects(other, listener)
    finally:
        lab.unblock()
    assert connects(blocked, listener)


def test_a_link_that_loses_the_first_packet(lab: Lab, listener: Host, worker: Host) -> None:
    dial = (
        "import socket, time; began = time.monotonic();"
        f"socket.create_connection(({listener.address!r}, {PORT}), 5);"
        "print(time.monotonic() - began)"
    )
    lab.lose_first(worker, listener, PORT)
    try:
        assert all(1 <= float(worker.run(["python3", "-c", dial]).stdout) < 3 for _ in range(2))
    finally:
        lab.unblock()
    assert float(worker.run(["python3", "-c", dial]).stdout) < 1


def test_host_behind_the_scheduler_host(lab: Lab, worker: Host) -> None:
    worker.hide_from_operator()
    try:
        assert not worker.answers
        jump = [*lab.home.ssh(worker.name, "hostname")]
        jump[1:1] = ["-J", lab.scheduler.name]
        assert lab.call(jump).stdout.strip() == worker.name
    finally:
        worker.show_to_operator()
    assert worker.answers


def test_full_disk(worker: Host) -> None:
    with pytest.raises(LabError, match="no small disk"):
        worker.fill_disk("/var")
    worker.small_disk("/var/small", 16)
    try:
        worker.fill_disk("/var/small", leave_bytes=2**20)
        write = "head -c {} /dev/zero > /var/small/file"
        assert worker.run(write.format(2**19), check=False).returncode == 0
        assert "No space left" in worker.run(write.format(2**22), check=False).stderr
        worker.free_disk("/var/small")
        worker.run(write.format(2**22))
    finally:
        worker.remove_disk("/var/small")


def test_clock(worker: Host) -> None:
    def ahead() -> float:
        said = float(worker.ssh("date", "+%s.%N").stdout)
        return said - datetime.datetime.now(datetime.timezone.utc).timestamp()

    worker.skew_clock(3600)
    try:
        assert ahead() == pytest.approx(3600, abs=5)
        worker.skew_clock(-3600)
        assert ahead() == pytest.approx(-3600, abs=5)
    finally:
        worker.skew_clock(0)
    assert ahead() == pytest.approx(0, abs=5)


def test_memory_limit_of_a_unit(worker: Host) -> None:
    eat = ["python3", "-c", "x = b'x' * (200 << 20)"]
    run = ["systemd-run", "--wait", "--quiet", "--collect"]
    assert worker.run([*run, *eat], check=False).returncode == 0
    limited = [*run, "-p", "MemoryMax=50M", "-p", "MemorySwapMax=0", *eat]
    assert worker.run(limited, check=False).returncode != 0


def test_state_is_written_down(lab: Lab) -> None:
    state = json.loads((lab.folder / "state.json").read_text())
    assert [host["name"] for host in state["hosts"]] == [host.name for host in lab.hosts]
    assert [host.name for host in Lab.load(lab.folder).hosts] == [host.name for host in lab.hosts]


def test_host_with_disk_layer_and_memory_limit(lab: Lab, tmp_path: Path) -> None:
    layer = tmp_path / "layer"
    (layer / "srv").mkdir(parents=True)
    (layer / "srv" / "given").write_text("from the layer")
    spec = HostSpec("small", 77, memory_limit=150, disks=(Disk("/var/small", 32),))
    other = Lab(lab.folder.with_name(f"{lab.name}-2"), [spec], layers=[layer], cache=lab.cache)
    with other:
        host = other.scheduler
        assert host.run("cat /srv/given").stdout == "from the layer"
        host.run("echo written > /srv/own")
        assert (host.upper / "srv" / "own").read_text() == "written\n"
        assert not (layer / "srv" / "own").exists()
        host.fill_disk("/var/small")
        write = "head -c 65536 /dev/zero > /var/small/x"
        assert "No space left" in host.run(write, check=False).stderr
        host.free_disk("/var/small")
        host.run("echo kept > /var/small/x; sync")
        eat = ["systemd-run", "--wait", "--quiet", "--collect", "python3", "-c"]
        assert host.run([*eat, "x = b'x' * (300 << 20)"], check=False).returncode != 0
        host.power_cut()
        host.power_on()
        assert host.run("cat /var/small/x").stdout == "kept\n"
        assert lab.workers[0].answers  # the other lab goes on
    assert not other.network.exists
    assert str(other.folder.resolve()) not in Path("/proc/mounts").read_text()


def test_down_cleans_what_a_killed_run_left(lab: Lab) -> None:
    folder = lab.folder.with_name(f"{lab.name}-3")
    code = (
        "import os, sys; from pathlib import Path; from lab import Lab; "
        f"Lab(Path({str(folder)!r}), 1, cache=Path({str(lab.cache)!r})).up(); os._exit(9)"
    )
    assert call([sys.executable, "-c", code], check=False).returncode == 9
    left = Lab.load(folder)
    assert left.scheduler.is_on
    left.down()
    assert not left.scheduler.is_on
    assert not left.network.exists
    assert str(folder.resolve()) not in Path("/proc/mounts").read_text()
    left.down()


def test_mounts_are_found_behind_a_link(lab: Lab, tmp_path: Path) -> None:
    assert lab.network.inside
    mounts = [tmp_path / "kept", tmp_path / "kept" / "inner"]
    link = tmp_path / "link"
    link.symlink_to(mounts[0])
    for place in mounts:
        place.mkdir()
        call(["mount", "-t", "tmpfs", "lab", str(place)])
    unmount_below(link)
    assert [place for place in mounts if str(place) in Path("/proc/mounts").read_text()] == []
