"""The base of all hosts: a small Debian, made once and kept by the digest of its recipe."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from lab.apt import SUITE, apt_get, find_mirror
from lab.machine import LabError, call, install, unmount_below

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["ENGINES", "ensure_base", "locked"]

PACKAGES = (
    "systemd,systemd-sysv,dbus,openssh-server,python3,python3-venv,iproute2,iputils-ping,"
    "nftables,ca-certificates,sudo,procps,nginx-light,certbot,"
    # debootstrap does not find who provides a virtual package, on which certbot depends.
    "python3-acme,python3-cffi-backend"
)
ENGINES = {
    "docker": ("docker.io", "docker-compose", "docker-registry"),
    "podman": (
        *("podman", "podman-docker", "docker-compose", "crun", "netavark", "aardvark-dns"),
        # What Podman recommends; a minimal system is made without.
        *("slirp4netns", "uidmap", "fuse-overlayfs", "dbus-user-session", "iptables", "catatonit"),
        *("docker-registry", "libpam-systemd"),
    ),
}
"""Packages of hosts that run containers, by what runs them."""
PASSWORD_LESS = "operator ALL=(ALL:ALL) NOPASSWD: ALL\n"  # noqa: S105  # a line for sudoers
FILES = {
    "etc/ssh/sshd_config.d/10-lab.conf": (
        "HostKey /etc/ssh/ssh_host_ed25519_key\nUseDNS no\nPermitRootLogin prohibit-password\n"
        "PasswordAuthentication no\nMaxStartups 200:30:400\nMaxSessions 100\n"
    ),
    "etc/sudoers.d/operator": PASSWORD_LESS,
    "etc/default/locale": "LANG=C.UTF-8\n",
    # Inside, nspawn leaves the controllers of cgroup version 1 read-only: systemd would ignore a
    # unit's MemoryMax.
    "usr/local/sbin/lab-init": (
        "#!/bin/sh\n"
        "for c in memory pids cpu cpuacct devices blkio freezer cpuset; do\n"
        "  [ -d /sys/fs/cgroup/$c ] && mount -o remount,rw,bind /sys/fs/cgroup/$c\n"
        "done\n"
        'exec /lib/systemd/systemd "$@"\n'
    ),
    "etc/machine-id": "",
    "etc/resolv.conf": "",
    "etc/apt/sources.list": "",
}
MODES = {"etc/sudoers.d/operator": 0o440, "usr/local/sbin/lab-init": 0o755}
# Nothing may run by itself in the middle of a measurement.
MASKED = (
    "apt-daily.timer",
    "apt-daily-upgrade.timer",
    "certbot.timer",
    "dpkg-db-backup.timer",
    "e2scrub_all.timer",
    "e2scrub_reap.service",
    "fstrim.timer",
    "systemd-resolved.service",
)
COMMANDS = (
    "useradd --create-home --uid 1000 --gid operator --shell /bin/bash operator",
    "systemctl enable systemd-networkd.service systemd-networkd-wait-online.service ssh.service",
    # It is there, as on a host that is to have the door; what starts it is `up`.
    "systemctl disable nginx.service",
    f"systemctl mask {' '.join(MASKED)}",
    "rm -f /etc/ssh/ssh_host_* /var/lib/dbus/machine-id",
    "install -d -m 700 /root/.ssh",
    "install -d -m 700 -o operator -g operator /home/operator/.ssh",
    "apt-get clean",
    "rm -rf /var/lib/apt/lists/* /var/log/apt /var/log/bootstrap.log",
)
ONLY_WHEN_NEEDED = (
    "docker-registry.service",
    "nfs-ganesha.service",
    "rpcbind.service",
    "rpcbind.socket",
)
"""What a test starts that needs it."""


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a lock on a file; a second one who wants it waits."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def ensure_base(cache: Path, packages: Sequence[str] = ()) -> Path:
    """Return the folder of the base; make it first where it is missing.

    Parameters
    ----------
    cache
        Where bases are kept, each in a folder named by the digest of its recipe.
    packages
        More of Debian's packages than every host has.

    Raises
    ------
    LabError
        If it cannot be made.
    """
    plain = ensure_base(cache) if packages else None
    recipe = json.dumps(
        [plain.name, sorted(packages), ONLY_WHEN_NEEDED]
        if plain
        else [SUITE, PACKAGES, FILES, MODES, COMMANDS]
    )
    base = cache.absolute() / hashlib.sha256(recipe.encode()).hexdigest()[:12]
    if base.is_dir():
        return base
    install()
    with locked(cache / "lock"):
        if base.is_dir():
            return base
        for left in cache.glob("making-*"):
            unmount_below(left.absolute())
            shutil.rmtree(left)
        making = Path(tempfile.mkdtemp(prefix="making-", dir=cache.absolute()))
        making.chmod(0o755)
        try:
            if plain:
                _add(making, plain, packages)
            else:
                _make(making)
            making.rename(base)
        finally:
            if making.exists():
                unmount_below(making)
                shutil.rmtree(making)
    return base


def _make(root: Path) -> None:
    mirror = find_mirror()
    argv = ["debootstrap", "--variant=minbase", f"--include={PACKAGES}"]
    argv += [f"--keyring={mirror.keyring}"] if mirror.keyring.startswith("/") else []
    with tempfile.TemporaryDirectory() as folder:
        done = call(
            [*argv, SUITE, str(root), mirror.url],
            timeout=900,
            env=_environment(Path(folder)),
            check=False,
        )
    if done.returncode:
        tail = "\n".join(done.stdout.splitlines()[-5:]) + done.stderr[-1000:]
        raise LabError(f"debootstrap from {mirror.url} ended with {done.returncode}: {tail}")
    for command in COMMANDS:
        call(["chroot", str(root), "sh", "-c", command], timeout=60)
    for name, text in FILES.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        path.write_text(text)
        path.chmod(MODES.get(name, 0o644))


def _add(root: Path, plain: Path, packages: Sequence[str]) -> None:
    """Copy a base and install more into it."""
    call(["cp", "-a", "--reflink=auto", f"{plain}/.", str(root)], timeout=300)
    no_starts = root / "usr" / "sbin" / "policy-rc.d"
    no_starts.write_text("#!/bin/sh\nexit 101\n")
    no_starts.chmod(0o755)
    archives = root / "var" / "cache" / "apt" / "archives"
    (archives / "partial").mkdir(parents=True, exist_ok=True)
    call(["mount", "-t", "proc", "proc", str(root / "proc")])
    with tempfile.TemporaryDirectory() as folder:
        apt_get(
            Path(folder),
            SUITE,
            ["install", "--yes", "--no-install-recommends", *packages],
            {
                "Dir::Cache::archives": archives,
                "Dir::State::status": root / "var/lib/dpkg/status",
                "Dir::State::extended_states": root / "var/lib/apt/extended_states",
                "Dir::Log": folder,
                "DPkg::Chroot-Directory": root,
            },
        )
    call(["umount", str(root / "proc")])
    no_starts.unlink()
    there = [name for name in ONLY_WHEN_NEEDED if (root / "lib/systemd/system" / name).exists()]
    if there:
        call(["chroot", str(root), "systemctl", "disable", *there])
    call(["chroot", str(root), "apt-get", "clean"])


def _environment(folder: Path) -> dict[str, str]:
    """Tell debootstrap's wget what apt knows: proxies, and the authorities that it trusts."""
    names = {
        "http_proxy": "Acquire::http::Proxy",
        "https_proxy": "Acquire::https::Proxy",
        "ca_certificate": "Acquire::https::CaInfo",
    }
    pairs = [word for pair in names.items() for word in pair]
    said = call(["apt-config", "shell", *pairs], check=False).stdout
    known = dict(re.findall(r"^(\w+)='(.*)'$", said, re.MULTILINE))
    environment = dict(os.environ)
    for name in ("http_proxy", "https_proxy"):
        if known.get(name) and known[name] != "DIRECT":
            environment.setdefault(name, known[name])
    if known.get("ca_certificate"):
        wgetrc = folder / "wgetrc"
        wgetrc.write_text(f"ca_certificate = {known['ca_certificate']}\n")
        environment["WGETRC"] = str(wgetrc)
    return environment
