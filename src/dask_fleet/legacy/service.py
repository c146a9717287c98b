"""One service of a compose file: what its container is given, and what it runs."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

from dask_fleet.legacy.dockerfile import Dockerfile, read_dockerfile
from dask_fleet.legacy.folder import ComposeFile
from dask_fleet.legacy.remarks import Place
from dask_fleet.legacy.shells import DaskCommand, find_command
from dask_fleet.legacy.variables import read_env
from dask_fleet.legacy.volumes import Published, Volume

if TYPE_CHECKING:
    from dask_fleet.spec.report import Path

__all__ = ["Service", "read_service"]


@dataclass(slots=True)
class Service:
    """A service of a compose file.

    Attributes
    ----------
    name : str
        Its name.
    compose : ComposeFile
        Where it stands.
    command : DaskCommand
        What its container runs of Dask's.
    dockerfile : Dockerfile or None
        What its image is built from, if it is.
    dockerfile_name, dockerfile_text : str
        Path of that file in the folder, and what it says.
    build_options : str
        What else is said of how the image is built.
    image : str
        Name of its image as compose has it; empty if it only builds one.
    variables : dict
        Environment of its container, and where each is set.
    ports, volumes : list
        What is published and mounted.
    user : str
        ``UID:GID``; empty where the image says it.
    nofile, memory : int
        Files that may be open; bytes of memory that the container may use. 0: not said.
    memory_place : Place or None
        Where the memory is said.
    cpus : float
        Share of the host's CPUs; 0: all.
    replicas : int
        How many containers of it there are.
    on_host : bool
        Whether it is in the network of the host.
    """

    name: str
    compose: ComposeFile
    command: DaskCommand = field(default_factory=DaskCommand)
    dockerfile: Dockerfile | None = None
    dockerfile_name: str = ""
    dockerfile_text: str = ""
    build_options: str = ""
    image: str = ""
    variables: dict[str, tuple[str, Place]] = field(default_factory=dict[str, tuple[str, Place]])
    ports: list[Published] = field(default_factory=list[Published])
    volumes: list[Volume] = field(default_factory=list[Volume])
    user: str = ""
    nofile: int = 0
    memory: int = 0
    memory_place: Place | None = None
    cpus: float = 0
    replicas: int = 1
    on_host: bool = False

    @property
    def path(self) -> Path:
        """Where it stands in its file."""
        return ("services", self.name)

    def place(self, *keys: str | int) -> Place:
        """Return the line of one of its values."""
        return self.compose.place((*self.path, *keys))

    def published(self, port: int) -> int | None:
        """Return the port of the host under which one of the container's is reached."""
        if self.on_host:
            return port
        return next((one.port for one in self.ports if one.inside == port), None)


def read_service(compose: ComposeFile, name: str, values: Mapping[str, object]) -> Service:
    """Read a service, whether it is Dask's or not; what is said of it is in the remarks later."""
    service = Service(name, compose)
    image = values.get("image")
    service.image = str(image) if image else ""
    service.variables = dict(_variables(service, values))
    _read_build(service, values.get("build"))
    built = service.dockerfile or Dockerfile()
    entrypoint = _argv(values.get("entrypoint"))
    command = _argv(values.get("command"))
    if entrypoint is None:
        entrypoint = built.entrypoint or ()
        command = built.command if command is None else command
    argv = (*entrypoint, *(command or ()))
    known = {**built.variables, **{key: text for key, (text, _) in service.variables.items()}}
    if len(argv) == 1 and re.search(r"\s", argv[0]):
        argv = ("/bin/sh", "-c", argv[0])  # the image has a shell as its entry point
    service.command = find_command(argv, known.get)
    # What the shell sets before Dask is in the environment of Dask alone.
    place = service.place("command")
    service.variables |= {key: (text, place) for key, text in service.command.variables.items()}
    return service


def _variables(
    service: Service, values: Mapping[str, object]
) -> Iterator[tuple[str, tuple[str, Place]]]:
    """Yield the variables of a container: those of files, then those of ``environment``."""
    compose, path = service.compose, service.path
    files = values.get("env_file")
    entries = cast("list[object]", files) if isinstance(files, list) else [files] if files else []
    for index, entry in enumerate(entries):
        if isinstance(entry, Mapping):
            entry = cast("Mapping[str, object]", entry).get("path")
        place = compose.place((*path, "env_file", index))
        text = compose.folder.read(str(entry))
        if text is None:
            why = "variables of the container stand in it, and it is not there"
            compose.remarks.decide(place, f"env_file: {entry}", why, "add them to `variables:`")
            continue
        for one in read_env(text, compose.environment):
            if isinstance(one, int):
                where = compose.folder.place(str(entry), one)
                compose.remarks.lost(where, "a line that sets nothing", "compose refuses it")
                continue
            where = compose.folder.place(str(entry), one.line)
            value = compose.environment.get(one.name) if one.value is None else one.value
            if value is not None:
                yield one.name, (value, where)
    given = values.get("environment")
    if isinstance(given, Mapping):
        pairs = [(k, k, v) for k, v in cast("Mapping[str, object]", given).items()]
    elif isinstance(given, list):
        texts = [str(one) for one in cast("list[object]", given)]
        pairs = [
            (index, text.partition("=")[0], text.partition("=")[2] if "=" in text else None)
            for index, text in enumerate(texts)
        ]
    else:
        pairs = []
    for step, name, value in pairs:
        place = compose.place((*path, "environment", step))
        if value is None and (value := compose.environment.get(name)) is None:
            compose.remarks.decide(
                place,
                f"environment: {name}",
                "its value came from the shell of whoever called compose",
                "it is left out; add it to `variables:`",
            )
            continue
        yield name, (str(value).lower() if isinstance(value, bool) else str(value), place)


def _read_build(service: Service, build: object) -> None:
    """Read the Dockerfile of a service that is built."""
    if not build:
        return
    short: Mapping[str, object] = {"context": build}
    entry = cast("Mapping[str, object]", build) if isinstance(build, Mapping) else short
    compose = service.compose
    context = str(entry.get("context") or ".").rstrip("/")
    name = str(entry.get("dockerfile") or "Dockerfile")
    path = name if context == "." else f"{context}/{name}".removeprefix("./")
    given = entry.get("args")
    if isinstance(given, Mapping):
        arguments = {k: str(v) for k, v in cast("Mapping[str, object]", given).items()}
    else:
        texts = [str(one) for one in cast("list[object]", given)] if isinstance(given, list) else []
        arguments = dict(one.split("=", 1) for one in texts if "=" in one)
    inline = entry.get("dockerfile_inline")
    text = str(inline) if inline else compose.folder.read(path)
    if text is None:
        compose.remarks.decide(
            service.place("build"),
            f"build: {context}",
            f"the image is built from {path}, which is not here",
            "name an image in `environment: image:`",
        )
        return
    service.dockerfile_name, service.dockerfile_text = path, text
    service.dockerfile = read_dockerfile(text, arguments)
    known = {"context", "dockerfile"}
    service.build_options = ", ".join(sorted(key for key in entry if key not in known))


def _argv(value: object) -> tuple[str, ...] | None:
    """Return a command as compose splits it; ``None`` where none is given."""
    if value is None:
        return None
    if isinstance(value, list):
        return tuple(str(one) for one in cast("list[object]", value))
    try:
        return tuple(shlex.split(str(value)))
    except ValueError:
        return ("/bin/sh", "-c", str(value))  # what is wrong with it is found where it is read
