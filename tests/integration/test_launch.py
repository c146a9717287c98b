"""The host-side launcher, run as supervisord runs it: real processes, ports and signals."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

LAUNCH = Path(__file__).parents[2] / "src" / "dask_fleet" / "host" / "launch.py"
DEADLINE = 120.0


@pytest.fixture(scope="session")
def python(environment_python: Path) -> str:
    """The interpreter of the fleet's environment, or another one to be tried."""
    return os.environ.get("DASK_FLEET_TEST_PYTHON", str(environment_python))


def until(condition: Callable[[], Any], what: str, deadline: float = DEADLINE) -> Any:
    """Poll until the condition holds, and return its value; fail after the deadline."""
    end = time.monotonic() + deadline
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < end, f"not within {deadline:g} s: {what}"
        time.sleep(0.05)


def free_ports(count: int) -> list[int]:
    """Return free ports above those that the kernel gives to outgoing connections."""
    found: list[int] = []
    start = 61000 + (os.getpid() * 37 + int(time.time() * 10)) % 3000
    for port in range(start, 65500):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        found.append(port)
        if len(found) == count:
            return found
    raise AssertionError("no free ports")


def stat(pid: int) -> list[str]:
    """Return the fields of /proc/PID/stat after the name, or [] when it has gone."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return []
    return text.rpartition(")")[2].split()


def alive(pid: int) -> bool:
    return stat(pid)[:1] not in ([], ["Z"], ["X"])


def descendants(pid: int) -> set[int]:
    """Return the pids of all living processes below one."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (fields := stat(int(entry.name))):
            parents[int(entry.name)] = int(fields[1])
    found: set[int] = set()
    new = {pid}
    while new:
        new = {child for child, parent in parents.items() if parent in new} - found
        found |= new
    return found


def listening(pids: set[int]) -> set[int]:
    """Return the TCP ports on which some processes listen."""
    inodes = set()
    for pid in pids:
        for link in Path(f"/proc/{pid}/fd").iterdir():
            try:
                target = str(link.readlink())
            except FileNotFoundError:
                continue
            if target.startswith("socket:["):
                inodes.add(target[8:-1])
    ports = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        if Path(table).exists():
            for line in Path(table).read_text().splitlines()[1:]:
                fields = line.split()
                if fields[3] == "0A" and fields[9] in inodes:
                    ports.add(int(fields[1].rpartition(":")[2], 16))
    return ports


