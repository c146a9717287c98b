"""A fleet as folders to be carried to its hosts, for who may not reach them with SSH from here."""

from __future__ import annotations

import os
import shlex
import shutil
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from dask_fleet.assembly import open_fleet
from dask_fleet.command import GROUP_OF
from dask_fleet.errors import FleetError

if TYPE_CHECKING:
    from dask_fleet.command import Command
    from dask_fleet.fleet import Fleet
    from dask_fleet.observer import HostAccess
    from dask_fleet.spec.model import Spec
    from dask_fleet.target import HostTarget

__all__ = ["render"]

_MARK = ".dask-fleet-rendered"
"""The file by which a folder is known that may be replaced."""

_END = "END_OF_DASK_FLEET"


def render(path: Path | None, environ: Mapping[str, str], directory: Path) -> tuple[Path, ...]:
    """Write a folder for each host with what an `up` would put there.

    Parameters
    ----------
    path : Path or None
        A fleet.yaml.
    environ : Mapping
        The caller's environment, for ``${VAR}``.
    directory : Path
        Where the folders go; one of an earlier `render` is replaced, another is not.

    Returns
    -------
    tuple of Path
        The folders, in the order of the spec.

    Raises
    ------
    SpecError
        With every problem of the file.
    FleetError
        Something depends on what only an `up` sees or makes, or the directory is somebody else's.
    """
    fleet = open_fleet(path, environ)
    _refuse(fleet)
    layout = fleet.layout
    used = [name for name in fleet.hosts if layout.units_on(name)]
    targets = fleet.blueprint.targets(
        layout,
        {name: fleet.hosts[name].places for name in used},
        {name: fleet.hosts[name].runtime for name in used},
        {},
    )
    if directory.exists() and not (directory / _MARK).exists():
        raise FleetError(
            f"{directory} is there, and no `render` has made it",
            "name a directory that is not there yet",
        )
    try:
        directory.parent.mkdir(parents=True, exist_ok=True)
        making = Path(tempfile.mkdtemp(prefix=f".{directory.name}-", dir=directory.parent))
        try:
            (making / _MARK).touch()
            for target in targets:
                _write(making / target.host, target, fleet.hosts[target.host], layout.name)
            # Whole or not at all; what was there before goes last.
            if directory.exists():
                old = Path(tempfile.mkdtemp(prefix=f".{directory.name}-", dir=directory.parent))
                directory.rename(old / "before")
                making.rename(directory)
                shutil.rmtree(old)
            else:
                making.rename(directory)
        finally:
            shutil.rmtree(making, ignore_errors=True)
    except OSError as error:
        raise FleetError(
            f"{error.filename or directory}: {error.strerror}", "name another directory"
        ) from error
    return tuple(directory / target.host for target in targets)


def _refuse(fleet: Fleet) -> None:
    """Raise an error for what is decided only when hosts are looked at, or made by an `up`."""
    layout, spec = fleet.layout, fleet.blueprint.spec
    if layout.tls:
        raise FleetError(
            "with `tls: true` each host has a key, which is not written into a folder",
            "bring this fleet up with `dask fleet up`",
        )
    if layout.door is not None:
        raise FleetError(
            "the door is put into place by an `up`, which has nginx check it",
            "take `door` out of fleet.yaml; `dask fleet door --print` prints nginx's file",
        )
    here = [name for name, access in fleet.hosts.items() if not access.remote]
    if here:
        raise FleetError(
            f"{here[0]} is this machine, where nothing has to be carried to", "`dask fleet up`"
        )
    if unknown := tuple(_unknown(spec, fleet)):
        raise FleetError(
            "\n".join(unknown), "declare them, or write a number in the place of `auto`"
        )


