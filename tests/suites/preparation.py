"""What suites need before they can start: packages, wheels, environments, hosts, images."""

from __future__ import annotations

import sys
from collections.abc import Iterable

from lab.machine import PACKAGES as LAB
from lab.machine import REPOSITORY

from tests.suites.catalogue import Suite
from tests.suites.jobs import Job

__all__ = ["CACHE", "prepare"]

CACHE = {"XDG_CACHE_HOME": str(REPOSITORY / ".cache" / "tests" / "cache")}
"""Where wheels for the lab's hosts are kept."""

_PACKAGES = (
    *("chromium", "nginx-light", "prometheus", "openssh-server", "openssh-client"),
    *("nftables", "ufw", "iproute2", "pebble"),
)
_LAB = ("-m", "lab", "--name", "seed")
_ENGINES = {"docker": "--engine", "podman": "--podman"}
_LAYERS = ("run", "--", sys.executable, "-m", "tests.vms.layers")

_STEPS: dict[str, tuple[tuple[str, ...], tuple[str, ...], int]] = {
    "axe": (("./scripts/axe.sh",), ("debian",), 3),
    "environments": ((sys.executable, "-m", "tests.integration.environments"), (), 40),
    "wheels": ((sys.executable, "-m", "tests.vms.wheels"), (), 25),
    "base": ((sys.executable, "-m", "lab", "base"), ("debian",), 60),
    "layer": ((sys.executable, *_LAB, *_LAYERS), ("base", "wheels"), 60),
    **{
        f"base-{engine}": ((sys.executable, "-m", "lab", option, "base"), ("base",), 25)
        for engine, option in _ENGINES.items()
    },
    **{
        f"store-{name}": (
            (*(sys.executable, "-m", "lab", "--name", f"seed-{name}"), option, *_LAYERS, name),
            (f"base-{engine}", "layer"),
            40,
        )
        for name, engine in (("docker", "docker"), ("podman", "podman"), ("xcube", "docker"))
        for option in (_ENGINES[engine],)
    },
    **{
        f"base-guests-{engine}": (
            (sys.executable, "-m", "lab", option, "--guests", "base"),
            (f"base-{engine}",),
            60,
        )
        for engine, option in _ENGINES.items()
    },
}
"""Command, what it needs, and about how many seconds it takes."""


def prepare(suites: Iterable[Suite], stage: int = -1, *, optional: bool = False) -> list[Job]:
    """Return the jobs that make what these suites need, and what those need in turn."""
    wanted: set[str] = set()
    ahead = {name for suite in suites for name in suite.needs}
    guests = any(name.startswith("base-guests-") for name in ahead)
    while ahead:
        name = ahead.pop()
        wanted.add(name)
        if name != "debian":
            ahead |= set(_STEPS[name][1]) - wanted
    jobs = [
        Job(
            *(name, argv, frozenset(needs)),
            # Beside a suite of booted hosts there is no room for what may turn out to be useless.
            weight=2 if optional else 1,
            seconds=seconds,
            limit=900,
            stage=stage,
            optional=optional,
            environment=CACHE,
        )
        for name, (argv, needs, seconds) in _STEPS.items()
        if name in wanted
    ]
    if "debian" in wanted:
        packages = [*_PACKAGES, *LAB, *(("qemu-system-x86",) if guests else ())]
        jobs.append(
            Job("debian", ("./scripts/debian.sh", *packages), seconds=40, limit=900, stage=-2)
        )
    return jobs
