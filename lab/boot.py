"""How a host is given power and loses it: its files, its mounts, its keeper."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

from lab.home import make_key
from lab.machine import (
    LabError,
    Process,
    call,
    cgroup_folders,
    end_processes,
    processes_in_cgroups,
    unmount_below,
    wait_for,
)
from lab.network import GATEWAY, GATEWAY6

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from lab.host import Host

__all__ = ["SHARED", "STORES", "Boot"]

_KEEPER = Path(__file__).with_name("keeper.py")
_OPERATOR = (1000, 37)  # the user of the base, in the group that Debian has for it

SHARED = "/srv/shared"
"""Where every host has the folder that all hosts of a lab share, as if it came by NFS."""


STORES = {"docker": "/var/lib/docker", "podman": "/var/lib/containers/storage"}
"""Where each engine keeps images and containers."""
_LAYERS = frozenset({"overlay2", "overlay"})

# What an engine needs beyond what nspawn gives to a host: all of root's rights, calls of the kernel
# that containers are made with, and /proc/sys/net to write to (all of /proc/sys writable would keep
# the host's network from coming up).
_FOR_AN_ENGINE = ("--capability=all", "--system-call-filter=add_key keyctl bpf")
# There is no NFS in the machine's kernel.
_NO_KERNEL = {
    "etc/systemd/system/run-rpc_pipefs.mount.d/lab.conf": (
        "[Unit]\nConditionVirtualization=!container\n"
    ),
}
# Podman gives containers more processes than a host of the lab may allow them: it has not all
# rights of the machine. So what makes them is handed less.
_PODMAN = {
    # Debian's Podman lets systemd wait for what does not end, 90 s otherwise: docs/containers.md.
    "etc/systemd/system.conf.d/lab.conf": "[Manager]\nDefaultTimeoutStopSec=10s\n",
    "etc/containers/containers.conf": """\
[containers]
default_ulimits = ["nofile=16384:16384", "nproc=32768:32768"]
[engine.runtimes]
crun = ["/usr/local/bin/lab-crun"]
""",
    # On where another engine has been on this machine.
    "etc/sysctl.d/lab.conf": "net.bridge.bridge-nf-call-iptables = 0\n",
    "usr/local/bin/lab-crun": """\
#!/bin/sh
last= file=
for word in "$@"; do
  case $last in --bundle | -b) file=$word/config.json ;; --process | -p) file=$word ;; esac
  last=$word
done
if [ -f "$file" ]; then
  sed -E -i 's/("RLIMIT_NPROC","hard":)[0-9]+,"soft":[0-9]+/\\132768,"soft":32768/' "$file"
