"""The lab's own network: a namespace, a bridge, and a filter on that bridge."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from lab.machine import call

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Sequence

__all__ = ["BRIDGE", "GATEWAY", "GATEWAY6", "Faults", "Network"]

BRIDGE = "br-lab"
GATEWAY = "10.77.0.1"
GATEWAY6 = "fd77::1"


@dataclass(slots=True)
class Faults:
    """What the bridge does not let through. Ports are those of the bridge, one for each host.

    Parameters
    ----------
    splits
        Pairs of groups of ports; neither group reaches the other.
    blocks
        ``(from, to, TCP port)``; an empty `from` is everybody, the operator too.
    losses
        ``(from, to, TCP port)``; the first packet of each connection is lost.
    hidden
        Ports that the operator does not reach and that do not reach the operator.
    """

    splits: list[tuple[tuple[str, ...], tuple[str, ...]]] = field(default_factory=list)
    blocks: list[tuple[str, str, int]] = field(default_factory=list)
    losses: list[tuple[str, str, int]] = field(default_factory=list)
    hidden: set[str] = field(default_factory=set)

    def rules(self) -> str:
        """Return all of it as one nftables script; loading it replaces what was."""
        between: list[str] = []
        for here, there in self.splits:
            for one, other in ((here, there), (there, here)):
                between.append(f"iifname {_set(one)} oifname {_set(other)} drop")
        leaving: list[str] = [f'oifname "{port}" drop' for port in sorted(self.hidden)]
        entering = [f'iifname "{port}" drop' for port in sorted(self.hidden)]
        for source, target, port in self.blocks:
            origin = f'iifname "{source}" ' if source else ""
            rule = f'oifname "{target}" tcp dport {port} drop'
            between.append(origin + rule)
            leaving += [] if source else [rule]
        for source, target, port in self.losses:
            first = "tcp flags & (syn | ack) == syn tcp sport != @begun add @begun { tcp sport }"
            link = f'iifname "{source}" oifname "{target}"'
            between.append(f"{link} tcp dport {port} {first} drop")
        chains = {"forward": between, "output": leaving, "input": entering}
        lines = ["table bridge lab {}", "delete table bridge lab", "table bridge lab {"]
        lines.append("set begun { type inet_service; flags dynamic,timeout; timeout 1m; }")
        for name, rules in chains.items():
            lines.append(f"chain {name} {{ type filter hook {name} priority 0; policy accept;")
            lines += [*rules, "}"]
        return "\n".join([*lines, "}\n"])


def _set(ports: Sequence[str]) -> str:
    return "{ " + ", ".join(f'"{port}"' for port in ports) + " }"


class Network:
    """A network namespace with a bridge in it; the bridge's own addresses are the operator's.

    Parameters
    ----------
    folder
        The lab's folder. Labs in different folders have different namespaces.
    """

    def __init__(self, folder: Path) -> None:
        self.digest = hashlib.sha256(str(folder).encode()).hexdigest()[:6]
        self.name = f"lab-{folder.name}-{self.digest}"
        self.path = Path("/run/netns") / self.name
        self.faults = Faults()

    @property
    def exists(self) -> bool:
        """Whether the namespace is there."""
        return self.path.exists()

    @property
    def inside(self) -> bool:
        """Whether this process is in it."""
        if not self.exists:
            return False
        here, there = Path("/proc/self/ns/net").stat(), self.path.stat()
        return (here.st_dev, here.st_ino) == (there.st_dev, there.st_ino)

    def prefix(self) -> list[str]:
        """Return what to put before an argv so that it runs inside."""
        return [] if self.inside else ["nsenter", f"--net={self.path}", "--"]

    def call(
        self,
        argv: Sequence[str],
        *,
        check: bool = True,
        timeout: float = 60,
        text: str | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command inside and capture what it says."""
        return call([*self.prefix(), *argv], check=check, timeout=timeout, text=text)

    def up(self) -> None:
        """Make the namespace and its bridge, if they are not there."""
        if not self.exists:
            call(["ip", "netns", "add", self.name])
        if self.call(["ip", "link", "show", BRIDGE], check=False).returncode == 0:
            return
        script = (
            f"ip link set lo up\n"
            f"ip link add {BRIDGE} type bridge stp_state 0 forward_delay 0\n"
            f"ip addr add {GATEWAY}/24 dev {BRIDGE}\n"
            f"ip addr add {GATEWAY6}/64 dev {BRIDGE} nodad\n"
            f"ip link set {BRIDGE} up\n"
        )
        self.call(["sh", "-eu"], text=script)

    def down(self) -> None:
        """Remove the namespace; what still runs inside must have ended before."""
        if self.exists:
            call(["ip", "netns", "del", self.name])

    def link(self, port: str, state: str) -> None:
        """Set a host's port ``up`` or ``down``."""
        self.call(["ip", "link", "set", port, state])

    def remove_ports(self) -> None:
        """Remove what hosts have left on the bridge: the port of a guest outlives it."""
        if not self.exists:
            return
        listed = self.call(["ip", "-oneline", "link", "show", "master", BRIDGE], check=False)
        for line in listed.stdout.splitlines():
            name = line.split()[1].rstrip(":").partition("@")[0]
            # The kernel may be about to remove it itself.
            self.call(["ip", "link", "del", name], check=False)

    def load_faults(self) -> None:
        """Make the bridge let through what `faults` does not forbid."""
        self.call(["nft", "-f", "-"], text=self.faults.rules())

    def environment(self, folder: Path) -> dict[str, str]:
        """Return the environment of a command that runs inside, as the operator.

        The cache stays that of whoever runs it: inside, nothing can be fetched.
        """
        environment = {k: v for k, v in os.environ.items() if not k.startswith("SSH_")}
        home = folder / "home"
        path = os.environ.get("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        environment.setdefault("XDG_CACHE_HOME", str(Path.home() / ".cache"))
        environment |= {"HOME": str(home), "DASK_FLEET_LAB": str(folder)}
        return environment | {"PATH": f"{home / 'bin'}:{path.removeprefix(f'{home}/bin:')}"}
