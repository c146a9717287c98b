"""Processes of a measurement: started, timed from outside, measured, and always ended."""

from __future__ import annotations

import contextlib
import os
import resource
import select
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import psutil

__all__ = [
    "Measured",
    "MeasurementError",
    "Timed",
    "begin",
    "end",
    "measured",
    "pss",
    "remove_strays",
    "timed",
    "tree",
    "wait_until",
]

T = TypeVar("T")

POLL_SECONDS = 0.02


class MeasurementError(Exception):
    """Something that was to be measured did not run."""


@dataclass(frozen=True)
class Timed:
    """A process that has ended: wall-clock seconds of all of it, and what it printed."""

    seconds: float
    out: str


@dataclass(frozen=True)
class Measured(Timed):
    """Also its CPU time in seconds, and the most memory that it had at once in MB."""

    cpu: float
    peak: float


def wait_until(question: Callable[[], T], within: float, what: str) -> T:
    """Return the first true answer; raise `MeasurementError` when there is none in time."""
    deadline = time.monotonic() + within
    while not (answer := question()):
        if time.monotonic() > deadline:
            raise MeasurementError(f"not within {within:g} s: {what}")
        time.sleep(POLL_SECONDS)
    return answer


def timed(
    argv: Sequence[str],
    environ: Mapping[str, str],
    directory: Path,
    *,
    within: float,
    status: int = 0,
) -> Timed:
    """Run a command to its end and take its time, interpreter start and exit included."""
    began = time.perf_counter()
    process = begin(argv, environ, directory, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        out, err = process.communicate(timeout=within)
    except subprocess.TimeoutExpired as error:
        raise MeasurementError(f"not within {within:g} s: {' '.join(argv)[:200]}") from error
    finally:
        if process.poll() is None:
            end([process])
    seconds = time.perf_counter() - began
    if process.returncode != status:
        said = "\n".join((out + err).splitlines()[-15:])
        raise MeasurementError(f"status {process.returncode}: {' '.join(argv)[:200]}\n{said}")
    return Timed(seconds, out)


def measured(
    argv: Sequence[str], environ: Mapping[str, str], directory: Path, *, within: float
) -> Measured:
    """Run a command to its end as `timed` does; take its CPU time and its memory as well."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    with tempfile.TemporaryFile("w+", encoding="utf-8") as said:
        began = time.perf_counter()
        process = begin(argv, environ, directory, stdout=said.fileno(), stderr=said.fileno())
        peak, handle = 0.0, os.pidfd_open(process.pid)
        try:
            # `ru_maxrss` would not do: it counts what we had when we started the process.
            while not select.select([handle], [], [], POLL_SECONDS)[0]:
                peak = max(peak, _high_water(process.pid))
                if time.perf_counter() - began > within:
                    raise MeasurementError(f"not within {within:g} s: {' '.join(argv)[:200]}")
            seconds = time.perf_counter() - began
        finally:
            os.close(handle)
            end([process])
        said.seek(0)
        out = said.read()
    if process.returncode:
        tail = "\n".join(out.splitlines()[-15:])
        raise MeasurementError(f"status {process.returncode}: {' '.join(argv)[:200]}\n{tail}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Measured(seconds, out, cpu, peak)


def _high_water(pid: int) -> float:
    """Return the most memory that a process had so far in MB; 0 while it is gone."""
    try:
        text = Path(f"/proc/{pid}/status").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    for line in text.splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024 / 1e6
    return 0.0


def begin(
    argv: Sequence[str],
    environ: Mapping[str, str],
    directory: Path,
    *,
    stdin: int = subprocess.DEVNULL,
    stdout: int = subprocess.DEVNULL,
    stderr: int = subprocess.DEVNULL,
) -> subprocess.Popen[str]:
    """Start a command in a session of its own: Ctrl-C reaches us only, and we end it."""
    return subprocess.Popen(
        list(argv),
        env=dict(environ),
        cwd=directory,
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        text=True,
        start_new_session=True,
    )


def tree(pid: int) -> list[psutil.Process]:
    """Return a process and all that descend from it."""
    try:
        first = psutil.Process(pid)
        return [first, *first.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def end(processes: Iterable[subprocess.Popen[str]], patience: float = 8.0) -> None:
    """End processes that we have started, with all that they have started."""
    started = list(processes)
    everyone = [one for process in started for one in tree(process.pid)]
    for process in started:
        if process.poll() is None:
            process.terminate()
    _, alive = psutil.wait_procs(everyone, timeout=patience)
    _kill(alive)
    for process in started:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=patience)
        for stream in (process.stdin, process.stdout, process.stderr):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()


def remove_strays(mark: str) -> list[str]:
    """Kill what still bears our temporary directory in its command or as its directory.

    The directory's name is unique, so these are ours: a supervisord, say, that has detached
    itself and that ``down`` has not ended.
    """
    strays: list[psutil.Process] = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            known = [*process.cmdline(), process.cwd()]
            if process.pid != os.getpid() and any(mark in text for text in known):
                strays.append(process)
    family = {one.pid: one for stray in strays for one in tree(stray.pid)}
    names: list[str] = []
    for one in family.values():
        with contextlib.suppress(psutil.Error):
            names.append(f"{one.pid} {one.name()}")
    _kill(family.values())
    return names


def _kill(processes: Iterable[psutil.Process]) -> None:
    doomed = list(processes)
    for process in doomed:
        with contextlib.suppress(psutil.Error):
            process.send_signal(signal.SIGKILL)
    psutil.wait_procs(doomed, timeout=5)


def pss(pid: int) -> float:
    """Return the proportional set size of a process in MB (10^6 bytes), 0 if it is gone.

    A page that n processes share counts for 1/n in each (proc_pid_smaps(5)), so sums over
    processes are right.
    """
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii")
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    for line in text.splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024 / 1e6
    return 0.0
