"""Makes an environment on a host from wheels that the connection to it carries.

The host needs a Python and a shell: no pip, no network, no route to the outside.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dask_fleet.builder import SECONDS, STAGES, make
from dask_fleet.command import Command
from dask_fleet.events import Note, Sink
from dask_fleet.look import COMPLETE
from dask_fleet.wheels.bundle import END

if TYPE_CHECKING:
    from dask_fleet.environment import Environment
    from dask_fleet.places import Places
    from dask_fleet.transports.base import Transport
    from dask_fleet.wheels.gathering import Wheelhouse

__all__ = ["ship"]

_STAGES = {
    **STAGES,
    10: ("there is no room for it", "free space on that disk, or remove environments unused"),
    11: (
        "its interpreter makes no environment",
        "see what uv says above; install that version of Python again",
    ),
    13: (
        "its packages cannot be installed",
        "see what uv says above; a wheel that was damaged on the way comes right with another try",
    ),
    15: (
        "the uv that was sent does not run there",
        "the host needs libgcc_s.so.1 (package libgcc-s1 or libgcc) and may not mount its"
        " environments noexec",
    ),
    16: ("what was sent broke off before its end", "try again"),
}
"""What each exit status of the script means: fault and remedy."""

# The bundle comes on standard input. All of it happens under a lock on the directory of all
# environments, so whatever a killed run left behind in `.incoming-*` is nobody's. uv's cache lies
# there too, on the same disk: installing from it makes hard links, and no second copy is written.
# What is made here is read by the fleet's own user, hence the mask; and that user cannot write
# bytecode into it, hence --compile-bytecode. Whether a step failed for want of room is seen by
# the room that is left: tar leaves what it has written, uv removes what it could not finish.
_SHIP = f"""\
set -eu
umask 022
environments=$1 digest=$2 python=$3 name=$4 kib=$5 unpacked=$6
mkdir -p "$environments" || exit 10
cd "$environments"
exec 9<"$environments"
flock -n 9 || {{ echo "waiting for another installation on this host"; flock 9; }}
if [ -f "$digest/{COMPLETE}" ]; then exit 0; fi
work=$environments/.incoming-$digest
sweep() {{
  rm -rf "$environments"/.incoming-*
  if [ ! -f "$digest/{COMPLETE}" ]; then rm -rf "$digest"; fi
}}
trap sweep EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM
sweep
free() {{ df -Pk . | awk 'NR == 2 {{ print $4 }}'; }}
full() {{
  if [ "$(free)" -lt "$1" ]; then
    echo "$environments: $(($(free) / 1024)) MiB are free of about $(($2 / 1024)) needed" >&2
    exit 10
  fi
}}
full "$kib" "$kib"
mkdir "$work"
if ! tar -x -o -f - -C "$work" || [ ! -f "$work/{END}" ]; then
  full 4096 "$kib"
  exit 16
fi
for variable in $(env | sed -n 's/^\\(UV_[A-Z_]*\\)=.*/\\1/p'); do unset "$variable"; done
export UV_CACHE_DIR="$work/cache" UV_OFFLINE=1 UV_NO_CONFIG=1 UV_NO_PROGRESS=1
uv=$work/uv
"$uv" --version || exit 15
"$uv" venv --quiet --no-project --no-python-downloads --python "$python" "$digest" || exit 11
"$uv" pip install --python "$digest/bin/python" --no-index --no-deps --require-hashes \\
  --link-mode hardlink --compile-bytecode --find-links "$work/wheels" \\
  --requirement "$work/wheels.lock" || {{ full "$unpacked" "$kib"; exit 13; }}
"$digest/bin/python" -c 'import distributed' || exit 14
# uv makes its lock writable for everybody.
rm -f "$digest/.lock"
mv "$work/requirements.lock" "$work/wheels.lock" "$digest"
printf '%s\\n' "$name" >"$digest/{COMPLETE}.new"
mv "$digest/{COMPLETE}.new" "$digest/{COMPLETE}"
"""


async def ship(
    transport: Transport,
    places: Places,
    environment: Environment,
    wheelhouse: Wheelhouse,
    python: str,
    sink: Sink,
) -> None:
    """Make an environment on a host from shipped wheels, or find that somebody else just did.

    Parameters
    ----------
    transport : Transport
        To the host.
    places : Places
        Directories there.
    environment : Environment
        What to make.
    wheelhouse : Wheelhouse
        Its wheels for the platform of that host.
    python : str
        Path of an interpreter there.
    sink : callable
        Takes a `Note` for each step and each line that is said there.

    Raises
    ------
    EnvironmentBuildError
        With the last lines that were said and what to do.
    """
    sink(
        Note(
            transport.host,
            f"sending {wheelhouse.wheels} wheels and uv, {wheelhouse.size / 2**20:.0f} MiB",
        )
    )
    # The bundle, its content, and bytecode of about half of that; and some to spare.
    kib = (wheelhouse.size + wheelhouse.installed * 3 // 2) // 1024 + 50_000
    unpacked = wheelhouse.installed // 1024
    command = Command(
        (
            *("sh", "-c", _SHIP, "ship", places.environments, environment.digest),
            *(python, environment.name, str(kib), str(unpacked)),
        ),
        timeout=SECONDS,
        files=(wheelhouse.bundle,),
    )
    await make(transport, command, environment, _STAGES, sink)
