"""The software environment of a fleet as a value: what is in it, and the digest that names it."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from dask_fleet.errors import EnvironmentBuildError, Problem, SpecError

if TYPE_CHECKING:
    from collections.abc import Callable

    from dask_fleet.spec.model import EnvironmentSpec

__all__ = ["BUILT_IN", "Environment", "built_in_lock", "environment_digest", "resolve_environment"]

BUILT_IN = "xcube"
"""The environment that is meant when a spec names none."""

_EXACT = re.compile(
    r"[A-Za-z0-9][A-Za-z0-9._-]*(?:\[[^\]]*\])?\s*(?:===?\s*[^*\s,;]+|@\s*\S+)(?=[\s;]|$)"
)
_NAME = re.compile(r"[-_.]+")


@dataclass(frozen=True, slots=True)
class Environment:
    """A software environment.

    Attributes
    ----------
    name : str
        What people call it: ``xcube``, the lock file's name, or ``packages``.
    python : str
        Version of Python.
    digest : str
        16 hexadecimal digits; the same digest, the same environment.
    lock_text : str or None
        Requirements with exact versions; ``None`` when ``packages`` are yet to be resolved. The
        builder then keeps the lock that it resolved in the environment's directory.
    packages : tuple of str
        What is to be resolved; empty when there is a lock.
    image : str
        Name of the image that it is in, where processes are containers; empty otherwise.
    """

    name: str
    python: str
    digest: str
    lock_text: str | None = None
    packages: tuple[str, ...] = ()
    image: str = ""

    @property
    def shown(self) -> str:
        """What it is, in words."""
        return f"the image {self.image}" if self.image else f"the environment {self.digest}"


def resolve_environment(spec: EnvironmentSpec, read: Callable[[Path], str]) -> Environment:
    """Return the environment that a spec asks for.

    Parameters
    ----------
    spec : EnvironmentSpec
        The section ``environment`` of a checked spec.
    read : callable
        Returns the text of a file. It gets the lock file as written in the spec, relative to the
        directory of fleet.yaml, or the absolute path of a lock that comes with dask-fleet.

    Raises
    ------
    SpecError
        When the lock file of the spec is missing, is not text, or does not pin every package.
    EnvironmentBuildError
        When the lock that should come with dask-fleet is not there.
    """
    if spec.image is not None:
        digest = environment_digest("", f"image {spec.image}\n")
        return Environment(spec.image, "", digest, None, (), spec.image)
    if spec.packages is not None:
        packages = tuple(sorted(set(spec.packages), key=lambda one: (_canonical(one), one)))
        digest = environment_digest(spec.python, "packages\n" + "\n".join(packages))
        return Environment("packages", spec.python, digest, None, packages)
    if spec.lock is not None:
        text = _read_lock(spec.lock, read)
        return Environment(
            Path(spec.lock).name, spec.python, environment_digest(spec.python, text), text
        )
    name = spec.name or BUILT_IN
    path = built_in_lock(name)
    try:
        text = read(path)
    except OSError as error:
        raise EnvironmentBuildError(
            f"the lock of the environment {name} is not where dask-fleet is installed: {path}",
            "install dask-fleet again",
        ) from error
    return Environment(name, spec.python, environment_digest(spec.python, text), text)


def built_in_lock(name: str) -> Path:
    """Return where the lock of an environment is that comes with dask-fleet."""
    return Path(__file__).parent / "environments" / f"{name}.lock"


def environment_digest(python: str, content: str) -> str:
    """Return the digest of a lock and a Python version.

    Comments, blank lines and line ends do not count: they change nothing that is installed.
    """
    digest = hashlib.sha256(f"python {python}\n".encode())
    for line in _meaning(content):
        digest.update(line.encode() + b"\n")
    return digest.hexdigest()[:16]


def _meaning(content: str) -> list[str]:
    lines = (line.split(" #")[0].rstrip() for line in content.splitlines())
    return [line for line in lines if line and not line.lstrip().startswith("#")]


def _canonical(requirement: str) -> str:
    return _NAME.sub("-", requirement).lower()


def _read_lock(lock: str, read: Callable[[Path], str]) -> str:
    """Return the text of a lock file, having made sure that it pins everything."""
    key = "environment.lock"
    try:
        text = read(Path(lock))
    except FileNotFoundError:
        fault, remedy = f'there is no file "{lock}"', "it stands beside fleet.yaml"
    except (OSError, UnicodeDecodeError) as error:
        fault, remedy = f'"{lock}" cannot be read: {type(error).__name__}', "it is a text file"
    else:
        problems = tuple(_unpinned(lock, text))
        if problems:
            raise SpecError(problems)
        return text
    raise SpecError((Problem("fleet.yaml", key, fault, remedy),))


def _unpinned(lock: str, text: str) -> list[Problem]:
    """Return a problem for each line that leaves a version open, or one when there is no line."""
    problems: list[Problem] = []
    found = continued = False
    for number, raw in enumerate(text.splitlines(), start=1):
        line = raw.split(" #")[0].strip()
        inner, continued = continued, line.endswith("\\")
        if inner or not line or line.startswith(("#", "--hash")):
            continue
        found = True
        if line.startswith("-"):
            if not line.startswith(("--index-url", "--extra-index-url", "--find-links", "-i ")):
                problems.append(
                    Problem(
                        f"{lock}:{number}",
                        "environment.lock",
                        f"an option that a lock does not have: {line.split()[0]}",
                        "lock with `uv pip compile`",
                    )
                )
        elif not _EXACT.match(line):
            problems.append(
                Problem(
                    f"{lock}:{number}",
                    "environment.lock",
                    f'"{line}" leaves the version open',
                    "lock with `uv pip compile`, or list it under `packages`",
                )
            )
    if not found:
        problems.append(Problem(lock, "environment.lock", "the lock names no package"))
    return problems
