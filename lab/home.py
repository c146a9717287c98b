"""The operator's home in a lab: a key, an SSH configuration and the known hosts.

OpenSSH takes the home of the user database, not ``$HOME``; the home's ``bin/ssh`` therefore names
the configuration. asyncssh takes ``$HOME``.
"""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from lab.machine import LabError, call

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from lab.host import Host

__all__ = ["OperatorHome"]


class OperatorHome:
    """The home of whoever operates the lab's hosts.

    Parameters
    ----------
    path
        The folder that is ``$HOME``.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.key = path / ".ssh" / "id_ed25519"
        self.config = path / ".ssh" / "config"
        self.known_hosts = path / ".ssh" / "known_hosts"

    def make(self, hosts: Iterable[Host] = ()) -> None:
        """Write key, configuration and ``bin/ssh``; known hosts are written when keys are there."""
        ssh = shutil.which("ssh", path="/usr/bin:/usr/local/bin:/bin")
        if not ssh:
            raise LabError("ssh is not installed: apt-get install openssh-client")
        self.key.parent.mkdir(parents=True, exist_ok=True)
        self.key.parent.chmod(0o700)
        if not self.key.exists():
            make_key(self.key, "operator")
        lines: list[str] = []
        for host in hosts:
            lines += [f"Host {host.name}", f"  HostName {host.address}", ""]
        lines += ["Host *", "  User operator", f"  IdentityFile {self.key}"]
        lines += ["  IdentitiesOnly yes", "  BatchMode yes"]
        lines += [f"  UserKnownHostsFile {self.known_hosts}", "  GlobalKnownHostsFile /dev/null"]
        self.config.write_text("\n".join(lines) + "\n")
        self.config.chmod(0o600)
        wrapper = self.path / "bin" / "ssh"
        wrapper.parent.mkdir(exist_ok=True)
        wrapper.write_text(f"#!/bin/sh\nexec {ssh} -F '{self.config}' \"$@\"\n")
        wrapper.chmod(0o755)

    def ssh(self, host: str, *argv: str) -> list[str]:
        """Return the argv of a command on a host by SSH, as the operator types it."""
        return [str(self.path / "bin" / "ssh"), "-o", "ConnectTimeout=3", host, *argv]

    def know(self, hosts: Iterable[Host]) -> None:
        """Write the right keys of all hosts into known_hosts."""
        pairs = [(host, host.host_key) for host in hosts]
        self._write(f"{host.name},{host.address},{host.address6} {key}" for host, key in pairs)

    def know_nobody(self) -> None:
        """Empty known_hosts, as on a machine that never saw the hosts."""
        self._write(())

    def know_wrongly(self, hosts: Iterable[Host]) -> None:
        """Write a key that is not theirs for these hosts, as after a new installation."""
        other = self.path / "wrong"
        if not other.exists():
            make_key(other, "wrong")
        key = " ".join(other.with_suffix(".pub").read_text().split()[:2])
        self._write(f"{host.name},{host.address},{host.address6} {key}" for host in hosts)

    def _write(self, lines: Iterable[str]) -> None:
        self.known_hosts.write_text("".join(f"{line}\n" for line in lines))
        self.known_hosts.chmod(0o600)


def make_key(path: Path, comment: str) -> None:
    """Make an ed25519 key pair without a passphrase."""
    call(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", str(path)])
