"""Where a fleet.yaml is looked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["FILE_NAME", "find"]

FILE_NAME = "fleet.yaml"


def find(directory: Path) -> Path | None:
    """Return the fleet.yaml of a directory, if it has one."""
    path = directory / FILE_NAME
    return path if path.exists() else None
