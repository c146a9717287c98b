"""From a file to a `Fleet`: spec, environment, and a way to each host."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from dask_fleet import this_machine
from dask_fleet.blueprint import Blueprint
from dask_fleet.environment import resolve_environment
from dask_fleet.errors import FleetError
from dask_fleet.fleet import Fleet
from dask_fleet.layout import THIS_MACHINE, HostFacts
from dask_fleet.observer import HostAccess
from dask_fleet.places import Places
from dask_fleet.spec.default import plain_default
from dask_fleet.spec.expand import expand_hosts

if TYPE_CHECKING:
    from dask_fleet.door import Door
    from dask_fleet.environment import Environment
    from dask_fleet.layout import Host, Layout
    from dask_fleet.runtimes.base import Runtime
    from dask_fleet.spec.model import HostSpec, Spec
    from dask_fleet.ssh_host import SshHost
    from dask_fleet.tls.issuing import Issuer
    from dask_fleet.transports.base import Transport
    from dask_fleet.transports.ssh import SshConnections

__all__ = ["Declared", "declare", "launcher_files", "open_fleet", "places_on", "ssh_entry"]

_SYSTEM_ROOT = "/var/lib/dask-fleet"
"""Where fleets and environments are on a host whose systemd runs them."""


@dataclass(frozen=True, slots=True)
class Declared:
    """What a file says, checked and laid out; nothing is reached or started for it."""

    spec: Spec
    layout: Layout
    environment: Environment


def declare(path: Path | None, environ: Mapping[str, str]) -> Declared:
    """Return what a file declares; the fleet on this machine if there is none.

    Parameters
    ----------
    path : Path or None
        A fleet.yaml.
    environ : Mapping
        The caller's environment, for ``${VAR}``.

    Raises
    ------
    SpecError
        With every problem of the file, or of the lock file that it names.
    """
    blueprint = _blueprint(path, environ)
    return Declared(blueprint.spec, blueprint.layout(), blueprint.environment)


def _blueprint(
    path: Path | None, environ: Mapping[str, str], image_base: str | None = None
) -> Blueprint:
    facts = HostFacts(cpus=this_machine.cpus(), memory=this_machine.memory())
    if path is None:
        spec = plain_default()
    else:
        from dask_fleet.spec import load

        spec = load(path, environ, host_memory={THIS_MACHINE: this_machine.memory()})
    base = path.parent if path else Path()
    section = spec.environment
    if image_base is not None:
        section = section.model_copy(update={"base": image_base, "image": None, "build": None})
    environment = resolve_environment(
        section,
        lambda name: (base / name).read_text(encoding="utf-8"),
        fleet=spec.name,
        beside=base,
        user=spec.containers.user,
        context=_context,
    )
    return Blueprint(spec, environment, launcher_files(), {THIS_MACHINE: facts})


def _context(folder: Path) -> str:
    from dask_fleet.images.context import context_digest

    if not (folder / "Dockerfile").is_file():
        raise FileNotFoundError(folder / "Dockerfile")
    return context_digest(folder)


def launcher_files() -> dict[str, bytes]:
    """Return what starts scheduler and workers on a host, the console too, by path."""
    root = Path(__file__).parent / "host"
    return {
        file.relative_to(root).as_posix(): file.read_bytes()
        for file in sorted(root.rglob("*.*"))
        if "__pycache__" not in file.parts
    }


def open_fleet(
    path: Path | None,
    environ: Mapping[str, str],
    *,
    limit: Iterable[str] = (),
    accept_new: bool = False,
    new_authority: bool = False,
    keep_scheduler: bool = False,
    base: str | None = None,
) -> Fleet:
    """Return the fleet that a file declares, with a way to each of its hosts.

    Parameters
    ----------
    path : Path or None
        A fleet.yaml; ``None`` is the fleet on this machine.
    environ : Mapping
        The caller's environment, for ``${VAR}``.
    limit : iterable of str
        Names of hosts, ranges or patterns such as ``dask-worker-*``: only these are looked at and
        acted on. All of them if it is empty.
    accept_new : bool
        Whether the key of a host that was never reached before is accepted and remembered.
    new_authority : bool
        Whether an `up` puts a new certificate authority into the place of the one that is there.
    keep_scheduler : bool
        Whether the scheduler's host is left out, so that its clients lose nothing.
    base : str, optional
        Image that the locked environment is put on, instead of the one that the file names.

    Raises
    ------
    SpecError
        With every problem of the file.
    FleetError
        A host needs a transport or a runtime that this version does not have, nothing fits
        ``limit``, nothing is left beside the scheduler's host, or a new authority is asked for
        where there can be none.
    """
    words = tuple(limit)
    blueprint = _blueprint(path, environ, base)
    layout = blueprint.layout()
    names = dict.fromkeys([layout.scheduler.host, *layout.hosts])
    if keep_scheduler:
        words = _beside(layout.scheduler.host, list(names), words)
    connections = _connections(blueprint, layout, accept_new=accept_new)
    hosts: dict[str, HostAccess] = {}
    on_interfaces = {
        one.name for one in expand_hosts(blueprint.spec).values() if one.spec.interface
    }
    for name in names:
        host = layout.hosts[name]
        if host.transport == "ssh" and connections is not None:
            transport: Transport = connections.transport(name)
        else:
            from dask_fleet.transports.local import LocalTransport

            transport = LocalTransport(name)
        door = layout.door
        hosts[name] = replace(
            _access(blueprint, host, transport),
            interfaces=name in on_interfaces,
            environment=blueprint.environment.digest,
            door=door is not None and door.host == name,
        )
    asked = frozenset(name for name, access in hosts.items() if access.remote)
    return Fleet(
        replace(blueprint, asked=asked),
        hosts,
        given=partial(_given, layout.door, path.parent if path else Path()),
        issuer=_issuer(layout, words, new=new_authority),
        connections=connections,
        chosen=_chosen(list(hosts), words),
        limit=words,
    )


def _given(door: Door | None, base: Path) -> Mapping[str, Mapping[str, bytes]]:
    """Return the door's certificate and key if they lie beside fleet.yaml."""
    if door is None or door.tls != "files":
        return {}
    from dask_fleet.door_certificate import given_credentials
    from dask_fleet.proxy.door_target import door_subject

    return {door_subject(door): given_credentials(door, base)}


