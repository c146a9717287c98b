"""Operators with a home of their own, for tests of what stands in it; the lab's stays as it is."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from lab import Lab
from lab.home import OperatorHome

from tests.vms.operator import Operator

CACHE = Path(__file__).parents[2] / ".cache" / "tests" / "cache"


@dataclass
class Person(Operator):
    """An operator and a home, with a copy of the key that the lab's hosts let in."""

    home: OperatorHome

    def configure(self, *lines: str) -> None:
        """Write ``~/.ssh/config``: these lines, then where known hosts stand."""
        known = f"Host *\n  UserKnownHostsFile {self.home.known_hosts}\n"
        text = "".join(f"{line}\n" for line in lines)
        self.home.config.write_text(
            f"{text}{known}  GlobalKnownHostsFile /dev/null\n  BatchMode yes\n"
        )

    def add_to_config(self, *lines: str) -> None:
        """Put lines before all others of ``~/.ssh/config``, where they count first."""
        before = self.home.config.read_text()
        self.home.config.write_text("".join(f"{line}\n" for line in lines) + before)


def person(lab: Lab, folder: Path, **variables: str) -> Person:
    """Return somebody with a home of his own, who knows no host yet."""
    home = OperatorHome(folder / "home")
    home.key.parent.mkdir(parents=True)
    shutil.copy(lab.home.key, home.key)
    home.make(lab.hosts)
    home.know_nobody()
    path = os.environ["PATH"]
    own = {
        "HOME": str(home.path),
        "PATH": f"{home.path / 'bin'}:{path}",
        "XDG_CACHE_HOME": str(CACHE),
        "XDG_DATA_HOME": str(folder / "data"),
    }
    one = Person(lab, folder, own | variables, home)
    one.write()
    return one
