"""The commands as people and programs use them: on a terminal, in a pipe, as JSON."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path

import jsonschema
import psutil
import pytest
import yaml

from tests.integration.conftest import Desk, eventually, fleet_text, free_ports, make_desk

COMMANDS = (
    "init check schema plan up restart down status logs open env demo".split()  # noqa: SIM905
)


@pytest.fixture(scope="module")
def fleet() -> Iterator[Desk]:
    """A desk with a fleet of two workers that is up for all tests here."""
    more = """\
config:
  distributed.worker.memory.target: 0.55
  distributed: {comm: {timeouts: {connect: 41s}}}
variables: {OMP_NUM_THREADS: "3", GREETING: "${DASK_FLEET_TEST_GREETING:-hello there}"}
"""
    with make_desk() as desk:
        desk.declare(fleet_text("commands", free_ports(40), more=more))
        desk.call("up", "--yes")
        yield desk


def on_a_terminal(
    desk: Desk, *words: str, columns: int, seconds: float = 30, until: str = ""
) -> str:
    """Run a command on a pseudo-terminal and return everything that it writes there.

    With ``until`` it gets a Ctrl-C when it has written that twice.
    """
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(desk.directory)
        environ = {k: v for k, v in desk.environ.items() if k not in ("NO_COLOR", "COLUMNS")}
        os.execvpe(desk.argv[0], [*desk.argv, *words], environ | {"TERM": "xterm-256color"})
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    written = b""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        ready, _, _ = select.select([terminal], [], [], 0.2)
        if ready:
            try:
                part = os.read(terminal, 65536)
            except OSError:  # Linux says EIO when the other side has ended
                break
            if not part:
                break
            written += part
            if until and written.decode(errors="replace").count(until) > 1:
                os.kill(pid, signal.SIGINT)
                until = ""
    os.close(terminal)
    if time.monotonic() >= deadline:
        os.kill(pid, signal.SIGINT)
    os.waitpid(pid, 0)
    return written.decode()


def plain(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", text)


def in_the_cluster(desk: Desk, expression: str) -> dict[str, object]:
    """Return the value of an expression on each worker, by name."""
    code = (
        "import json, sys, distributed\n"
        "with distributed.Client(sys.argv[1]) as client:\n"
        "    def look(dask_worker):\n"
        "        import os, dask\n"
        f"        return dask_worker.name, {expression}\n"
        "    print(json.dumps(dict(client.run(look).values())))\n"
    )
    python = desk.call("env", "--python").out.strip()
    address = desk.call("env", "--address").out.strip()
    done = subprocess.run(
        [python, "-c", code, address], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("words", [(), *((name,) for name in COMMANDS)], ids=str)
def test_help_teaches(desk: Desk, words: tuple[str, ...]) -> None:
    out = desk.call(*words, "--help").out
    assert out.startswith("Usage:")
    assert len(out.splitlines()) > 6
    if not words:
        assert all(re.search(rf"^  {name} ", out, re.MULTILINE) for name in COMMANDS)
        assert "Exit codes" in out


def test_it_is_a_plug_in_of_the_dask_command(desk: Desk) -> None:
    dask = Path(sys.executable).with_name("dask")
    out = desk.run(str(dask), "fleet", "check")
    assert "fleet local is well declared: 1 host, 4 workers" in out


def test_wrong_options_end_with_64(desk: Desk) -> None:
    assert "No such option" in desk.call("up", "--yess", status=64).err
    assert "No such command" in desk.call("upp", status=64).err


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shells_complete_it(desk: Desk, shell: str) -> None:
    tool = Path(sys.executable).with_name("dask-fleet")
    done = subprocess.run(
        [str(tool)],
        env=desk.environ | {"_DASK_FLEET_COMPLETE": f"{shell}_source"},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert "dask-fleet" in done.stdout
    words = {
        "COMP_WORDS": "dask-fleet re",
        "COMP_CWORD": "1",
        "_DASK_FLEET_COMPLETE": "bash_complete",
    }
    done = subprocess.run(
        [str(tool)],
        env=desk.environ | words,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert "restart" in done.stdout


def test_init_writes_a_file_that_is_well_declared_and_fits_the_schema(desk: Desk) -> None:
    desk.call("init", "--name", "first")
    text = (desk.directory / "fleet.yaml").read_text()
    assert text.count("#") > 10
    schema = json.loads(desk.call("schema").out)
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(yaml.safe_load(text), schema)
    assert desk.call("check", "--json").json["fleet"] == "first"
    again = desk.call("init", status=1)
    assert "is there already" in again.err
    assert (desk.directory / "fleet.yaml").read_text() == text


def test_up_asks_and_changes_nothing_without_an_answer(desk: Desk) -> None:
    desk.declare(fleet_text("ask", free_ports(40), workers=1))
    done = desk.call("up", status=1)
    assert "--yes" in done.err
    assert desk.processes() == []
    assert not (desk.state / "fleets" / "ask").exists()


def test_status_of_a_fleet_that_is_not_up(desk: Desk) -> None:
    desk.declare(fleet_text("not-up", free_ports(40)))
    assert {row["state"] for row in desk.rows().values()} == {"down"}
    assert "dask fleet up" in desk.call("open", status=1).err


def test_status_in_a_pipe_is_plain_and_whole(fleet: Desk) -> None:
    out = fleet.call("status").out
    header, *lines = out.splitlines()
    assert "\x1b" not in out
    assert " ".join(header.split()) == (
        "process role state unit registered host address ports pid since uptime restarts memory"
        " cpu tasks dask xcube"
    )
    assert [line.split()[0] for line in lines] == list(fleet.rows())
    assert all(re.search(r"\b20\d\d\.\d+\.\d+ +1\.\d+\.\d+$", line) for line in lines)


@pytest.mark.parametrize("columns", [80, 200])
def test_status_on_a_terminal_fits_it(fleet: Desk, columns: int) -> None:
    out = on_a_terminal(fleet, "status", columns=columns)
    assert "\x1b[" in out
    lines = plain(out).splitlines()
    assert "fleet commands · 3 of 3 running" in lines[0]
    assert max(len(line) for line in lines) <= columns
    for name, row in fleet.rows().items():
        (line,) = [line for line in lines if name in line]
        assert "running" in line
        assert "/".join(str(port) for port in row["ports"].values()) in line
    for column in ("unit", "registered", "address", "since", "xcube"):
        assert (column in lines[2]) == (columns == 200)


def test_status_watch_shows_it_again_and_again(fleet: Desk) -> None:
    watch = fleet.begin("status", "--watch")
    try:
        assert watch.stdout is not None
        seen = 0
        for line in watch.stdout:
            seen += line.startswith("dask-worker-0002")
            if seen == 2:
                break
    finally:
        watch.send_signal(signal.SIGINT)
        _, err = watch.communicate(timeout=120)
    assert seen == 2
    assert (watch.returncode, err) == (130, "")


def test_status_watch_for_programs_is_one_document_to_a_line(fleet: Desk) -> None:
    watch = fleet.begin("status", "--watch", "--json")
    try:
        assert watch.stdout is not None
        first, second = (json.loads(watch.stdout.readline()) for _ in range(2))
    finally:
        watch.send_signal(signal.SIGINT)
        _, err = watch.communicate(timeout=120)
    once = fleet.call("status", "--json").json
    assert first.keys() == second.keys() == once.keys()
    assert [row["pid"] for row in first["processes"]] == [row["pid"] for row in once["processes"]]
    uptimes = [document["processes"][0]["uptime"] for document in (first, second, once)]
    assert uptimes == sorted(set(uptimes))
    assert (watch.returncode, err) == (130, "")


def test_status_watch_on_a_terminal_draws_the_same_table_again(fleet: Desk) -> None:
    title = "fleet commands · 3 of 3 running"
    out = plain(on_a_terminal(fleet, "status", "--watch", columns=100, until=title))
    assert out.count(title) >= 2
    assert out.count("scheduler tcp://127.0.0.1:") == out.count(title)
    assert "interrupted" not in out


def test_status_says_which_python_and_which_boot_a_host_has(fleet: Desk) -> None:
    (host,) = fleet.call("status", "--json").json["hosts"]
    boot_id = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    assert host["boot_id"] == boot_id
    assert re.fullmatch(r"3\.\d+\.\d+\S*", host["python"])


def test_logs_are_labelled_merged_and_can_be_asked_by_process(fleet: Desk) -> None:
    def labels(*words: str) -> set[str]:
        lines = fleet.call("logs", "-n", "500", *words).out.splitlines()
        assert lines
        assert all(" | " in line for line in lines)
        return {line.split(" | ")[0] for line in lines}

    assert labels() >= {"dask-scheduler", "dask-worker-0001", "dask-worker-0002"}
    assert labels("dask-worker-0002") == {"dask-worker-0002"}
    assert labels("dask-scheduler", "dask-worker-0001") == {"dask-scheduler", "dask-worker-0001"}
    done = fleet.call("logs", "dask-worker-0003", status=1)
    assert "did you mean" in done.err
    lines = fleet.call("logs", "-n", "500").out.splitlines()
    stamps = [m[0] for line in lines if (m := re.search(r"\d{4}-\d\d-\d\dT[\d:.]+Z", line))]
    assert stamps == sorted(stamps)


def test_logs_follow(fleet: Desk) -> None:
    follow = fleet.begin("logs", "-f", "-n", "0")
    try:
        in_the_cluster(fleet, "print('a line from', dask_worker.name, flush=True)")
        assert follow.stdout is not None
        seen: set[str] = set()
        for line in follow.stdout:
            label, _, text = line.rstrip("\n").partition(" | ")
            if text.startswith("a line from"):
                assert text == f"a line from {label}"
                seen.add(label)
            if len(seen) == 2:
                break
    finally:
        follow.send_signal(signal.SIGINT)
        follow.communicate(timeout=120)
    assert seen == {"dask-worker-0001", "dask-worker-0002"}


def test_who_follows_logs_and_is_killed_leaves_nothing_behind(fleet: Desk) -> None:
    follow = fleet.begin("logs", "-f", "-n", "1")
    try:
        assert follow.stdout is not None
        assert " | " in follow.stdout.readline()
        below = psutil.Process(follow.pid).children(recursive=True)
        assert {"sh", "tail", "sed"} <= {process.name() for process in below}
    finally:
        follow.kill()
        follow.communicate(timeout=120)
    _, alive = psutil.wait_procs(below, timeout=120)
    assert alive == []


def test_env_is_for_a_shell(fleet: Desk) -> None:
    address = fleet.call("env", "--address").out.strip()
    assert fleet.call("env").out.splitlines()[0] == f"DASK_SCHEDULER_ADDRESS={address}"
    script = (
        'eval "$("$@" env)" && exec "$DASK_FLEET_PYTHON" -c "'
        'import distributed; print(distributed.Client().scheduler.address)"'
    )
    done = subprocess.run(
        ["sh", "-c", script, "sh", *fleet.argv],
        cwd=fleet.directory,
        env=fleet.environ,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.stdout.strip() == address, done.stderr


def test_open_prints_every_dashboard(fleet: Desk) -> None:
    urls = fleet.call("open", "--json").json
    rows = fleet.rows()
    assert urls.pop("console") == urls["dask-scheduler"].replace("status", "fleet/")
    assert {name: url.split(":")[2] for name, url in urls.items()} == {
        name: f"{row['ports']['dashboard']}/status" for name, row in rows.items()
    }
    assert urls["dask-worker-0001"] in fleet.call("open").out


def test_configuration_and_variables_reach_the_workers(fleet: Desk) -> None:
    everything = (
        "[dask.config.get('distributed.worker.memory.target'),"
        " dask.config.get('distributed.comm.timeouts.connect'),"
        " os.environ['OMP_NUM_THREADS'], os.environ['GREETING'],"
        " dask_worker.state.nthreads, dask_worker.memory_manager.memory_limit]"
    )
    expected = [0.55, "41s", "3", "hello there", 1, 2**30]
    assert set(map(json.dumps, in_the_cluster(fleet, everything).values())) == {
        json.dumps(expected)
    }


def test_a_change_of_a_variable_does_not_show_its_value(fleet: Desk) -> None:
    fleet.environ["DASK_FLEET_TEST_GREETING"] = "a-secret-word"
    try:
        done = fleet.call("plan", "--json", status=2)
        assert "variable GREETING changed" in done.out
        assert "a-secret-word" not in done.out + done.err
    finally:
        del fleet.environ["DASK_FLEET_TEST_GREETING"]
    fleet.call("plan")


def test_processes_bear_the_names_that_people_know(fleet: Desk) -> None:
    for name, row in fleet.rows().items():
        assert psutil.Process(row["pid"]).cmdline()[0] == name


def test_restart_gives_new_processes_with_the_same_ports(fleet: Desk) -> None:
    before = fleet.rows()
    assert "restarted" in fleet.call("restart", "dask-worker-0001", "--yes").out
    after = fleet.rows()
    assert after["dask-scheduler"]["pid"] == before["dask-scheduler"]["pid"]
    assert after["dask-worker-0001"]["pid"] != before["dask-worker-0001"]["pid"]
    assert after["dask-worker-0001"]["ports"] == before["dask-worker-0001"]["ports"]
    assert "has no process nobody" in fleet.call("restart", "nobody", status=1).err
    eventually(fleet.all_running, within=120, what="all run")


@pytest.mark.online
def test_an_environment_of_packages_and_then_of_its_lock(desk: Desk) -> None:
    # Environments of its own: one that an earlier run has made would not be made again.
    desk.environ["XDG_DATA_HOME"] = str(desk.directory / "data")
    base = free_ports(40)
    packages = "environment: {packages: [distributed==2025.1.0, tornado]}\n"
    desk.declare(fleet_text("older", base, workers=1, more=packages))
    desk.call("up", "--yes")
    row = desk.rows()["dask-worker-0001"]
    assert (row["state"], row["versions"]["distributed"]) == ("running", "2025.1.0")

    python = Path(desk.call("env", "--python").out.strip())
    lock = (python.parents[1] / "requirements.lock").read_text()
    assert "--hash=sha256:" in lock
    (desk.directory / "my.lock").write_text(lock)
    text = fleet_text("older", base, workers=1, more="environment: {lock: my.lock}\n")
    desk.declare(text)
    reasons = {c["subject"]: c for c in desk.call("plan", "--json", status=2).json["changes"]}
    assert reasons["environment my.lock"]["verb"] == "create"
    desk.call("up", "--yes")
    assert desk.rows()["dask-worker-0001"]["versions"]["distributed"] == "2025.1.0"
    desk.call("plan")
