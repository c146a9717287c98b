"""One host of the lab: booted, looked into, and treated badly."""

from __future__ import annotations

import contextlib
import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lab.boot import Boot
from lab.guest import Guest
from lab.machine import LabError, call, wait_for

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Sequence
    from pathlib import Path

    from lab.fleet import Lab

__all__ = ["Disk", "Host", "HostSpec", "default_hosts"]


@dataclass(frozen=True, slots=True)
class Disk:
    """A small disk of a host, ext4 in a file; it keeps what is on it when the power is cut.

    Parameters
    ----------
    path
        Where the host has it.
    mebibytes
        Its size.
    """

    path: str
    mebibytes: int = 256


@dataclass(frozen=True, slots=True)
class HostSpec:
    """A host as it is asked for.

    Parameters
    ----------
    name
        Its host name.
    number
        The last part of its addresses, 10.77.0.NUMBER and fd77::NUMBER; 2 to 254.
    memory_limit
        Mebibytes of memory that all its processes may use together; 0 is no limit.
    disks
        Small disks, for tests that fill them.
    options
        More arguments for systemd-nspawn.
    engine
        What runs containers there: ``docker`` or ``podman``; empty is nothing.
    guest
        Whether it has a kernel of its own, under QEMU; it is slow.
    """

    name: str
    number: int
    memory_limit: int = 0
    disks: tuple[Disk, ...] = ()
    options: tuple[str, ...] = ()
    engine: str = ""
    guest: bool = False


def default_hosts(number: int = 5, *, engine: str = "") -> list[HostSpec]:
    """Return a scheduler host and ``number - 1`` worker hosts, with an engine or without."""
    numbers = range(1, number)
    workers = [HostSpec(f"dask-worker-{i:04}", 11 + i, engine=engine) for i in numbers]
    return [HostSpec("dask-scheduler", 11, engine=engine), *workers]