def _chosen(hosts: list[str], limit: tuple[str, ...]) -> frozenset[str]:
    if not limit:
        return frozenset()
    from dask_fleet.selection import select

    return frozenset(select(hosts, limit))


def _beside(keeper: str, hosts: list[str], limit: tuple[str, ...]) -> tuple[str, ...]:
    """Return what chooses all chosen hosts but the scheduler's."""
    from dask_fleet.spec.ranges import fold

    chosen = _chosen(hosts, limit) or frozenset(hosts)
    others = [name for name in hosts if name in chosen and name != keeper]
    if not others:
        raise FleetError(
            f"only {keeper} is meant, which has the scheduler", "leave --keep-scheduler away"
        )
    return tuple(fold(others))


def _access(blueprint: Blueprint, host: Host, transport: Transport) -> HostAccess:
    spec = blueprint.spec
    if host.runtime == "supervisor" and host.transport == "local":
        from dask_fleet.runtimes.supervisor import SupervisorRuntime

        runtime = SupervisorRuntime(sys.executable, this_machine.variables())
        return HostAccess(transport, runtime, places_on(spec.name, host))
    if host.runtime == "supervisor" or (host.runtime == "compose" and host.transport == "local"):
        raise FleetError(
            f"host {host.name}: transport {host.transport} with runtime {host.runtime}"
            " is not there yet",
            "hosts behind SSH run under systemd: leave `runtime` out",
        )
    from dask_fleet.proxy.system_nginx import SystemNginx

    for key, directory in (("work", host.work_directory), ("logs", host.log_directory)):
        if directory and directory.startswith("~"):
            raise FleetError(
                f"directories.{key}: {directory} is in a home, and {host.name} runs its"
                " processes as a system user that has none",
                "name an absolute directory, such as /data/dask",
            )
    runtime = _compose(blueprint, host) if host.runtime == "compose" else _systemd(spec)
    return HostAccess(
        transport,
        runtime,
        places_on(spec.name, host),
        SystemNginx(spec.name, runtime.owner),
        remote=host.transport == "ssh",
    )


