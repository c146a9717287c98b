"""A host that is a whole machine: a kernel of its own under QEMU, on the lab's bridge like others.

It has what a namespace cannot have: file systems of the network, control groups of version 2 alone,
a reboot that goes through a kernel. QEMU translates its instructions, so all in it is slow.
"""

from __future__ import annotations

import shlex
import shutil
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lab.boot import STORES, Boot
from lab.machine import LabError, Process, call, unmount_below
from lab.network import BRIDGE

if TYPE_CHECKING:
    from lab.host import Host

__all__ = ["PACKAGES", "Guest"]

PACKAGES = (
    *("linux-image-cloud-amd64", "udev", "apparmor", "nfs-common", "nfs-ganesha-vfs"),
    # For engines that are a login's own, without root.
    *("rootlesskit", "slirp4netns", "uidmap", "fuse-overlayfs", "dbus-user-session"),
    "libpam-systemd",
)
"""What the base of such hosts has beyond that of others."""

QEMU = "qemu-system-x86_64"
_KERNEL = "mitigations=off systemd.show_status=1"  # what starts and ends is on the console
_MEBIBYTES = 3072
_DISK = "8G"  # a file with holes


class Guest(Boot):
    """What is behind a host with a kernel of its own."""

    interface = "eth0"

    def __init__(self, host: Host) -> None:
        spec = host.spec
        if spec.disks or spec.options or spec.memory_limit:
            raise LabError(f"{host.name}: a guest has no disks, options or memory limit")
        super().__init__(host)

    @property
    def disk(self) -> Path:
        """Its disk; it stays as it is when the power is cut."""
        return self.folder / "disk.img"

    def files(self) -> Mapping[str, str]:
        """Return what it has beyond the files of every host."""
        identity = uuid.uuid5(uuid.NAMESPACE_URL, str(self.folder)).hex
        return {
            "etc/machine-id": f"{identity}\n",
            # Debian's Podman lets systemd wait for what does not end, see docs/containers.md.
            "etc/systemd/system.conf.d/lab.conf": "[Manager]\nDefaultTimeoutStopSec=20s\n",
        }

    def mount(self) -> None:
        """Make its disk of the base and its own files, where there is none."""
        if self.disk.exists():
            return
        super().mount()
        store = STORES.get(self.host.spec.engine)
        if store:
            place = self.root / store.lstrip("/")
            place.mkdir(parents=True, exist_ok=True)
            call(["mount", "--bind", str(self.engine), str(place)])
        half = self.disk.with_suffix(".half")
        half.unlink(missing_ok=True)
        argv = ["mke2fs", "-q", "-t", "ext4", "-m", "0", "-d", str(self.root), str(half), _DISK]
        try:
            call(argv, timeout=300)
        finally:
            unmount_below(self.folder)
        half.rename(self.disk)

    def argv(self) -> list[str]:
        """Return QEMU's command line; the port on the bridge is there after it."""
        if not shutil.which(QEMU):
            raise LabError(f"{QEMU} is not installed: ./scripts/debian.sh qemu-system-x86")
        port, network = self.host.port, self.host.lab.network
        network.call(["ip", "link", "del", port], check=False)
        network.call(["ip", "tuntap", "add", "dev", port, "mode", "tap"])
        network.call(["ip", "link", "set", port, "master", BRIDGE, "up"])
        boot = self.host.lab.base / "boot"
        kernels = sorted(boot.glob("vmlinuz-*"))
        if not kernels:
            raise LabError(f"{self.host.lab.base} has no kernel")
        version = kernels[-1].name.removeprefix("vmlinuz-")
        number = self.host.spec.number
        return [
            *(QEMU, "-machine", "q35", "-accel", "tcg,thread=multi"),
            # Newer ones have instructions that take longer to translate than they save.
            *("-cpu", "Nehalem", "-smp", "2", "-m", str(_MEBIBYTES)),
            *("-nodefaults", "-display", "none"),
            *("-chardev", f"file,id=console,path={self.folder / 'console.log'},append=on"),
            *("-serial", "chardev:console"),
            *("-kernel", str(kernels[-1]), "-initrd", str(boot / f"initrd.img-{version}")),
            *("-append", f"console=ttyS0 root=/dev/vda rw quiet net.ifnames=0 {_KERNEL}"),
            *("-drive", f"file={self.disk},if=virtio,format=raw,cache=unsafe,discard=unmap"),
            *("-netdev", f"tap,id=lab,ifname={port},script=no,downscript=no"),
            *("-device", f"virtio-net-pci,netdev=lab,romfile=,mac=52:54:00:77:00:{number:02x}"),
            *("-device", "virtio-rng-pci"),
        ]

    def leader(self) -> Process | None:
        """Return QEMU, whose process is the host's power."""
        return self.process("machine")

    def command(self, argv: Sequence[str]) -> list[str]:
        """Return the argv that runs `argv` in it as root, by SSH: there is no other way in.

        Raises
        ------
        LabError
            If it is off.
        """
        self.powered()
        home, network = self.host.lab.home, self.host.lab.network
        ssh = [str(home.path / "bin" / "ssh"), "-o", "ConnectTimeout=20"]
        return [*network.prefix(), *ssh, f"root@{self.host.name}", shlex.join(argv)]
