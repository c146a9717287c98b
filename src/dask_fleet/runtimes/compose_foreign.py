"""Containers of an engine that are not of a fleet: how they are seen, and how they make way.

Such a container is stopped and kept, and Docker is told not to start it any more: `docker start`,
or the old procedure in its folder, is the way back.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import cast

from dask_fleet.command import Command, script
from dask_fleet.observed import ForeignContainer
from dask_fleet.runtimes.engines import ENGINE

__all__ = ["FOREIGN", "make_way", "read_foreign", "read_ports"]

_COMPOSE = "com.docker.compose"
_FIELDS = (
    '{{printf "%.12s" .ID}}',
    "{{.Name}}",
    "{{.Config.Image}}",
    "{{.State.Status}}",
    "{{.HostConfig.RestartPolicy.Name}}",
    "{{.State.Pid}}",
    f'{{{{index .Config.Labels "{_COMPOSE}.project"}}}}',
    f'{{{{index .Config.Labels "{_COMPOSE}.service"}}}}',
    f'{{{{index .Config.Labels "{_COMPOSE}.project.working_dir"}}}}',
    "{{.HostConfig.NetworkMode}}",
    "{{range .NetworkSettings.Networks}}{{.IPAddress}},{{end}}",
    # As JSON, for templates of Docker and of Podman name its fields differently.
    "{{json .HostConfig.PortBindings}}",
    "{{json .Path}}",
    "{{json .Args}}",
)
FOREIGN = '{{"\\t"}}'.join(("foreign", *_FIELDS))
"""Template of docker that prints a container on one line, with tabs between fields."""

_EVERY = "0.0.0.0"  # noqa: S104 - what Docker binds where no address is given
_STOP_SECONDS = 300.0

# First it is kept from coming back, so that whoever is interrupted here leaves none that returns.
_MAKE_WAY = """\
set -eu
if [ "$engine" = podman ] && ! podman update --help | grep -q -e --restart; then
  echo "this Podman cannot keep a container from being started at boot:" \\
    "remove the old ones yourself, with docker-compose down in their folder" >&2
  exit 1
fi
for id in "$@"; do
  shift
  if docker inspect "$id" >/dev/null 2>&1; then
    docker update --restart=no "$id" >/dev/null
    set -- "$@" "$id"
  fi
done
if [ $# -gt 0 ]; then docker stop "$@" >/dev/null; fi
"""


def read_foreign(lines: Iterable[str]) -> Iterator[ForeignContainer]:
    """Yield the containers that lines of `FOREIGN` stand for; other lines are passed over."""
    for line in lines:
        word, *fields = line.split("\t")
        if word != "foreign" or len(fields) != len(_FIELDS):
            continue
        identity, name, image, state, policy, pid, project, service, folder = fields[:9]
        network, addresses, ports, path, arguments = fields[9:]
        yield ForeignContainer(
            id=identity,
            name=name.removeprefix("/"),
            image=image,
            state=state,
            policy=policy,
            pid=int(pid) if pid.isdecimal() else 0,
            project=_given(project),
            service=_given(service),
            folder=_given(folder),
            on_host=network == "host",
            addresses=tuple(one for one in addresses.split(",") if one),
            ports=tuple(read_ports(ports)),
            command=tuple(_words(path)) + tuple(_words(arguments)),
        )


def _given(text: str) -> str:
    return "" if text == "<no value>" else text


def read_ports(text: str) -> Iterator[tuple[str, int]]:
    """Yield address and port of a host under which a container is reached, from its bindings."""
    found = _value(text)
    bindings = cast("dict[str, list[dict[str, str]] | None]", found) if found else {}
    for ends in bindings.values():
        for end in ends or ():
            if (port := end.get("HostPort", "")).isdecimal():
                yield end.get("HostIp", "").strip("[]") or _EVERY, int(port)


def _value(text: str) -> object:
    try:
        return json.loads(text)
    except ValueError:
        return None


def _words(text: str) -> Iterator[str]:
    value = _value(text)
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        yield from map(str, cast("list[object]", value))


def make_way(containers: Iterable[ForeignContainer]) -> Command:
    """Return the command that stops containers and keeps them from being started again."""
    return script(ENGINE + _MAKE_WAY, *(one.id for one in containers), timeout=_STOP_SECONDS)