class Launched:
    """One launcher and its log."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self.process = process
        self.log = log

    @property
    def pid(self) -> int:
        return self.process.pid

    def text(self) -> str:
        return self.log.read_text()

    def lines(self, label: str) -> list[str]:
        prefix = f"{label} | "
        return [x.removeprefix(prefix) for x in self.text().split("\n") if x.startswith(prefix)]

    def stop(self, number: int = signal.SIGTERM, deadline: float = 20) -> int:
        self.process.send_signal(number)
        return self.process.wait(deadline)


class Fleet:
    """Unit files on free ports, and the processes that run them."""

    def __init__(self, directory: Path, python: str, count: int) -> None:
        self.directory = directory
        self.python = python
        self.run_directory = directory / "run"
        ports = free_ports(2 + 3 * count)
        self.port, self.dashboard_port = ports[:2]
        common: dict[str, Any] = {
            "digest": "abc",
            "run_directory": str(self.run_directory),
            "configuration": None,
            "environment": {"OMP_NUM_THREADS": "1"},
            "preload": [],
        }
        host = {"listen": "127.0.0.1", "contact": "127.0.0.1"}
        self.scheduler: dict[str, Any] = {
            "name": "dask-scheduler",
            "role": "scheduler",
            **common,
            **host,
            "port": self.port,
            "dashboard_port": self.dashboard_port,
        }
        self.workers: dict[str, Any] = {
            "name": "dask-workers-default",
            "role": "workers",
            **common,
            "scheduler": f"tcp://127.0.0.1:{self.port}",
            "workers": [
                {
                    "name": f"dask-worker-{i + 1:04d}",
                    **host,
                    "port": ports[3 * i + 2],
                    "nanny_port": ports[3 * i + 3],
                    "dashboard_port": ports[3 * i + 4],
                    "nthreads": 1,
                    "memory_limit": 2**30,
                    "resources": {},
                    "directory": str(directory / "work"),
                }
                for i in range(count)
            ],
        }
        self.started: list[Launched] = []

    def entry(self, index: int = 0) -> dict[str, Any]:
        return self.workers["workers"][index]

    def names(self) -> list[str]:
        return [entry["name"] for entry in self.workers["workers"]]

    def start(self, unit: dict[str, Any], **popen: Any) -> Launched:
        path = self.directory / f"{unit['name']}.json"
        path.write_text(json.dumps(unit))
        log = self.directory / f"{unit['name']}.{len(self.started)}.log"
        command = [self.python, "-u", str(LAUNCH), str(path)]
        with log.open("wb") as stream:
            options = {"stdout": stream, "stderr": subprocess.STDOUT} | popen
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, **options)
        launched = Launched(process, log)
        self.started.append(launched)
        return launched

    def up(self) -> tuple[Launched, Launched]:
        both = self.start(self.scheduler), self.start(self.workers)
        self.wait_registered()
        return both

    def get(self, path: str) -> Any:
        url = f"http://127.0.0.1:{self.dashboard_port}{path}"
        with urllib.request.urlopen(url, timeout=120) as response:
            return response.read()

    def registered(self) -> dict[str, Any]:
        """Return the scheduler's workers by name; {} while it does not answer."""
        try:
            identity = json.loads(self.get("/json/identity.json"))
        except (OSError, http.client.HTTPException):
            return {}
        return {w["name"]: {**w, "address": a} for a, w in identity["workers"].items()}

    def wait_registered(self, deadline: float = DEADLINE) -> dict[str, Any]:
        wanted = sorted(self.names())
        return until(
            lambda: (found := self.registered()) and sorted(found) == wanted and found,
            f"workers {wanted} at the scheduler; log: {self.log_tail()}",
            deadline,
        )

    def log_tail(self) -> str:
        return "\n".join(x.text()[-600:] for x in self.started if x.log.exists())

    def record(self, name: str) -> dict[str, Any]:
        return json.loads((self.run_directory / f"{name}.json").read_text())

    def client(self, body: str, wait: bool = True) -> Any:
        """Run a script with a client of the fleet; return the JSON that it prints."""
        script = (
            "import json, os, sys\nfrom distributed import Client\n"
            f"client = Client('tcp://127.0.0.1:{self.port}', timeout=120)\n{body}\n"
        )
        process = subprocess.Popen(
            [self.python, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        if not wait:
            return process
        out, err = process.communicate(timeout=DEADLINE)
        assert process.returncode == 0, err
        return json.loads(out) if out.strip() else None

    def end(self) -> None:
        """End what this test has started, by pid."""
        trees: set[int] = set()
        for launched in self.started:
            if launched.process.poll() is None:
                trees |= descendants(launched.pid)
                launched.process.kill()
                launched.process.wait(60)
        until(lambda: not any(map(alive, trees)), "all processes of the test have ended")


@pytest.fixture
def make(tmp_path: Path, python: str) -> Iterator[Callable[..., Fleet]]:
    fleets: list[Fleet] = []

    def build(count: int = 2) -> Fleet:
        directory = tmp_path / f"fleet{len(fleets)}"
        directory.mkdir()
        fleets.append(Fleet(directory, python, count))
        return fleets[-1]

    yield build
    for fleet in fleets:
        fleet.end()


# -- ports and addresses -----------------------------------------------------------------


def test_exactly_the_declared_ports(make: Callable[..., Fleet]) -> None:
    fleet = make(3)
    scheduler, workers = fleet.up()
    for name, worker in fleet.registered().items():
        entry = next(e for e in fleet.workers["workers"] if e["name"] == name)
        assert worker["address"] == f"tcp://127.0.0.1:{entry['port']}"
        assert worker["nanny"] == f"tcp://127.0.0.1:{entry['nanny_port']}"
        assert worker["services"]["dashboard"] == entry["dashboard_port"]
        health = f"http://127.0.0.1:{entry['dashboard_port']}/health"
        assert urllib.request.urlopen(health, timeout=DEADLINE).read() == b"ok"
    keys = ("port", "nanny_port", "dashboard_port")
    declared = {e[k] for e in fleet.workers["workers"] for k in keys}
    assert listening(descendants(workers.pid) | {workers.pid}) == declared
    assert listening({scheduler.pid}) == {fleet.port, fleet.dashboard_port}
    # All nannies live in the launcher itself.
    assert listening({workers.pid}) == {e["nanny_port"] for e in fleet.workers["workers"]}


class Forwarder:
    """Passes TCP connections on, as a host with an address translation does."""

    def __init__(self, host: str, port: int, to: str) -> None:
        self.server = socket.create_server((host, port))
        self.target = (to, port)
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self) -> None:
        while True:
            try:
                near, _ = self.server.accept()
            except OSError:
                return
            try:
                far = socket.create_connection(self.target, timeout=120)
            except OSError:
                near.close()
                continue
            far.settimeout(None)
            for pair in ((near, far), (far, near)):
                threading.Thread(target=self.copy, args=pair, daemon=True).start()

    @staticmethod
    def copy(source: socket.socket, sink: socket.socket) -> None:
        try:
            while data := source.recv(65536):
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            return


def test_contact_address_may_differ_from_the_listen_address(make: Callable[..., Fleet]) -> None:
    fleet = make(2)
    outer = "127.0.0.3"
    fleet.workers["scheduler"] = f"tcp://{outer}:{fleet.port}"
    fleet.scheduler["contact"] = outer
    forwarded = [fleet.port]
    for entry in fleet.workers["workers"]:
        entry["contact"] = outer
        forwarded += [entry["port"], entry["dashboard_port"]]
    forwarders = [Forwarder(outer, port, "127.0.0.1") for port in forwarded]
    try:
        fleet.up()
        identity = json.loads(fleet.get("/json/identity.json"))
        assert set(identity["workers"]) == {
            f"tcp://{outer}:{entry['port']}" for entry in fleet.workers["workers"]
        }
        # The second task fetches its input from the other worker.
        got = fleet.client(
            "x = client.submit(pow, 7, 2, workers=['dask-worker-0001'])\n"
            "y = client.submit(sum, [x, 1], workers=['dask-worker-0002'])\n"
            "print(y.result(timeout=120))"
        )
        assert got == 50
        port = fleet.entry()["dashboard_port"]
        assert ask(fleet.dashboard_port, f"/proxy/{port}/{outer}/status")[1] == (
            f"http://{outer}:{port}/status"
        )
    finally:
        for forwarder in forwarders:
            forwarder.server.close()


@pytest.mark.parametrize("which", ["port", "nanny_port", "dashboard_port"])
def test_a_held_port_is_named_and_nothing_starts(make: Callable[..., Fleet], which: str) -> None:
    fleet = make(2)
    with socket.create_server(("127.0.0.1", fleet.entry(1)[which])):
        launched = fleet.start(fleet.workers)
        assert launched.process.wait(DEADLINE) == 1
    words = which.replace("_", " ")
    expected = f"dask-worker-0002: {words} {fleet.entry(1)[which]} on 127.0.0.1"
    assert any(expected in line for line in launched.lines("dask-workers-default"))
    assert not descendants(launched.pid)


@pytest.mark.parametrize("which", ["port", "dashboard_port"])
def test_a_held_port_of_the_scheduler(make: Callable[..., Fleet], which: str) -> None:
    fleet = make(1)
    with socket.create_server(("127.0.0.1", fleet.scheduler[which])):
        launched = fleet.start(fleet.scheduler)
        assert launched.process.wait(DEADLINE) == 1
    # Under systemd and Docker the labeller does not outlive it: the words must be there by now.
    assert f" {fleet.scheduler[which]} on 127.0.0.1" in launched.text()


@pytest.mark.parametrize("which", ["dashboard_port", "port"])
def test_a_port_lost_later_ends_the_whole_unit(make: Callable[..., Fleet], which: str) -> None:
    # One worker of two cannot start: never half a unit, the supervisor has to act.
    fleet = make(2)
    fleet.workers["patience"] = 2.0
    launched = fleet.start(fleet.workers)
    until(lambda: "waiting for the scheduler" in launched.text(), "the launcher waits")
    with socket.create_server(("127.0.0.1", fleet.entry(1)[which])):
        fleet.start(fleet.scheduler)
        tree = descendants(launched.pid)
        assert launched.process.wait(DEADLINE) == 1
    last = [x for x in launched.lines("dask-workers-default") if "exits, to be started" in x]
    assert last
    assert "dask-worker-0002 did not start" in last[0]
    if which == "dashboard_port":
        assert f"dashboard port {fleet.entry(1)[which]} is held" in last[0]
    until(lambda: not any(map(alive, tree)), "nothing is left of the unit")


# -- life --------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_closes_in_bounded_time(make: Callable[..., Fleet], number: int) -> None:
    fleet = make(2)
    scheduler, workers = fleet.up()
    # A task that never ends does not keep the workers from closing.
    client = fleet.client(
        "import time\nf = client.map(time.sleep, [300, 301], pure=False)\n"
        "print(1, flush=True)\ntime.sleep(300)",
        wait=False,
    )
    try:
        assert client.stdout.readline().strip() == "1"
        until(
            lambda: (
                sum(
                    w["metrics"]["task_counts"].get("executing", 0)
                    for w in fleet.registered().values()
                )
                == 2
            ),
            "both tasks run",
        )
        tree = descendants(workers.pid) | descendants(scheduler.pid)
        assert workers.stop(number) == 0
        assert scheduler.stop(number) == 0
    finally:
        client.kill()
        client.communicate()
    until(lambda: not any(map(alive, tree)), "no process is left")
    assert not list(fleet.run_directory.glob("*.io-*"))


def test_a_killed_worker_comes_back_the_same(make: Callable[..., Fleet]) -> None:
    fleet = make(2)
    _, workers = fleet.up()
    other = fleet.record("dask-worker-0002")["pid"]
    for round_ in range(1, 6):
        before = fleet.registered()["dask-worker-0001"]
        os.kill(fleet.record("dask-worker-0001")["pid"], signal.SIGKILL)
        until(lambda: fleet.record("dask-worker-0001")["restarts"] == round_, "it starts again")  # noqa: B023
        after = until(
            lambda: (
                (w := fleet.registered().get("dask-worker-0001"))
                and w["local_directory"] != before["local_directory"]  # noqa: B023
                and w
            ),
            "it is registered again",
        )
        for key in ("address", "nanny", "services"):
            assert after[key] == before[key]
    assert fleet.record("dask-worker-0002")["pid"] == other
    assert workers.process.poll() is None
    assert fleet.client("print(client.submit(sum, [1, 2]).result(timeout=120))") == 3


def test_all_workers_return_to_a_scheduler_that_was_killed(make: Callable[..., Fleet]) -> None:
    fleet = make(3)
    scheduler, workers = fleet.up()
    for _ in range(2):
        scheduler.process.kill()
        scheduler.process.wait(60)
        scheduler = fleet.start(fleet.scheduler)
        fleet.wait_registered()
    assert workers.process.poll() is None
    assert fleet.client("print(client.submit(sum, [1, 2]).result(timeout=120))") == 3


def test_workers_wait_for_a_scheduler_that_is_absent(make: Callable[..., Fleet]) -> None:
    fleet = make(1)
    workers = fleet.start(fleet.workers)
    until(lambda: "waiting for the scheduler" in workers.text(), "the launcher says what it does")
    fleet.start(fleet.scheduler)
    fleet.wait_registered()
    assert workers.process.poll() is None


@pytest.mark.parametrize("busy", [False, True])
def test_a_killed_launcher_leaves_no_orphan(make: Callable[..., Fleet], busy: bool) -> None:
    fleet = make(2)
    _, workers = fleet.up()
    if busy:
        # A task in C that never gives the interpreter lock back.
        fleet.client(
            "import re\nfrom distributed import fire_and_forget\n"
            "fire_and_forget(client.submit(re.match, r'(a+)+$', 'a' * 64 + 'b'))\nimport time\n"
            "time.sleep(1)"
        )
    tree = descendants(workers.pid)
    assert len(tree) >= 3
    workers.process.kill()
    workers.process.wait(60)
    until(lambda: not any(map(alive, tree)), "no orphans")
    # The supervisor starts it again at once, on the same ports and names.
    fleet.start(fleet.workers)
    fleet.wait_registered()


def test_a_killed_forkserver_is_replaced(make: Callable[..., Fleet]) -> None:
    fleet = make(1)
    _, workers = fleet.up()
    worker = fleet.record("dask-worker-0001")["pid"]
    os.kill(int(stat(worker)[1]), signal.SIGKILL)
    until(
        lambda: (
            fleet.record("dask-worker-0001")["pid"] != worker
            and "dask-worker-0001" in fleet.registered()
        ),
        "the worker is back",
    )
    assert fleet.client("print(client.submit(sum, [1, 2]).result(timeout=120))") == 3
    assert any("Registered to" in x for x in workers.lines("dask-worker-0001")[-8:])


def test_a_killed_labeller_restarts_the_unit(make: Callable[..., Fleet]) -> None:
    fleet = make(1)
    _, workers = fleet.up()
    titles = {p: Path(f"/proc/{p}/cmdline").read_bytes() for p in descendants(workers.pid)}
    [labeller] = [p for p, title in titles.items() if b"labels" in title]
    os.kill(labeller, signal.SIGKILL)
    assert workers.process.wait(60) == 1


# -- method, preload --------------------------------------------------------------


def test_spawn_can_be_configured(make: Callable[..., Fleet]) -> None:
    fleet = make(1)
    configuration = fleet.directory / "dask.yaml"
    configuration.write_text(
        "distributed:\n  worker:\n    multiprocessing-method: spawn\n"
        "  admin:\n    log-format: 'MINE %(message)s'\n"
    )
    fleet.workers["configuration"] = str(configuration)
    _, workers = fleet.up()
    pid = fleet.record("dask-worker-0001")["pid"]
    assert int(stat(pid)[1]) == workers.pid, "a spawned worker is the launcher's own child"
    assert any(x.startswith("MINE") for x in workers.lines("dask-worker-0001"))
    os.kill(pid, signal.SIGKILL)
    until(lambda: fleet.record("dask-worker-0001")["pid"] != pid, "it starts again")
    fleet.wait_registered()


def test_the_configured_environment_reaches_workers(make: Callable[..., Fleet]) -> None:
    fleet = make(1)
    configuration = fleet.directory / "dask.yaml"
    configuration.write_text(
        "distributed:\n  nanny:\n    pre-spawn-environ:\n      MKL_NUM_THREADS: 3\n"
    )
    fleet.workers["configuration"] = str(configuration)
    fleet.workers["environment"] = {"OMP_NUM_THREADS": "2", "MINE": "a b"}
    _, workers = fleet.up()
    names = ["MINE", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "PYTHONHASHSEED", "DASK_CONFIG"]
    got = fleet.client(
        f"f = lambda: [os.environ.get(n) for n in {names!r}] + [hash('a')]\n"
        "print(json.dumps(client.submit(f).result(timeout=120)))"
    )
    assert got[:5] == ["a b", "2", "3", "6640", str(configuration)]
    seed = {**os.environ, "PYTHONHASHSEED": "6640"}
    expected = subprocess.check_output([fleet.python, "-c", "print(hash('a'))"], env=seed)
    assert got[5] == int(expected), "all workers of all hosts must hash alike"
    # The first launcher has replaced itself: one labeller, and every label once.
    assert not [x for x in workers.text().splitlines() if x.count(" | ") > 1]


def test_preloaded_modules_and_missing_ones(make: Callable[..., Fleet]) -> None:
    fleet = make(2)
    fleet.workers["preload"] = ["wave", "no_such_module_x", "tabnanny"]
    _, workers = fleet.up()
    got = fleet.client(
        "f = lambda: ['wave' in sys.modules, 'tabnanny' in sys.modules]\n"
        "print(json.dumps(list(client.run(f).values())))"
    )
    assert got == [[True, True], [True, True]]
    reports = [x for x in workers.lines("dask-workers-default") if "no_such_module_x" in x]
    assert reports
    assert "preload: cannot import 'no_such_module_x': ModuleNotFound" in reports[0]


def test_forked_workers_have_their_own_random_numbers(make: Callable[..., Fleet]) -> None:
    fleet = make(2)
    fleet.workers["preload"] = ["numpy.random"]
    fleet.up()
    got = fleet.client(
        "def f():\n import numpy, random\n return [numpy.random.rand(), random.random()]\n"
        "print(json.dumps(list(client.run(f).values())))"
    )
    assert got[0][0] != got[1][0]
    assert got[0][1] != got[1][1]


# -- labels, titles, records -------------------------------------------------------------

NOISE = r"""
def noise(n):
    import ctypes, os, sys
    print("printed", n)
    print("to stderr", n, file=sys.stderr)
    os.write(1, b"raw write %d\n" % n)
    libc = ctypes.CDLL(None)
    libc.puts(b"from C %d" % n)
    libc.fflush(None)
    os.write(2, bytes(range(256)) + b"\nafter garbage\n")
    os.write(1, b"x" * 300_000 + b"\nafter long\n")
    print("no end", end="", flush=True)
client.submit(noise, 7).result(timeout=120)
"""


def test_every_line_bears_a_label(make: Callable[..., Fleet]) -> None:
    fleet = make(1)
    scheduler, workers = fleet.up()
    fleet.client(NOISE)
    until(lambda: "no end" in workers.lines("dask-worker-0001"), "a line without an end")
    lines = workers.lines("dask-worker-0001")
    for expected in (
        "printed 7",
        "to stderr 7",
        "raw write 7",
        "from C 7",
        "after garbage",
        "after long",
    ):
        assert expected in lines
    assert sum(line.count("x") for line in lines if set(line) == {"x"}) == 300_000
    assert any(line.startswith("\\x00\\x01") for line in lines)
    labels = {"dask-worker-0001", "dask-workers-default"}
    for line in workers.text().split("\n")[:-1]:
        assert line.partition(" | ")[0] in labels, line
        assert line.isprintable() or "\t" in line
    assert all(x.startswith("dask-scheduler | ") for x in scheduler.text().splitlines())
    stamp = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z INFO distributed\."
    for launched, label in (
        (scheduler, "dask-scheduler"),
        (workers, "dask-workers-default"),
        (workers, "dask-worker-0001"),
    ):
        assert any(re.match(stamp, line) for line in launched.lines(label)), label


def test_the_last_lines_of_a_crash(make: Callable[..., Fleet]) -> None:
    fleet = make(1)
    fleet.scheduler["environment"] = {"DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "0"}
    _, workers = fleet.up()
    fleet.client(
        "import ctypes\ndef crash():\n for i in range(500): print('line', i)\n"
        " ctypes.string_at(0)\n"
        "f = client.submit(crash, retries=0)\nassert f.exception(timeout=120) is not None"
    )
    fleet.wait_registered()
    lines = workers.lines("dask-worker-0001")
    assert lines.count("line 499") == 1
    assert any("Fatal Python error: Segmentation fault" in x for x in lines)
    assert any("in string_at" in x for x in lines), "the traceback of the crash"


def test_a_log_that_nobody_reads_blocks_no_worker(make: Callable[..., Fleet]) -> None:
    fleet = make(1)
    fleet.start(fleet.scheduler)
    reader, writer = os.pipe()
    workers = fleet.start(fleet.workers, stdout=writer)
    os.close(writer)
    try:
        fleet.wait_registered()
        took = fleet.client(
            "import time\ndef flood():\n for i in range(300_000): print('x' * 100)\n"
            "t = time.time()\nclient.submit(flood).result(timeout=120)\nprint(time.time() - t)"
        )
        assert took < 100
        # Reading resumes: what was dropped is counted, and new lines come through.
        os.set_blocking(reader, False)
        seen = bytearray()

        def found(text: bytes) -> bool:
            try:
                while chunk := os.read(reader, 1 << 20):
                    seen.extend(chunk)
            except BlockingIOError:
                pass
            return text in seen

        until(lambda: not found(b"?") and seen.count(b"\n") > 50_000, "the backlog comes")
        fleet.client("client.submit(print, 'read again').result(timeout=120)")
        until(lambda: found(b"read again"), "new lines come")
        assert b"lines dropped: the log was not stored" in seen
        assert all(
            x.startswith((b"dask-worker-0001 | ", b"dask-workers-default | "))
            for x in bytes(seen).split(b"\n")[:-1]
        )
        assert workers.process.poll() is None
    finally:
        os.close(reader)


@pytest.mark.parametrize("installed", [True, False])
def test_titles(make: Callable[..., Fleet], installed: bool) -> None:
    fleet = make(2)
    if not installed:
        stub = fleet.directory / "stub"
        stub.mkdir()
        (stub / "setproctitle.py").write_text("raise ImportError('not here')\n")
        for unit in (fleet.scheduler, fleet.workers):
            unit["environment"] = {"PYTHONPATH": str(stub)}
    scheduler, workers = fleet.up()
    fleet.client("print(client.submit(sum, [1, 2]).result(timeout=120))")
    for name in ("dask-scheduler", "dask-workers-default", *fleet.names()):
        title = Path(f"/proc/{fleet.record(name)['pid']}/cmdline").read_bytes()
        text = title.replace(b"\0", b" ").strip().decode()
        assert (text == name) == installed, text
    assert fleet.record("dask-scheduler")["pid"] == scheduler.pid
    assert fleet.record("dask-workers-default")["pid"] == workers.pid


def test_records(make: Callable[..., Fleet]) -> None:
    fleet = make(1)
    began = time.time()
    scheduler, workers = fleet.up()
    assert fleet.record("dask-workers-default")["workers"] == ["dask-worker-0001"]
    for name, unit, role in (
        ("dask-scheduler", "dask-scheduler", "scheduler"),
        ("dask-workers-default", "dask-workers-default", "workers"),
        ("dask-worker-0001", "dask-workers-default", "worker"),
    ):
        record = fleet.record(name)
        assert (record["name"], record["unit"], record["role"]) == (name, unit, role)
        assert record["digest"] == "abc"
        assert record["restarts"] == 0
        assert began - 1 < record["started"] < time.time() + 1
        assert record["start_ticks"] == int(stat(record["pid"])[19])
        assert record["python"] == fleet.python
        assert set(record["versions"]) >= {"python", "dask", "distributed"}
    worker = fleet.record("dask-worker-0001")
    assert [worker[k] for k in ("port", "nanny_port", "dashboard_port")] == [
        fleet.entry()[k] for k in ("port", "nanny_port", "dashboard_port")
    ]
    assert fleet.record("dask-scheduler")["dashboard_port"] == fleet.dashboard_port
    # The same digest again counts, and another digest starts from zero.
    for digest, restarts in (("abc", 1), ("new", 0)):
        assert workers.stop() == 0
        assert fleet.record("dask-worker-0001"), "the record survives"
        fleet.workers["digest"] = digest
        workers = fleet.start(fleet.workers)
        until(
            lambda wanted=(restarts, digest): (
                (
                    (record := fleet.record("dask-worker-0001"))["restarts"],
                    record["digest"],
                )
                == wanted
            ),
            "the record of the new start",
        )
        fleet.wait_registered()
        assert fleet.record("dask-workers-default")["restarts"] == restarts
    assert not list(fleet.run_directory.glob(".*"))
    assert scheduler.process.poll() is None


# -- the redirect ------------------------------------------------------------------------


def ask(port: int, path: str, method: str = "GET", **headers: str) -> tuple[int, str | None, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=DEADLINE)
    # The path goes out exactly as it is.
    connection.putrequest(method, path, skip_accept_encoding=True)
    for key, value in headers.items():
        connection.putheader(key, value)
    connection.endheaders()
    response = connection.getresponse()
    return response.status, response.getheader("Location"), response.read()


def follow(port: int, path: str) -> tuple[int, str | None, bytes]:
    """Ask for a page as a browser does, one redirect to the same place included."""
    answer = ask(port, path)
    if answer[0] == 307:
        assert answer[1] == f"./{path.removeprefix('/')}"
        answer = ask(port, path)
    return answer


def test_pages_are_there_for_who_asks_before_they_are_imported(
    make: Callable[..., Fleet],
) -> None:
    fleet = make(1)
    fleet.up()
    plots = json.loads(fleet.get("/individual-plots.json"))
    assert "Individual Task Stream" in plots
    for port in (fleet.dashboard_port, fleet.entry()["dashboard_port"]):
        status, _, page = follow(port, "/status?theme=dark")
        assert status == 200
        assert b"bokeh" in page.lower()
        assert follow(port, "/no-such-page")[0] == 404
        assert ask(port, "/health")[0] == 200


def test_without_bokeh_the_server_runs_and_says_what_its_pages_need(
    make: Callable[..., Fleet],
) -> None:
    fleet = make(1)
    broken = fleet.directory / "broken" / "bokeh"
    broken.mkdir(parents=True)
    (broken / "__init__.py").write_text("raise ImportError('this bokeh is broken')\n")
    fleet.scheduler["environment"] = {"PYTHONPATH": str(broken.parent)}
    scheduler, _ = fleet.up()
    status, _, body = ask(fleet.dashboard_port, "/status")
    assert status == 404
    assert b"need bokeh" in body
    assert b"this bokeh is broken" in body
    assert ask(fleet.dashboard_port, "/health")[0] == 200
    assert "need bokeh" in scheduler.log.read_text()


def test_redirect(make: Callable[..., Fleet]) -> None:
    fleet = make(2)
    configuration = fleet.directory / "dask.yaml"
    configuration.write_text(
        "distributed:\n  scheduler:\n    http:\n      routes:\n"
        + "".join(
            f"        - distributed.http.{name}\n"
            for name in ("scheduler.info", "scheduler.json", "health", "proxy", "statics")
        )
    )
    fleet.scheduler["configuration"] = str(configuration)
    fleet.up()
    port, here = fleet.entry()["dashboard_port"], fleet.dashboard_port
    base = f"http://127.0.0.1:{port}"
    good = {
        f"/proxy/{port}/127.0.0.1/status": f"{base}/status",
        f"/proxy/{port}/127.0.0.1/": f"{base}/",
        f"/proxy/{port}/127.0.0.1/a/b?x=1&y=%2F": f"{base}/a/b?x=1&y=%2F",
        f"/proxy/{port}/127.0.0.1//evil.example/x": f"{base}//evil.example/x",
        f"/proxy/{port}/127.0.0.1/..%2F../x": f"{base}/..%2F../x",
        f"/proxy/{port}/127.0.0.1/%0d%0aSet-Cookie:%20a=b": f"{base}/%0d%0aSet-Cookie:%20a=b",
    }
    for path, location in good.items():
        assert ask(here, path)[:2] == (307, location), path
        assert ask(here, path, "HEAD") == (307, location, b""), path
    for path in (
        "/proxy",
        "/proxy/",
        "/proxy//",
        f"/proxy/{port}",
        f"/proxy/{port}/",
        f"/proxy/{port}/127.0.0.1",
        f"/proxy/{fleet.entry()['port']}/127.0.0.1/status",
        f"/proxy/{here}/127.0.0.1/status",
        f"/proxy/{port}/127.0.0.2/status",
        f"/proxy/{port}/evil.example/status",
        f"/proxy/{port}/[::1]/status",
        f"/proxy/{port}/::1/status",
        f"/proxy/{port}/127.0.0.1@evil.example/x",
        f"/proxy/{port}/u:p@127.0.0.1/x",
        f"/proxy/{port}/127.0.0.1%0a/status",
        f"/proxy/{port}%0a/127.0.0.1/status",
        f"/proxy/{port}%0a",
        f"/proxy/%0a{port}/127.0.0.1/x",
        "/proxy/%0a",
        f"/proxy/{port}/127.0.0.1%00/status",
        f"/proxy/{port}/127.0.0.1%2fstatus",
        f"/proxy/0{port}/127.0.0.1/status",
        f"/proxy/{port + 65536}/127.0.0.1/status",
        f"/proxy/{'9' * 400}/127.0.0.1/status",
        "/proxy/-1/127.0.0.1/status",
        f"/proxy/{port}/../127.0.0.1/status",
        f"/proxy/../proxy/{port}/127.0.0.1",
        f"/proxy//{port}/127.0.0.1/status",
        "/proxy/None/127.0.0.1/status",
    ):
        status, location, body = ask(here, path)
        assert (status, location) == (404, None), path
        assert len(body) < 100, path
    socketed = ask(
        here, f"/proxy/{port}/127.0.0.1/status/ws", Upgrade="websocket", Connection="Upgrade"
    )
    assert socketed[:2] == (404, None)
    for method in ("POST", "PUT", "DELETE"):
        headers = {"Content-Length": "0"}
        assert ask(here, f"/proxy/{port}/127.0.0.1/status", method, **headers)[0] in (403, 405)
    # The user's own list of routes is kept, all but the proxy.
    assert ask(here, "/health")[0] == 200
    # The very links of the scheduler's page lead to dashboards that answer.
    page = "/info/main/workers.html"
    links = set(re.findall(r'href="([^"]*/proxy/[^"]*)"', fleet.get(page).decode()))
    assert len(links) == 2
    for link in links:
        path = urllib.parse.urljoin(page, link)
        status, location, _ = ask(here, path)
        assert status == 307
        assert location is not None
        with urllib.request.urlopen(location, timeout=120) as response:
            assert response.status == 200


def test_redirect_to_https_and_ipv6(python: str) -> None:
    script = f"""
import sys
sys.path.insert(0, {str(LAUNCH.parent)!r})
import dask.config, fleet_redirect
from types import SimpleNamespace as N
handler = N(scheduler=N(workers={{1: N(host="::1", services={{"dashboard": 9012}})}}))
ask = lambda host: fleet_redirect.DashboardRedirect.target(handler, f"9012/{{host}}/")[0]
assert ask("::1") == "http://[::1]:9012", ask("::1")
assert ask("[::1]") is None
with dask.config.set({{"distributed.scheduler.dashboard.tls.cert": "/c.pem"}}):
    assert ask("::1") == "https://[::1]:9012"
"""
    subprocess.run([python, "-c", script], check=True, timeout=DEADLINE)


# -- faults of the unit file and the environment -----------------------------------------


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (None, "cannot read unit file"),
        ("{", "is not JSON"),
        ("[]", "is not a JSON object"),
        ('{"role": "cook"}', "role must be scheduler or workers, not 'cook'"),
        ('{"role": "scheduler", "name": "a/b", "port": "x", "colour": 1}', "unknown key colour"),
        ('{"role": "workers", "name": "w", "workers": []}', "workers is empty"),
        ('{"role": "workers", "workers": [{"port": 70000}]}', "workers[0].port is no port: 70000"),
    ],
)
def test_a_bad_unit_file(tmp_path: Path, python: str, text: str | None, fault: str) -> None:
    path = tmp_path / "unit.json"
    if text is not None:
        path.write_text(text)
    command = [python, "-u", str(LAUNCH), str(path)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE)
    assert result.returncode == 2
    assert fault in result.stderr
    assert str(path) in result.stderr
    assert "dask fleet up" in result.stderr
    assert result.stderr.count("\n") == 1


def test_an_interpreter_without_distributed(tmp_path: Path, make: Callable[..., Fleet]) -> None:
    fleet = make(1)
    subprocess.run(
        [fleet.python, "-m", "venv", "--without-pip", str(tmp_path / "bare")], check=True
    )
    fleet.python = str(tmp_path / "bare" / "bin" / "python")
    launched = fleet.start(fleet.workers)
    assert launched.process.wait(DEADLINE) == 2
    assert "needs the package distributed" in launched.text()
    assert launched.text().count("\n") == 1


def test_an_unreadable_configuration(make: Callable[..., Fleet]) -> None:
    fleet = make(1)
    fleet.scheduler["configuration"] = "/no/such/dask.yaml"
    launched = fleet.start(fleet.scheduler)
    assert launched.process.wait(DEADLINE) == 2
    assert "/no/such/dask.yaml" in launched.text()