fi
exec crun "$@"
""",
}
_ENGINE_VARIABLES = {"SYSTEMD_NSPAWN_API_VFS_WRITABLE": "network"}


class Boot:
    """What is behind a host.

    Parameters
    ----------
    host
        The host.
    """

    interface = "host0"
    """What the host calls its end of the link to the bridge."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self.folder = host.folder
        self.root = host.folder / "root"
        # An engine's own overlays cannot lie on the one that is the root.
        self.engine = host.folder / "engine"

    @property
    def cgroups(self) -> list[Path]:
        """Its control group in each hierarchy."""
        return cgroup_folders(f"{self.host.lab.network.name}-{self.host.name}")

    def prepare(self, key: str, hosts: str) -> None:
        """Write what makes it this host: name, addresses, keys, names of the others."""
        host = self.host
        for folder in ("upper", "work", "root", "engine"):
            (self.folder / folder).mkdir(parents=True, exist_ok=True)
        network = (
            f"[Match]\nName={self.interface}\n[Network]\nLinkLocalAddressing=no\n"
            f"IPv6AcceptRA=no\nAddress={host.address}/24\nGateway={GATEWAY}\n"
            f"Gateway={GATEWAY6}\n[Address]\nAddress={host.address6}/64\n"
            "DuplicateAddressDetection=none\n"
        )
        if host.spec.engine and (images := host.lab.images):
            # Layers are never written to again, so they are shared; databases are.
            for path in images.iterdir():
                how = "-al" if path.name in _LAYERS else "-a"
                call(["cp", how, str(path), str(self.engine)], timeout=300)
        files = {
            "etc/hostname": f"{host.name}\n",
            "etc/hosts": hosts,
            f"etc/systemd/network/10-{self.interface}.network": network,
            "root/.ssh/authorized_keys": key,
            "home/operator/.ssh/authorized_keys": key,
            **self.files(),
        }
        for name, text in files.items():
            path = host.upper / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
            path.chmod(0o755 if "/bin/" in name else 0o644)
        for name, owner in (("root", (0, 0)), ("home/operator", _OPERATOR)):
            home = host.upper / name
            for path in (home, home / ".ssh", home / ".ssh" / "authorized_keys"):
                path.chmod(0o600 if path.is_file() else 0o700)
                os.chown(path, *owner)
        ssh = host.upper / "etc" / "ssh"
        ssh.mkdir(exist_ok=True)
        make_key(ssh / "ssh_host_ed25519_key", f"root@{host.name}")

    def files(self) -> Mapping[str, str]:
        """Return what it has beyond the files of every host."""
        return _NO_KERNEL | (_PODMAN if self.host.spec.engine == "podman" else {})

    def mount(self) -> None:
        """Mount its root and its small disks, where they are not."""
        if not self.root.is_mount():
            below = ":".join(str(layer) for layer in (*self.host.lab.layers, self.host.lab.base))
            options = f"lowerdir={below},upperdir={self.host.upper},workdir={self.folder / 'work'}"
            call(["mount", "-t", "overlay", "-o", options, "lab", str(self.root)])
        for i, disk in enumerate(self.host.spec.disks):
            image, place = self.folder / f"disk{i}.img", self.folder / f"disk{i}"
            if not image.exists():
                with image.open("wb") as file:
                    file.truncate(disk.mebibytes * 2**20)
                call(["mkfs.ext4", "-q", "-m", "0", str(image)])
                place.mkdir()
            if not place.is_mount():
                call(["mount", "-o", "loop", str(image), str(place)])

    def start(self) -> None:
        """Mount, make control groups, and let a keeper boot it."""
        host = self.host
        self.mount()
        for folder in self.cgroups:
            folder.mkdir(exist_ok=True)
            for name in ("memory.limit_in_bytes", "memory.max"):
                if host.spec.memory_limit and (folder / name).exists():
                    (folder / name).write_text(str(host.spec.memory_limit * 2**20))
        plan = {
            "argv": self.argv(),
            "environment": _ENGINE_VARIABLES if host.spec.engine else {},
            "cgroups": [str(folder) for folder in self.cgroups],
            "keeper": str(self.folder / "keeper.json"),
            "machine": str(self.folder / "machine.json"),
            "console": str(self.folder / "console.log"),
        }
        for name in ("keeper", "machine"):
            Path(plan[name]).unlink(missing_ok=True)
        path = self.folder / "plan.json"
        path.write_text(json.dumps(plan, indent=1))
        argv = [sys.executable, "-I", "-S", str(_KEEPER), str(path)]
        with (self.folder / "console.log").open("a") as console:
            subprocess.Popen(
                [*host.lab.network.prefix(), *argv],
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
                start_new_session=True,
                cwd="/",
            )
        what = f"{host.name} starts (see {self.folder / 'console.log'})"
        wait_for(what, lambda: self.process("keeper"), 10, pause=0.02)

    def argv(self) -> list[str]:
        """Return nspawn's command line."""
        host = self.host
        host.lab.shared.mkdir(exist_ok=True)
        binds = [f"--bind={host.lab.shared}:{SHARED}"]
        for i, disk in enumerate(host.spec.disks):
            binds.append(f"--bind={self.folder / f'disk{i}'}:{disk.path}")
        store = STORES.get(host.spec.engine)
        nspawn = ["systemd-nspawn", "--quiet", f"--directory={self.root}"]
        nspawn += [f"--machine={host.machine}", f"--hostname={host.name}"]
        nspawn += [f"--uuid={uuid.uuid5(uuid.NAMESPACE_URL, str(self.folder)).hex}"]
        nspawn += ["--network-bridge=br-lab", "--register=no", "--keep-unit", "--link-journal=no"]
        nspawn += ["--console=passive", "--resolv-conf=off", "--timezone=off"]
        nspawn += ["--kill-signal=SIGRTMIN+3", *binds]
        nspawn += [f"--bind={self.engine}:{store}", *_FOR_AN_ENGINE] if store else []
        nspawn += [*host.spec.options, "--"]
        return [*nspawn, "/usr/local/sbin/lab-init"]

    def process(self, name: str) -> Process | None:
        """Return the ``keeper`` or the ``machine``, nspawn or QEMU, of this host, if it lives."""
        try:
            process = Process(**json.loads((self.folder / f"{name}.json").read_text()))
        except FileNotFoundError:
            return None
        return process if process.alive else None

    def leader(self) -> Process | None:
        """Return the host's first process: the child of nspawn that is 1 to itself."""
        nspawn = self.process("machine")
        if nspawn is None:
            return None
        try:
            children = Path(f"/proc/{nspawn.pid}/task/{nspawn.pid}/children").read_text().split()
            for child in children:
                status = Path(f"/proc/{child}/status").read_text()
                spaces = status.partition("NSpid:")[2].partition("\n")[0].split()
                command = Path(f"/proc/{child}/comm").read_text().strip()
                # Before it is systemd, its root and its namespaces are not yet what they will be.
                if len(spaces) > 1 and spaces[-1] == "1" and command == "systemd":
                    return Process.of(int(child))
        except (FileNotFoundError, ProcessLookupError):
            return None
        return None

    def powered(self) -> Process:
        """Return the host's first process.

        Raises
        ------
        LabError
            If it is off.
        """
        leader = self.leader()
        if leader is None:
            raise LabError(f"{self.host.name} is off; power_on() starts it")
        return leader

    def command(self, argv: Sequence[str]) -> list[str]:
        """Return the argv that runs `argv` in it as root, without any network.

        Raises
        ------
        LabError
            If it is off.
        """
        leader = self.powered()
        spaces = ["--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup", "--root", "--wd"]
        path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        clean = ["env", "-i", path, "HOME=/root", "LANG=C.UTF-8", "USER=root"]
        return ["nsenter", f"--target={leader.pid}", *spaces, "--", *clean, *argv]

    def kill(self) -> None:
        """End all of its processes at once; its disk stays as it is.

        The keeper goes first, lest it boot the host again. The leader goes before nspawn: with it,
        the kernel ends all in the host; nspawn's end alone would leave the host running.
        """
        if keeper := self.process("keeper"):
            keeper.end()
        if leader := self.leader():
            leader.end()
        end_processes(lambda: processes_in_cgroups(self.cgroups))
        network = self.host.lab.network

        # The kernel removes it too, but sometimes only after seconds; then a next boot would fail.
        network.call(["ip", "link", "del", self.host.port], check=False)

    def unmount(self) -> None:
        """Unmount its root and disks."""
        unmount_below(self.folder)

    def console_tail(self) -> str:
        """Return the last lines of its console."""
        try:
            lines = (self.folder / "console.log").read_text(errors="replace").splitlines()
        except FileNotFoundError as error:
            raise LabError(f"{self.host.name} never had power") from error
        return "\n".join(lines[-8:])
