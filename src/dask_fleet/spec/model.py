"""The model of fleet.yaml: what can be said in it, the defaults, and what a change needs.

``needs`` of a field says what a change of it asks of a running fleet: ``nothing``, a ``reload``,
a ``restart`` of the processes concerned, or a new ``machine``. JSON Schema and the reference
manual are made from this module.
"""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from pydantic import BeforeValidator, Field

from dask_fleet.spec import fields as f
from dask_fleet.spec import fields_containers as c
from dask_fleet.spec.model_base import Model, Needs, field, port_field
from dask_fleet.spec.model_door import DoorSection
from dask_fleet.spec.variables import unwrap

__all__ = [
    "ContainersSpec",
    "Directories",
    "EnvironmentSpec",
    "HostSpec",
    "MountSpec",
    "Needs",
    "PortsSpec",
    "Runtime",
    "SchedulerSpec",
    "Spec",
    "SshSpec",
    "Transport",
    "WorkerGroup",
]

Runtime: TypeAlias = Literal["supervisor", "systemd", "compose"]
Transport: TypeAlias = Literal["local", "ssh"]

_Runtime: TypeAlias = Annotated[Runtime, BeforeValidator(unwrap)]
_Transport: TypeAlias = Annotated[Transport, BeforeValidator(unwrap)]
_Per: TypeAlias = Annotated[Literal["host", "group"], BeforeValidator(unwrap)]
_Patterns: TypeAlias = Annotated[tuple[f.HostPattern, ...], Field(strict=False)]
_Volumes: TypeAlias = Annotated[tuple[c.Volume, ...], Field(strict=False)]
_Packages: TypeAlias = Annotated[tuple[f.Requirement, ...], Field(strict=False, min_length=1)]


class SshSpec(Model):
    """How a host is reached with SSH; what is left out is what ``~/.ssh/config`` says."""

    user: f.Text | None = field("nothing", "User to log in as.", None)
    port: f.Whole | None = field(
        "nothing", "Port of the SSH server; 22 when left out.", None, ge=1, le=65535
    )
    identity_file: f.Text | None = field(
        "nothing", "File with the private key, on the operator's machine.", None
    )
    jump: f.Text | None = field(
        "nothing",
        "Host to go through: another host of the fleet by its name, or `[user@]host[:port]`.",
        None,
    )
    sudo: f.Flag = field(
        "nothing", "Whether commands that need root are run with sudo, without a password.", False
    )


class HostSpec(Model):
    """A host, or a range of hosts: `dask-worker-[0001-0004]` with `192.168.1.[11-14]`."""

    address: f.AddressPattern = field(
        "machine",
        "Contact address, dialled by the other processes of the fleet: an IP address or host "
        "name. For a range of hosts a range of the same length, such as `192.168.1.[11-14]`.",
    )
    external: f.AddressPattern | None = field(
        "reload", "Address that clients dial; the contact address when left out.", None
    )
    listen: f.Address | None = field(
        "restart",
        "Address that processes bind, such as `0.0.0.0`; the contact address when left out.",
        None,
    )
    interface: f.Text | None = field(
        "restart",
        "Network interface, such as `ens3`, whose address processes bind; instead of `listen`, for "
        "hosts behind SSH.",
        None,
    )
    ssh: SshSpec | None = field(
        "nothing", "How the host is reached with SSH. Not for a local host.", None
    )
    transport: _Transport | None = field(
        "restart",
        "What carries commands to the host. Left out, a host with a loopback address and no "
        "`ssh` is `local`, every other is `ssh`.",
        None,
    )
    runtime: _Runtime | None = field(
        "restart", "What keeps the processes of this host alive, if not as in the fleet.", None
    )
    memory: f.Size | None = field(
        "restart",
        "Memory of the host, such as `16 GiB`. The limits of its workers are checked against it "
        "and `memory_limit: auto` shares it out. Found out by itself for this machine.",
        None,
    )
    cpus: f.Whole | None = field(
        "restart",
        "CPUs of the host, which `nthreads: auto` shares out. Found out by itself for this "
        "machine.",
        None,
        ge=1,
        le=65536,
    )


