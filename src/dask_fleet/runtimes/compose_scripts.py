"""What runs on a host to have compose do something: programs as text, for its runtime."""

from __future__ import annotations

__all__ = ["END", "LOG", "PREPARE", "PREPARE_OWN", "RESTART", "UPDATE", "WRITABLE"]

# A container knows itself how long it may take to stop. One whose unit is gone from the file is
# known by its label alone. A hash says of which definition compose has made a container; it is kept
# to know one that somebody else has made.
UPDATE = """\
set -eu
folder=$1 label=$2 made=$3
shift 3
cd "$folder"
awaken "$label"
there=
for unit in "$@"; do
  if grep -qxF "  $unit:" docker-compose.yml; then there="$there $unit"; continue; fi
  set -- $(docker ps --all --quiet --filter "label=$label" --filter "label=dask-fleet.unit=$unit")
  if [ $# -gt 0 ]; then docker stop "$@" >/dev/null; docker rm --force "$@" >/dev/null; fi
  rm -f "$made/$unit"
done
if [ -n "$there" ]; then
  compose up --detach --no-build --force-recreate $there
  mkdir -p "$made"
  for unit in $there; do
    container=$(docker ps --all --quiet --filter "label=$label" \\
      --filter "label=dask-fleet.unit=$unit")
    docker inspect --format '{{index .Config.Labels "com.docker.compose.config-hash"}}' \\
      $container >"$made/$unit.new"
    mv "$made/$unit.new" "$made/$unit"
  done
fi
"""

RESTART = """\
set -eu
label=$1
shift
awaken "$label"
for unit in "$@"; do
  docker ps --all --quiet --filter "label=$label" --filter "label=dask-fleet.unit=$unit"
done | xargs --no-run-if-empty docker restart >/dev/null
"""

END = """\
set -eu
label=$1 project=$2 door=$3
awaken "$label"
set -- $(docker ps --all --quiet --filter "label=$label")
if [ $# -gt 0 ]; then
  docker stop "$@" >/dev/null
  docker rm --force "$@" >/dev/null
fi
docker network ls --quiet --filter "label=com.docker.compose.project=$project" |
  xargs --no-run-if-empty docker network rm >/dev/null
# Docker has made them to be mounted; those of a door hold something, and stay.
for place in "$door/seen" "$door"; do
  if [ -d "$place" ]; then rmdir --ignore-fail-on-non-empty "$place"; fi
done
"""

# Prints the folder in which the login would have to make the fleet's, and cannot; part of a look,
# which knows what is there of a path.
WRITABLE = """\
present {}
if [ ! -w "$place" ]; then echo "unwritable $place"; fi
"""

# Directories on the way may have been made for root alone.
PREPARE = """\
set -eu
owner=$1 fleets=$2 state=$3 deployed=$4
shift 4
umask 022
mkdir -p "$fleets" "$state" "$deployed"
chmod 755 "${fleets%/*}" "$fleets"
chown "0:${owner#*:}" "$state" "$deployed"
chmod 750 "$state" "$deployed"
for place in "$@"; do
  mkdir -p "$place"
  chown "$owner" "$place"
  chmod 750 "$place"
done
"""

# Everything is the login's, and nobody else's.
PREPARE_OWN = """\
set -eu
umask 077
fleets=$1
shift
mkdir -p "$@"
# A lease may have made it.
chmod 700 "$fleets"
"""

# Each line bears its unit, for docker gives no name to lines of several containers.
LOG = """\
set -eu
how=$1 lines=$2 after=$3 label=$4
shift 4
if [ -n "$after" ]; then option=--since value=$after; else option=--tail value=$lines; fi
# Prints what a unit's container says, and on standard output the time of its last line.
show() {
  unit=$1
  shift
  container=$(docker ps --all --quiet --filter "label=$label" \\
    --filter "label=dask-fleet.unit=$unit")
  if [ -z "$container" ]; then return; fi
  last=
  # By the shell itself: an awk may keep lines until it has many, and does on Debian.
  docker logs --timestamps "$@" "$option" "$value" "$container" 2>&1 | {
    while IFS= read -r line; do
      case ${line%% *} in
        "$after") continue ;;
        [0-9]*T*[0-9Z]) last=${line%% *} ;;
      esac
      printf '%s %s\\n' "$unit" "$line" >&3
    done
    echo "$last"
  }
}
# Docker ends with the container, which may be started again, or be replaced by another.
follow() {
  while :; do
    last=$(show "$1" --follow)
    if [ -n "$last" ]; then after=$last option=--since value=$last; fi
    sleep 1
  done
}
exec 3>&1
if [ "$how" = follow ]; then
  for unit in "$@"; do follow "$unit" & done
  wait
else
  for unit in "$@"; do show "$unit" >/dev/null; done
fi
"""
