"""Cheap resets: a fleet is brought up, or down, only where a look at the hosts says that it must.

A look is a shell on each host and one question to the scheduler; an `up` that finds nothing to do
takes ten times as long. A test that left processes, files or hosts in another state is seen.
"""

from __future__ import annotations

import json
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.vms.operator import FLEET, Operator, eventually

if TYPE_CHECKING:
    from lab import Host, Lab

__all__ = ["bring_down", "bring_up"]

# Without what commands write down about themselves (history, lease, findings), and the heartbeat.
_LOOK = """\
cd /
cat proc/sys/kernel/random/boot_id
getent passwd dask-fleet || :
ls -A var/lib/dask-fleet/environments 2>/dev/null || :
find var/lib/dask-fleet/fleets etc/systemd/system etc/nginx etc/letsencrypt/live \\
  \\( -path '*/work/*' -o -path '*/sst.door/*' -o -name '*.lease*' -o -name '*.history.jsonl' \\
  -o -name doctor.json \\) -prune -o -printf '%y %m %u:%g %p %l\\n' 2>/dev/null |
  sed 's/[.]io-[0-9]*/.io-PID/' | sort
find var/lib/dask-fleet/fleets/*/etc var/lib/dask-fleet/fleets/*/run etc/systemd/system etc/nginx \\
  -type f ! -name '*.alive' -exec sha256sum {} + 2>/dev/null | sort -k2
systemctl show nginx 'dask-fleet.*' --property=Id,ActiveState,SubState,MainPID,NRestarts \\
  --property=UnitFileState,NeedDaemonReload
ss -Hltn | awk '{print $4}' | sort
"""
_REMAINS = """\
ls /etc/systemd/system | grep '^dask-fleet' || :
ls -A /var/lib/dask-fleet/fleets 2>/dev/null |
  grep -v '[.]history[.]jsonl$\\|[.]lease\\|[.]door$' || :
pgrep -u dask-fleet || :
"""


@dataclass(frozen=True)
class _Standing:
    """What was declared when a fleet came up, and how hosts and the scheduler looked then."""

    declared: str
    hosts: tuple[str, ...]
    workers: str


_standing: dict[str, _Standing] = {}
"""By lab: how its fleet stood after the last `up` of a reset."""


def bring_up(operator: Operator, declared: str = FLEET) -> None:
    """Declare a fleet; let it be up, with every process registered and nothing left to do."""
    operator.write(declared)
    lab = operator.lab
    if lab.name in _standing and _standing[lab.name] == _look(lab, declared):
        return
    operator.call("up", "--yes", "--all-at-once", timeout=300)
    eventually("every process runs", lambda: set(operator.states().values()) == {"running"}, 60)
    _standing[lab.name] = _look(lab, declared)


def bring_down(operator: Operator, declared: str = FLEET) -> None:
    """Declare a fleet of which nothing runs, and nothing is on hosts but history and accounts."""
    operator.write(declared)
    if any(_on_each(operator.lab, _REMAINS)):
        operator.call("down", "--yes")
        left = _on_each(operator.lab, _REMAINS)
        assert not any(left), left


def _look(lab: Lab, declared: str) -> _Standing:
    return _Standing(declared, tuple(_on_each(lab, _LOOK)), _registered(lab))


def _on_each(lab: Lab, script: str) -> list[str]:
    def run(host: Host) -> str:
        return host.run(script).stdout.strip()

    with ThreadPoolExecutor(len(lab.hosts)) as pool:
        return list(pool.map(run, lab.hosts))


def _registered(lab: Lab) -> str:
    """Return names, addresses and states of workers; empty if the scheduler does not answer."""
    url = f"http://{lab.scheduler.address}:8787/json/identity.json"
    try:
        with urllib.request.urlopen(url, timeout=20) as answer:
            workers = json.load(answer)["workers"]
    except OSError:
        return ""
    return str(sorted((one["name"], address, one["status"]) for address, one in workers.items()))
