"""Programs of Debian's other suites, for tests beside something newer than the hosts have."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from lab.base import KEYRING, apt_options, find_mirror, locked
from lab.machine import LabError, call

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
            _download(place, suite, package)
            (found,) = place.glob(f"{package}_*.deb")
            call(["dpkg-deb", "--extract", str(found), str(place / "whole")], timeout=120)
            shutil.move(place / "whole", kept)
    return kept


def _download(place: Path, suite: str, package: str) -> None:
    mirror = find_mirror()
    (place / "lists" / "partial").mkdir(parents=True)
    (place / "cache" / "archives" / "partial").mkdir(parents=True)
    source = place / "sources.list"
    source.write_text(f"deb [signed-by={mirror.keyring or KEYRING}] {mirror.url} {suite} main\n")
    # The machine's own apt stays as it is; how it reaches a mirror holds here too.
    apt = ["apt-get", "--quiet=2", *apt_options(place), f"--option=Dir::Cache={place / 'cache'}"]
    for words in (["update"], ["download", package]):
        done = call([*apt, *words], timeout=300, cwd=place, check=False)
        if done.returncode:
            raise LabError(f"{package} of {suite} from {mirror.url}: {done.stderr[-1000:]}")
