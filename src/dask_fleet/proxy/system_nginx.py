"""The door in the nginx of its host, which systemd runs and which may have other sites.

Those are never touched. Our site file lies where the distribution has such files: Debian and its
kin in ``sites-available``, with a link in ``sites-enabled``, others in ``conf.d``.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dask_fleet.command import Command, script
from dask_fleet.installing import archive
from dask_fleet.proxy.door_files import (
    CERTIFICATE,
    CERTIFIED,
    KEY,
    SHOW_SITE,
    SITE,
    door_directory,
    kept_by_the_host,
    site_name,
)
from dask_fleet.proxy.taking_over import RELOADING

if TYPE_CHECKING:
    from dask_fleet.places import Places
    from dask_fleet.target import DoorTarget

__all__ = ["SystemNginx"]

_AVAILABLE, _ENABLED, _OTHERS = (
    f"/etc/nginx/{place}" for place in ("sites-available", "sites-enabled", "conf.d")
)

# What is common to putting a door into place and taking it away.
_PLACE = f"""\
set -eu
umask 022
PATH=$PATH:/usr/sbin:/sbin
site=$1 own=$2
place={_OTHERS} link=
if [ -d {_AVAILABLE} ]; then place={_AVAILABLE} link={_ENABLED}/$site; fi
take_away() {{
  if [ -n "$link" ]; then rm -f "$link"; fi
  rm -f "$place/$site"
}}
"""

# The files of a door are in `own/.new` before they take their places, and those that were there
# in `own/.old` until nginx has taken the new ones over. When that broke off, `.old` is still what
# nginx has taken over last.
_UPDATE = f"""\
{RELOADING}
{_PLACE}
door=$3 user=$4 name=$5 port=$6
if ! command -v nginx >/dev/null; then echo "nginx is not installed" >&2; exit 1; fi
mkdir -p "${{own%/*}}"
if [ ! -d "$own" ]; then mkdir -m 700 "$own"; fi
rm -rf "$own/.new"
mkdir -m 700 "$own/.new"
tar -xpf - --no-same-owner -C "$own/.new"
if [ ! -e "$own/.new/.whole" ]; then echo "the input broke off" >&2; exit 1; fi
if [ ! -d "$own/.old" ]; then
  mkdir -m 700 "$own/.old.new"
  for file in {CERTIFICATE} {KEY}; do
    if [ -f "$own/$file" ]; then cp -p "$own/$file" "$own/.old.new/"; fi
  done
  if [ -f "$place/$site" ]; then cp -p "$place/$site" "$own/.old.new/{SITE}"; fi
  mv "$own/.old.new" "$own/.old"
fi
put() {{
  for file in {CERTIFICATE} {KEY}; do
    if [ -f "$own/$1/$file" ]; then
      cp -p "$own/$1/$file" "$own/.next"
      mv -f "$own/.next" "$own/$file"
    else
      rm -f "$own/$file"
    fi
  done
  if [ -f "$own/$1/{SITE}" ]; then
    cp "$own/$1/{SITE}" "$place/.$site.next"
    mv -f "$place/.$site.next" "$place/$site"
    if [ -n "$link" ]; then ln -sfn "$place/$site" "$link"; fi
  else
    take_away
  fi
}}
back() {{
  put .old
  rm -rf "$own/.old" "$own/.new"
  echo "$1; the door is as it was before" >&2
  printf '%s\\n' "$2" | tail -n 6 >&2
  exit 1
}}
workers=$(sed -n 's/^[[:space:]]*user[[:space:]]\\{{1,\\}}\\([^;[:space:]]*\\).*/\\1/p' \\
  /etc/nginx/nginx.conf | head -n 1)
mkdir -p "$door"
# Workers of nginx pass through these; what lies there has modes of its own.
chmod 755 "$door" "${{door%/*}}" "${{door%/*/*}}"
case $user in
  # A number is that of containers, whom no user of the host need be.
  [0-9]*) writer=${{user%:*}} ;;
  *) writer=$(getent passwd "$user" | cut -d: -f1) ;;
esac
if [ -n "$writer" ]; then
  mkdir -p "$door/seen"
  chown "$writer:$(id -gn "${{workers:-nobody}}")" "$door/seen"
  chmod 750 "$door/seen"
fi
if [ -n "$name" ]; then
  mkdir -p "$door/challenges"
  cat >"$door/{CERTIFIED}.next" <<'END'
