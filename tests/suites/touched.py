"""Which suites a change touches: by the folders of what changed, and by who imports it."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath

import grimp

from tests.suites.catalogue import SUITES, Suite

__all__ = ["FEATURES", "SHARED", "changed_files", "features_of", "touched"]

_FLEET = ("vms-fleet",)
_FAULTS = ("vms-faults",)
_DOOR = ("vms-door", "containers-fleet")
_COMPOSE = ("containers-fleet", "podman", "guests-docker", "guests-podman")
_IMAGES = ("containers-images", "podman")
_LOCAL = ("local",)
_LABS = tuple(suite.name for suite in SUITES if suite.lab is not None and not suite.quick)

FEATURES: Mapping[str, tuple[str, ...]] = {
    "dask_fleet.proxy*": _DOOR,
    "dask_fleet.door*": _DOOR,
    "dask_fleet.account_secrets": _DOOR,
    "dask_fleet.cli.door*": _DOOR,
    "dask_fleet.tls*": ("vms-door", "containers-fleet"),
    "dask_fleet.clients": ("vms-door",),
    "dask_fleet.cli.network": ("vms-door", "vms-fleet"),
    "dask_fleet.transports.local": _LOCAL,
    "dask_fleet.transports*": (*_FLEET, *_FAULTS),
    "dask_fleet.ssh_host": _FLEET,
    "dask_fleet.login": _FLEET,
    "dask_fleet.remote_commands": (*_FLEET, "podman"),
    "dask_fleet.logs": (*_FLEET, "containers-fleet"),
    "dask_fleet.doctor": (*_FLEET, "containers-fleet"),
    "dask_fleet.diagnosis": (*_FLEET, *_FAULTS),
    "dask_fleet.checks*": (*_FLEET, "containers-fleet"),
    "dask_fleet.firewall*": _FLEET,
    "dask_fleet.inventory": (*_FLEET, *_FAULTS),
    "dask_fleet.cli.inventory_table": _FLEET,
    "dask_fleet.cli.status": _FLEET,
    "dask_fleet.cli.inspect": _FLEET,
    "dask_fleet.cli.operate": (*_FLEET, "podman"),
    "dask_fleet.strangers": (*_FLEET, *_FAULTS),
    "dask_fleet.lease": (*_FLEET, *_FAULTS),
    "dask_fleet.history": (*_FLEET, *_FAULTS),
    "dask_fleet.journal": (*_FLEET, *_FAULTS),
    "dask_fleet.wheels*": _FLEET,
    "dask_fleet.environments": _FLEET,
    "dask_fleet.diffing": _FLEET,
    "dask_fleet.comparing": _FLEET,
    "dask_fleet.outcomes": (*_FLEET, *_FAULTS),
    "dask_fleet.runtimes.supervisor*": _LOCAL,
    "dask_fleet.runtimes.systemd*": (*_FLEET, *_FAULTS),
    "dask_fleet.runtimes.compose*": _COMPOSE,
    "dask_fleet.runtimes.engines": _COMPOSE,
    "dask_fleet.runtimes.limits": (*_COMPOSE, *_FLEET),
    "dask_fleet.predecessors": ("containers-fleet",),
    "dask_fleet.legacy*": ("containers-fleet",),
    "dask_fleet.importing": ("containers-fleet",),
    "dask_fleet.cli.importing": ("containers-fleet",),
    "dask_fleet.images*": _IMAGES,
    "dask_fleet.fleet_images": _IMAGES,
    "dask_fleet.cli.image": _IMAGES,
    "dask_fleet.draining": ("containers-fleet", "vms-faults", "podman"),
    "dask_fleet.batches": ("containers-fleet",),
    "dask_fleet.rollout": ("containers-fleet", "vms-faults", "podman"),
    "dask_fleet.restarting": ("vms-door", "containers-fleet"),
    "dask_fleet.monitoring*": _LOCAL,
    "dask_fleet.exports": _LOCAL,
    "dask_fleet.cli.monitoring": _LOCAL,
    "dask_fleet.cli.render*": ("containers-fleet",),
    "dask_fleet.rendering": ("containers-fleet",),
    "dask_fleet.demo*": (*_LOCAL, "vms-door", "containers-fleet"),
    "dask_fleet.cli.demo": (*_LOCAL, "vms-door", "containers-fleet"),
    "dask_fleet.published": (*_LOCAL, "vms-door"),
}
"""Modules that a few suites are about, by pattern; the first that fits counts."""

SHARED = (
    *("dask_fleet", "dask_fleet.__*", "dask_fleet.cli*", "dask_fleet.spec*"),
    *("dask_fleet.host*", "dask_fleet.host_probe*", "dask_fleet.runtimes*"),
    *("dask_fleet.actions", "dask_fleet.assembly", "dask_fleet.blueprint"),
    *("dask_fleet.builder", "dask_fleet.command", "dask_fleet.desired"),
    *("dask_fleet.drafting", "dask_fleet.environment", "dask_fleet.errors"),
    *("dask_fleet.events", "dask_fleet.executor", "dask_fleet.fleet"),
    *("dask_fleet.installing", "dask_fleet.layout", "dask_fleet.look"),
    *("dask_fleet.masking", "dask_fleet.observed", "dask_fleet.observer"),
    *("dask_fleet.pace", "dask_fleet.places", "dask_fleet.planned"),
    *("dask_fleet.planner", "dask_fleet.planning_units", "dask_fleet.ports"),
    *("dask_fleet.refusals", "dask_fleet.registration", "dask_fleet.scheduler_rpc"),
    *("dask_fleet.secret", "dask_fleet.selection", "dask_fleet.target"),
    "dask_fleet.this_machine",
    "dask_fleet.waiting",
)
"""Modules that all fleets need: a change there touches every suite on booted hosts."""

_EVERYTHING = ("pyproject.toml", "uv.lock", "scripts/debian.sh")


def changed_files(repository: Path, hours: int = 12) -> tuple[str, list[str]]:
    """Return the commit that HEAD is compared with, and the files that differ from it.

    It is the newest one that is at least so many hours older than HEAD, or else the first: a clean
    clone can tell, and work of a day counts as one change.
    """

    def git(*words: str) -> str:
        argv = ["git", "-C", str(repository), *words]
        return subprocess.run(argv, check=True, capture_output=True, text=True).stdout.strip()

    before = int(git("log", "-1", "--format=%ct", "HEAD")) - hours * 3600
    base = git("rev-list", "-1", f"--before={before}", "HEAD")
    base = base or git("rev-list", "--max-parents=0", "HEAD").split()[-1]
    return base, git("diff", "--name-only", "--no-renames", base, "HEAD").splitlines()


def module_of(path: str) -> str:
    """Return the name of a module; for a file that is none, that of the package it lies in."""
    place = PurePosixPath(path.removeprefix("src/"))
    parts = place.with_suffix("").parts if place.suffix == ".py" else place.parent.parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def features_of(module: str) -> tuple[str, ...] | None:
    """Return the suites that a module of `src` is mapped to; ``None`` if it is mapped to none."""
    for pattern, names in FEATURES.items():
        if fnmatchcase(module, pattern):
            return names
    return _LABS if any(fnmatchcase(module, pattern) for pattern in SHARED) else None


def touched(files: Iterable[str], suites: Iterable[Suite] = SUITES) -> set[str]:
    """Return the names of the suites that a change of these files touches.

    A module of ``src`` touches the suites of its feature and of those that import it; one that all
    fleets share touches all suites on booted hosts. A file of ``tests``, ``lab`` or ``benchmarks``
    touches the suites whose tests or fixtures import it, however indirectly.
    """
    found: set[str] = set()
    sources: set[str] = set()
    helpers: set[str] = set()
    for path in files:
        if path in _EVERYTHING:
            found |= set(_LABS)
        elif path.startswith("src/"):
            sources.add(module_of(path))
        elif path.startswith(("tests/", "lab/", "benchmarks/")):
            helpers.add(module_of(path))
    if sources:
        graph = grimp.build_graph("dask_fleet", cache_dir=None)
        for module in _spread(sources, graph):
            found |= set(features_of(module) or _LABS)
    if helpers:
        found |= _users(helpers, suites)
    return found


def _spread(modules: set[str], graph: grimp.ImportGraph) -> set[str]:
    """Return these modules and the modules of features that import them directly."""
    # What is gone, is no module, or runs on hosts, where it imports by plain names, is not in it.
    known = modules & graph.modules
    importers = {
        user for module in known for user in graph.find_modules_that_directly_import(module)
    }
    return modules | {module for module in importers if _is_feature(module)}


def _is_feature(module: str) -> bool:
    return any(fnmatchcase(module, pattern) for pattern in FEATURES)


def _users(helpers: set[str], suites: Iterable[Suite]) -> set[str]:
    """Return the suites whose tests or fixtures are among these modules or import them."""
    graph = grimp.build_graph("tests", "lab", "benchmarks", cache_dir=None)
    found: set[str] = set()
    reach = set(helpers)
    for module in helpers & graph.modules:
        reach |= graph.find_downstream_modules(module)
    for suite in suites:
        for place in suite.paths:
            own = module_of(place) if place.endswith(".py") else place.replace("/", ".")
            parents = own.split(".")
            fixtures = {
                ".".join([*parents[:depth], "conftest"]) for depth in range(1, len(parents) + 1)
            }
            if any(
                module in fixtures or module == own or module.startswith(f"{own}.")
                for module in reach
            ):
                found.add(suite.name)
    return found
