"""The use case that reads the folders of a set-up by hand and says what fleet they make up."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from dask_fleet.errors import FleetError, Problem, SpecError
from dask_fleet.legacy.folder import COMPOSE_FILES, ComposeFile, Folder, read_compose
from dask_fleet.legacy.joining import join
from dask_fleet.legacy.remarks import Remark, Remarks
from dask_fleet.legacy.writing import fleet_text

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Imported", "import_folders"]


@dataclass(frozen=True, slots=True)
class Imported:
    """What was read.

    Attributes
    ----------
    text : str
        The text of fleet.yaml.
    folders : tuple of str
        What was read.
    hosts, workers : int
        How many there are.
    scheduler : bool
        Whether a scheduler was found.
    remarks : tuple of Remark
        What is not simply taken over, in the order in which it was found.
    problems : tuple of Problem
        What `dask fleet check` finds wrong with the text.
    """

    text: str
    folders: tuple[str, ...]
    hosts: int
    workers: int
    scheduler: bool
    remarks: tuple[Remark, ...]
    problems: tuple[Problem, ...]


def import_folders(
    given: Sequence[tuple[str, Path]],
    *,
    name: str,
    addresses: Mapping[str, str],
    beside: Path = Path(),
) -> Imported:
    """Read folders of a set-up by hand.

    Parameters
    ----------
    given : sequence of (str, Path)
        Name of the host that each folder lies on, or nothing, and the folder. One without a
        compose file stands for the folders in it that have one.
    name : str
        Name of the fleet.
    addresses : Mapping of str to str
        Addresses of hosts that the caller knows.
    beside : Path
        Folder in which fleet.yaml is to lie.

    Raises
    ------
    SpecError
        A compose file is not YAML.
    FleetError
        A folder has no compose file, or in none of them Dask is run.
    """
    from dask_fleet.spec.loading import parse

    folders = _folders(given)
    remarks = Remarks()
    problems: list[Problem] = []
    files: list[ComposeFile] = []
    for folder in folders:
        try:
            files.append(read_compose(folder, remarks))
        except SpecError as error:  # noqa: PERF203 - the faults of all files at once
            problems.extend(error.problems)
    if problems:
        raise SpecError(tuple(problems))
    joined = join(files, addresses, remarks)
    shown = tuple(str(folder.place(folder.compose)) for folder in folders)
    if not joined.addresses:
        seen = "\n".join(f"{one.place} {one.what}: {one.why}" for one in remarks.found)
        raise FleetError(
            f"no dask scheduler or worker is run in {', '.join(shown)}\n{seen}".rstrip(),
            "name the folders whose compose files run them",
        )
    if unknown := sorted(addresses.keys() - joined.addresses.keys()):
        raise FleetError(
            f"an address is given for {', '.join(unknown)}, and there is no such host",
            f"the hosts are {', '.join(joined.addresses)}",
        )
    if joined.software.build:
        joined.software.build = os.path.relpath(joined.software.build, beside)
    text = fleet_text(name, joined, shown)
    try:
        parse(text, {}, source="fleet.yaml")
    except SpecError as error:
        problems.extend(error.problems)
    return Imported(
        text=text,
        folders=shown,
        hosts=len(joined.addresses),
        workers=joined.count,
        scheduler=bool(joined.scheduler),
        remarks=tuple(remarks.found),
        problems=tuple(problems),
    )


def _folders(given: Sequence[tuple[str, Path]]) -> list[Folder]:
    """Return the folders that have a compose file, each with the name of its host."""
    found: list[tuple[str, Path]] = []
    for host, path in given:
        if not path.is_dir():
            fault = "it is a file" if path.exists() else "it is not there"
            raise FleetError(f"{path}: {fault}", "name a folder that has a docker-compose.yml")
        if _compose(path):
            found.append((host, path))
            continue
        below = sorted(one for one in path.iterdir() if one.is_dir() and _compose(one))
        if not below:
            raise FleetError(
                f"{path}: neither it nor a folder in it has a compose file",
                f"one of {', '.join(COMPOSE_FILES)} is looked for",
            )
        # The copy of a VM has one such folder, and is itself called as the VM is.
        alone = path.absolute().name if len(below) == 1 else ""
        found.extend((host or alone, one) for one in below)
    names = _names([path.absolute() for _, path in found])
    return [
        Folder(
            host=host or name,
            shown=str(path),
            name=path.absolute().name,
            compose=_compose(path),
            read=_reader(path),
        )
        for (host, path), name in zip(found, names, strict=True)
    ]


def _compose(path: Path) -> str:
    return next((name for name in COMPOSE_FILES if (path / name).is_file()), "")


def _names(paths: Sequence[Path]) -> list[str]:
    """Return a name for each path: the last part of it in which all differ."""
    deepest = min((len(path.parts) for path in paths), default=1)
    for back in range(1, deepest):
        names = [_host_name(path.parts[-back]) for path in paths]
        if len(set(names)) == len(names):
            return names
    return [f"{_host_name(path.name)}-{index}" for index, path in enumerate(paths, start=1)]


def _host_name(text: str) -> str:
    kept = "".join(c if c.isascii() and (c.isalnum() or c in "._-") else "-" for c in text)
    return kept.strip("._-") or "host"


def _reader(folder: Path) -> Callable[[str], str | None]:
    """Return what reads files of a folder; a path that begins at the root is of another machine."""

    def read(name: str) -> str | None:
        if name.startswith(("/", "~")) or "://" in name:
            return None
        path = folder / name
        if not path.is_file():
            return None
        try:
            return path.read_bytes().decode("utf-8-sig")
        except UnicodeDecodeError:
            raise FleetError(f"{path}: this is not UTF-8 text", "save it as UTF-8") from None
        except OSError as error:
            raise FleetError(f"{path} cannot be read: {error.strerror}", "") from error

    return read
