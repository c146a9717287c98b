"""One look at a host: a POSIX shell script that prints facts, and a pure reading of its output.

No Python and no agent of ours is needed on a host for it to be looked at.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, cast

from dask_fleet.command import Command, script
from dask_fleet.observed import HostObserved, Listener, ProcessRecord
from dask_fleet.proxy.door_look import read_door
from dask_fleet.tls.certificates import CERTIFICATE_FILE
from dask_fleet.wheels.interpreters import LOOK as SOFTWARE
from dask_fleet.wheels.interpreters import read_software

if TYPE_CHECKING:
    from dask_fleet.places import Places
    from dask_fleet.runtimes.base import Runtime

__all__ = ["COMPLETE", "look_script", "read_look"]

COMPLETE = ".dask-fleet-complete"
"""The file that is written last into an environment, when it is whole."""

_MARK = "#### "

_TICKS_PER_SECOND = 100
"""``USER_HZ``, in which ``/proc`` counts time: 100 wherever Dask runs (time(7))."""

_PARTS = (
    *("facts", "files", "units", "environments", "records", "listeners"),
    *("certificate", "interfaces", "software", "door", "runtime"),
)

_SHA256 = re.compile(r"(\\?)([0-9a-f]{64}) [ *](/.*)")
_ADDRESS = re.compile(r"\d+: ([^\s@]+)\S* +inet6? ([0-9a-f.:]+)/")
_SOCKET = re.compile(r"([0-9A-F]{8}|[0-9A-F]{32}):([0-9A-F]{4}) (\d+)")

_LOOK = """\
LC_ALL=C; export LC_ALL
mark() { echo; echo "#### $1"; }
mark facts
read -r system </proc/sys/kernel/ostype; read -r release </proc/sys/kernel/osrelease
echo "kernel $system $release"
read -r boot_id </proc/sys/kernel/random/boot_id; echo "boot_id $boot_id"
echo "clock $(date +%s.%N)"
# The host's own first: what comes before it on a PATH may be a wrapper, and slow.
for python in /usr/bin/python3 python3; do
  if version=$("$python" -V 2>/dev/null </dev/null); then
    echo "python ${version#Python }"
    break
  fi
done
set -- /proc/self/status /proc/self/smaps /proc/meminfo /proc/stat
for path in /etc/os-release /sys/fs/cgroup/memory.max \\
  /sys/fs/cgroup/memory/memory.limit_in_bytes /proc/net/tcp /proc/net/tcp6
do
  if [ -r "$path" ]; then set -- "$@" "$path"; fi
