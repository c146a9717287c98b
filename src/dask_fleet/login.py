"""Arguments for OpenSSH, so that a person logs in to a host as the fleet does."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dask_fleet.errors import FleetError
from dask_fleet.spec.expand import expand_hosts

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from dask_fleet.layout import Host, Layout
    from dask_fleet.spec.expand import ExpandedHost
    from dask_fleet.spec.model import Spec

__all__ = ["ssh_arguments"]


def ssh_arguments(
    layout: Layout, spec: Spec, name: str, entry: Callable[[], str | None] = lambda: None
) -> list[str]:
    """Return what ``ssh`` is to be given for a host.

    Parameters
    ----------
    layout, spec : Layout, Spec
        The fleet as declared.
    name : str
        Name of the host.
    entry : callable
        Returns what is dialled where the user's configuration of SSH has an entry for the host
        by its name, and None where it has none.

    Raises
    ------
    FleetError
        The fleet has no such host, or it is this machine.
    """
    host = layout.hosts.get(name)
    if host is None:
        import difflib

        near = difflib.get_close_matches(name, layout.hosts, 1)
        raise FleetError(
            f"fleet {layout.name} has no host {name}",
            f"did you mean {near[0]}?" if near else f"its hosts are {', '.join(layout.hosts)}",
        )
    if host.transport != "ssh":
        raise FleetError(f"host {name} is this machine", "you are there already")
    expanded = expand_hosts(spec)
    words: list[str] = []
    ssh = expanded[name].spec.ssh
    if ssh is not None:
        if ssh.port is not None:
            words += ["-p", str(ssh.port)]
        if ssh.identity_file is not None:
            words += ["-i", ssh.identity_file]
        if ssh.jump is not None:
            words += ["-J", _jump(layout, expanded, ssh.jump)]
    user = f"{ssh.user}@" if ssh is not None and ssh.user else ""
    if dialled := entry():
        return [*words, "-o", f"HostName={dialled}", "--", f"{user}{name}"]
    return [*words, "--", f"{user}{_dialled(host, jump=bool(ssh and ssh.jump))}"]


def _dialled(host: Host, *, jump: bool) -> str:
    return host.address if jump else host.external


def _jump(layout: Layout, expanded: Mapping[str, ExpandedHost], jump: str) -> str:
    host = layout.hosts.get(jump)
    if host is None:
        return jump
    ssh = expanded[jump].spec.ssh
    address = f"[{host.external}]" if ":" in host.external else host.external
    user = f"{ssh.user}@" if ssh is not None and ssh.user else ""
    port = f":{ssh.port}" if ssh is not None and ssh.port else ""
    return f"{user}{address}{port}"
