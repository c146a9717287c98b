"""What the lab needs of this machine: commands, processes, cgroups, mounts."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

__all__ = [
    "PACKAGES",
    "REPOSITORY",
    "LabError",
    "Process",
    "call",
    "cgroup_folders",
    "end_processes",
    "install",
    "processes_in_cgroups",
    "processes_in_namespace",
    "remove_cgroups",
    "unmount_below",
    "wait_for",
]

REPOSITORY = Path(__file__).parents[1]
PACKAGES = (
    *("systemd-container", "debootstrap", "iproute2", "openssh-client", "nftables"),
    *("e2fsprogs", "util-linux", "wget", "debian-archive-keyring"),
)
"""Debian's packages that the lab needs on this machine."""

_T = TypeVar("_T")


class LabError(Exception):
    """Something of the lab did not do what it should; the message says what and what helps."""


@dataclass(frozen=True, slots=True)
class Process:
    """A process that cannot be taken for another one: a pid and when it started.

    Parameters
    ----------
    pid
        Its number in this machine.
    ticks
        Its start in clock ticks since the boot of this machine.
    """

    pid: int
    ticks: int

    @classmethod
    def of(cls, pid: int) -> Process | None:
        """Return the process with this number if it lives; a zombie does not."""
        try:
            stat = Path(f"/proc/{pid}/stat").read_text()
        except (FileNotFoundError, ProcessLookupError):
            return None
        # The name stands in brackets and may hold spaces and brackets itself.
        fields = stat.rpartition(")")[2].split()
        return None if fields[0] in {"Z", "X"} else cls(pid, int(fields[19]))

    @property
    def alive(self) -> bool:
        """Whether this very process lives."""
        return Process.of(self.pid) == self

    def end(self, number: int = signal.SIGKILL) -> None:
        """Send a signal, if it still is this process."""
        if self.alive:
            try:
                os.kill(self.pid, number)
            except ProcessLookupError:
                return


def call(
    argv: Sequence[str],
    *,
    check: bool = True,
    timeout: float = 60,
    text: str | None = None,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run a command and capture what it says.

    Raises
    ------
    LabError
        If it fails (with `check`) or takes longer than `timeout` seconds.
    """
    feed = {"stdin": subprocess.DEVNULL} if text is None else {"input": text}
    try:
        done = subprocess.run(
            list(argv),
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout,
            env=env,
            cwd=cwd,
            check=False,
            **feed,  # pyright: ignore[reportArgumentType, reportCallIssue]
        )
    except subprocess.TimeoutExpired as error:
        message = f"{' '.join(argv)}: no end after {timeout:g} s"
        raise LabError(message) from error
    except FileNotFoundError as error:
        message = f"{argv[0]} is not installed"
        raise LabError(message) from error
    if check and done.returncode:
        said = (done.stderr or done.stdout).strip()[-2000:]
        raise LabError(f"{' '.join(argv)}: exit {done.returncode}: {said}")
    return done


def install() -> None:
    """Install the Debian packages that the lab needs, where they are missing.

    Raises
    ------
    LabError
        If this is not root, or a package cannot be installed.
    """
    if os.geteuid() != 0:
        raise LabError("the lab boots hosts, which only root can; run it with sudo")
    call([str(REPOSITORY / "scripts" / "debian.sh"), *PACKAGES], timeout=300)


def wait_for(what: str, look: Callable[[], _T | None], seconds: float, pause: float = 0.1) -> _T:
    """Look until something true comes back.

    Raises
    ------
    LabError
        If that is not within `seconds`; it names `what`.
    """
    deadline = time.monotonic() + seconds
    while True:
        found = look()
        if found:
            return found
        if time.monotonic() > deadline:
            raise LabError(f"not within {seconds:g} s: {what}")
        time.sleep(pause)


def cgroup_folders(name: str) -> list[Path]:
    """Return where the control group of this name is or would be, in each hierarchy.

    cpuset of version 1 is left out: a new group has no processors in it, so nothing may enter.
    """
    folders: list[Path] = []
    for line in Path("/proc/mounts").read_text().splitlines():
        _, place, kind, options = line.split()[:4]
        if kind == "cgroup2" or (kind == "cgroup" and "cpuset" not in options.split(",")):
            folders.append(Path(place) / name)
    return folders


def processes_in_cgroups(folders: Iterable[Path]) -> list[Process]:
    """Return the living processes in these control groups and all below them.

    Groups that are frozen are thawed, for nothing in them would end.
    """
    pids: set[int] = set()
    for folder in folders:
        for name, thawed in (("freezer.state", "THAWED"), ("cgroup.freeze", "0")):
            for path in [folder / name, *folder.glob(f"**/{name}")]:
                with contextlib.suppress(OSError):
                    path.write_text(thawed)
        for listing in [folder / "cgroup.procs", *folder.glob("**/cgroup.procs")]:
            # It may be gone meanwhile, or be a threaded group that names nobody.
            with contextlib.suppress(OSError):
                pids.update(int(pid) for pid in listing.read_text().split())
    return [process for pid in sorted(pids) if (process := Process.of(pid))]


def processes_in_namespace(path: Path) -> list[Process]:
    """Return the processes in this network namespace, but this one and its ancestors."""
    try:
        wanted = path.stat()
    except FileNotFoundError:
        return []
    spared = {os.getpid()}
    pid = os.getpid()
    for _ in range(64):
        pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        if pid <= 1:
            break
        spared.add(pid)
    found: list[Process] = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) in spared:
            continue
        try:
            seen = (entry / "ns" / "net").stat()
        except OSError:
            continue
        if (seen.st_dev, seen.st_ino) == (wanted.st_dev, wanted.st_ino):
            process = Process.of(int(entry.name))
            found += [process] if process else []
    return found


def end_processes(look: Callable[[], list[Process]], seconds: float = 15) -> None:
    """Kill what `look` finds, each by its own pid, until it finds nothing."""

    def none_left() -> bool:
        left = look()
        for process in left:
            process.end()
        return not left

    wait_for("the end of the lab's processes", none_left, seconds)


def remove_cgroups(folders: Iterable[Path]) -> None:
    """Remove empty control groups and all below them."""
    for folder in folders:
        if not folder.is_dir():
            continue
        below = sorted((place for place in folder.glob("**/") if place.is_dir()), reverse=True)

        def gone(places: list[Path] = below) -> bool:
            for place in places:
                with contextlib.suppress(OSError):  # a process of it is still on its way out
                    place.rmdir()
            return not places[-1].exists()

        wait_for(f"{folder} is empty", gone, 5)


def unmount_below(folder: Path) -> None:
    """Unmount whatever is mounted at or below a folder, the last mount first."""
    folder = folder.resolve()  # the kernel lists mounts without the links that led to them
    places: list[str] = []
    for line in Path("/proc/mounts").read_text().splitlines():
        place = line.split()[1].encode().decode("unicode_escape")
        if place == str(folder) or place.startswith(f"{folder}/"):
            places.append(place)
    for place in reversed(places):
        if call(["umount", place], check=False).returncode:
            call(["umount", "--lazy", place])
