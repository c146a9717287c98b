"""The software environment of a fleet as a value: what is in it, and the digest that names it."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from dask_fleet.errors import EnvironmentBuildError, Problem, SpecError
from dask_fleet.images.dockerfile import TEMPLATE

if TYPE_CHECKING:
    from collections.abc import Callable

    from dask_fleet.spec.model import EnvironmentSpec

__all__ = [
    "BUILT_IN",
    "REPOSITORY",
    "Environment",
    "Recipe",
    "built_in_lock",
    "environment_digest",
    "resolve_environment",
]

BUILT_IN = "xcube"
"""The environment that is meant when a spec names none."""

_EXACT = re.compile(
    r"[A-Za-z0-9][A-Za-z0-9._-]*(?:\[[^\]]*\])?\s*(?:===?\s*[^*\s,;]+|@\s*\S+)(?=[\s;]|$)"
)
_NAME = re.compile(r"[-_.]+")


REPOSITORY = "localhost/dask-fleet"
"""What names of images begin with that are made for a fleet. No engine looks for them elsewhere
than on its own machine: whoever runs compose where one is missing gets none of a stranger's."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """How an image is made.

    Attributes
    ----------
    folder : str
        Path of the folder with the Dockerfile, on the operator's machine; empty where an
        environment is put on a base.
    digest : str
        Of everything that goes into it, 64 hexadecimal digits.
    on : str
        Host on whose engine it is built; empty for the operator's own.
    base : str
        Image that the environment is put on.
    environment : Environment or None
        The environment.
    user : str
        Numeric user and group that the image is for.
    """

    folder: str
    digest: str
    on: str = ""
    base: str = ""
    environment: Environment | None = None
    user: str = ""


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
    recipe : Recipe or None
        How that image is made; None when it comes from a registry.
    """

    name: str
    python: str
    digest: str
    lock_text: str | None = None
    packages: tuple[str, ...] = ()
    image: str = ""
    recipe: Recipe | None = None

    @property
    def shown(self) -> str:
        """What it is, in words."""
        return f"the image {self.image}" if self.image else f"the environment {self.digest}"


def resolve_environment(
    spec: EnvironmentSpec,
    read: Callable[[Path], str],
    *,
    fleet: str = "",
    beside: Path = Path(),
    user: str = "",
    context: Callable[[Path], str] | None = None,
) -> Environment:
    """Return the environment that a spec asks for.

    Parameters
    ----------
    spec : EnvironmentSpec
        The section ``environment`` of a checked spec.
    read : callable
        Returns the text of a file. It gets the lock file as written in the spec, relative to the
        directory of fleet.yaml, or the absolute path of a lock that comes with dask-fleet.
    fleet : str
        Name of the fleet, which stands in the name of an image that is made for it.
    beside : Path
        Directory of fleet.yaml.
    user : str
        Numeric user and group of containers.
    context : callable, optional
        Returns the digest of a folder with a Dockerfile, and raises FileNotFoundError if it has
        none.

    Raises
    ------
    SpecError
        When the lock file of the spec is missing, is not text, or does not pin every package; when
        there is no Dockerfile in the folder to build.
    EnvironmentBuildError
        When the lock that should come with dask-fleet is not there.
    """
    if spec.image is not None:
        digest = environment_digest("", f"image {spec.image}\n")
        return Environment(spec.image, "", digest, None, (), spec.image)
    if spec.build is not None and context is not None:
        return _built(spec, fleet, beside, context)
    environment = _locked(spec, read)
    if spec.base is None:
        return environment
    parts = (TEMPLATE, spec.base, user, environment.digest)
    digest = hashlib.sha256("\n".join(parts).encode()).hexdigest()
    recipe = Recipe("", digest, spec.build_on or "", spec.base, environment, user)
    return _made(fleet, recipe)


def _locked(spec: EnvironmentSpec, read: Callable[[Path], str]) -> Environment:
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


def _built(
    spec: EnvironmentSpec, fleet: str, beside: Path, context: Callable[[Path], str]
) -> Environment:
    folder = (beside / (spec.build or "")).absolute()
    try:
        recipe = Recipe(str(folder), context(folder), spec.build_on or "")
    except FileNotFoundError as error:
        problem = Problem(
            "fleet.yaml",
            "environment.build",
            f'there is no Dockerfile in "{spec.build}"',
            "name a folder beside fleet.yaml that has one",
        )
        raise SpecError((problem,)) from error
    return _made(fleet, recipe)


def _made(fleet: str, recipe: Recipe) -> Environment:
    image = f"{REPOSITORY}/{fleet}:{recipe.digest[:16]}"
    digest = environment_digest("", f"image {image}\n")
    return Environment(image, "", digest, None, (), image, recipe)


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
