"""The software that a host brings along: its Python interpreters, its machine and its C library."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from dask_fleet.errors import EnvironmentBuildError, FleetError
from dask_fleet.observed import HostSoftware, Interpreter

__all__ = [
    "LOOK",
    "HostSoftware",
    "Interpreter",
    "choose",
    "missing_python",
    "read_software",
    "unsuitable",
]

# Versioned names come first: `python3` may be another version after an upgrade. A file that has
# several names is started once, and `-V` ends before Python has set itself up. The function runs
# in a shell of its own, so that IFS stays as it was.
LOOK = r"""
software() (
  echo "machine $(uname -m)"
  libc=$(getconf GNU_LIBC_VERSION 2>/dev/null)
  if [ -z "$libc" ]; then
    for path in /lib/ld-musl-*; do if [ -e "$path" ]; then libc=musl; fi; done
  fi
  echo "libc ${libc:-unknown}"
  seen='
'
  places=$PATH:/usr/bin:/usr/local/bin
  IFS=:
  for place in $places; do
    for path in "$place"/python3.1[0-9] "$place"/python3; do interpreter "$path"; done
  done
  for path in /opt/*/bin/python3.1[0-9] /opt/*/bin/python3; do interpreter "$path"; done
)
interpreter() {
  case $1 in /*) ;; *) return ;; esac
  if [ ! -f "$1" ] || [ ! -x "$1" ]; then return; fi
  real=$(readlink -f "$1")
  case $seen in *"
$real
"*) return ;; esac
  seen="$seen$real
"
  echo "interpreter $1 $("$1" -V 2>/dev/null </dev/null | head -n 1)"
}
software
"""
"""Shell text for a look: prints lines that `read_software` reads."""

# PyPy and development builds print more after the version; none of them fits a lock's wheels.
_INTERPRETER = re.compile(r"interpreter (/.*) Python (\d+\.\d+\.\d+)")


def read_software(lines: Iterable[str]) -> HostSoftware:
    """Return what the lines that `LOOK` printed say; other lines are passed over."""
    machine, libc = "", "unknown"
    interpreters: list[Interpreter] = []
    for line in lines:
        word, _, rest = line.partition(" ")
        if word == "machine":
            machine = rest.strip()
        elif word == "libc":
            libc = rest.strip()
        elif found := _INTERPRETER.fullmatch(line.rstrip()):
            interpreters.append(Interpreter(found[1], found[2]))
    return HostSoftware(machine, libc, tuple(interpreters))


def choose(pythons: Sequence[Interpreter], wanted: str) -> str | None:
    """Return the path of the interpreter that an environment is to be made from.

    Parameters
    ----------
    pythons : sequence of Interpreter
        What the host has.
    wanted : str
        ``3.11`` takes every 3.11.x, ``3.11.7`` only that one.

    Returns
    -------
    str or None
        Among those that fit one that every user of the host can read, then the newest, then the
        one that was found first; ``None`` when none fits.
    """
    fitting = [one for one in pythons if _fits(one.version, wanted)]
    # `max` keeps the first of equals, which is the first on PATH.
    best = max(
        fitting, key=lambda one: (not _private(one.path), _numbers(one.version)), default=None
    )
    return best.path if best else None


def missing_python(host: str, wanted: str, pythons: Sequence[Interpreter]) -> FleetError:
    """Return the error of a host that has no interpreter that fits."""
    minor = ".".join(wanted.split(".")[:2])
    have = ", ".join(str(one) for one in pythons) or "none from 3.10 on"
    versions = sorted({_minor(one.version) for one in pythons} - {wanted}, key=_numbers)
    name = versions[-1] if versions else ""
    instead = f', or set `environment.python: "{name}"`, which it has' if name else ""
    return EnvironmentBuildError(
        f"{host}: there is no Python {wanted}; it has: {have}",
        f"install Python {wanted} there (`python{minor}` of the distribution, or one in"
        f" /usr/local/bin or /opt/*/bin){instead}",
    )


def unsuitable(host: str, software: HostSoftware) -> FleetError | None:
    """Return why no environment can be made on a host from shipped wheels, or ``None``."""
    if software.glibc is not None and software.machine:
        return None
    if software.libc == "musl":
        fault = "its C library is musl, for which many scientific packages have no wheels"
    else:
        fault = f"its machine ({software.machine or 'unknown'}) or C library is not known"
    return EnvironmentBuildError(
        f"{host}: {fault}",
        "use a distribution with the GNU C library, such as Debian, Ubuntu or Fedora",
    )


def _fits(version: str, wanted: str) -> bool:
    return version == wanted or version.startswith(f"{wanted}.")


def _private(path: str) -> bool:
    """Whether a path lies in a home, into which the fleet's system user cannot look."""
    return path.startswith(("/root/", "/home/"))


def _minor(version: str) -> str:
    return ".".join(version.split(".")[:2])


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))
