"""Makes environments with uv, each in a directory named by the digest of its lock.

A directory without its last file is not an environment: a build that was killed is thrown away
and made again. Two builds of the same environment wait for each other.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from dask_fleet.command import Command
from dask_fleet.errors import CommandFailedError, EnvironmentBuildError
from dask_fleet.events import Note, Sink
from dask_fleet.look import COMPLETE

if TYPE_CHECKING:
    from dask_fleet.environment import Environment
    from dask_fleet.places import Places
    from dask_fleet.transports.base import Transport

__all__ = ["SECONDS", "STAGES", "build", "make", "uv_program"]

SECONDS = 3600.0
"""After which making an environment counts as failed."""

STAGES: Mapping[int, tuple[str, str]] = {
    10: (
        "there is no room for it",
        "free space on that disk, or set XDG_DATA_HOME to a larger one",
    ),
    11: (
        "uv finds no such interpreter and cannot fetch one",
        "install that version of Python, or name one that is there in `environment.python`",
    ),
    12: (
        "its packages cannot be resolved",
        "correct `environment.packages`; uv says above which of them does not fit or exist",
    ),
    13: (
        "its packages cannot be installed",
        "see what uv says above: an unknown package, a wrong hash, no network, or no space",
    ),
    14: (
        "it has no working `distributed`, which scheduler and workers need",
        "add `distributed` to the lock file or to `environment.packages`",
    ),
}
"""What each exit status of the script means: fault and remedy."""

# The requirements come on standard input: a lock, or names to be resolved first. A lock names
# everything, so nothing is resolved when it is installed (--no-deps), and uv checks every hash
# that stands in it. uv must not read the project that the operator stands in, hence `cd`.
_BUILD = f"""\
set -eu
uv=$1 environments=$2 digest=$3 python=$4 kind=$5 name=$6
mkdir -p "$environments" || exit 10
cd "$environments"
free=$(df -Pk . | awk 'NR == 2 {{ print $4 }}')
if [ "$free" -lt 1500000 ]; then
  echo "only $((free / 1024)) MiB are free in $environments; an environment needs about 1500" >&2
  exit 10
fi
exec 9<"$environments"
flock 9
if [ -f "$digest/{COMPLETE}" ]; then exit 0; fi
rm -rf "$digest"
"$uv" venv --quiet --no-project --python "$python" "$digest" || exit 11
cat >"$digest/requirements.in"
if [ "$kind" = packages ]; then
  "$uv" pip compile --quiet --generate-hashes --no-header --python "$digest/bin/python" \\
    --output-file "$digest/requirements.lock" "$digest/requirements.in" || exit 12
else
  mv "$digest/requirements.in" "$digest/requirements.lock"
fi
"$uv" pip install --no-deps --python "$digest/bin/python" \\
  --requirement "$digest/requirements.lock" || exit 13
"$digest/bin/python" -c 'import distributed' || exit 14
printf '%s\\n' "$name" >"$digest/{COMPLETE}.new"
mv "$digest/{COMPLETE}.new" "$digest/{COMPLETE}"
"""


def uv_program() -> str:
    """Return the path of the uv that was installed with this tool.

    Raises
    ------
    EnvironmentBuildError
        It is not there.
    """
    import uv

    try:
        return str(uv.find_uv_bin())
    except FileNotFoundError as error:
        raise EnvironmentBuildError(
            f"uv is not installed: {error}", "install it with `pip install uv`"
        ) from error


async def build(transport: Transport, places: Places, environment: Environment, sink: Sink) -> None:
    """Make an environment on a host, or find that somebody else just did.

    Parameters
    ----------
    transport : Transport
        To the host.
    places : Places
        Directories there.
    environment : Environment
        What to make.
    sink : callable
        Takes a `Note` for each line that uv says.

    Raises
    ------
    EnvironmentBuildError
        With the last lines that uv said and what to do.
    """
    locked = environment.lock_text is not None
    content = environment.lock_text if locked else "\n".join(environment.packages) + "\n"
    command = Command(
        (
            "sh",
            "-c",
            _BUILD,
            "build",
            uv_program(),
            places.environments,
            environment.digest,
            environment.python,
            "lock" if locked else "packages",
            environment.name,
        ),
        (content or "").encode(),
        SECONDS,
    )
    await make(transport, command, environment, STAGES, sink)


async def make(
    transport: Transport,
    command: Command,
    environment: Environment,
    stages: Mapping[int, tuple[str, str]],
    sink: Sink,
) -> None:
    """Run the command that makes an environment; what it says goes to ``sink``.

    Parameters
    ----------
    transport : Transport
        To the host.
    command : Command
        A script that ends with one of the statuses of ``stages`` when it fails.
    environment : Environment
        What it makes.
    stages : Mapping
        Fault and remedy of each exit status.
    sink : callable
        Takes a `Note` for each line.

    Raises
    ------
    EnvironmentBuildError
        With the last lines that were said and what to do.
    """
    said: list[str] = []
    try:
        async for line in transport.lines(command):
            said.append(line)
            if not line.lstrip().startswith("+ "):  # each of a hundred packages
                sink(Note(transport.host, line))
    except CommandFailedError as error:
        fault, remedy = stages.get(
            error.status or 0, ("making it failed", "see the last lines above")
        )
        last = "\n".join(f"  | {line}" for line in said[-12:])
        raise EnvironmentBuildError(
            f"{transport.host}: environment {environment.name} ({environment.digest}),"
            f" Python {environment.python}: {fault}\n{last}",
            remedy,
        ) from error
