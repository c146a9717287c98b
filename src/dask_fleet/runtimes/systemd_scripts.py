"""What runs on a host to have systemd do something: programs as text, for its runtime."""

from __future__ import annotations

__all__ = ["END", "LOG", "PREPARE", "PROPERTIES", "STOP_SECONDS", "UPDATE"]

PROPERTIES = (
    "Id",
    "LoadState",
    "ActiveState",
    "SubState",
    "Result",
    "MainPID",
    "NRestarts",
    "UnitFileState",
    "NeedDaemonReload",
    "ExecMainStatus",
)
"""What ``systemctl show`` is asked for of each unit."""

STOP_SECONDS = 20
"""How long a unit may take to stop before it is killed; nannies need about 3 s."""

# The one bad name in a list of units must not keep `systemctl` from the others.
UPDATE = """\
set -eu
directory=$1
shift
there= gone=
for unit in "$@"; do
  if [ -f "$directory/$unit" ]; then there="$there $unit"; else gone="$gone $unit"; fi
done
# Enabling makes links, and one reload is for all of it. A unit that systemd has never read is read
# when it starts, so its processes need not wait for that.
if [ -n "$there" ]; then systemctl --quiet --no-reload enable $there; fi
known=$(systemctl list-units --all --full --plain --no-legend "$@")
if [ -n "$known$gone" ]; then systemctl daemon-reload; fi
if [ -n "$gone" ]; then
  # Before they stop: when this is killed in between, a unit that runs is seen, a link is not.
  for unit in $gone; do rm -f "$directory"/*.wants/"$unit"; done
  systemctl stop $gone || :
  for unit in $gone; do systemctl reset-failed "$unit" 2>/dev/null || :; done
  systemctl daemon-reload
fi
if [ -n "$there" ]; then
  systemctl reset-failed $there 2>/dev/null || :
  systemctl restart $there
fi
# The links too have to be read before a target wants these units. That takes systemd longer than
# all of the above, so it is told to do it when their processes are up; a boot does it anyway.
if [ -z "$known$gone" ]; then
  systemd-run --quiet --collect --on-active=15 --description="read the units of dask-fleet" \
    systemctl daemon-reload || systemctl daemon-reload
fi
"""

# The journal's place comes first, so that nothing is lost between what was there and what is new.
LOG = """\
set -eu
how=$1 lines=$2 after=$3
shift 3
show() {
  journalctl --quiet --no-pager --all --output=json \\
    --output-fields=MESSAGE,UNIT,_SYSTEMD_UNIT "$@"
}
if [ "$how" = follow ] && [ -z "$after" ]; then
  after=$(show --lines=1 | sed -n 's/.*"__CURSOR" *: *"\\([^"]*\\)".*/\\1/p')
  at=last
fi
if [ "$how" = print ] || [ "${at-}" = last ]; then
  for unit in "$@"; do show --lines="$lines" "$unit"; done
fi
if [ "$how" = follow ]; then
  if [ -n "$after" ]; then
    printf '{"__CURSOR": "%s"}\\n' "$after"
    set -- --no-tail --after-cursor="$after" "$@"
  fi
  show --follow "$@"
fi
"""

END = """\
set -eu
directory=$1 prefix=$2
units=$(systemctl list-units --all --plain --no-legend --full "$prefix*.service" |
  sed 's/^[^a-zA-Z0-9]*//; s/ .*//')
if [ -n "$units" ]; then systemctl stop $units; fi
rm -f "$directory"/*.wants/"$prefix"*.service
rm -rf "$directory/$prefix"*.service "$directory/$prefix"*.service.d
systemctl daemon-reload
for unit in $units; do systemctl reset-failed "$unit" 2>/dev/null || :; done
"""

# A user that is there already, say from a directory service, is taken as it is.
PREPARE = """\
set -eu
user=$1 fleets=$2 environments=$3 state=$4 deployed=$5
shift 5
if ! getent passwd "$user" >/dev/null; then
  useradd --system --user-group --no-create-home --home-dir "$state" \\
    --shell /usr/sbin/nologin "$user"
fi
group=$(id -gn "$user")
umask 022
mkdir -p "$fleets" "$environments"
# Whatever came before, such as a journal, may have made them for root alone.
chmod 755 "${fleets%/*}" "$fleets" "$environments"
mkdir -p "$state" "$deployed"
chown "root:$group" "$state" "$deployed"
chmod 750 "$state" "$deployed"
for place in "$@"; do
  mkdir -p "$place"
  chown "$user:$group" "$place"
  chmod 750 "$place"
done
"""
