"""Certificates and keys that are decided but not written yet, and how all of them are written."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from dask_fleet.errors import FleetError
from dask_fleet.secret import Secret
from dask_fleet.tls.private_files import install, make_private, move, read

__all__ = [
    "Credentials",
    "Draft",
    "Drafted",
    "check_unchanged",
    "drafted",
    "exchange",
    "write",
]


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a process shows and what it trusts, in PEM.

    Attributes
    ----------
    ca : bytes
        Certificate of the authority.
    certificate : bytes
        Its own certificate.
    key : Secret
        The key of that.
    """

    ca: bytes
    certificate: bytes
    key: Secret


@dataclass(frozen=True, slots=True)
class Drafted:
    """A file that is to be written; ``was`` is what it held when that was decided."""

    path: Path
    was: Secret | None
    content: Secret
    mode: int


@dataclass(frozen=True, slots=True)
class Draft:
    """Credentials, and the files that have to be written so that they are true.

    Attributes
    ----------
    credentials : Mapping of str to Credentials
        By name of the host or the client.
    files : tuple of Drafted
        In the order in which they are to be written; none if all is there.
    """

    credentials: Mapping[str, Credentials]
    files: tuple[Drafted, ...]


def drafted(path: Path, content: bytes, mode: int) -> Drafted:
    """Return a file that is to be written, with what lies there now."""
    return Drafted(path, _there(path), Secret(content), mode)


def check_unchanged(files: Iterable[Drafted]) -> None:
    """Refuse a draft of which somebody else has written a file meanwhile.

    Raises
    ------
    FleetError
        Naming the first such file.
    """
    for file in files:
        if _there(file.path) != file.was:
            raise FleetError(
                f"{file.path}: somebody has written it since it was looked at", "run it again"
            )


def write(files: Iterable[Drafted]) -> None:
    """Write files in their order, each whole or not at all, in directories for the owner alone."""
    for file in files:
        make_private(file.path.parent)
        install(file.path, file.content.reveal(), file.mode)


def exchange(directory: Path, files: Iterable[Drafted], aside: Path) -> None:
    """Put a directory with these files into the place of another, which is moved aside.

    Parameters
    ----------
    directory : Path
        The one that is replaced, if it is there; all files are below it.
    files : iterable of Drafted
        What the new one holds.
    aside : Path
        The new name of the old one.
    """
    fresh = directory.with_name(f"{directory.name}.new")
    shutil.rmtree(fresh, ignore_errors=True)  # of a run that was killed
    make_private(fresh)
    write(
        Drafted(fresh / one.path.relative_to(directory), None, one.content, one.mode)
        for one in files
    )
    if directory.exists():
        move(directory, aside)
    move(fresh, directory)


def _there(path: Path) -> Secret | None:
    content = read(path)
    return None if content is None else Secret(content)
