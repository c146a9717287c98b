"""The runtime for this machine: supervisord, run by the user, one for each fleet.

supervisord restarts whatever exits (a Dask worker exits with 0 when its scheduler is gone, so
``autorestart=true`` and not ``unexpected``), keeps and rotates one log a unit, and outlives the
shell that started it. Its settings are described at http://supervisord.org/configuration.html.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

from dask_fleet.command import LIVES, UNBOUNDED, Command, script
from dask_fleet.errors import FleetError
from dask_fleet.observed import LogLine, RuntimeObserved, UnitObserved, UnitState
from dask_fleet.places import Places
from dask_fleet.runtimes.supervisor_scripts import ASK, LOG, UPDATE
from dask_fleet.target import ManagedFile, UnitTarget

__all__ = ["SupervisorRuntime"]

STOP_SECONDS = 20
"""How long a unit may take to stop before it is killed; nannies need about 3 s."""

_SOCKET_PATH_LIMIT = 107
"""Bytes of a Unix socket's path that Linux takes (``sun_path``, unix(7)), less supervisord's
temporary suffix, which is checked apart."""

_UNFIT = re.compile(r"""\s[;#]|["%\[]""")
"""Begins a comment; ends a value of a variable; is expanded once here and twice there; makes a
pattern of the directory in which supervisord looks for programs."""

_STATES: dict[str, UnitState] = {
    "STOPPED": "stopped",
    "STARTING": "starting",
    "RUNNING": "running",
    "BACKOFF": "crashing",
    "STOPPING": "stopping",
    "EXITED": "stopped",
    "FATAL": "crashing",
    "UNKNOWN": "stopped",
}
"""supervisord's states (http://supervisord.org/subprocess.html) in the words of the fleet."""


def _quoted(text: str) -> str:
    """Return text for a value in supervisord's configuration, where ``%`` begins an expansion."""
    return text.replace("%", "%%")


def _value(text: str) -> str:
    """Return the value of a variable as supervisord's own shlex reads it."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{_quoted(escaped)}"'


@dataclass(frozen=True, slots=True)
class SupervisorRuntime:
    """supervisord on the host.

    Attributes
    ----------
    python : str
        Interpreter there that has the package ``supervisor``.
    variables : tuple of (str, str)
        The environment that supervisord and so all units start from. It is not that of the
        operator's shell: two operators would start two different fleets.
    """

    python: str
    variables: tuple[tuple[str, str], ...] = ()

    @property
    def name(self) -> str:
        """Its name in the spec."""
        return "supervisor"

    @property
    def shown(self) -> str:
        """What stops when the fleet goes down."""
        return "supervisor and its units"

    @property
    def resident(self) -> bool:
        """It is started for the fleet and ends with it."""
        return False

    @property
    def contained(self) -> bool:
        """Its processes are those of the host."""
        return False

    @property
    def absent(self) -> tuple[str, str]:
        """It is started where it does not run, so this is never said."""
        return ("supervisord is not running there", "bring the fleet up")

    @property
    def reader(self) -> str:
        """Whoever starts it is the only one who reads files."""
        return ""

    @property
    def owner(self) -> str:
        """Whoever starts it."""
        return ""

    def interpreter(self, places: Places, environment: str) -> str:
        """Return that of the environment."""
        return places.interpreter(environment)

    def files(
        self, places: Places, fleet: str, units: Sequence[UnitTarget]
    ) -> tuple[ManagedFile, ...]:
        """Return ``supervisord.conf`` and one program file for each unit."""
        for place in (places.state, places.logs, places.environments):
            if found := _UNFIT.search(place):
                raise FleetError(
                    f"supervisord cannot be told of a path with {found[0]!r} in it: {place}",
                    "choose directories without ' ;', ' #', '\"', '%' and '[' in their names",
                )
        socket = self._socket(places)
        if len(socket.encode()) + len(".1234567") > _SOCKET_PATH_LIMIT:
            raise FleetError(
                f"the path of supervisord's socket is too long for the system: {socket}",
                "set XDG_STATE_HOME to a directory with a shorter path",
            )
        main = f"""\
; Written by dask-fleet for the fleet {fleet}; `dask fleet up` replaces what is edited here.
[unix_http_server]
file={_quoted(socket)}
chmod=0700

[supervisord]
identifier=dask-fleet-{fleet}
directory={_quoted(places.state)}
pidfile={_quoted(self._pidfile(places))}
logfile={_quoted(places.logs)}/supervisord.log
logfile_maxbytes=5MB
logfile_backups=2
umask=077

[rpcinterface:supervisor]
supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface

[supervisorctl]
serverurl=unix://{_quoted(socket)}

[include]
files=programs/*.conf
"""
        return (
            ManagedFile(self._configuration(places), main.encode()),
            *(
                ManagedFile(
                    f"{places.deployed}/programs/{unit.name}.conf",
                    self._program(places, unit).encode(),
                )
                for unit in units
            ),
        )

    def _program(self, places: Places, unit: UnitTarget) -> str:
        # The digest makes the definition differ whenever anything differs that the unit is
        # started from, so that one `supervisorctl update` finds out what to restart.
        # startretries: a unit must not be given up on; the pause between tries grows by itself.
        variables = (("DASK_FLEET_DIGEST", unit.digest), *unit.variables)
        return f"""\
[program:{unit.name}]
command={_quoted(shlex.join(unit.command))}
environment={",".join(f"{name}={_value(value)}" for name, value in variables)}
directory={_quoted(places.state)}
autostart=true
autorestart=true
startsecs=1
startretries=1000000
stopsignal=TERM
stopwaitsecs={STOP_SECONDS}
killasgroup=true
redirect_stderr=true
stdout_logfile={_quoted(places.logs)}/{unit.name}.log
stdout_logfile_maxbytes=10MB
stdout_logfile_backups=5
"""

    def definition(self, places: Places, fleet: str, unit: UnitTarget) -> bytes:
        """Return the unit's program file."""
        del fleet
        return self._program(places, unit).encode()

    def bound(self, address: str) -> str:
        """Return the declared address itself."""
        return address

    def inside(self, units: Sequence[str]) -> tuple[str, ...]:
        """Return nothing: units run on the host itself."""
        del units
        return ()

    def own_files(self, places: Places) -> frozenset[str]:
        """Return the path of ``supervisord.conf``."""
        return frozenset({self._configuration(places)})

    def look(self, places: Places) -> str:
        """Return shell text that prints supervisord's pid and its answer about all programs."""
        pidfile, conf, socket, python, ask = map(
            shlex.quote,
            (
                self._pidfile(places),
                self._configuration(places),
                self._socket(places),
                self.python,
                ASK,
            ),
        )
        return f"""\
pid=$(cat {pidfile} 2>/dev/null || :)
if [ -n "$pid" ] && tr '\\0' '\\n' <"/proc/$pid/cmdline" 2>/dev/null | grep -qxF {conf}; then
  echo "pid $pid"
fi
if [ -S {socket} ]; then {python} -I -S -c {ask} {socket} 0 2>/dev/null || :; fi
"""

    def read(self, text: str) -> RuntimeObserved:
        """Return supervisord's answer as values."""
        first, _, rest = text.partition("\n")
        word, _, number = first.partition(" ")
        pid = int(number) if word == "pid" and number.isdecimal() else 0
        start = (rest if pid else text).find("<?xml")
        if start < 0:
            return RuntimeObserved(alive=False, pid=pid)
        import xmlrpc.client  # brings http and ssl; not needed when nothing answers
        from xml.parsers.expat import ExpatError

        try:
            ((programs,), _) = xmlrpc.client.loads((rest if pid else text)[start:])
        except (xmlrpc.client.Error, ExpatError):
            # An answer that was cut off, or the refusal of a supervisord that is shutting down.
            return RuntimeObserved(alive=False, pid=pid)
        units = {
            program["name"]: UnitObserved(
                name=program["name"],
                state=_STATES.get(program["statename"], "stopped"),
                pid=int(program["pid"]),
                detail=str(program["spawnerr"] or program["description"]),
            )
            for program in cast("list[dict[str, Any]]", programs)
        }
        return RuntimeObserved(alive=True, pid=pid, units=units)

    def prepare(self, places: Places) -> Command:
        """Return nothing to do: `begin` makes the directories."""
        raise AssertionError(f"a host under supervisord is always prepared ({places.state})")

    def begin(self, places: Places) -> Command:
        """Return the command that starts supervisord as a daemon, and wakes it.

        Its main loop begins with a second of waiting for a request before it starts the first
        unit (`Supervisor.runforever`), so it gets one.
        """
        return script(
            """\
set -eu
python=$1 ask=$2 socket=$3
shift 3
mkdir -p -m 700 "$1" "$2" "$3"
shift 3
if [ -e "$socket" ]; then rm -f "$socket"; fi
"$python" -I -S -c "$ask" "$socket" 30 >/dev/null &
asking=$!
if env -i "$@"; then wait "$asking"; else
  status=$?
  kill "$asking"
  exit "$status"
fi
""",
            self.python,
            ASK,
            self._socket(places),
            places.run,
            places.logs,
            places.work,
            *(f"{key}={value}" for key, value in self.variables),
            self.python,
            "-m",
            "supervisor.supervisord",
            "-c",
            self._configuration(places),
        )

    def end(self, places: Places) -> Command:
        """Return the command that ends supervisord by its pid and waits until it is gone."""
        return script(
            f"""\
{LIVES}
has() {{ tr '\\0' '\\n' <"/proc/$1/cmdline" 2>/dev/null | grep -qxF -- "$2"; }}
pid=$(cat "$1" 2>/dev/null || :)
if [ -z "$pid" ] || ! has "$pid" "$2"; then
  # The file with its pid is gone or stale; what runs on our configuration is still ours.
  pid=
  for place in $(grep -lF -- "$2" /proc/[0-9]*/cmdline 2>/dev/null); do
    place=${{place%/cmdline}}
    if has "${{place##*/}}" supervisor.supervisord && has "${{place##*/}}" "$2"; then
      pid=${{place##*/}}
    fi
  done
fi
[ -n "$pid" ] || exit 0
kill -TERM "$pid"
kill -CONT "$pid" 2>/dev/null || :  # one that was stopped by a signal would never hear the other
tries=0
while lives "$pid"; do
  tries=$((tries + 1))
  if [ "$tries" -gt {(STOP_SECONDS + 10) * 20} ]; then
    echo "supervisord (pid $pid) is still there after {STOP_SECONDS + 10} s" >&2
    exit 1
  fi
  sleep 0.05
done
""",
            self._pidfile(places),
            self._configuration(places),
            timeout=STOP_SECONDS + 20,
        )

    def update(self, places: Places, units: Sequence[str]) -> Command:
        """Return ``supervisorctl update`` for these units, and a restart of what it left alone.

        It leaves alone a unit whose definition is the one that supervisord has in mind. Such a
        unit may still run from something else: it was started again, by supervisord or by hand,
        while other files lay there.
        """
        return script(
            UPDATE, self.python, self._configuration(places), *units, timeout=STOP_SECONDS * 4
        )

    def restart(self, places: Places, units: Sequence[str]) -> Command:
        """Return ``supervisorctl restart`` for these units."""
        return self._control(places, "restart", *units)

    def log(
        self, places: Places, units: Sequence[str], *, lines: int, follow: bool, after: str = ""
    ) -> Command:
        """Return a ``tail`` on each unit's log; it goes on across rotations.

        A file has no positions that outlive a rotation, so ``after`` is never anything.
        """
        del after
        how = "follow" if follow else "print"
        command = script(LOG, how, str(lines), places.logs, *units)
        return replace(command, timeout=UNBOUNDED if follow else 60.0, title=f"{how} the log")

    def read_log(self, line: str) -> LogLine:
        """Return the unit and what it says."""
        unit, tab, text = line.partition("\t")
        return LogLine(unit, text) if tab else LogLine("", line)

    def _control(self, places: Places, *words: str) -> Command:
        return Command(
            (
                self.python,
                "-m",
                "supervisor.supervisorctl",
                "-c",
                self._configuration(places),
                *words,
            ),
            timeout=STOP_SECONDS * 3,
        )

    @staticmethod
    def _configuration(places: Places) -> str:
        return f"{places.deployed}/supervisord.conf"

    @staticmethod
    def _socket(places: Places) -> str:
        return f"{places.state}/control.sock"

    @staticmethod
    def _pidfile(places: Places) -> str:
        return f"{places.state}/supervisord.pid"