class EnvironmentSpec(Model):
    """The software environment of all processes.

    One of `name`, `lock` and `packages`, or `image` or `build` where processes are containers.
    """

    python: f.Version = field("restart", "Version of Python, in quotes.", "3.11")
    name: f.Text | None = field(
        "restart", "Environment that comes with dask-fleet; `xcube` is the default.", None
    )
    lock: f.Text | None = field(
        "restart",
        "Lock file beside fleet.yaml: a requirements file with the exact version of every "
        "package, as `uv pip compile` or `pip freeze` write it.",
        None,
    )
    packages: _Packages | None = field(
        "restart",
        "Packages by name, each with a version if it matters; resolved and locked at first use.",
        None,
    )
    image: c.Image | None = field(
        "restart",
        "Image of the containers, such as `quay.io/bcdev/xcube:1.13.3`, where the runtime is "
        "`compose`; dask and distributed are in it. A host that lacks it pulls it.",
        None,
    )
    build: f.Text | None = field(
        "restart",
        "Folder beside fleet.yaml with a Dockerfile, of which the image of the containers is built "
        "once and sent to the hosts; dask and distributed are in it.",
        None,
    )
    base: c.Image | None = field(
        "restart",
        "Image that `name`, `lock` or `packages` are put on, where the runtime is `compose`, such "
        "as `python:3.11-slim`; it has that Python. The image is built once and sent to the hosts.",
        None,
    )
    build_on: f.Text | None = field(
        "nothing",
        "Host on whose Docker engine the image is built; on the operator's own when left out.",
        None,
    )
    interpreter: f.Text | None = field(
        "restart",
        "Python in the image: a name on its PATH, or an absolute path; `python` when left out.",
        None,
    )


class SchedulerSpec(Model):
    """The scheduler."""

    host: f.Text | None = field(
        "restart",
        "Host that runs it. Left out: the only host there is, or the one named `dask-scheduler`.",
        None,
    )
    port: f.Whole = port_field("Port that workers and clients dial.", 8786)
    dashboard: f.Whole = port_field("Port of its dashboard.", 8787)


class PortsSpec(Model):
    """Ports of the first worker, and how those of the next ones follow."""

    worker: f.Whole = port_field("Port of the first worker.", 9010)
    nanny: f.Whole = port_field("Port of the first worker's nanny.", 9011)
    dashboard: f.Whole = port_field("Port of the first worker's dashboard.", 9012)
    step: f.Whole = field("restart", "What is added for each further worker.", 10, ge=1, le=65535)
    per: _Per = field(
        "restart",
        "Where counting begins anew: on each `host`, or never in the whole `group`, so that no "
        "two workers of it have a port in common.",
        "host",
    )


class WorkerGroup(Model):
    """Workers that are alike."""

    hosts: _Patterns = field(
        "restart",
        "Hosts, by name or range of names. Left out: every host but the scheduler's and the "
        "door's, or the only host there is.",
        (),
    )
    per_host: f.Whole = field("restart", "Workers on each host.", 1, ge=1, le=21845)
    nthreads: f.Threads = field(
        "restart",
        "Threads of each worker. `auto` shares the CPUs of the host out to its workers; one when "
        "they are not known.",
        "auto",
    )
    memory_limit: f.MemoryLimit = field(
        "restart",
        "Memory of each worker, such as `4 GiB`; Dask spills, pauses and restarts a worker by it. "
        "`auto` gives each worker an equal share of what the host has; a host behind SSH keeps a "
        "sixteenth of it, and at least 512 MiB, for itself.",
        "auto",
    )
    resources: f.Resources = field(
        "restart", "Dask resources of each worker, such as `{GPU: 1}`.", default_factory=dict
    )
    prefix: f.Prefix = field(
        "restart",
        "Names are the prefix and a number of four digits: `dask-worker-0001`. Workers are "
        "numbered through the group, in the order of its hosts.",
        "dask-worker",
    )
    first: f.Whole = field("restart", "Number of the group's first worker.", 1, ge=0, le=1_000_000)
    ports: PortsSpec = field("restart", "Ports of the workers.", default_factory=PortsSpec)


class Directories(Model):
    """Directories on the hosts, absolute or beginning with `~/`."""

    work: f.Directory | None = field(
        "restart", "Where workers spill data; a place of the runtime when left out.", None
    )
    logs: f.Directory | None = field(
        "restart", "Where logs are kept; a place of the runtime when left out.", None
    )


def _this_machine() -> dict[str, HostSpec]:
    return {"localhost": HostSpec(address="127.0.0.1")}


