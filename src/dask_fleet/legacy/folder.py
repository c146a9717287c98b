"""A folder of a set-up by hand, and its compose file with the line of every value."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import yaml

from dask_fleet.legacy.compose_keys import TOP_KEYS
from dask_fleet.legacy.remarks import Place, Remarks
from dask_fleet.legacy.variables import interpolate, read_env
from dask_fleet.spec.loading import not_yaml
from dask_fleet.spec.positions import UNREADABLE, Document, read_document
from dask_fleet.spec.report import format_path

if TYPE_CHECKING:
    from dask_fleet.spec.report import Path

__all__ = ["COMPOSE_FILES", "OVERRIDES", "ComposeFile", "Folder", "read_compose"]

COMPOSE_FILES = ("compose.yaml", "compose.yml", "docker-compose.yml", "docker-compose.yaml")
"""Names of a compose file, in the order in which compose looks for them."""

OVERRIDES = tuple(name.replace(".y", ".override.y") for name in COMPOSE_FILES)
"""Names of files that compose reads beside it."""

_KNOWN = frozenset(("version", "name", "services", "volumes"))


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder as it lies on a VM.

    Attributes
    ----------
    host : str
        Name of the VM.
    shown : str
        Its path, for messages.
    name : str
        Its own name, from which compose makes that of the project.
    compose : str
        Name of its compose file.
    read : callable
        Returns the text of a file below it or beside it; ``None`` if there is none.
    """

    host: str
    shown: str
    name: str
    compose: str
    read: Callable[[str], str | None]

    def place(self, file: str, line: int = 0) -> Place:
        """Return a line of one of its files."""
        return Place(f"{self.shown}/{file}", line)


@dataclass(slots=True)
class ComposeFile:
    """A compose file: its values, where they stand, and the variables that it may name.

    Attributes
    ----------
    folder : Folder
        Where it lies.
    document : Document
        Its values, with references to variables as they are written.
    environment : dict
        What ``.env`` sets.
    remarks : Remarks
        Takes what is to be said.
    """

    folder: Folder
    document: Document
    environment: dict[str, str]
    remarks: Remarks

    @property
    def project(self) -> str:
        """The name that compose gives the project."""
        given = self.environment.get("COMPOSE_PROJECT_NAME") or self.folder.name
        return re.sub(r"[^a-z0-9_-]", "", given.lower()).lstrip("_-")

    @property
    def services(self) -> Mapping[str, Mapping[str, object]]:
        """The services by name, with references replaced; those that are no mappings are left."""
        followed = {
            name: self._followed(value, ("services", name))
            for name, value in self.mapping(("services",)).items()
        }
        return {
            name: cast("Mapping[str, object]", value)
            for name, value in followed.items()
            if isinstance(value, Mapping)
        }

    def mapping(self, path: Path) -> Mapping[str, object]:
        """Return the mapping at a path as it is written; an empty one if there is none."""
        value: object = self.document.value
        for step in path:
            value = cast("dict[object, object]", value).get(step) if isinstance(value, dict) else {}
        return cast("Mapping[str, object]", value) if isinstance(value, dict) else {}

    def place(self, path: Path, *, key: bool = False) -> Place:
        """Return the line of a value, or of its key, or of what it lies in."""
        for length in range(len(path), -1, -1):
            if (mark := self.document.marks.get(path[:length])) is not None:
                line = mark.key_line if key or length < len(path) else mark.line
                return self.folder.place(self.folder.compose, line)
        return self.folder.place(self.folder.compose)

    def _followed(self, value: object, path: Path) -> object:
        """Return a value with its references replaced; those that cannot be followed stay."""
        if isinstance(value, dict):
            items = cast("dict[str, object]", value).items()
            return {
                key: self._followed(item, (*path, key))
                for key, item in items
                if item is not UNREADABLE
            }
        if isinstance(value, list):
            items = cast("list[object]", value)
            return [self._followed(item, (*path, index)) for index, item in enumerate(items)]
        if not isinstance(value, str) or "$" not in value:
            return value
        missing: dict[str, None] = {}
        result = interpolate(value, self.environment.get, missing)
        for name in missing:
            self.remarks.decide(
                self.place(path),
                f"${{{name}}}",
                "no .env sets it: compose took it from the shell of whoever called it",
                "what depends on it is left open: write it into .env and import again, or into"
                " fleet.yaml",
            )
        return result


def read_compose(folder: Folder, remarks: Remarks) -> ComposeFile:
    """Read the compose file and the ``.env`` of a folder.

    Raises
    ------
    SpecError
        The compose file is not YAML.
    """
    text = folder.read(folder.compose) or ""
    source = str(folder.place(folder.compose))
    try:
        document = read_document(text, lambda scalar: scalar)
    except yaml.YAMLError as error:
        raise not_yaml(error, text, source) from None
    compose = ComposeFile(folder, document, {}, remarks)
    for path, line, fault, remedy in document.faults:
        what = format_path(path) or "the file"
        why = f"{fault}: nobody knows what is meant"
        remarks.decide(folder.place(folder.compose, line), what, why, remedy or "it is left out")
    compose.environment = dict(_environment(folder, text, remarks))
    for name in OVERRIDES:
        if folder.read(name) is not None:
            remarks.lost(
                folder.place(name),
                name,
                "compose reads it too, and what it says goes before",
                "it is not read: join both files by `docker compose config` and import that",
            )
    if not compose.mapping(("services",)):
        remarks.lost(folder.place(folder.compose), "no services", "nothing of it is run by compose")
    for key in compose.mapping(()):
        if key in TOP_KEYS:
            kind, why, becomes = TOP_KEYS[key]
            say = remarks.changed if kind == "changed" else remarks.lost
            say(compose.place((key,), key=True), f"{key}:", why, becomes)
        elif key not in _KNOWN and not key.startswith("x-"):
            why = "it is no key of compose files that this tool knows"
            remarks.lost(compose.place((key,), key=True), f"{key}:", why)
    return compose


def _environment(folder: Folder, compose: str, remarks: Remarks) -> Iterator[tuple[str, str]]:
    """Yield what ``.env`` sets, and say what of it is not understood or not used."""
    for one in read_env(folder.read(".env") or ""):
        if isinstance(one, int):
            place = folder.place(".env", one)
            remarks.lost(place, "a line that sets nothing", "compose refuses such a file")
            continue
        if one.value is not None:
            yield one.name, one.value
        used = re.search(rf"\$\{{?{re.escape(one.name)}\b", compose)
        if one.name.startswith("COMPOSE_"):
            if one.name != "COMPOSE_PROJECT_NAME":
                why = "compose itself is set by it"
                remarks.lost(folder.place(".env", one.line), one.name, why)
        elif not used and not re.search(r"[\s\"'/]\.env\b", compose):
            why = "the compose file does not use it"
            remarks.lost(folder.place(".env", one.line), one.name, why)
