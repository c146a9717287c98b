"""What goes wrong on a machine, and what becomes of the fleet: each a real fault."""

from __future__ import annotations

import errno
import json
import os
import random
import re
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.integration.conftest import Desk, eventually, fleet_text, free_ports, make_desk


def computes(desk: Desk, *words: str) -> None:
    """Assert that a client started now gets the right result from every worker."""
    python = desk.call("env", "--python", *words).out.strip()
    address = desk.call("env", "--address", *words).out.strip()
    code = (
        "import sys, distributed as d\n"
        "with d.Client(sys.argv[1], timeout=120) as c:\n"
        "    names = {w['name'] for w in c.scheduler_info(n_workers=-1)['workers'].values()}\n"
        "    total = sum(c.gather(c.map(lambda i: i * i, range(100), pure=False)))\n"
        "    print(total, *sorted(names))\n"
    )
    done = subprocess.run(
        [python, "-c", code, address], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    total, *names = done.stdout.split()
    assert int(total) == sum(i * i for i in range(100))
    assert set(names) == set(desk.rows(*words)) - {"dask-scheduler"}


def supervisord(desk: Desk, name: str) -> psutil.Process:
    return psutil.Process(int((desk.state / "fleets" / name / "supervisord.pid").read_text()))


def lives(pid: int) -> bool:
    """Return whether a process runs; one that has ended may wait to be reaped for a while."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.fixture(scope="module")
def hurt() -> Iterator[Desk]:
    """A desk with a fleet ``f`` of two workers, to which one test after the other does harm."""
    with make_desk() as desk:
        desk.declare(fleet_text("f", free_ports(40)))
        yield desk


@pytest.fixture
def up(hurt: Desk) -> Desk:
    """That fleet, which is up whatever was done to it before."""
    hurt.call("up", "--yes")
    return hurt


def test_a_killed_worker_comes_back_under_its_name_and_ports(up: Desk) -> None:
    before = up.rows()["dask-worker-0001"]
    os.kill(before["pid"], signal.SIGKILL)
    after = eventually(
        lambda: (
            row
            if (row := up.rows()["dask-worker-0001"])["state"] == "running"
            and row["pid"] != before["pid"]
            else None
        ),
        within=120,
        what="the worker is back",
    )
    assert after["ports"] == before["ports"]
    assert after["restarts"] == before["restarts"] + 1
    computes(up)
    up.call("plan")


def test_all_workers_are_back_without_a_hand_after_the_scheduler_is_killed(up: Desk) -> None:
    before = up.rows()
    os.kill(before["dask-scheduler"]["pid"], signal.SIGKILL)

    def back() -> bool:
        rows = up.rows()
        new = rows["dask-scheduler"]["pid"] not in (None, before["dask-scheduler"]["pid"])
        return new and all(row["state"] == "running" for row in rows.values())

    eventually(back, within=120, what="scheduler and workers are back")
    restarts = before["dask-scheduler"]["restarts"]
    assert up.rows()["dask-scheduler"]["restarts"] == restarts + 1
    computes(up)
    up.call("plan")


def test_a_killed_launcher_leaves_no_orphan_and_comes_back(up: Desk) -> None:
    workers = [row["pid"] for name, row in up.rows().items() if name != "dask-scheduler"]
    units = json.loads((up.state / "fleets/f/run/dask-workers-default.json").read_text())
    os.kill(units["pid"], signal.SIGKILL)
    eventually(
        lambda: not any(lives(pid) for pid in workers),
        within=120,
        what="the workers of the killed unit are gone",
    )
    eventually(up.all_running, within=120, what="the unit is back")
    computes(up)


def test_a_killed_supervisord_is_seen_named_and_mended(up: Desk) -> None:
    supervisord(up, "f").kill()
    eventually(
        lambda: {row["state"] for row in up.rows().values()} == {"unsupervised"},
        within=120,
        what="status says that nothing would restart them",
    )
    plan = up.call("plan", "--json", status=2).json["changes"]
    assert {change["verb"] for change in plan} == {"restart"}
    assert "runs without its supervisor" in plan[0]["reason"]
    up.call("up", "--yes")
    assert up.all_running()
    computes(up)
    up.call("plan")


def test_down_ends_what_a_killed_supervisord_left(up: Desk) -> None:
    supervisord(up, "f").kill()
    up.call("down", "--yes")
    assert up.processes() == []


def test_a_frozen_supervisord_is_seen_and_replaced(up: Desk) -> None:
    old = supervisord(up, "f")
    (up.state / "fleets/f/control.sock").unlink()
    plan = up.call("plan", "--json", status=2).json["changes"]
    assert f"pid {old.pid} does not answer on its socket" in plan[0]["reason"]
    up.call("up", "--yes")
    assert not lives(old.pid)
    assert up.all_running()


def test_stale_socket_and_pid_file_are_no_obstacle(desk: Desk) -> None:
    desk.declare(fleet_text("f", free_ports(40), workers=1))
    place = desk.state / "fleets" / "f"
    place.mkdir(parents=True)
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(place / "control.sock"))
    # The pid of a process that lives and is not ours.
    (place / "supervisord.pid").write_text(f"{os.getpid()}\n")
    desk.call("up", "--yes")
    assert desk.all_running()
    desk.call("plan")


def test_a_port_that_is_taken_is_named_with_its_holder_and_nothing_is_half_started(
    desk: Desk,
) -> None:
    base = free_ports(40)
    desk.declare(fleet_text("f", base))
    with socket.socket() as held:
        held.bind(("127.0.0.1", base + 22))
        held.listen()
        for words in (["plan"], ["up", "--yes"]):
            done = desk.call(*words, status=8)
            assert f"port {base + 22}" in done.err
            assert "dask-workers-default" in done.err
            assert f"(pid {os.getpid()})" in done.err
            assert "remedy" in done.err
        assert desk.processes() == []
        assert not (desk.state / "fleets" / "f").exists()
    desk.call("up", "--yes")
    assert desk.all_running()


@pytest.mark.online
def test_an_interpreter_that_is_missing_is_named(desk: Desk) -> None:
    desk.declare(fleet_text("f", free_ports(40), workers=1, more='environment: {python: "3.99"}\n'))
    done = desk.call("up", "--yes", status=6)
    assert "Python 3.99" in done.err
    assert "environment.python" in done.err
    assert desk.processes() == []


@pytest.mark.online
def test_a_package_that_does_not_exist_is_named(desk: Desk) -> None:
    more = "environment: {packages: [distributed, no-such-package-of-dask-fleet]}\n"
    desk.declare(fleet_text("f", free_ports(40), workers=1, more=more))
    done = desk.call("up", "--yes", status=6)
    assert "no-such-package-of-dask-fleet" in done.err
    assert desk.processes() == []


@pytest.fixture
def small_disk(desk: Desk) -> Iterator[Path]:
    """A file system of 2 MiB that is almost full: a real ENOSPC. Mounting it needs root."""
    assert os.geteuid() == 0, "mounting a small file system needs root: run `sudo make test`"
    place = desk.directory.parent / "small"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "none", str(place)], check=True)
    yield place
    desk.environ["XDG_STATE_HOME"] = str(place)
    for path in desk.files:
        desk.call("down", "--yes", "--file", str(path), status=None)
    desk.files.clear()
    subprocess.run(["umount", str(place)], check=True)


def fill(path: Path) -> None:
    """Write a file that takes what room there is."""
    with path.open("wb", buffering=0) as file, pytest.raises(OSError) as caught:  # noqa: PT011, PT012
        while True:
            file.write(bytes(4096))
    assert caught.value.errno == errno.ENOSPC


def test_no_room_for_the_environment(desk: Desk, small_disk: Path) -> None:
    desk.declare(fleet_text("f", free_ports(40), workers=1))
    desk.environ["XDG_DATA_HOME"] = str(small_disk)
    done = desk.call("up", "--yes", status=6)
    assert "MiB are free" in done.err
    assert "XDG_DATA_HOME" in done.err
    assert desk.processes() == []


def test_no_room_for_the_state_and_then_there_is(desk: Desk, small_disk: Path) -> None:
    desk.declare(fleet_text("f", free_ports(40), workers=1))
    desk.environ["XDG_STATE_HOME"] = str(small_disk)
    ballast = small_disk / "ballast"
    fill(ballast)
    done = desk.call("up", "--yes", status=None)
    assert done.status in (9, 1)
    assert "No space left on device" in done.err
    assert desk.processes() == []
    ballast.unlink()
    desk.call("up", "--yes")
    assert desk.all_running()


def test_a_file_edited_by_hand_is_seen_named_and_mended(up: Desk) -> None:
    path = up.state / "fleets/f/etc/units/dask-scheduler.json"
    path.write_text(path.read_text().replace('"port":', '"port" :'))
    plan = up.call("plan", "--json", status=2).json["changes"]
    assert [(c["subject"], c["reason"]) for c in plan] == [
        ("dask-scheduler", "its files were edited by hand")
    ]
    up.call("up", "--yes")
    up.call("plan")


def test_a_unit_stopped_by_hand_is_started(up: Desk) -> None:
    conf = up.state / "fleets/f/etc/supervisord.conf"
    control = [up.argv[0], "-m", "supervisor.supervisorctl", "-c", str(conf)]
    subprocess.run([*control, "stop", "dask-workers-default"], check=True, capture_output=True)
    assert up.rows()["dask-worker-0001"]["state"] == "stopped"
    plan = up.call("plan", "--json", status=2).json["changes"]
    assert [(c["verb"], c["subject"]) for c in plan] == [("start", "dask-workers-default")]
    up.call("up", "--yes")
    assert up.all_running()


def test_of_two_ups_at_once_the_second_is_told_who_works(desk: Desk) -> None:
    desk.declare(fleet_text("f", free_ports(40)))
    calls = [desk.begin("up", "--yes") for _ in range(2)]
    ended = [(call.wait(timeout=240), *call.communicate()) for call in calls]
    statuses = sorted(status for status, _, _ in ended)
    assert statuses in ([0, 5], [0, 0]), ended
    for status, _, err in ended:
        if status == 5:
            assert re.search(r"@.* \(pid \d+\) is at work on this fleet .* since 20\d\d-", err)
            assert "--break-lease" in err
    assert desk.all_running()
    desk.call("plan")


def test_up_killed_at_any_moment_is_gone_on_with(desk: Desk) -> None:
    desk.declare(fleet_text("f", free_ports(40)))
    chance = random.Random(20170607)
    for _ in range(6):
        call = desk.begin("up", "--yes")
        try:
            call.wait(timeout=chance.uniform(0.3, 4.0))
        except subprocess.TimeoutExpired:
            os.killpg(call.pid, signal.SIGKILL)
        call.communicate(timeout=120)
    desk.call("up", "--yes")
    assert desk.all_running()
    assert desk.call("plan").out == "fleet f: nothing to do\n"
    computes(desk)


@pytest.mark.parametrize("then", ["up", "down"])
def test_ctrl_c_leaves_a_state_from_which_one_goes_on(desk: Desk, then: str) -> None:
    desk.declare(fleet_text("f", free_ports(40)))
    call = desk.begin("up", "--yes")
    eventually(
        lambda: (desk.state / "fleets/f/supervisord.pid").exists(),
        within=120,
        what="supervisord has been started",
    )
    os.killpg(call.pid, signal.SIGINT)
    _, err = call.communicate(timeout=120)
    assert call.returncode == 130
    assert "interrupted" in err
    assert not (desk.state / "fleets" / "f.lease").exists()
    desk.call(then, "--yes")
    if then == "up":
        assert desk.all_running()
    else:
        assert desk.processes() == []


def test_what_cannot_start_is_reported_with_its_last_words(desk: Desk) -> None:
    more = 'config: {distributed.worker.multiprocessing-method: "no-such-method"}\n'
    desk.declare(fleet_text("f", free_ports(40), workers=1, more=more))
    done = desk.call("up", "--yes", "--timeout", "20", status=7)
    assert "dask-workers-default" in done.err
    assert "no-such-method" in done.err
    assert "dask fleet logs" in done.err


def test_it_outlives_the_shell_that_started_it(desk: Desk) -> None:
    desk.declare(fleet_text("f", free_ports(40), workers=1))
    words = " ".join(desk.argv)
    shell = subprocess.Popen(
        ["sh", "-c", f"{words} up --yes >/dev/null 2>&1"],
        cwd=desk.directory,
        env=desk.environ,
        start_new_session=True,
    )
    assert shell.wait(timeout=120) == 0
    # As a terminal does when it closes: its whole session is told to hang up.
    for process in desk.processes():
        if os.getsid(process.pid) == shell.pid:
            process.send_signal(signal.SIGHUP)
    assert desk.all_running()
    parents = {process.ppid() for process in [supervisord(desk, "f")]}
    assert parents == {1}


def test_bad_files_end_with_3_and_every_problem(desk: Desk) -> None:
    text = fleet_text("f", 31000).replace("nthreads: 1", "nthreads: many\n    colour: blue")
    desk.declare(text + "variables: {KEY: '${NO_SUCH_VARIABLE_HERE}'}\n")
    done = desk.call("check", status=3)
    assert "3 problems" in done.err
    for part in ("fleet.yaml:9", "nthreads", "colour", "NO_SUCH_VARIABLE_HERE"):
        assert part in done.err
    value = json.loads(desk.call("check", "--json", status=3).err)
    assert len(value["error"]["problems"]) == 3
    desk.files.clear()