def _unknown(spec: Spec, fleet: Fleet) -> Iterable[str]:
    from dask_fleet.spec.expand import expand_hosts

    hosts = expand_hosts(spec)
    said: set[str] = set()
    for worker in fleet.layout.workers:
        group, host = spec.workers[worker.group], hosts[worker.host].spec
        for key, value, known in (
            ("nthreads", group.nthreads, host.cpus),
            ("memory_limit", group.memory_limit, host.memory),
        ):
            fault = (
                f"workers.{worker.group}.{key}: auto, and what {worker.host} has is not declared"
            )
            if value == "auto" and known is None and fault not in said:
                said.add(fault)
                yield fault
    for name, host in hosts.items():
        if host.spec.interface:
            yield f"hosts.{name}.interface: its address is looked up on the host"


def _write(folder: Path, target: HostTarget, access: HostAccess, fleet: str) -> None:
    folder.mkdir(mode=0o700)
    for file in target.files:
        path = folder / "root" / file.path.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(file.content)
        path.chmod(file.mode)
    script = folder / "install.sh"
    script.write_text(_script(target, access, fleet), encoding="utf-8")
    script.chmod(0o755)
    (folder / "README.md").write_text(_readme(target, access, fleet), encoding="utf-8")


def _script(target: HostTarget, access: HostAccess, fleet: str) -> str:
    runtime, places = access.runtime, access.places
    reader = runtime.reader
    who = "root" if reader else "the login whose engine it is"
    lines = [
        "#!/bin/sh",
        f"# Puts the fleet {fleet} on {target.host}. Run it there, as {who}. Units start anew.",
        "set -eu",
        'cd "$(dirname "$0")"',
        "# The user and the directories that processes need.",
        _by_hand(runtime.prepare(places)),
        "# Files that are wholly the fleet's.",
        *([f"{GROUP_OF}group=$(group_of {shlex.quote(reader)})"] if reader else []),
    ]
    owned, mode = ('-o 0 -g "$group" ', "750") if reader else ("", "700")
    folders = sorted({os.path.dirname(file.path) for file in target.files})  # noqa: PTH120
    below = [one for one in folders if one.startswith(f"{places.deployed}/")]
    lines += [f"install -d {owned}-m {mode} {shlex.quote(one)}" for one in below]
    for file in target.files:
        path = shlex.quote(file.path)
        lines.append(f"install {owned}-m {file.mode:o} root{path} {path}")
    lines += [
        "# Start what is new, replace what has changed.",
        _by_hand(runtime.update(places, [unit.name for unit in target.units])),
    ]
    return "\n".join(lines) + "\n"


def _by_hand(command: Command) -> str:
    """Return a script command as text of a shell script that runs it."""
    text = command.stdin.decode()
    return f"{shlex.join(command.argv)} <<'{_END}'\n{text.rstrip()}\n{_END}"


def _readme(target: HostTarget, access: HostAccess, fleet: str) -> str:
    environment, places = target.environment, access.places
    ports = ", ".join(str(port) for unit in target.units for _, port in unit.ports)
    units = ", ".join(unit.name for unit in target.units)
    sudo = "sudo " if access.runtime.reader else ""
    if environment.image:
        got = "docker load" if environment.recipe else f"docker pull {environment.image}"
        first = f"The image {environment.image} is there: `{got}`."
        after = (
            f"Everything is in `{places.deployed}/compose`: `docker compose up -d` there starts it"
            " again, `docker compose logs` shows what it says."
        )
    else:
        first = (
            f"The environment is there, in `{places.environment(environment.digest)}`, with a"
            " `.dask-fleet-complete` in it; an `up` from elsewhere, or a copy of another host's,"
            " brings it."
        )
        after = "`systemctl status 'dask-fleet.*'` shows it, `journalctl` what it says."
    return f"""\
# {target.host}, of the fleet {fleet}

What `dask fleet up` would put on this host ({units}; ports {ports}).

1. {first}
2. Copy this folder to the host.
3. `{sudo}./install.sh` puts the files below `root` into place and starts what they say;
   what runs already is started anew.

After a change of fleet.yaml: `dask fleet render` again, and again from step 2.

{after} It starts at boot, and comes back after a fault. Keep the folder to yourself: `variables` of
the fleet stand in it.
"""
