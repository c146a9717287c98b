"""Which requirements of a lock a host needs, and which wheels run on it; purely."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dask_fleet.errors import EnvironmentBuildError

if TYPE_CHECKING:
    from packaging.tags import Tag

__all__ = ["HostPlatform", "Lock", "Pin", "fits", "markers", "platform_tags", "read_lock"]

_LEGACY = {17: "manylinux2014", 12: "manylinux2010", 5: "manylinux1"}
"""Older names of glibc versions (PEP 600)."""


@dataclass(frozen=True, slots=True)
class HostPlatform:
    """What decides which wheels a host can use.

    Attributes
    ----------
    machine : str
        ``x86_64`` or ``aarch64``, as ``uname -m`` says.
    glibc : tuple of int
        Version of the GNU C library, such as ``(2, 36)``.
    python : str
        Full version of CPython, such as ``3.11.2``; without its last part, that counts as 0.
    """

    machine: str
    glibc: tuple[int, int]
    python: str

    @property
    def minor(self) -> str:
        """Version of Python without its last part."""
        return ".".join(self.python.split(".")[:2])

    @property
    def abi(self) -> str:
        """Name of CPython's binary interface, such as ``cp311``."""
        return "cp" + self.minor.replace(".", "")

    def __str__(self) -> str:
        return f"{self.machine}-glibc{self.glibc[0]}.{self.glibc[1]}-{self.abi}"


@dataclass(frozen=True, slots=True)
class Pin:
    """One package of a lock, as pip reads it: without a marker, and its hashes.

    ``name`` is canonical: lower case, with single hyphens.
    """

    name: str
    requirement: str
    hashes: tuple[str, ...]

    def __str__(self) -> str:
        return " ".join((self.requirement, *(f"--hash={one}" for one in self.hashes)))


@dataclass(frozen=True, slots=True)
class Lock:
    """What a lock means on one platform: options such as an index, and packages."""

    options: tuple[str, ...]
    pins: tuple[Pin, ...]


def platform_tags(platform: HostPlatform) -> tuple[str, ...]:
    """Return the platform tags of wheels that run on a host, best first.

    pip takes a ``manylinux_2_N`` literally and does not add those of older systems, so all stand
    here: PEP 600, from the host's version down to the oldest that wheels are made for.
    """
    major, newest = platform.glibc
    # Machines that are younger than glibc 2.17 have no older wheels (PEP 599).
    oldest = 5 if platform.machine in ("x86_64", "i686") else 17
    tags: list[str] = []
    for version in range(newest, oldest - 1, -1):
        tags.append(f"manylinux_{major}_{version}_{platform.machine}")
        if version in _LEGACY:
            tags.append(f"{_LEGACY[version]}_{platform.machine}")
    return (*tags, f"linux_{platform.machine}")


def markers(platform: HostPlatform) -> dict[str, str]:
    """Return the values of environment markers on a host (PEP 508)."""
    full = platform.python if platform.python.count(".") > 1 else f"{platform.python}.0"
    return {
        "implementation_name": "cpython",
        "implementation_version": full,
        "os_name": "posix",
        "platform_machine": platform.machine,
        "platform_python_implementation": "CPython",
        "platform_release": "",
        "platform_system": "Linux",
        "platform_version": "",
        "python_full_version": full,
        "python_version": platform.minor,
        "sys_platform": "linux",
        "extra": "",
    }


def read_lock(text: str, platform: HostPlatform) -> Lock:
    """Return the packages of a lock that a host needs.

    Parameters
    ----------
    text : str
        The lock, for one platform or for all: a marker is evaluated for the host, never for the
        Python that runs this.
    platform : HostPlatform
        The host's.

    Raises
    ------
    EnvironmentBuildError
        A line is not a requirement.
    """
    from packaging.requirements import InvalidRequirement, Requirement
    from packaging.utils import canonicalize_name

    values = markers(platform)
    options: list[str] = []
    pins: list[Pin] = []
    for line in _logical(text.splitlines()):
        if line.startswith("-"):
            options.append(line)
            continue
        first, *rest = line.split("--hash")
        try:
            requirement = Requirement(first.strip())
        except InvalidRequirement as error:
            raise EnvironmentBuildError(
                f'the lock has a line that is not a requirement: "{first.strip()}"',
                "lock with `uv pip compile`",
            ) from error
        marker, requirement.marker = requirement.marker, None
        if marker is None or marker.evaluate(values):
            hashes = tuple(one.strip().lstrip("=").strip() for one in rest)
            pins.append(Pin(canonicalize_name(requirement.name), str(requirement), hashes))
    return Lock(tuple(options), tuple(pins))


def fits(tags: Iterable[Tag], platform: HostPlatform) -> bool:
    """Return whether a wheel with these tags needs nothing that the host may lack."""
    from packaging.tags import compatible_tags, cpython_tags

    version = tuple(int(part) for part in platform.minor.split("."))
    usable = platform_tags(platform)
    supported = {
        *cpython_tags(version, [platform.abi], usable),
        *compatible_tags(version, platforms=usable),
    }
    return not supported.isdisjoint(tags)


def _logical(lines: Iterable[str]) -> Iterable[str]:
    """Yield lines without comments, with those joined that a backslash continues."""
    kept = ""
    for raw in lines:
        line = raw.strip()
        if line.startswith("#"):
            continue
        line = line.split(" #")[0].rstrip()
        more = line.endswith("\\")
        kept += line.removesuffix("\\") + " "
        if not more:
            if kept.strip():
                yield kept.strip()
            kept = ""
    if kept.strip():
        yield kept.strip()
