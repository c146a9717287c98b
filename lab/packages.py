"""Programs of Debian's other suites, for tests beside something newer than the hosts have."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from lab.apt import apt_get
from lab.base import locked
from lab.machine import call

__all__ = ["PLUGIN", "ensure_package"]

PLUGIN = ("trixie", "docker-compose")
"""Compose's second version, a plugin of Docker's command, which the hosts' suite lacks."""


def ensure_package(cache: Path, suite: str, package: str) -> Path:
    """Return the folder with what a package of another suite holds; fetch it where it is missing.

    Parameters
    ----------
    cache
        Where it is kept.
    suite
        Debian's name of the suite, such as ``trixie``.
    package
        Name of the package; what it depends on is not looked at.

    Raises
    ------
    LabError
        If it cannot be had.
    """
    kept = cache.absolute() / f"{package}-{suite}"
    if kept.is_dir():
        return kept
    with locked(cache / "lock"):
        if kept.is_dir():
            return kept
        with tempfile.TemporaryDirectory(dir=cache) as folder:
            place = Path(folder)
            apt_get(place, suite, ["download", package])
            (found,) = place.glob(f"{package}_*.deb")
            call(["dpkg-deb", "--extract", str(found), str(place / "whole")], timeout=120)
            shutil.move(place / "whole", kept)
    return kept
