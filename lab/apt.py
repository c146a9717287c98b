"""Debian's packages by this machine's apt, whose own sources and state stay as they are."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lab.machine import LabError, call

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["SUITE", "Mirror", "apt_get", "find_mirror"]

SUITE = "bookworm"
"""Debian's suite that all hosts have."""

_KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"


@dataclass(frozen=True, slots=True)
class Mirror:
    """Where Debian's packages come from.

    Parameters
    ----------
    url
        The mirror's address.
    keyring
        The file with the keys that sign it; empty for Debian's own.
    """

    url: str
    keyring: str = ""


def find_mirror(apt: Path = Path("/etc/apt")) -> Mirror:
    """Return the mirror of the suite that this machine's apt uses, or Debian's public one."""
    for path in sorted(apt.glob("sources.list.d/*.sources")):
        for stanza in re.split(r"\n\s*\n", path.read_text()):
            lines = [line for line in stanza.splitlines() if not line.startswith("#")]
            pairs = (line.partition(":") for line in lines if ":" in line and line[0] != " ")
            found = {key.strip().lower(): value.split() for key, _, value in pairs}
            if SUITE in found.get("suites", ()) and "main" in found.get("components", ()):
                keyring = found.get("signed-by", [""])
                return Mirror(found["uris"][0], keyring[0] if keyring else "")
    for path in [apt / "sources.list", *sorted(apt.glob("sources.list.d/*.list"))]:
        text = path.read_text() if path.exists() else ""
        line = rf"^deb\s+(?:\[([^]]*)\]\s+)?(\S+)\s+{SUITE}\s.*\bmain\b"
        if match := re.search(line, text, re.MULTILINE):
            keyring = re.search(r"signed-by=(\S+)", match[1] or "")
            return Mirror(match[2], keyring[1] if keyring else "")
    return Mirror("http://deb.debian.org/debian")


def apt_get(
    place: Path,
    suite: str,
    words: Sequence[str],
    options: Mapping[str, object] | None = None,
    seconds: float = 900,
) -> None:
    """Run apt-get with the sources of one suite; how this machine reaches a mirror holds.

    Parameters
    ----------
    place
        An empty folder for sources, lists and packages; what is downloaded comes there.
    suite
        Debian's name of the suite, such as ``trixie``.
    words
        What apt-get is to do.
    options
        More of its options.
    seconds
        Within which each of its two calls ends.

    Raises
    ------
    LabError
        If it fails.
    """
    mirror = find_mirror()
    sources = place / "sources.list"
    signed = f"signed-by={mirror.keyring or _KEYRING}"
    sources.write_text(f"deb [{signed}] {mirror.url} {suite} main\n")
    for folder in ("lists/partial", "cache/archives/partial"):
        (place / folder).mkdir(parents=True)
    given = {
        "Dir::Etc::sourcelist": sources,
        "Dir::Etc::sourceparts": "-",
        "Dir::State::lists": place / "lists",
        "Dir::Cache": place / "cache",
        "APT::Sandbox::User": "root",
        **(options or {}),
    }
    apt = ["apt-get", "--quiet=2", *(f"--option={name}={value}" for name, value in given.items())]
    quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for argv in (["update"], words):
        done = call([*apt, *argv], timeout=seconds, env=quiet, cwd=place, check=False)
        if done.returncode:
            tail = "\n".join(done.stdout.splitlines()[-5:]) + done.stderr[-1000:]
            shown = " ".join(argv)
            raise LabError(f"apt-get {shown}: {suite} from {mirror.url}: {tail}")