#!/bin/sh
# certbot runs it with the directory of what it has fetched. Written by dask-fleet.
set -eu
place=${{0%/*}}
ln -sfn "$RENEWED_LINEAGE/fullchain.pem" "$place/{CERTIFICATE}"
ln -sfn "$RENEWED_LINEAGE/privkey.pem" "$place/{KEY}"
nginx -t -q
systemctl reload nginx
END
  chmod 755 "$door/{CERTIFIED}.next"
  mv -f "$door/{CERTIFIED}.next" "$door/{CERTIFIED}"
  live=/etc/letsencrypt/live/$name
  if [ -f "$live/fullchain.pem" ] && [ -f "$live/privkey.pem" ]; then
    ln -sfn "$live/fullchain.pem" "$door/{CERTIFICATE}"
    ln -sfn "$live/privkey.pem" "$door/{KEY}"
  else
    ln -sfn "$own/{CERTIFICATE}" "$door/{CERTIFICATE}"
    ln -sfn "$own/{KEY}" "$door/{KEY}"
  fi
fi
put .new
said=$(nginx -t 2>&1) || back "nginx does not take it" "$said"
if systemctl is-active --quiet nginx; then
  before=$(workers "$(cat /run/nginx.pid)")
  said=$(systemctl reload nginx 2>&1) || back "nginx does not reload" "$said"
  if ! all_took_over $before; then
    said=$(tail -n 6 /var/log/nginx/error.log 2>&1)
    # One that binds all addresses of a port in place of one, or one in place of all, cannot: it
    # holds the port itself. A port that others hold would be the end of all sites.
    if ! grep -Eqs "^ *listen ([^ ;]*:)?$port[ ;]" "$own/.old/{SITE}"; then
      back "nginx goes on with its old files" "$said"
    fi
    if ! systemctl restart nginx 2>/dev/null; then
      said=$(journalctl --unit nginx --no-pager --output cat -n 6 2>&1)
      put .old
      systemctl start nginx || :
      back "nginx does not start" "$said"
    fi
  fi
else
  said=$(systemctl start nginx 2>&1) ||
    back "nginx does not start" "$(journalctl --unit nginx --no-pager --output cat -n 6 2>&1)"
fi
systemctl is-enabled --quiet nginx 2>/dev/null || systemctl --quiet enable nginx
# A reload that finds the port held by another goes on with the old file, and says so to its log.
listens() {{
  cat /proc/net/tcp /proc/net/tcp6 2>/dev/null | awk -v end=":$(printf %04X "$port")" '
    $4 == "0A" && substr($2, length($2) - 4) == end {{ found = 1 }} END {{ exit !found }}'
}}
tries=0
until listens; do
  tries=$((tries + 1))
  if [ "$tries" -gt 100 ]; then
    back "nginx does not listen on port $port" "$(tail -n 6 /var/log/nginx/error.log 2>&1)"
  fi
  sleep 0.05
done
(cd "$own/.new" && sha256sum *) >"$own/.loaded" || :
mv -f "$own/.loaded" "$own/loaded"
rm -rf "$own/.old" "$own/.new"
if [ -z "$name" ]; then rm -f "$door/{CERTIFICATE}" "$door/{KEY}" "$door/{CERTIFIED}"; fi
"""

_REMOVE = f"""\
{_PLACE}
door=$3 user=$4 kept=$5
take_away
rm -rf "$own"
# A container that has the directory mounted would go on with the one that is removed.
case $user in
  [0-9]*) rm -f "$door"/seen/* ;;
  *) rm -rf "$door/seen" ;;
esac
if command -v nginx >/dev/null && systemctl is-active --quiet nginx; then
  nginx -t -q
  systemctl reload nginx
fi
rm -rf "$kept"
"""

_LOOK = f"""\
site={{site}} own={{own}} door={{door}} wanted={{wanted}}
for path in {_AVAILABLE}/"$site" {_OTHERS}/"$site"; do
  if [ -f "$path" ]; then wanted=yes; echo "file {SITE} $(sha256sum <"$path")"; fi
done
for name in {CERTIFICATE} {KEY}; do
  if [ -f "$own/$name" ]; then wanted=yes; echo "file $name $(sha256sum <"$own/$name")"; fi
done
if [ -f "$own/loaded" ]; then sed 's/^/loaded /' "$own/loaded"; fi
if [ -e {_ENABLED}/"$site" ] || [ -f {_OTHERS}/"$site" ]; then echo "linked 1"; fi
if [ $wanted = yes ]; then
  PATH=$PATH:/usr/sbin:/sbin
  if command -v nginx >/dev/null; then echo "nginx $(nginx -v 2>&1 | sed 's/.*nginx.//')"; fi
  echo "active $(systemctl is-active nginx 2>/dev/null)"
  echo "boot $(systemctl is-enabled nginx 2>/dev/null)"
  if [ -L "$door/{CERTIFICATE}" ] && [ ! -e "$door/{CERTIFICATE}" ]; then echo "dangling 1"; fi
  for path in "$door/{CERTIFICATE}" "$own/{CERTIFICATE}"; do
    if [ -f "$path" ]; then sed 's/^/pem /' "$path"; break; fi
  done
fi
"""


@dataclass(frozen=True, slots=True)
class SystemNginx:
    """The nginx of a host.

    Attributes
    ----------
    fleet : str
        Name of the fleet.
    user : str
        System user that units run as, ``UID:GID`` of containers: it may say when the scheduler was
        alive last.
    """

    fleet: str
    user: str

    @property
    def own(self) -> bool:
        """It was there before the fleet and stays when the fleet goes."""
        return False

    def look(self, places: Places, *, wanted: bool) -> str:
        """Return the part of the look script that prints what is there of the door."""
        return _LOOK.format(
            site=shlex.quote(site_name(self.fleet)),
            own=shlex.quote(door_directory(places)),
            door=shlex.quote(places.door),
            wanted="yes" if wanted else "no",
        )

    def site(self, places: Places) -> Command:
        """Return the command that prints the path of the site file and, below, what is in it."""
        del places
        return script(f'{_PLACE}set -- "$place/$site"\n{SHOW_SITE}', site_name(self.fleet), "")

    def update(self, places: Places, door: DoorTarget) -> Command:
        """Return the command that puts the files into place, checked, and reloads nginx."""
        command = script(
            _UPDATE,
            site_name(self.fleet),
            door_directory(places),
            places.door,
            self.user if door.with_scheduler else "",
            door.certified_name,
            str(door.port),
            timeout=60,
        )
        # The files follow the script on standard input: `sh` reads no further than it needs.
        argv = ("sh", "-c", _UPDATE, "door", *command.argv[3:])
        return Command(argv, archive(door.files), 60.0, title="put the door's files into place")

    def remove(self, places: Places) -> Command:
        """Return the command that takes the site away and reloads nginx."""
        return script(
            _REMOVE,
            site_name(self.fleet),
            door_directory(places),
            places.door,
            self.user,
            kept_by_the_host(self.fleet),
        )
