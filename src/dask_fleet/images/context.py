"""A folder with a Dockerfile: what an engine is given of it, and the digest that names it.

The same files give the same bytes, whenever and by whomever they were written: times, owners and
a umask do not count.
"""

from __future__ import annotations

import hashlib
import os
import stat
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from dask_fleet.errors import EnvironmentBuildError
from dask_fleet.images.ignoring import IGNORE_FILE, Ignored

__all__ = ["EPOCH", "Entry", "context_digest", "read_context", "write_context"]

EPOCH = 315532800
"""The time that all files bear: 1 January 1980, the first that a zip file can say."""

_PIECE = 1 << 20


@dataclass(frozen=True, slots=True)
class Entry:
    """A file, folder or symbolic link of a context.

    Attributes
    ----------
    name : str
        Path below the folder.
    mode : int
        0o755 or 0o644, as git keeps it.
    link : str
        What a symbolic link points to; empty for files and folders.
    folder : bool
        Whether it is a folder.
    """

    name: str
    mode: int
    link: str = ""
    folder: bool = False


def read_context(root: Path) -> tuple[Entry, ...]:
    """Return what an engine is given of a folder, in an order that is always the same.

    Raises
    ------
    EnvironmentBuildError
        Something in it cannot be read, or is neither file, folder nor symbolic link.
    """
    ignore = root / IGNORE_FILE
    try:
        text = ignore.read_text(encoding="utf-8") if ignore.is_file() else ""
        return tuple(sorted(_walk(root, "", Ignored(text)), key=lambda one: one.name))
    except OSError as error:
        raise _unreadable(error) from error


def _walk(root: Path, below: str, ignored: Ignored) -> Iterator[Entry]:
    with os.scandir(root / below) as found:
        for one in found:
            name = f"{below}/{one.name}" if below else one.name
            mode = one.stat(follow_symlinks=False).st_mode
            # The engine itself needs the first two, whatever is left out.
            left_out = name not in ("Dockerfile", IGNORE_FILE) and ignored(name)
            if stat.S_ISDIR(mode):
                if not left_out:
                    yield Entry(name, 0o755, folder=True)
                if not left_out or ignored.takes_back:
                    yield from _walk(root, name, ignored)
            elif left_out:
                continue
            elif stat.S_ISLNK(mode):
                yield Entry(name, 0o777, link=str(Path(one.path).readlink()))
            elif stat.S_ISREG(mode):
                yield Entry(name, 0o755 if mode & stat.S_IXUSR else 0o644)
            else:
                raise EnvironmentBuildError(
                    f"{root / name} is neither a file nor a folder",
                    f"take it away, or name it in {IGNORE_FILE} there",
                )


def context_digest(root: Path) -> str:
    """Return 64 hexadecimal digits that change with anything that an engine is given.

    Raises
    ------
    EnvironmentBuildError
        Something in the folder cannot be read.
    """
    total = hashlib.sha256()
    for entry in read_context(root):
        content = entry.link.encode()
        if not entry.folder and not entry.link:
            content = _file_digest(root / entry.name)
        for part in (entry.name.encode(errors="surrogateescape"), b"%o" % entry.mode, content):
            total.update(len(part).to_bytes(8, "big"))
            total.update(part)
    return total.hexdigest()


def write_context(root: Path, path: Path) -> None:
    """Write what an engine is given of a folder into a tar file.

    Raises
    ------
    EnvironmentBuildError
        Something cannot be read or written.
    """
    try:
        with tarfile.open(path, "w", format=tarfile.GNU_FORMAT) as tar:
            for entry in read_context(root):
                member = tarfile.TarInfo(entry.name)
                member.mode, member.mtime = entry.mode, EPOCH
                if entry.folder:
                    member.type = tarfile.DIRTYPE
                    tar.addfile(member)
                elif entry.link:
                    member.type, member.linkname = tarfile.SYMTYPE, entry.link
                    tar.addfile(member)
                else:
                    with (root / entry.name).open("rb") as file:
                        member.size = os.fstat(file.fileno()).st_size
                        tar.addfile(member, file)
    except OSError as error:
        raise _unreadable(error) from error


def _file_digest(path: Path) -> bytes:
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while piece := file.read(_PIECE):
                digest.update(piece)
    except OSError as error:
        raise _unreadable(error) from error
    return digest.digest()


def _unreadable(error: OSError) -> EnvironmentBuildError:
    return EnvironmentBuildError(
        f"{error.filename}: {error.strerror}",
        f"see whether it is there and may be read, or name it in {IGNORE_FILE}",
    )
