"""One stream of output for a unit, each line labelled with the process that wrote it.

A small child process, the labeller, reads a pipe that is stdout and stderr of the
launcher, and a FIFO for each worker. It puts the label before each line and writes the
lines to the stdout that the launcher was started with. It is a process of its own
because it must outlive a launcher that crashes, to pass the last lines on, and must not
share the interpreter lock with the nannies. (systemd and Docker leave nothing alive that
outlives the main process; a launcher that ends therefore waits until its last words are
passed on.) It never stops reading: if whoever stores
the log is too slow, lines are dropped and counted, and no worker is ever blocked.
"""

# os.path: importing pathlib would cost every start and every labeller some milliseconds.
# ruff: noqa: PTH102, PTH118, PTH208

from __future__ import annotations

import contextlib
import os
import re
import select
import shutil
import signal
import sys
import time
from dataclasses import dataclass, field

__all__ = ["Labels", "divert", "start"]

CHUNK = 65536
# A longer line is cut into pieces of this size, each with its label.
LONGEST_LINE = 16384
# What waits for a slow reader of the log; then lines are dropped.
BACKLOG = 8 * 1024 * 1024
# A line without an end is written after it has been silent for this long.
IDLE = 1.0
# How long the labeller listens to what outlives the launcher.
LINGER = 5.0
# How long the launcher's end may wait for a slow reader of the log.
LAST_WORDS = 2.0
# A pipe that poll() reports as writable takes this much without blocking (PIPE_BUF).
ATOMIC = 4096

_UNPRINTABLE = re.compile(rb"[^\t\n\x20-\x7e]")
_ESCAPES = {
    code: f"\\x{code:02x}" for code in (*range(32), *range(0x7F, 0xA0)) if code not in (9, 10)
} | {0x2028: "\\u2028", 0x2029: "\\u2029"}


@dataclass
class Labels:
    """The launcher's side of its labeller."""

    directory: str
    pid: int
    #: Readable (end of file) when the labeller has died.
    death: int
    _original: tuple[int, int]
    _life: int

    def path(self, name: str) -> str:
        """Return the FIFO that the worker of that name writes to."""
        return fifo_path(self.directory, name)

    def restore(self) -> None:
        """Write to the original stdout and stderr again, without labels."""
        os.dup2(self._original[0], 1)
        os.dup2(self._original[1], 2)

    def release(self) -> None:
        """Write to the original stdout and stderr again, and let the labeller end."""
        sys.stdout.flush()
        sys.stderr.flush()
        self.restore()
        os.close(self._life)
        os.waitpid(self.pid, 0)

    def flush(self) -> None:
        """Wait, within a limit, until what was written so far has been passed on.

        Processes that share this output may live on: this does not wait for their end.
        """
        sys.stdout.flush()
        sys.stderr.flush()
        poll = select.poll()
        poll.register(self.death, select.POLLIN)
        with contextlib.suppress(BrokenPipeError):  # the labeller has died: nobody passes it on
            os.write(self._life, b"\n")
            poll.poll(1000 * LAST_WORDS)

    def forget(self) -> None:
        """Close, in a forked child, the sign of life that belongs to the launcher only."""
        os.close(self._life)


def fifo_path(directory: str, name: str) -> str:
    """Return the path of a worker's FIFO."""
    return os.path.join(directory, f"{name}.out")


def divert(path: str) -> bool:
    """Make stdout and stderr of this process lead to a FIFO of the labeller.

    Returns
    -------
    bool
        False if nobody reads there any more; the output then stays where it was.
    """
    try:
        # Without O_NONBLOCK, opening would wait for a reader for ever.
        fifo = os.open(path, os.O_WRONLY | os.O_NONBLOCK)
    except OSError as error:
        print(f"no labels for this process: {path}: {error.strerror}", file=sys.stderr)
        return False
    os.set_blocking(fifo, True)
    sys.stdout.flush()
    sys.stderr.flush()
    os.dup2(fifo, 1)
    os.dup2(fifo, 2)
    os.close(fifo)
    return True


