"""Containers under Docker's compose: a service for the scheduler, and one for each worker group.

The engine starts them at boot and after a fault; compose makes them from a file that people can
read. Both compose's plugin and the older docker-compose will do, and Podman in Docker's place.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence

from dask_fleet.command import UNBOUNDED, Command, script
from dask_fleet.observed import LogLine, RuntimeObserved, UnitObserved, UnitState
from dask_fleet.places import Places
from dask_fleet.runtimes.compose_file import (
    LABELS,
    STOP_SECONDS,
    Contained,
    compose_file,
    container,
    environment_file,
    service,
    volumes,
)
from dask_fleet.runtimes.compose_foreign import FOREIGN, read_foreign, read_ports
from dask_fleet.runtimes.compose_scripts import (
    END,
    LOG,
    PREPARE,
    PREPARE_OWN,
    RESTART,
    UPDATE,
    WRITABLE,
)
from dask_fleet.runtimes.engines import (
    ENGINE,
    LOOK,
    same_names,
    unfit,
    unfit_of_a_login,
)
from dask_fleet.target import ManagedFile, UnitTarget

__all__ = ["ComposeRuntime"]

_FOLDER = "compose"
"""Folder of the two files among what is deployed."""

# Fields have the names of both engines' own code. Another, such as `Id`, Docker looks up in what
# was sent, where a field without a value is an error; to Podman it is one.
_TEMPLATES = (
    f'{{{{index .Config.Labels "{LABELS}.unit"}}}}',
    '{{printf "%.12s" .ID}}',
    "{{.State.Status}}",
    "{{.State.Pid}}",
    "{{.State.ExitCode}}",
    "{{.RestartCount}}",
    '{{or .HostConfig.RestartPolicy.Name "no"}}',
    '{{with .State.Health}}{{or .Status "-"}}{{else}}-{{end}}',
    '{{index .Config.Labels "com.docker.compose.config-hash"}}',
    "{{range .NetworkSettings.Networks}}{{.IPAddress}},{{end}}",
    "{{json .HostConfig.PortBindings}}",
)
_INSPECT = (
    f'{{{{$fleet := index .Config.Labels "{LABELS}.fleet"}}}}{{{{if eq $fleet "FLEET"}}}}'
    f"container {' '.join(_TEMPLATES)}{{{{else if not $fleet}}}}{FOREIGN}{{{{end}}}}"
)
_IMAGES = "image {{.ID}} {{.Repository}}:{{.Tag}} {{.Repository}}@{{.Digest}}"

# Podman's are in the time of the host.
_LINE = re.compile(r"(\S+) (\d{4}-\d\d-\d\dT\S+(?:Z|[+-]\d\d:\d\d)) ?(.*)")

_STATES: Mapping[str, UnitState] = {
    "running": "running",
    "restarting": "crashing",
    "configured": "stopped",
    "created": "stopped",
    "initialized": "stopped",
    "exited": "stopped",
    "stopped": "stopped",
    "paused": "stopped",
    "dead": "stopped",
    "stopping": "stopping",
    "removing": "stopping",
}


class ComposeRuntime:
    """Runs a fleet's units as containers of compose.

    Parameters
    ----------
    fleet : str
        Name of the fleet.
    container : Contained
        Image, user and volumes of the containers.
    """

    name = "compose"
    shown = "containers"
    resident = True
    contained = True
    absent = (
        "Docker does not answer there, nor Podman under its name, or there is no compose",
        "`apt-get install docker.io docker-compose` there, or Docker's own packages, then"
        " `systemctl enable --now docker`; or podman, podman-docker and docker-compose",
    )

    def __init__(self, fleet: str, container: Contained) -> None:
        self.fleet = fleet
        self.container = container

    @property
    def reader(self) -> str:
        """Group of the containers' user, by its number: the host need not know it."""
        return "" if self.container.rootless else self.container.user.partition(":")[2]

    @property
    def owner(self) -> str:
        """The containers' user and group, by their numbers."""
        return "" if self.container.rootless else self.container.user

    def interpreter(self, places: Places, environment: str) -> str:
        """Return the image's own."""
        del places, environment
        return self.container.interpreter

    @property
    def _label(self) -> str:
        return f"{LABELS}.fleet={self.fleet}"

    def _made(self, places: Places) -> str:
        return f"{places.state}/made"

    def files(
        self, places: Places, fleet: str, units: Sequence[UnitTarget]
    ) -> tuple[ManagedFile, ...]:
        """Return ``docker-compose.yml`` and ``.env``."""
        text = compose_file(places, fleet, units, self.container)
        folder = f"{places.deployed}/{_FOLDER}"
        return (
            ManagedFile(f"{folder}/docker-compose.yml", text.encode(), mode=0o640),
            ManagedFile(
                f"{folder}/.env", environment_file(fleet, self.container).encode(), mode=0o640
            ),
        )

    def definition(self, places: Places, fleet: str, unit: UnitTarget) -> bytes:
        """Return the unit's service, and what its volumes and variables stand for."""
        text = service(places, fleet, unit, self.container) + volumes(fleet, self.container)
        return (text + environment_file(fleet, self.container)).encode()

    def inside(self, units: Sequence[str]) -> tuple[str, ...]:
        """Return what runs a command in the container of the first unit, or in a new one."""
        if units:
            return ("docker", "exec", "-i", container(self.fleet, units[0]))
        return ("docker", "run", "--rm", "-i", "--entrypoint=", self.container.image)

    def own_files(self, places: Places) -> frozenset[str]:
        """Return nothing: the engine itself is not restarted for us."""
        del places
        return frozenset()

    def bound(self, address: str) -> str:
        """Return what a process in a container binds: all that its container has."""
        return "::" if ":" in address else "0.0.0.0"  # noqa: S104

    def look(self, places: Places) -> str:
        """Return shell text that prints images, containers and who made them."""
        made = shlex.quote(self._made(places))
        owned = " ".join(map(shlex.quote, (places.run, places.work)))
        owner, writable = shlex.quote(self.container.user), ""
        if self.container.rootless:
            owner, writable = '"$(id -u):$(id -g)"', WRITABLE.format(shlex.quote(places.fleets))
        return f"""\
echo "login $(id -u)"
{writable}case $(stat -c %u:%g {owned} 2>/dev/null) in {owner}"
"{owner}) echo "prepared 1" ;; esac
{ENGINE}{LOOK}if [ -n "$engine" ]; then
  docker image ls --no-trunc --digests --format '{_IMAGES}'
  set -- $(docker ps --all --quiet)
  if [ $# -gt 0 ]; then docker inspect --format '{_INSPECT.replace("FLEET", self.fleet)}' "$@"; fi
  for path in {made}/*; do
    if [ -f "$path" ]; then read -r hash <"$path"; echo "made ${{path##*/}} $hash"; fi
  done
fi
"""

    def read(self, text: str) -> RuntimeObserved:
        """Return what the engine says as values."""
        facts: dict[str, str] = {}
        images: set[str] = set()
        made: dict[str, str] = {}
        containers: list[list[str]] = []
        for line in text.split("\n"):
            word, *rest = line.split() or [""]
            if word == "image":
                images.update(name for one in rest for name in same_names(one))
            elif word == "container" and len(rest) == len(_TEMPLATES):
                containers.append(rest)
            elif word == "made" and len(rest) == 2:
                made[rest[0]] = rest[1]
            elif word and rest:
                facts[word] = rest[0]
        rootless = self.container.rootless
        return RuntimeObserved(
            alive="engine" in facts and "compose" in facts,
            units={one[0]: _observed(one, made.get(one[0], "")) for one in containers},
            prepared="prepared" in facts,
            privileged=rootless or facts.get("login") == "0",
            images=frozenset(images),
            foreign=tuple(read_foreign(text.split("\n"))),
            unfit=(
                unfit_of_a_login(facts, limit_cpus=self.container.limit_cpus)
                if rootless
                else unfit(facts)
            ),
        )

    def prepare(self, places: Places) -> Command:
        """Return the command that makes the directories of the fleet."""
        if self.container.rootless:
            words = (places.fleets, places.deployed, places.run, places.work)
            return script(PREPARE_OWN, *words)
        words = (self.container.user, places.fleets, places.state, places.deployed)
        return script(PREPARE, *words, places.run, places.work)

    def begin(self, places: Places) -> Command:
        """Return nothing to do: the engine runs, or the host is refused."""
        raise AssertionError(f"an engine is not ours to start ({places.state})")

    def end(self, places: Places) -> Command:
        """Return the command that stops and removes every container of the fleet."""
        project = f"dask-fleet-{self.fleet}"
        return script(ENGINE + END, self._label, project, places.door, timeout=STOP_SECONDS + 60)

    def update(self, places: Places, units: Sequence[str]) -> Command:
        """Return the command that makes containers anew; those of units that are gone go."""
        folder = f"{places.deployed}/{_FOLDER}"
        text = ENGINE + UPDATE
        words = (folder, self._label, self._made(places), *units)
        return script(text, *words, timeout=STOP_SECONDS + 120)

    def restart(self, places: Places, units: Sequence[str]) -> Command:
        """Return ``docker restart`` for the containers of these units."""
        del places
        return script(ENGINE + RESTART, self._label, *units, timeout=STOP_SECONDS + 60)

    def log(
        self, places: Places, units: Sequence[str], *, lines: int, follow: bool, after: str = ""
    ) -> Command:
        """Return the command that prints lines of containers, each behind its unit and time."""
        del places
        how = "follow" if follow else "print"
        command = script(ENGINE + LOG, how, str(lines), after, self._label, *units)
        return Command(command.argv, command.stdin, UNBOUNDED if follow else command.timeout)

    def read_log(self, line: str) -> LogLine:
        """Return what a line that ``log`` printed says."""
        found = _LINE.fullmatch(line)
        return LogLine(found[1], found[3], found[2]) if found else LogLine("", line)


def _observed(fields: Sequence[str], made: str) -> UnitObserved:
    name, identity, status, pid, code, restarts, policy, health, digest, addresses, ports = fields
    detail = status
    if status == "exited":
        detail = f"exited with {code}"
    elif health not in ("-", "healthy"):
        detail = f"{status}, {health}"
    fault = ""
    if policy != "always":
        fault = f"it would not start at boot (its restart policy is {policy})"
    elif status == "paused":
        fault = "it is paused"
    elif made and made != digest:
        fault = "its container was not made from these files"
    return UnitObserved(
        name=name,
        state=_STATES.get(status, "absent"),
        pid=int(pid) if pid.isdecimal() else 0,
        detail=detail if restarts == "0" else f"{detail}, {restarts} restarts",
        fault=fault,
        container=identity,
        addresses=tuple(one for one in addresses.split(",") if one),
        ports=tuple(port for _, port in read_ports(ports)),
    )
