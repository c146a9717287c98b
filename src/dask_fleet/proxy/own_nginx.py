"""The door in an nginx of the fleet's own, a unit among others: no root, nothing of ``/etc``."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dask_fleet.command import Command, script
from dask_fleet.installing import archive
from dask_fleet.proxy.door_files import (
    CERTIFICATE,
    KEY,
    MAIN,
    SHOW_SITE,
    SITE,
    START,
    door_directory,
)
from dask_fleet.proxy.taking_over import RELOADING

if TYPE_CHECKING:
    from dask_fleet.places import Places
    from dask_fleet.target import DoorTarget

__all__ = ["START_TEXT", "OwnNginx", "own_command"]

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""Where nginx is looked for: it is a program of administrators, and not on everybody's path."""

# As in the nginx of a host: what was there lies in `.old` until the new files are taken over.
_UPDATE = f"""\
{RELOADING}
set -eu
umask 077
PATH={PATH}
own=$1 door=$2
if ! command -v nginx >/dev/null; then echo "nginx is not installed" >&2; exit 1; fi
mkdir -p "$own" "$door/seen"
rm -rf "$own/.new"
mkdir "$own/.new"
tar -xpf - -C "$own/.new"
if [ ! -e "$own/.new/.whole" ]; then echo "the input broke off" >&2; exit 1; fi
files="{SITE} {MAIN} {START} {CERTIFICATE} {KEY}"
if [ ! -d "$own/.old" ]; then
  mkdir "$own/.old.new"
  for file in $files; do
    if [ -f "$own/$file" ]; then cp -p "$own/$file" "$own/.old.new/"; fi
  done
  mv "$own/.old.new" "$own/.old"
fi
put() {{
  for file in $files; do
    if [ -f "$own/$1/$file" ]; then
      cp -p "$own/$1/$file" "$own/.next"
      mv -f "$own/.next" "$own/$file"
    else
      rm -f "$own/$file"
    fi
  done
}}
# Workers of nginx are nobody's when root starts it; all of the fleet runs as who brings it up.
rm -f "$own/run-as.conf"
if [ "$(id -u)" = 0 ]; then echo "user root;" >"$own/run-as.conf"; fi
put .new
if ! said=$(nginx -e stderr -p "$own" -c "$own/{MAIN}" -t 2>&1); then
  put .old
  rm -rf "$own/.old" "$own/.new"
  echo "nginx does not take it; the door is as it was before" >&2
  printf '%s\\n' "$said" | tail -n 6 >&2
  exit 1
fi
master=$(cat "$own/nginx.pid" 2>/dev/null || :)
if [ -n "$master" ] && tr '\\0' '\\n' <"/proc/$master/cmdline" 2>/dev/null | grep -qF "$own/"; then
  before=$(workers "$master")
  kill -HUP "$master"
  # One that binds all addresses of a port in place of one, or one in place of all, cannot: it holds
  # the port itself. Supervisor starts another.
  if ! all_took_over $before; then
    kill -TERM "$master"
    tries=0
    until [ -s "$own/nginx.pid" ] && [ "$(cat "$own/nginx.pid")" != "$master" ]; do
      tries=$((tries + 1))
      if [ "$tries" -gt 200 ]; then
        put .old
        rm -rf "$own/.old" "$own/.new"
        echo "nginx does not start with it; its files are as they were before" >&2
        echo "'dask fleet logs dask-door' has what it says" >&2
        exit 1
      fi
      sleep 0.05
    done
  fi
fi
(cd "$own/.new" && sha256sum *) >"$own/.loaded" || :
mv -f "$own/.loaded" "$own/loaded"
rm -rf "$own/.old" "$own/.new"
"""

# Workers of a master that was killed live on and keep the port. They are of its process group, and
# its pid is in the file that it had no time to remove.
START_TEXT = f"""\
PATH={PATH}
own=$1
if [ -s "$own/nginx.pid" ] && read -r old <"$own/nginx.pid" && [ ! -e "/proc/$old" ]; then
  for stat in /proc/[0-9]*/stat; do
    {{ read -r line <"$stat"; }} 2>/dev/null || continue
    case $line in *" (nginx) "*) ;; *) continue ;; esac
    pid=${{line%% *}}
    set -- ${{line##*) }}
    if [ "$3" = "$old" ]; then kill -KILL "$pid"; fi
  done
fi
exec nginx -e stderr -p "$own" -c "$own/{MAIN}"
"""

_LOOK = f"""\
own={{own}} wanted={{wanted}}
for name in {SITE} {MAIN} {START} {CERTIFICATE} {KEY}; do
  if [ -f "$own/$name" ]; then wanted=yes; echo "file $name $(sha256sum <"$own/$name")"; fi
done
if [ -f "$own/loaded" ]; then sed 's/^/loaded /' "$own/loaded"; fi
if [ $wanted = yes ]; then
  PATH={PATH}
  if command -v nginx >/dev/null; then echo "nginx $(nginx -v 2>&1 | sed 's/.*nginx.//')"; fi
  if [ -f "$own/{CERTIFICATE}" ]; then sed 's/^/pem /' "$own/{CERTIFICATE}"; fi
fi
"""


@dataclass(frozen=True, slots=True)
class OwnNginx:
    """An nginx that the fleet's own supervisord runs."""

    @property
    def own(self) -> bool:
        """It is started for the fleet and ends with it."""
        return True

    def look(self, places: Places, *, wanted: bool) -> str:
        """Return the part of the look script that prints what is there of the door."""
        own = shlex.quote(door_directory(places))
        return _LOOK.format(own=own, wanted="yes" if wanted else "no")

    def site(self, places: Places) -> Command:
        """Return the command that prints the path of the site file and, below, what is in it."""
        return script(SHOW_SITE, f"{door_directory(places)}/{SITE}")

    def update(self, places: Places, door: DoorTarget) -> Command:
        """Return the command that puts the files into place, checked, and reloads nginx."""
        argv = ("sh", "-c", _UPDATE, "door", door_directory(places), places.door)
        return Command(argv, archive(door.files), 60.0, title="put the door's files into place")

    def remove(self, places: Places) -> Command:
        """Return the command that removes its files; the runtime has ended it as a unit."""
        return script('rm -rf -- "$@"', door_directory(places), places.seen)


def own_command(places: Places) -> tuple[str, ...]:
    """Return what the runtime is to run."""
    own = door_directory(places)
    return ("sh", f"{own}/{START}", own)