done
# One program for all of it: starting one takes longer than what each has to do.
awk '
  FILENAME == "/proc/self/status" {
    if ($1 == "Cpus_allowed_list:") {
      count = split($2, ranges, ",")
      for (i = 1; i <= count; i++) {
        cpus += split(ranges[i], ends, "-") == 2 ? ends[2] - ends[1] + 1 : 1
      }
      print "cpus " cpus
    }
    next
  }
  FILENAME == "/proc/self/smaps" {
    if ($1 == "KernelPageSize:" && !paged) { paged = 1; print "page " $2 * 1024 }
    next
  }
  FILENAME == "/proc/meminfo" {
    if ($1 == "MemTotal:") print "memory_kib " $2
    if ($1 == "MemAvailable:") print "memory_available_kib " $2
    next
  }
  FILENAME == "/etc/os-release" {
    if (sub(/^PRETTY_NAME=/, "")) { gsub(/["\\047]/, ""); print "os " $0 }
    next
  }
  FILENAME == "/proc/stat" { if ($1 == "btime") print "boot_time " $2; next }
  FILENAME ~ /^.sys.fs/ { if (/^[0-9]+$/) printf "cgroup_memory_kib %.0f\\n", $1 / 1024; next }
  FILENAME ~ /tcp/ && $4 == "0A" {
    if (!listed) { listed = 1; print "\\n#### listeners" }
    print $2, $10
  }
' "$@"
mark facts
present() {
  place=$1
  while [ ! -d "$place" ] && [ -n "$place" ]; do place=${place%/*}; done
  place=${place:-/}
}
present "$state"; first=$place
present "$environments"
df -Pk "$first" "$place" | {
  read -r head
  read -r device size used free rest; echo "disk_free_kib $free"
  read -r device size used free rest; echo "environments_free_kib $free"
}
if [ -d "$state" ]; then echo "exists 1"; fi
if [ -f "$state.lease.turn" ]; then read -r turn <"$state.lease.turn"; echo "turn $turn"; fi
mark files
# Bytecode is Python's own business, and a file that is being installed is not there yet.
if [ -d "$deployed" ]; then
  find "$deployed" -type f ! -path '*/__pycache__/*' ! -path '*/.dask-fleet-new/*' \\
    -exec sha256sum {} +
fi
mark environments
for path in "$environments"/*/.dask-fleet-complete; do
  if [ -f "$path" ]; then path=${path%/*}; echo "${path##*/}"; fi
done
set --
for path in "$deployed"/units/*.json "$certificate" "$run"/*.json; do
  if [ -f "$path" ]; then set -- "$@" "$path"; fi
done
if [ $# -gt 0 ]; then
  run=$run contained=$contained awk '
    BEGIN {
      # A container numbers its processes by itself; the kernel knows both numbers of each.
      if (ENVIRON["contained"]) {
        while (("cat /proc/[0-9]*/status 2>/dev/null" | getline line) > 0) {
          count = split(line, ids)
          if (ids[1] == "NSpid:" && count > 2) outside[ids[count]] = outside[ids[count]] " " ids[2]
        }
      }
    }
    function number(key) {
      if (!match($0, "\\"" key "\\": *[0-9]+")) return ""
      text = substr($0, RSTART, RLENGTH)
      sub(/.*[^0-9]/, "", text)
      return text
    }
    FNR == 1 {
      recorded = index(FILENAME, ENVIRON["run"] "/") == 1
      is = recorded ? "records" : FILENAME ~ /[.]json$/ ? "units" : "certificate"
      if (is != was) { print "\\n#### " is; was = is }
      if (is == "units") print "\\n" FILENAME
    }
    { print }
    recorded && (pid = number("pid")) {
      began = number("start_ticks")
      count = split(ENVIRON["contained"] ? outside[pid] : pid, pids, " ")
      for (i = 1; i <= count; i++) {
        path = "/proc/" pids[i] "/stat"
        if ((getline line <path) > 0) {
          rest = line
          sub(/.*[)] /, "", rest)
          split(rest, fields, " ")
          if (!ENVIRON["contained"] || fields[20] == began) print "stat " line
        }
        close(path)
      }
    }
  ' "$@"
fi
"""


def look_script(
    places: Places,
    runtime: Runtime,
    *,
    software: bool = False,
    environment: str = "",
    interfaces: bool = False,
    door: str = "",
) -> Command:
    """Return the command that prints everything a plan needs to know about a host.

    Parameters
    ----------
    places : Places
        Directories there.
    runtime : Runtime
        What runs its processes.
    software : bool
        Whether interpreters and the C library are asked for, for shipping an environment.
    environment : str
        Digest of the environment whose presence makes that question needless.
    interfaces : bool
        Whether the addresses of its network interfaces are asked for.
    door : str
        The part that prints what is there of a door.
    """
    names = {
        "state": places.state,
        "deployed": places.deployed,
        "run": places.run,
        "environments": places.environments,
        "certificate": f"{places.tls}/{CERTIFICATE_FILE}",
    }
    if runtime.contained:
        names["contained"] = "yes"
    head = "contained=\n"
    head += "".join(f"{name}={shlex.quote(value)}\n" for name, value in names.items())
    extra = f"mark runtime\n{runtime.look(places)}"
    if software:
        there = f'"$environments"/{shlex.quote(environment)}/{COMPLETE}'
        extra = f"mark software\nif [ ! -f {there} ]; then\n{SOFTWARE}fi\n{extra}"
    if interfaces:
        extra = f"mark interfaces\nip -o addr show\n{extra}"
    if door:
        extra = f"mark door\n{door}{extra}"
    return script(head + _LOOK + extra, timeout=30)


def read_look(host: str, text: str, runtime: Runtime) -> HostObserved:
    """Return what the output of the look script says.

    Parameters
    ----------
    host : str
        Name of the host.
    text : str
        Standard output of the script.
    runtime : Runtime
        The runtime whose part stands in it.
    """
    parts = _sections(text)
    kept = runtime.read("\n".join(parts["runtime"]))
    listeners = (_listener(line) for line in parts["listeners"])
    facts = dict(line.split(" ", 1) for line in parts["facts"] if " " in line)
    return HostObserved(
        host=host,
        facts=facts,
        exists="exists" in facts,
        files=dict(_files(parts["files"])) | dict(kept.files),
        unit_files=_unit_files(parts["units"]),
        environments=frozenset(parts["environments"]),
        records=_records(parts["records"], facts),
        runtime=kept,
        software=read_software(parts["software"]) if parts["software"] else None,
        listeners=tuple(listener for listener in listeners if listener is not None),
        addresses=_addresses(parts["interfaces"]),
        certificate="\n".join(parts["certificate"]),
        door=read_door(parts["door"]),
    )


def _sections(text: str) -> dict[str, list[str]]:
    parts: dict[str, list[str]] = {name: [] for name in _PARTS}
    current: list[str] = []
    for line in text.split("\n"):
        if line.startswith(_MARK):
            current = parts.setdefault(line[len(_MARK) :], [])
        elif line:
            current.append(line)
    return parts


def _parsed(line: str) -> dict[str, Any] | None:
    """Return a line of JSON, or ``None`` for what somebody edited into something else."""
    try:
        value = json.loads(line)
    except ValueError:
        return None
    return cast("dict[str, Any]", value) if isinstance(value, dict) else None


def _files(lines: list[str]) -> Iterator[tuple[str, str]]:
    """Yield path and digest of lines of sha256sum, which escapes a path with a line feed in it."""
    for line in lines:
        if found := _SHA256.fullmatch(line):
            escaped, digest, path = found.groups()
            if escaped:
                path = re.sub(r"\\(.)", lambda m: {"n": "\n", "r": "\r"}.get(m[1], m[1]), path)
            yield path, digest


def _unit_files(lines: list[str]) -> dict[str, Mapping[str, object]]:
    """Return the unit files: each is a line with its path, followed by its lines."""
    found: dict[str, Mapping[str, object]] = {}
    for number, path in enumerate(lines):
        if path.startswith("/"):
            content = lines[number + 1] if number + 1 < len(lines) else ""
            found[path] = _parsed(content) or {}
    return found


def _records(lines: list[str], facts: Mapping[str, str]) -> dict[str, ProcessRecord]:
    """Return the records, each followed by the kernel's line on its pid when that exists.

    A record that lacks something says nothing that can be relied on: it counts as absent.
    """
    records: dict[str, ProcessRecord] = {}
    for number, line in enumerate(lines):
        entry = None if line.startswith("stat ") else _parsed(line)
        if entry is None:
            continue
        after = lines[number + 1] if number + 1 < len(lines) else ""
        try:
            record = _record(entry, after, facts)
        except (KeyError, TypeError, ValueError, AttributeError):
            continue
        records[record.name] = record
    return records


def _record(entry: Mapping[str, Any], after: str, facts: Mapping[str, str]) -> ProcessRecord:
    inside, started = int(entry["pid"]), float(entry["started"])
    # The pid of a process in a container is another one outside of it.
    state, began, pages, pid = _kernel(after, inside)
    # A pid may be another process by now. The ticks at which a process began do not change when
    # the clock is set; without them, it is ours only if it began before the record was written
    # (the kernel's boot time is in whole seconds, so allow for two).
    if entry.get("start_ticks") is not None:
        same = began == entry["start_ticks"]
    else:
        same = float(facts["boot_time"]) + began / _TICKS_PER_SECOND <= started + 2
    alive = state not in ("", "Z", "X") and same
    return ProcessRecord(
        name=str(entry["name"]),
        unit=str(entry["unit"]),
        role=str(entry["role"]),
        pid=pid,
        started=started,
        restarts=int(entry["restarts"]),
        digest=str(entry["digest"]),
        versions={str(key): str(value) for key, value in entry.get("versions", {}).items()},
        alive=alive,
        memory=pages * int(facts.get("page", 0)) if alive else 0,
        interpreter=str(entry.get("python", "")),
    )


def _kernel(line: str, pid: int) -> tuple[str, int, int, int]:
    """Return state, start in ticks, resident pages and pid from a line of ``/proc/PID/stat``.

    They are fields 3, 22, 24 and 1 (proc(5)); the state is empty when the line is not whole.
    """
    begin, _, rest = line.rpartition(")")
    fields = rest.split() if line.startswith("stat ") else []
    if len(fields) < 22:
        return "", 0, 0, pid
    return fields[0], int(fields[19]), int(fields[21]), int(begin.split()[1])


def _addresses(lines: list[str]) -> dict[str, tuple[str, ...]]:
    """Return the addresses of each interface, from ``ip -o addr show``, one to a line."""
    found: dict[str, tuple[str, ...]] = {}
    for line in lines:
        if fields := _ADDRESS.match(line):
            name, address = fields.groups()
            found[name] = (*found.get(name, ()), address)
    return found


def _listener(line: str) -> Listener | None:
    """Return a socket of ``/proc/net/tcp``: the address is hexadecimal, in host byte order."""
    found = _SOCKET.fullmatch(line)
    if found is None:
        return None
    packed, port, inode = found.groups()
    words = [bytes.fromhex(packed[i : i + 8])[::-1] for i in range(0, len(packed), 8)]
    address = ".".join(map(str, words[0])) if len(words) == 1 else _ipv6(b"".join(words))
    return Listener(address, int(port, 16), int(inode))


def _ipv6(raw: bytes) -> str:
    import ipaddress  # on the way of every command, and few hosts listen on IPv6

    address = ipaddress.IPv6Address(raw)
    return str(address.ipv4_mapped or address)