def start(unit: str, workers: list[str], run_directory: str) -> Labels:
    """Start the labeller, and give it this process's output.

    It must be called before anything starts a thread, since it forks.
    """
    _remove_stale(unit, run_directory)
    directory = os.path.join(run_directory, f"{unit}.io-{os.getpid()}")
    # The same pid may have run the unit before the interpreter was run anew.
    shutil.rmtree(directory, ignore_errors=True)
    os.mkdir(directory, 0o700)
    sources: dict[int, _Source] = {}
    for name in workers:
        path = fifo_path(directory, name)
        os.mkfifo(path, 0o600)
        # Read and write: a FIFO that has a writer, the labeller itself, never ends.
        sources[os.open(path, os.O_RDWR | os.O_NONBLOCK)] = _Source(f"{name} | ".encode())
    read, write = os.pipe()
    os.set_blocking(read, False)
    sources[read] = _Source(f"{unit} | ".encode())
    life_read, life_write = os.pipe()
    death_read, death_write = os.pipe()
    original = (os.dup(1), os.dup(2))

    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            os.close(write)
            os.close(life_write)
            os.close(death_read)
            _labeller(unit, original[0], (life_read, death_write), read, sources)
            code = 0
        except BaseException as error:  # noqa: BLE001 (the end of a forked process)
            sys.excepthook(type(error), error, error.__traceback__)
        finally:
            shutil.rmtree(directory, ignore_errors=True)
            os._exit(code)
    for descriptor in (*sources, life_read, death_write):
        os.close(descriptor)
    sys.stdout.flush()
    sys.stderr.flush()
    os.dup2(write, 1)
    os.dup2(write, 2)
    os.close(write)
    return Labels(directory, pid, death_read, original, life_write)


def _remove_stale(unit: str, run_directory: str) -> None:
    """Remove what a launcher and a labeller that were both killed have left."""
    prefix = f"{unit}.io-"
    for entry in os.listdir(run_directory):
        if entry.startswith(prefix) and entry[len(prefix) :].isdigit():
            try:
                os.kill(int(entry[len(prefix) :]), 0)
            except ProcessLookupError:
                shutil.rmtree(os.path.join(run_directory, entry), ignore_errors=True)
            except PermissionError:
                # It lives, as somebody else's process.
                continue


@dataclass
class _Source:
    """What one process has written and has not been passed on."""

    label: bytes
    partial: bytearray = field(default_factory=bytearray)
    touched: float = 0.0

    def lines(self, chunk: bytes, now: float) -> bytes:
        """Return the complete lines in a chunk, labelled; keep the rest."""
        self.touched = now
        head, newline, tail = chunk.rpartition(b"\n")
        out = b""
        if newline:
            out = self._labelled(bytes(self.partial) + head)
            self.partial = bytearray(tail)
        else:
            self.partial += tail
        if len(self.partial) > LONGEST_LINE:
            out += self.rest()
        return out

    def rest(self) -> bytes:
        """Return the incomplete line, labelled, as if it were complete."""
        if not self.partial:
            return b""
        text = bytes(self.partial)
        self.partial = bytearray()
        return self._labelled(text)

    def _labelled(self, text: bytes) -> bytes:
        if _UNPRINTABLE.search(text):
            # Control characters break terminals, and XML, by which supervisord hands logs
            # out. Anything that is not UTF-8 is written as escapes, and can be read back.
            text = text.replace(b"\r\n", b"\n").removesuffix(b"\r")
            text = text.decode("utf-8", "backslashreplace").translate(_ESCAPES).encode()
        if len(text) > LONGEST_LINE:
            pieces: list[bytes] = []
            for line in text.split(b"\n"):
                pieces += [
                    line[i : i + LONGEST_LINE] for i in range(0, len(line) or 1, LONGEST_LINE)
                ]
            text = b"\n".join(pieces)
        return self.label + text.replace(b"\n", b"\n" + self.label) + b"\n"