class Host:
    """A host of a lab. Faults raise `LabError` if they do not take.

    Parameters
    ----------
    lab
        The lab that it belongs to.
    spec
        What was asked for.
    """

    def __init__(self, lab: Lab, spec: HostSpec) -> None:
        self.lab = lab
        self.spec = spec
        self.name = spec.name
        self.address = f"10.77.0.{spec.number}"
        self.address6 = f"fd77::{spec.number}"
        self.folder: Path = lab.folder / "hosts" / spec.name
        self.upper = self.folder / "upper"
        self.machine = f"{lab.network.digest}-{spec.number}"
        self.port = f"vb-{self.machine}"
        self._boot = Guest(self) if spec.guest else Boot(self)

    @property
    def stored(self) -> Path:
        """What its engine has stored; to be copied when it is off."""
        return self._boot.engine

    @property
    def host_key(self) -> str:
        """Its public SSH host key, without the comment."""
        text = (self.upper / "etc/ssh/ssh_host_ed25519_key.pub").read_text()
        return " ".join(text.split()[:2])

    @property
    def is_on(self) -> bool:
        """Whether it has power."""
        return self._boot.leader() is not None

    @property
    def pid(self) -> int:
        """The pid of its first process on this machine; ``/proc/PID/root`` is what it sees."""
        return self._boot.powered().pid

    @property
    def boot_id(self) -> str:
        """The id that its kernel gives to the present boot."""
        return self.run(["cat", "/proc/sys/kernel/random/boot_id"]).stdout.strip()

    # -- looking into it ---------------------------------------------------------------------

    def command(self, argv: Sequence[str]) -> list[str]:
        """Return the argv that runs `argv` in it as root; no network, unless it is a guest.

        Raises
        ------
        LabError
            If it is off.
        """
        return self._boot.command(argv)

    def run(
        self,
        what: Sequence[str] | str,
        *,
        check: bool = True,
        timeout: float = 60,
        text: str | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run an argv, or a script for `sh`, in it as root; it works without sshd and network.

        Raises
        ------
        LabError
            If it is off, or the command fails (with `check`), or `timeout` seconds are over.
        """
        argv = ["sh", "-euc", what] if isinstance(what, str) else what
        return call(self.command(argv), check=check, timeout=timeout, text=text)

    def ssh(
        self, *argv: str, check: bool = True, timeout: float = 20
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in it as the operator does, by SSH from the bridge."""
        return self.lab.network.call(
            self.lab.home.ssh(self.name, *argv), check=check, timeout=timeout
        )

    @property
    def answers(self) -> bool:
        """Whether a command by SSH succeeds within 3 s or so."""
        return self.ssh("true", check=False).returncode == 0

    # -- power -------------------------------------------------------------------------------

    def boot(self) -> None:
        """Switch it on and wait until it is up."""
        self.start()
        self.wait_up()

    def prepare(self, key: str, hosts: str) -> None:
        """Write its files before its first boot."""
        self._boot.prepare(key, hosts)

    def start(self) -> None:
        """Switch it on; do not wait."""
        if self.is_on:
            raise LabError(f"{self.name} is on already")
        self._boot.start()

    power_on = boot

    def wait_up(self, seconds: float = 60, *, ssh: bool = True) -> None:
        """Wait until systemd says ``running`` and, with `ssh`, a command by SSH succeeds.

        Raises
        ------
        LabError
            If that is not so within `seconds`; it names failed units and the end of the console.
        """

        def settled() -> str | None:
            if not self.is_on:
                return None
            with contextlib.suppress(LabError):  # it may end between two commands
                state = self.run(["systemctl", "is-system-running"], check=False, timeout=10)
                return state.stdout.strip() if state.stdout.strip() in _SETTLED else None
            return None

        try:
            state = wait_for(f"{self.name} is up", settled, seconds, pause=0.15)
            if state != "running":
                self._name_failed_units(state)
            if ssh:
                wait_for(f"SSH to {self.name}", lambda: self.answers, seconds, pause=0.1)
        except LabError as error:
            raise LabError(f"{error}\n{self._boot.console_tail()}") from error

    def _name_failed_units(self, state: str) -> None:
        failed = self.run(["systemctl", "--failed", "--no-legend", "--plain"]).stdout
        units = [f"--unit={line.split()[0]}" for line in failed.splitlines()]
        said = self.run(["journalctl", "--boot", "--no-pager", "--lines=8", *units]).stdout
        raise LabError(f"{self.name} came up {state}: {failed.strip()}\n{said.strip()}")

    def reboot(self, seconds: float = 60) -> None:
        """Reboot it from inside; wait until the boot id changed and it is up."""
        before = self.boot_id
        self.run(["systemctl", "reboot"], check=False)

        def other() -> bool:
            with contextlib.suppress(LabError):
                return self.is_on and self.boot_id != before
            return False

        wait_for(f"another boot id of {self.name}", other, seconds)
        self.wait_up(seconds)

    def power_cut(self) -> None:
        """Take its power: the link goes down first, so no connection is closed, then all ends."""
        self.cut()
        self._boot.kill()

    # -- faults ------------------------------------------------------------------------------

    def cut(self) -> None:
        """Take its network: the link goes down at the bridge."""
        self.lab.network.link(self.port, "down")

    def heal(self) -> None:
        """Give its network back; returns when it reaches the operator."""
        self.lab.network.link(self.port, "up")
        if self.port in self.lab.network.faults.hidden:
            return
        ping = ["ping", "-c1", "-W1", "10.77.0.1"]
        wait_for(
            f"{self.name} reaches the bridge",
            lambda: self.run(ping, check=False).returncode == 0,
            20,
        )

    def stop_sshd(self, *, sessions: bool = False) -> None:
        """Stop sshd; sessions that are open go on, or with `sessions` are cut off at once.

        What a session has started is not ended, as when sshd crashes.
        """
        self.run(["systemctl", "stop", "ssh.service"])
        if sessions:
            # In its own processes: the lab enters the host's namespace.
            self.run(["pkill", "-KILL", "-x", "sshd"])

    def start_sshd(self) -> None:
        """Start sshd again."""
        self.run(["systemctl", "start", "ssh.service"])
        wait_for(f"SSH to {self.name}", lambda: self.answers, 10)

    def hide_from_operator(self) -> None:
        """Let it and the operator not reach each other; other hosts reach it as before."""
        self.lab.network.faults.hidden.add(self.port)
        self.lab.network.load_faults()

    def show_to_operator(self) -> None:
        """Undo `hide_from_operator`."""
        self.lab.network.faults.hidden.discard(self.port)
        self.lab.network.load_faults()

    def small_disk(self, path: str, mebibytes: int) -> None:
        """Lay an empty disk in memory over a folder until `remove_disk` or the next boot."""
        size = f"size={mebibytes}m,mode=755"
        self.run(["mkdir", "-p", path])
        self.run(["mount", "-t", "tmpfs", "-o", size, "lab", path])

    def remove_disk(self, path: str) -> None:
        """Undo `small_disk`; what was written there is gone."""
        self.run(["umount", "--lazy", path])

    def fill_disk(self, path: str, leave_bytes: int = 0) -> None:
        """Fill the disk that holds `path`, but for so many bytes; a block or two may stay free.

        Raises
        ------
        LabError
            If that is no small disk of the lab: it would fill this machine.
        """
        said = self.run(["df", "--output=avail,size", "-B1", path]).stdout.split()
        free, size = int(said[-2]), int(said[-1])
        if size > _SMALL:
            message = f"{path} of {self.name} is on no small disk; give it a Disk or small_disk()"
            raise LabError(message)
        place = shlex.quote(f"{path}/{_FILLER}")
        if leave_bytes:
            self.run(f"head -c {max(0, free - leave_bytes)} /dev/zero > {place}", timeout=120)
            return
        # On ext4 a new file gets blocks that a large one is refused.
        once = f"head -c {size} /dev/zero > {place}.$i || true; sync -f {shlex.quote(path)}"
        self.run(f"for i in 1 2 3 4 5 6; do {once}; done", timeout=120)

    def free_disk(self, path: str) -> None:
        """Undo `fill_disk`."""
        self.run(f"rm -f {shlex.quote(f'{path}/{_FILLER}')}*")

    def skew_clock(self, seconds: int) -> None:
        """Make ``date`` report a time that is so many seconds ahead; 0 is the right time.

        No namespace covers the wall clock, so a host cannot have one of its own. What differs is
        what ``date`` says, found first on the PATH; Python and Dask in it see the right time.
        """
        wrapper = f"#!/bin/sh\nexec /usr/bin/date -d '{seconds:+d} seconds' \"$@\"\n"
        if seconds:
            script = "cat > /usr/local/bin/date && chmod 755 /usr/local/bin/date"
            self.run(script, text=wrapper)
        else:
            self.run(["rm", "-f", "/usr/local/bin/date"])


_SETTLED = frozenset({"running", "degraded"})
_FILLER = ".lab-filler"
_SMALL = 8 * 2**30
