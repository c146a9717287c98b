"""Real fleets on this machine: real supervisord, real Dask, real environments.

Each test has directories of its own for state and data. Environments are shared by all tests and
kept in the checkout's ``.cache``; their names are digests, so what lies there can be trusted.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import psutil
import pytest

from tests import namespace
from tests.integration.environments import DATA, make_environment
from tests.waiting import first_true

T = TypeVar("T")


def pytest_configure() -> None:
    namespace.enter()


def eventually(question: Callable[[], T], *, within: float, what: str) -> T:
    """Return the first true answer; fail when there is none within so many seconds."""
    answer = first_true(question, within)
    if not answer:
        pytest.fail(f"not within {within:g} s: {what}; last answer: {answer!r}")
    return answer


@dataclass
class Done:
    """A command of ours that has ended."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@dataclass
class Desk:
    """A desk at which an operator works: a directory, a home of its own, and the command."""

    directory: Path
    environ: dict[str, str]
    files: list[Path] = field(default_factory=list)
    interpreter: str = sys.executable

    @property
    def state(self) -> Path:
        return Path(self.environ["XDG_STATE_HOME"]) / "dask-fleet"

    @property
    def data(self) -> Path:
        return Path(self.environ["XDG_DATA_HOME"]) / "dask-fleet"

    @property
    def argv(self) -> list[str]:
        return [self.interpreter, "-m", "dask_fleet"]

    def call(self, *words: str, status: int | None = 0, timeout: float = 240) -> Done:
        """Run ``dask-fleet WORDS`` to its end and check its exit status (any if ``None``)."""
        process = subprocess.run(
            [*self.argv, *words],
            cwd=self.directory,
            env=self.environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
        )
        done = Done(process.returncode, process.stdout, process.stderr)
        if status is not None:
            assert done.status == status, f"{words}: {done.status}\n{done.out}\n{done.err}"
        return done

    def run(self, *argv: str, **variables: str) -> str:
        """Run another program at this desk; return its output, which must end with status 0."""
        done = subprocess.run(
            argv,
            cwd=self.directory,
            env=self.environ | variables,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, f"{argv}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def begin(self, *words: str) -> subprocess.Popen[str]:
        """Start ``dask-fleet WORDS`` in a process group of its own."""
        return subprocess.Popen(
            [*self.argv, *words],
            cwd=self.directory,
            env=self.environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def declare(self, text: str, name: str = "fleet.yaml") -> Path:
        """Write a fleet.yaml; the fleet is taken down when the test ends."""
        path = self.directory / name
        path.write_text(text, encoding="utf-8")
        if path not in self.files:
            self.files.append(path)
        return path

    def rows(self, *words: str) -> dict[str, dict[str, Any]]:
        """Return the inventory by name of process."""
        status = self.call("status", "--json", *words).json
        return {row["name"]: row for row in status["processes"]}

    def all_running(self, *words: str) -> bool:
        return all(row["state"] == "running" for row in self.rows(*words).values())

    def processes(self) -> list[psutil.Process]:
        """Return every process that belongs to a fleet of this desk."""
        mark = self.environ["XDG_STATE_HOME"]
        found: list[psutil.Process] = []
        for process in psutil.process_iter():
            try:
                if process.pid == os.getpid() or process.status() == psutil.STATUS_ZOMBIE:
                    continue
                known = [*process.cmdline(), process.cwd()]
            except (psutil.NoSuchProcess, psutil.AccessDenied):
                continue
            if any(mark in text for text in known):
                found.append(process)
        return found


def in_the_fleet(desk: Desk, code: str, *words: str, timeout: float = 300) -> str:
    """Run Python code with the fleet's interpreter and return what it prints."""
    python = desk.call("env", "--python").out.strip()
    done = subprocess.run(
        [python, "-c", textwrap.dedent(code), *words],
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
        cwd=desk.directory,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.fixture
def desk() -> Iterator[Desk]:
    with make_desk() as one:
        yield one


@pytest.fixture(scope="module")
def desk_of_module() -> Iterator[Desk]:
    with make_desk() as one:
        yield one


@contextlib.contextmanager
def make_desk() -> Iterator[Desk]:
    """Yield a desk; afterwards take its fleets down and fail if a process is left."""
    # Not pytest's tmp_path: the path of a Unix socket may have 107 bytes and no more.
    with tempfile.TemporaryDirectory(prefix="desk-") as place:
        yield from _desk(Path(place))


def _desk(place: Path) -> Iterator[Desk]:
    work, data = place / "w", place / "d" / "dask-fleet"
    work.mkdir()
    data.mkdir(parents=True)
    for shared in ("environments", "demo-data"):
        (data / shared).symlink_to(DATA / shared)
    environ = {
        **os.environ,
        "XDG_STATE_HOME": str(place / "s"),
        "XDG_DATA_HOME": str(place / "d"),
        "COLUMNS": "200",
        "NO_COLOR": "1",
    }
    environ.pop("DASK_FLEET_FILE", None)
    one = Desk(work, environ)
    try:
        yield one
    finally:
        # A fixture that fails half-way must not leave its fleet to the next one.
        for path in one.files:
            if path.exists():
                one.call("down", "--yes", "--break-lease", "--file", str(path), status=None)
        left = one.processes()
        names = [f"{process.pid} {' '.join(process.cmdline())}" for process in left]
        for process in left:
            process.send_signal(signal.SIGKILL)
    assert not names, f"left behind: {names}"


@pytest.fixture(scope="session", autouse=True)
def environment_python() -> Path:
    """The interpreter of the xcube environment, made if it is not there yet."""
    with namespace.outside():
        return make_environment()


_given: set[int] = set()


def free_ports(count: int, start: int = 20000) -> int:
    """Return the first of ``count`` ports in a row that nobody listens on.

    They lie below 32768, where Linux begins to take ports for outgoing connections.
    """
    base = start
    while base < 32000:
        block = range(base, base + count)
        if not _given & set(block) and all(_free(port) for port in block):
            _given.update(block)
            return base
        base += count
    pytest.fail("no free ports")


def _free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def fleet_text(name: str, base: int, *, workers: int = 2, more: str = "") -> str:
    """Return a small fleet.yaml whose ports are base, base + 1, and ten for each worker."""
    return f"""\
name: {name}
hosts:
  localhost: {{address: 127.0.0.1}}
scheduler: {{host: localhost, port: {base}, dashboard: {base + 1}}}
workers:
  default:
    hosts: [localhost]
    per_host: {workers}
    nthreads: 1
    memory_limit: 1 GiB
    ports: {{worker: {base + 10}, nanny: {base + 11}, dashboard: {base + 12}, step: 10}}
{more}"""