class _Output:
    """Writes to the original stdout without ever blocking."""

    def __init__(self, descriptor: int, unit: str) -> None:
        self.descriptor = descriptor
        self.label = f"{unit} | ".encode()
        self.backlog = bytearray()
        self.dropped = 0
        self.broken = False

    def add(self, lines: bytes) -> None:
        if self.broken or not lines:
            return
        if len(self.backlog) + len(lines) > BACKLOG:
            self.dropped += lines.count(b"\n")
            return
        self.account()
        self.backlog += lines

    def account(self) -> None:
        """Say how many lines have been dropped, if any."""
        if self.dropped:
            text = f"{self.dropped} lines dropped: the log was not stored fast enough\n"
            self.backlog += self.label + text.encode()
            self.dropped = 0

    def write(self) -> None:
        """Write one piece: whole lines, if they fit. Call it when poll() says writable."""
        size = min(len(self.backlog), ATOMIC)
        if size < len(self.backlog):
            size = self.backlog.rfind(b"\n", 0, size) + 1 or size
        try:
            del self.backlog[: os.write(self.descriptor, self.backlog[:size])]
        except BlockingIOError:
            # Somebody else has made the shared description non-blocking, and it is full.
            return
        except OSError:
            # Nobody will read this log any more. The workers go on, so must the reading.
            self.broken = True
            self.backlog.clear()


def _labeller(
    unit: str, out: int, launcher: tuple[int, int], main: int, sources: dict[int, _Source]
) -> None:
    """Pass lines on until the launcher, and all that shares its output, has ended.

    What comes from the launcher itself asks for what was written so far to be passed on; it is
    answered when that is done.
    """
    life, answer = launcher
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        # It ends after the launcher, also when the whole group gets the signal.
        signal.signal(number, signal.SIG_IGN)
    from fleet_process import set_title

    set_title(f"{unit} labels")
    # Nothing of this process may reach the pipe that it reads.
    output = _Output(out, unit)
    poll = select.poll()
    for descriptor in sources:
        poll.register(descriptor, select.POLLIN)
    poll.register(life, select.POLLIN)
    deadline: float | None = None
    while deadline is None or time.monotonic() < deadline:
        waiting = bool(output.backlog)
        with contextlib.suppress(KeyError):
            poll.unregister(out)
        if waiting:
            poll.register(out, select.POLLOUT)
        idle = deadline is None and not any(source.partial for source in sources.values())
        now_ready = poll.poll(None if idle else 200)
        now = time.monotonic()
        ended = False
        for descriptor, _ in now_ready:
            if descriptor == out:
                output.write()
            elif descriptor == life:
                if os.read(life, CHUNK):
                    _finish(output, sources)
                    os.write(answer, b"\n")
                else:
                    poll.unregister(life)
                    deadline = now + LINGER
            else:
                chunk = _read(descriptor)
                if chunk:
                    output.add(sources[descriptor].lines(chunk, now))
                elif chunk == b"" and descriptor == main:
                    ended = True
        for source in sources.values():
            if source.partial and now - source.touched > IDLE:
                output.add(source.rest())
        if ended:
            break
    _finish(output, sources)


def _read(descriptor: int) -> bytes | None:
    try:
        return os.read(descriptor, CHUNK)
    except BlockingIOError:
        return None


def _finish(output: _Output, sources: dict[int, _Source]) -> None:
    """Write what is still in the pipes: it is there at once, or never."""
    now = time.monotonic()
    for descriptor, source in sources.items():
        # A daemon that a task has left behind could write for ever.
        for _ in range(64):
            chunk = _read(descriptor)
            if not chunk:
                break
            output.add(source.lines(chunk, now))
        output.add(source.rest())
    output.account()
    poll = select.poll()
    poll.register(output.descriptor, select.POLLOUT)
    while output.backlog and time.monotonic() < now + LINGER:
        if poll.poll(200):
            output.write()
