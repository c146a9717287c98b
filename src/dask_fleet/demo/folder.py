"""The folder of the result: either all of it is there or nothing is.

Everything is written into a hidden sibling, which is renamed at the end. A run that was killed
leaves such a sibling behind; the next run removes it. A lock that the kernel drops with the
process tells a dead run's folder from one that another run is just writing.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from engine import JobError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["MARKER", "OutputFolder", "output_folder"]

MARKER = ".dask-fleet-demo"
"""A file that says: this folder was made by this job, so this job may replace it."""


@dataclass(frozen=True)
class OutputFolder:
    """A temporary folder and the place that it will take."""

    path: Path
    target: Path

    def publish(self) -> None:
        """Replace the target by the temporary folder."""
        (self.path / MARKER).touch()
        # The name begins like that of a temporary folder: the next run removes it if we die here.
        old = self.path.with_name(self.path.name + "-old")
        if self.target.exists():
            self.target.rename(old)
        self.path.rename(self.target)
        shutil.rmtree(old, ignore_errors=True)


@contextmanager
def output_folder(target: Path) -> Iterator[OutputFolder]:
    """Give a temporary folder beside the target; remove it unless it was published.

    Raises
    ------
    JobError
        The target holds something that is not this job's, or its parent cannot be written.
    """
    if target.exists() and not _is_ours(target):
        raise JobError(
            f"{target} exists and is not a result of this job", "give --output another folder"
        )
    prefix = f".{target.name}.partial-"
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        for stale in target.parent.glob(f"{prefix}*"):
            _remove_if_dead(stale)
        folder = Path(tempfile.mkdtemp(prefix=prefix, dir=target.parent))
        # Workers may run as another user of the same group.
        folder.chmod(0o775)
    except OSError as error:
        raise JobError(
            f"cannot write beside {target}: {error.strerror or error}",
            "give --output a folder that you may write, on a disk with room",
        ) from error
    handle = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):  # some network file systems know no locks
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield OutputFolder(folder, target)
    finally:
        os.close(handle)
        # After publish() the name is free, and there is nothing to remove.
        shutil.rmtree(folder, ignore_errors=True)


def _is_ours(target: Path) -> bool:
    if not target.is_dir():
        return False
    return (target / MARKER).exists() or not any(target.iterdir())


def _remove_if_dead(folder: Path) -> None:
    """Remove what a killed run left, unless a living run holds its lock."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return
    else:
        shutil.rmtree(folder, ignore_errors=True)
    finally:
        os.close(handle)