def _systemd(spec: Spec) -> Runtime:
    from dask_fleet.runtimes.systemd import SystemdRuntime

    return SystemdRuntime(spec.name, spec.user)


def _compose(blueprint: Blueprint, host: Host) -> Runtime:
    from dask_fleet.runtimes.compose import ComposeRuntime
    from dask_fleet.runtimes.compose_file import Contained, Mount

    spec = blueprint.spec
    environment, containers = spec.environment, spec.containers
    container = Contained(
        host.name,
        blueprint.environment.image,
        # Whose containers the engine starts is to it root, and on the host nobody else.
        "0:0" if host.rootless else containers.user,
        containers.nofile,
        environment.interpreter or "python",
        containers.volumes,
        tuple(
            Mount(name, one.type, one.device, one.options)
            for name, one in containers.mounts.items()
        ),
        containers.limit_cpus,
        rootless=host.rootless is not None,
    )
    return ComposeRuntime(spec.name, container)


def places_on(fleet: str, host: Host) -> Places:
    """Return where a fleet's files are on a host, as its runtime has it."""
    if host.runtime != "supervisor":
        root = host.rootless or _SYSTEM_ROOT
        return Places.below(root, root, fleet, work=host.work_directory)
    return Places.below(
        this_machine.state_root(),
        this_machine.data_root(),
        fleet,
        work=_home_expanded(host.work_directory),
        logs=_home_expanded(host.log_directory),
    )


def _home_expanded(directory: str | None) -> str | None:
    return str(Path(directory).expanduser()) if directory else None


def _connections(
    blueprint: Blueprint, layout: Layout, *, accept_new: bool
) -> SshConnections | None:
    behind = [host for host in layout.hosts.values() if host.transport == "ssh"]
    if not behind:
        return None
    from dask_fleet.transports.ssh import SshConnections

    expanded = expand_hosts(blueprint.spec)
    hosts = {host.name: _ssh_host(host, expanded[host.name].spec) for host in behind}
    return SshConnections(hosts, accept_new=accept_new)


def _ssh_host(host: Host, declared: HostSpec) -> SshHost:
    from dask_fleet.ssh_host import SshHost

    ssh = declared.ssh
    # An operator outside dials what clients dial, unless a jump host leads inside.
    address = host.address if ssh and ssh.jump else host.external
    if ssh is None:
        return SshHost(host.name, address)
    return SshHost(
        host.name, address, ssh.user, ssh.port, ssh.identity_file, ssh.jump, sudo=ssh.sudo
    )


def ssh_entry(declared: Declared, name: str) -> str | None:
    """Return what is dialled where ``~/.ssh/config`` has an entry for a host by its name.

    Parameters
    ----------
    declared : Declared
        What a file declares.
    name : str
        Name of a host that is reached with SSH.

    Returns
    -------
    str or None
        ``HostName`` of the entry, the declared address if it has none; None without an entry.
    """
    from dask_fleet.transports.ssh_settings import read_settings

    host = declared.layout.hosts[name]
    reached = _ssh_host(host, expand_hosts(declared.spec)[name].spec)
    settings = read_settings(reached, None, 0.0)
    return settings.address if settings.lookup == name != reached.address else None


def _issuer(layout: Layout, limit: tuple[str, ...], *, new: bool) -> Issuer | None:
    if not layout.tls and not (layout.door and layout.door.signed):
        if new:
            raise FleetError(
                f"fleet {layout.name} does not speak TLS, so it has no authority",
                "set `tls: true` in fleet.yaml if it is to",
            )
        return None
    if new and limit:
        raise FleetError(
            "a new authority is for all hosts at once: those with the old one would be cut off",
            "say --new-authority without --limit",
        )
    from dask_fleet.tls.authority import Authority, authority_directory
    from dask_fleet.tls.issuing import Issuer

    directory = authority_directory(Path(this_machine.data_root()), layout.name)
    return Issuer(Authority(directory, layout.name), anew=new)
