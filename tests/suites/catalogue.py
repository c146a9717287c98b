"""The suites: what each runs, what it needs first, and about how long it takes."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["QUICK", "SHARDS", "SUITES", "Suite", "of_path", "shard"]


@dataclass(frozen=True, slots=True)
class Suite:
    """Tests that run in one process tree, apart from all other suites.

    Parameters
    ----------
    name
        Its name: ``make test-NAME`` runs it.
    paths
        The folders or files with its tests.
    seconds
        About how long it takes beside one other on two CPUs; the longest starts first.
    proves
        What it shows, in a few words.
    quick
        Whether it is part of ``make test``.
    lab
        Options of ``python -m lab`` for the hosts that it boots; ``None`` if it boots none.
    workers
        How many processes of pytest-xdist share its files; 0 runs all in one.
    needs
        Preparations, by name; see `tests.suites.preparation`.
    weight
        How many of the machine's places it takes while it runs, of two for each CPU. Five hosts
        keep two CPUs busy, since all do at once what is to be done.
    """

    name: str
    paths: tuple[str, ...]
    seconds: int
    proves: str
    quick: bool = False
    lab: tuple[str, ...] | None = None
    workers: int = 0
    needs: tuple[str, ...] = ()
    weight: int = 2


_HOSTS = ("debian", "base", "layer")
_DOCKER = (*_HOSTS, "base-docker", "store-docker")
_PODMAN = (*_HOSTS, "base-podman", "store-podman")

SUITES = (
    Suite("unit", ("tests/unit",), 70, "decisions, values, documentation", True, workers=2),
    Suite(
        "contract",
        ("tests/contract",),
        100,
        "a command's effect on one host, over each transport and runtime",
        True,
        workers=2,
        needs=("debian",),
    ),
    Suite(
        "local",
        ("tests/integration",),
        800,
        "a fleet on this machine: real Dask, nginx, browser",
        True,
        workers=4,
        weight=4,
        needs=("debian", "axe", "environments"),
    ),
    Suite(
        "journey-systemd",
        ("tests/journeys/systemd",),
        150,
        "a fleet of VMs under systemd, from bare hosts to down",
        True,
        lab=(),
        needs=_HOSTS,
    ),
    Suite(
        "journey-docker",
        ("tests/journeys/docker",),
        120,
        "the same with containers of Docker, shortened",
        True,
        lab=("--engine",),
        needs=_DOCKER,
    ),
    Suite(
        "journey-podman",
        ("tests/journeys/podman",),
        60,
        "the same with Podman: up, compute, reboot, down",
        True,
        lab=("--podman",),
        needs=_PODMAN,
    ),
    Suite(
        "vms-fleet",
        ("tests/vms/fleet",),
        700,
        "commands on booted hosts: SSH, leases, logs, status, doctor, addresses",
        lab=(),
        weight=3,
        needs=_HOSTS,
    ),
    Suite(
        "vms-faults",
        ("tests/vms/faults",),
        700,
        "reboots, power, network, full disks, interrupted commands",
        lab=(),
        weight=3,
        needs=_HOSTS,
    ),
    Suite(
        "vms-door",
        ("tests/vms/door",),
        850,
        "door, browser, TLS and ACME on booted hosts",
        lab=(),
        weight=3,
        needs=(*_HOSTS, "axe"),
    ),
    Suite(
        "containers-fleet",
        ("tests/containers/fleet",),
        800,
        "containers of Docker: compose, faults, update, take-over, limits",
        lab=("--engine",),
        weight=3,
        needs=_DOCKER,
    ),
    Suite(
        "containers-images",
        ("tests/containers/images",),
        600,
        "images: built, baked, pulled, shipped",
        lab=("--engine",),
        weight=3,
        needs=(*_DOCKER, "store-xcube"),
    ),
    Suite(
        "podman",
        ("tests/podman",),
        300,
        "what differs with Podman in Docker's place",
        lab=("--podman",),
        weight=3,
        needs=_PODMAN,
    ),
    Suite(
        "guests-docker",
        ("tests/guests/test_docker.py",),
        500,
        "Docker where a kernel is the point: NFS, cgroup v2, without root",
        lab=("--engine", "--guests"),
        weight=3,
        needs=(*_DOCKER, "base-guests-docker"),
    ),
    Suite(
        "guests-podman",
        ("tests/guests/test_podman.py",),
        500,
        "Podman where a kernel is the point",
        lab=("--podman", "--guests"),
        weight=3,
        needs=(*_PODMAN, "base-guests-podman"),
    ),
)

QUICK = tuple(suite for suite in SUITES if suite.quick)
"""What ``make test`` runs."""

SHARDS = 4
"""In how many parts all other suites are divided; ``.ci/run`` takes them in turn."""


def of_path(path: str) -> Suite:
    """Return the suite that holds a file or folder of tests.

    Raises
    ------
    KeyError
        If none does.
    """
    for suite in SUITES:
        for place in suite.paths:
            if path == place or path.startswith((f"{place}/", f"{place}::")):
                return suite
    raise KeyError(path)


def shard(number: int) -> tuple[Suite, ...]:
    """Return the suites of one part, which has about as much to do as each other part."""
    parts: list[list[Suite]] = [[] for _ in range(SHARDS)]
    rest = [suite for suite in SUITES if not suite.quick]
    for suite in sorted(rest, key=lambda suite: (-suite.seconds, suite.name)):
        min(parts, key=lambda part: sum(other.seconds for other in part)).append(suite)
    return tuple(parts[number % SHARDS])
