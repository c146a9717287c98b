"""Files of the operator that hold keys: written whole or not at all, and read by nobody else."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

from dask_fleet.errors import FleetError

if TYPE_CHECKING:
    from collections.abc import Generator

__all__ = ["install", "is_private", "locked", "make_private", "move", "read", "read_key"]

_OTHERS = 0o077


def make_private(directory: Path) -> None:
    """Make a directory for its owner alone, or find that it is one.

    Raises
    ------
    FleetError
        It cannot be made, or others may enter it.
    """
    try:
        directory.parent.mkdir(parents=True, exist_ok=True)
        directory.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise _fault(directory, "cannot be made", error) from error
    is_private(directory)


def is_private(directory: Path) -> bool:
    """Return whether a directory is there, for its owner alone.

    Raises
    ------
    FleetError
        Others may enter it.
    """
    try:
        mode = directory.stat().st_mode
    except FileNotFoundError:
        return False
    except OSError as error:
        raise _fault(directory, "cannot be looked at", error) from error
    if mode & _OTHERS:
        raise FleetError(
            f"{directory}: others than its owner may enter it, and it holds keys",
            f"chmod 700 {directory}",
        )
    return True


@contextlib.contextmanager
def locked(directory: Path) -> Generator[None]:
    """Keep other runs, and other threads of this one, out while the block runs.

    The lock is on the directory itself, and the kernel gives it back when a run is killed.
    """
    import fcntl

    try:
        handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise _fault(directory, "cannot be opened", error) from error
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
        except OSError as error:
            raise _fault(directory, "cannot be locked", error) from error
        yield
    finally:
        os.close(handle)


def install(path: Path, content: bytes, mode: int) -> None:
    """Write a file by temporary file, ``fsync`` and rename; it never has a wider mode.

    Two runs must not install the same file at once: see `locked`.
    """
    temporary = path.with_name(f".{path.name}.new")
    try:
        # A run that was killed has left it. O_EXCL, so that the mode is the one that is given.
        temporary.unlink(missing_ok=True)
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        try:
            with os.fdopen(handle, "wb") as stream:
                stream.write(content)
                stream.flush()
                os.fsync(stream.fileno())
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        parent = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(parent)
        finally:
            os.close(parent)
    except OSError as error:
        raise _fault(path, "cannot be written", error) from error


def move(path: Path, to: Path) -> None:
    """Give a directory another name, under which nothing is yet."""
    try:
        path.rename(to)
    except OSError as error:
        raise _fault(path, f"cannot be renamed {to.name}", error) from error


def read(path: Path) -> bytes | None:
    """Return what a file holds, or ``None`` if there is none."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _fault(path, "cannot be read", error) from error


def read_key(path: Path) -> bytes | None:
    """Return what a key file holds, or ``None`` if there is none.

    Raises
    ------
    FleetError
        It cannot be read, or others than its owner could.
    """
    try:
        with path.open("rb") as stream:
            if os.fstat(stream.fileno()).st_mode & _OTHERS:
                raise FleetError(
                    f"{path}: others than its owner may read this key",
                    f"chmod 600 {path} (and if somebody may have read it, have it replaced)",
                )
            return stream.read()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _fault(path, "cannot be read", error) from error


def _fault(path: Path, what: str, error: OSError) -> FleetError:
    return FleetError(
        f"{path}: {what}: {error.strerror or error}",
        "see to its owner, its permissions and the room on that disk",
    )
