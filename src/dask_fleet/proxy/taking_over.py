"""How a running nginx takes over what its files say now, as a command."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dask_fleet.command import Command, script

if TYPE_CHECKING:
    from dask_fleet.places import Places

__all__ = ["RELOADING", "TOOK_OVER", "take_over"]

TOOK_OVER = "took over"

# A reload is over when every worker that was there before has gone or takes no new request: only
# then nobody comes in by what was withdrawn. nginx says that in the name of the process. It stays
# until the last websocket of a page is closed, unless it is ended. A master that finds its files
# wrong, or a port held, goes on with the old ones, and says so to its log alone.
RELOADING = """\
workers() {
  for stat in /proc/[0-9]*/stat; do
    { read -r line <"$stat"; } 2>/dev/null || continue
    set -- "$1" ${line##*) }
    if [ "$3" = "$1" ]; then pid=${stat#/proc/}; echo "${pid%/stat}"; fi
  done
}
serves() {
  case $(tr '\\0' ' ' 2>/dev/null <"/proc/$1/cmdline") in
    *"worker process is shutting down"*|"") return 1 ;;
  esac
}
all_took_over() {
  tries=0
  for pid in "$@"; do
    while serves "$pid"; do
      tries=$((tries + 1))
      if [ "$tries" -gt 200 ]; then return 1; fi
      sleep 0.05
    done
  done
}
"""
"""Functions of a shell: the workers of a master, and whether they make way for new ones in 10 s."""

# Parameters: whether to end it, file with the master's pid, number of places for the site file,
# these, and how to call nginx.
_TAKE_OVER = f"""\
{RELOADING}
set -eu
PATH=$PATH:/usr/sbin:/sbin
end=$1 pidfile=$2 count=$3 there=no
shift 3
while [ "$count" -gt 0 ]; do
  if [ -e "$1" ]; then there=yes; fi
  shift
  count=$((count - 1))
done
if [ $there = no ] || [ ! -s "$pidfile" ]; then echo idle; exit; fi
read -r master <"$pidfile"
# A pid that was left behind may be another program's by now.
name=$(cat "/proc/$master/comm" 2>/dev/null || :)
if [ "$name" != nginx ]; then echo idle; exit; fi
"$@" -t -q
before=$(workers "$master")
kill -HUP "$master"
if ! all_took_over $before; then
  echo "nginx (pid $master) was told to read its files anew and did not within 10 s" >&2
  exit 1
fi
for pid in $before; do
  if [ "$end" = yes ]; then kill -TERM "$pid" 2>/dev/null || :; fi
done
echo {TOOK_OVER}
"""


def take_over(fleet: str, places: Places, *, own: bool, hang_up: bool = False) -> Command:
    """Return the command that checks all files of an nginx and lets it read them anew.

    It prints `TOOK_OVER`, or something else when nginx does not run or has no such site.

    Parameters
    ----------
    fleet : str
        Name of the fleet.
    places : Places
        Directories of the door's host.
    own : bool
        Whether the nginx is the fleet's own.
    hang_up : bool
        Whether to end what goes on over the old files: websockets of open pages.
    """
    end = "yes" if hang_up else "no"
    if own:
        prefix = f"{places.state}/door"
        argv = ("nginx", "-e", "stderr", "-p", prefix, "-c", f"{prefix}/nginx.conf")
        return script(_TAKE_OVER, end, f"{prefix}/nginx.pid", "1", f"{prefix}/nginx.conf", *argv)
    places_for_it = ("sites-available", "conf.d")
    sites = [f"/etc/nginx/{place}/dask-fleet.{fleet}.conf" for place in places_for_it]
    return script(_TAKE_OVER, end, "/run/nginx.pid", "2", *sites, "nginx")