def _four_workers() -> dict[str, WorkerGroup]:
    return {"default": WorkerGroup(per_host=4)}


class MountSpec(Model):
    """What a named volume is, as Docker's driver `local` mounts it."""

    type: f.Text = field("restart", "Kind of file system, such as `nfs`.")
    device: f.Text = field("restart", "What is mounted, such as `192.168.1.9:/export/cubes`.")
    options: f.Text = field("restart", "Options of mount, such as `addr=192.168.1.9,rw`.", "")


class ContainersSpec(Model):
    """What containers are given, where the runtime is `compose`."""

    user: c.Owner = field(
        "restart",
        "Numeric user and group that processes run as, `UID:GID`; what they write on volumes "
        "belongs to them.",
        "8786:8786",
    )
    nofile: f.Whole = field(
        "restart",
        "Files and connections that a container may have open at once.",
        65536,
        ge=1024,
        le=1048576,
    )
    volumes: _Volumes = field(
        "restart",
        "More volumes, such as `/data:/data`, `/archive:/archive:ro` or `NAME:/data`.",
        (),
    )
    mounts: dict[c.VolumeName, MountSpec] = field(
        "restart",
        "What named volumes are, by name; one that is not here is a folder that Docker keeps.",
        default_factory=dict[str, MountSpec],
        keys="^[A-Za-z0-9][A-Za-z0-9_.-]*$",
    )
    limit_cpus: f.Flag = field(
        "restart",
        "Whether containers of workers may use no more CPUs than their workers have threads.",
        default=False,
    )
    rootless: c.Folder | None = field(
        "machine",
        "Folder of the fleet on hosts whose engine is the login's own, without root, such as "
        "`/home/dask/fleet`. Processes are that login then, and `user` says nothing.",
        None,
    )


class Spec(Model):
    """A fleet: its hosts, and the cluster that runs on them."""

    name: f.FleetName = field(
        "machine",
        "Name of the fleet: small letters, digits and hyphens. Another name is another fleet.",
    )
    environment: EnvironmentSpec = field(
        "restart",
        "Software environment of all processes; xcube's, locked, when left out.",
        default_factory=EnvironmentSpec,
    )
    hosts: dict[f.HostPattern, HostSpec] = field(
        "machine",
        "Hosts by name; this machine when left out.",
        default_factory=_this_machine,
        keys=r"^[A-Za-z0-9\[]",
    )
    scheduler: SchedulerSpec = field("restart", "The scheduler.", default_factory=SchedulerSpec)
    workers: dict[f.GroupName, WorkerGroup] = field(
        "restart",
        "Worker groups by name. Left out: one group `default` with four workers on each host; "
        "`{}` is a fleet without workers.",
        default_factory=_four_workers,
        keys="^[a-z][a-z0-9-]*$",
    )
    door: DoorSection = field(
        "reload",
        "One address behind which all dashboards are, through nginx; `true` takes all defaults.",
        None,
    )
    port_range: f.PortRange | None = field(
        "nothing",
        "Ports that the workers may have, such as `9000-9100`; anything that leaves it is an "
        "error. The scheduler's two ports are not meant.",
        None,
    )
    config: f.Settings = field(
        "restart",
        "Dask configuration, nested or with dotted keys; shipped to every host.",
        default_factory=dict,
    )
    variables: dict[f.VariableName, f.EnvironmentVariable] = field(
        "restart",
        "Environment variables of all processes; values in quotes.",
        default_factory=dict,
        keys="^[A-Za-z_][A-Za-z0-9_]*$",
    )
    directories: Directories = field(
        "restart", "Directories on the hosts.", default_factory=Directories
    )
    runtime: _Runtime | None = field(
        "restart",
        "What keeps processes alive: `supervisor` (this machine only), `systemd` or `compose`. "
        "Left out: supervisor on a local host, systemd on one behind SSH.",
        None,
    )
    user: f.UserName = field(
        "restart",
        "System user that processes run as under systemd; made on each host where it is not "
        "there. Under supervisor they run as whoever brings the fleet up.",
        "dask-fleet",
    )
    containers: ContainersSpec = field(
        "restart", "Containers, where the runtime is `compose`.", default_factory=ContainersSpec
    )
    tls: f.Flag = field(
        "restart",
        "Whether scheduler, workers and clients speak TLS and nothing else, with certificates of "
        "the fleet's own authority, whose key stays with the operator.",
        False,
    )
