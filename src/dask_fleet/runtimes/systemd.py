"""The runtime for hosts behind SSH: the host's own systemd, one service for each unit.

systemd starts the units at boot, restarts whatever exits (a Dask worker exits with 0 when its
scheduler is gone, so ``Restart=always``, and without a start limit), holds their memory and keeps
their output in its journal. Settings are described in systemd.service(5), systemd.exec(5) and
systemd.resource-control(5).
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from dask_fleet.command import UNBOUNDED, Command, script
from dask_fleet.runtimes.systemd_scripts import END, LOG, PREPARE, PROPERTIES, STOP_SECONDS, UPDATE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dask_fleet.observed import LogLine, RuntimeObserved
    from dask_fleet.places import Places
    from dask_fleet.target import ManagedFile, UnitTarget

__all__ = ["DEFAULT_USER", "SystemdRuntime"]

DEFAULT_USER = "dask-fleet"
"""System user that units run as; it owns nothing but what they write."""

_DIRECTORY = "/etc/systemd/system"


@dataclass(frozen=True, slots=True)
class SystemdRuntime:
    """systemd on the host.

    Attributes
    ----------
    fleet : str
        Name of the fleet; names of units begin with it, so that fleets live side by side.
    user : str
        System user that units run as; it is made when it is not there.
    """

    fleet: str
    user: str = DEFAULT_USER

    @property
    def name(self) -> str:
        """Its name in the spec."""
        return "systemd"

    @property
    def shown(self) -> str:
        """What stops when the fleet goes down."""
        return "its units"

    @property
    def resident(self) -> bool:
        """It was there before the fleet and stays when the fleet goes."""
        return True

    @property
    def contained(self) -> bool:
        """Its processes are those of the host."""
        return False

    @property
    def absent(self) -> tuple[str, str]:
        """Fault and remedy where it does not run."""
        return (
            "systemd is not running there",
            "use a host that was booted with systemd, or another runtime",
        )

    @property
    def reader(self) -> str:
        """Files belong to root; units may read them and not write them."""
        return self.user

    @property
    def owner(self) -> str:
        """The user that units run as."""
        return self.user

    def interpreter(self, places: Places, environment: str) -> str:
        """Return that of the environment."""
        return places.interpreter(environment)

    @property
    def _prefix(self) -> str:
        # A fleet's name holds no dot, so that no fleet's prefix begins another's.
        return f"dask-fleet.{self.fleet}."

    def service(self, unit: str) -> str:
        """Return systemd's name of a unit, such as ``dask-fleet.sst.dask-scheduler.service``."""
        return f"{self._prefix}{unit}.service"

    def files(
        self, places: Places, fleet: str, units: Sequence[UnitTarget]
    ) -> tuple[ManagedFile, ...]:
        """Return one service file for each unit."""
        from dask_fleet.target import ManagedFile

        return tuple(
            ManagedFile(
                f"{_DIRECTORY}/{self.service(unit.name)}",
                self.definition(places, fleet, unit),
                mode=0o644,
            )
            for unit in units
        )

    def definition(self, places: Places, fleet: str, unit: UnitTarget) -> bytes:
        """Return the unit's service file."""
        from dask_fleet.runtimes.systemd_service import service_file

        return service_file(places, fleet, self.user, unit).encode()

    def bound(self, address: str) -> str:
        """Return the declared address itself."""
        return address

    def inside(self, units: Sequence[str]) -> tuple[str, ...]:
        """Return nothing: units run on the host itself."""
        del units
        return ()

    def own_files(self, places: Places) -> frozenset[str]:
        """Return nothing: systemd itself is not restarted for us."""
        del places
        return frozenset()

    def look(self, places: Places) -> str:
        """Return shell text that prints files of units, the user, and what systemd knows."""
        directory, prefix = shlex.quote(_DIRECTORY), shlex.quote(self._prefix)
        user, properties = shlex.quote(self.user), ",".join(PROPERTIES)
        parent = places.fleets.rpartition("/")[0]
        made = " ".join(map(shlex.quote, (places.run, places.work, parent, places.fleets)))
        # Few programs: to start one takes a host longer than what it has to do. Systemd is asked
        # for the units that it knows, and then for those with a file that it has never read.
        return f"""\
set --
for path in {directory}/{prefix}*.service {directory}/{prefix}*.service.d/*; do
  if [ -f "$path" ]; then set -- "$@" "$path"; fi
done
if [ $# -gt 0 ]; then sha256sum "$@"; fi
# The first line is about the process that looks, the others are about what belongs to the user.
seen=$(stat -c '%u %U %a' /proc/self/ {made} 2>/dev/null)
echo "login ${{seen%% *}}"
case $seen in
  *"
"*" "{user}" "*"
"*" "{user}" "*"
"*" 755
"*" 755") echo "prepared 1" ;;
esac
if [ -d /run/systemd/system ] && command -v systemctl >/dev/null; then
  echo "systemd 1"
  known=$(systemctl show --property={properties} {prefix}'*.service')
  echo "$known"
  set --
  for path in {directory}/{prefix}*.service; do
    if [ -f "$path" ] || [ -L "$path" ]; then
      case $known in *"Id=${{path##*/}}
"*) ;; *) set -- "$@" "${{path##*/}}" ;; esac
    fi
  done
  if [ $# -gt 0 ]; then systemctl show --property={properties} "$@"; fi
fi
"""

    def read(self, text: str) -> RuntimeObserved:
        """Return what systemd says as values."""
        from dask_fleet.runtimes.systemd_reading import read_runtime

        return read_runtime(text, self._prefix)

    def prepare(self, places: Places) -> Command:
        """Return the command that makes the system user and the directories of the fleet."""
        words = (self.user, places.fleets, places.environments, places.state, places.deployed)
        return script(PREPARE, *words, places.run, places.work)

    def begin(self, places: Places) -> Command:
        """Return nothing to do: systemd runs, or the host is refused."""
        raise AssertionError(f"systemd is not ours to start ({places.state})")

    def end(self, places: Places) -> Command:
        """Return the command that stops every unit of the fleet and removes its service file."""
        del places
        return script(END, _DIRECTORY, self._prefix, timeout=STOP_SECONDS + 40)

    def update(self, places: Places, units: Sequence[str]) -> Command:
        """Return the command that takes over definitions, enables units and restarts them.

        Units whose file is gone are stopped and forgotten.
        """
        del places
        return script(UPDATE, _DIRECTORY, *map(self.service, units), timeout=STOP_SECONDS + 60)

    def restart(self, places: Places, units: Sequence[str]) -> Command:
        """Return ``systemctl restart`` for these units."""
        del places
        services = map(self.service, units)
        return Command(("systemctl", "restart", *services), timeout=STOP_SECONDS + 60)

    def log(
        self, places: Places, units: Sequence[str], *, lines: int, follow: bool, after: str = ""
    ) -> Command:
        """Return ``journalctl`` for these units, as JSON: that says whose each line is, and where.

        With ``follow`` a line may come twice, at the end of what was there and as a new one, and
        an entry without any text says from where new ones are awaited.
        """
        del places
        how = "follow" if follow else "print"
        patterns = (f"--unit={self.service(unit)}" for unit in units)
        command = script(LOG, how, str(lines), after, *patterns)
        return replace(command, timeout=UNBOUNDED if follow else 60.0, title=f"{how} the log")

    def read_log(self, line: str) -> LogLine:
        """Return what an entry of the journal says; systemd's own words on a unit are its too."""
        from dask_fleet.runtimes.systemd_reading import read_entry

        return read_entry(line, self._prefix)
