"""What a command gets on standard input, piece by piece, and the file that takes its output."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from dask_fleet.errors import FleetError

if TYPE_CHECKING:
    from dask_fleet.command import Command

__all__ = ["check_files", "open_output", "pieces"]

_PIECE = 1 << 18


def check_files(host: str, command: Command) -> None:
    """Raise the error that names every file of a command that cannot be read."""
    faults = [fault for path in command.files if (fault := _fault(path))]
    if faults:
        raise FleetError(
            f"{host}: `{command}` was not started: " + "; ".join(faults),
            "see whether the files are there and may be read, then try again",
        )


def open_output(host: str, command: Command) -> BinaryIO:
    """Return the file that takes standard output; raise an error if it cannot be written."""
    try:
        return Path(command.output).open("wb")
    except OSError as error:
        raise FleetError(
            f"{host}: `{command}` was not started: {command.output} cannot be written:"
            f" {error.strerror}",
            "free space, or see who may write there, then try again",
        ) from error


def _fault(path: str) -> str:
    try:
        if Path(path).is_dir():
            return f"{path} is a directory"
        with Path(path).open("rb"):
            return ""
    except OSError as error:
        return f"{path} cannot be read: {error.strerror}"


async def pieces(command: Command) -> AsyncIterator[bytes]:
    """Yield what standard input is to hold; a thread reads the files."""
    for begin in range(0, len(command.stdin), _PIECE):
        yield command.stdin[begin : begin + _PIECE]
    for path in command.files:
        with Path(path).open("rb") as file:
            while piece := await asyncio.to_thread(file.read, _PIECE):
                yield piece
