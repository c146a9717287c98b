"""A playbook that declares what is on the hosts of a fleet that is up, with its best settings."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from lab import Host, Lab

from benchmarks.processes import MeasurementError

__all__ = ["check_recap", "write_playbook"]

_DEPLOYED = "/var/lib/dask-fleet/fleets/bench/etc"
_SERVICES = "/etc/systemd/system"

_CONFIGURATION = """\
[defaults]
inventory = hosts.json
forks = 10
gathering = explicit
host_key_checking = False
interpreter_python = /usr/bin/python3
nocows = True
nocolor = True
retry_files_enabled = False
[ssh_connection]
pipelining = True
ssh_args = -F {config} -o ControlMaster=auto -o ControlPersist=60s
control_path_dir = {sockets}
"""

_PLAYS = [
    {
        "hosts": "all",
        "gather_facts": False,
        "become": True,
        "tasks": [
            {
                "name": "unit file",
                "ansible.builtin.copy": {
                    "src": "files/{{ inventory_hostname }}.json",
                    "dest": f"{_DEPLOYED}/units/{{{{ unit }}}}.json",
                },
            },
            {
                "name": "service file",
                "ansible.builtin.copy": {
                    "src": "files/{{ inventory_hostname }}.service",
                    "dest": f"{_SERVICES}/{{{{ service }}}}",
                },
            },
            {
                "name": "enabled and running",
                "ansible.builtin.systemd_service": {
                    "name": "{{ service }}",
                    "enabled": True,
                    "state": "started",
                },
            },
        ],
    }
]

_RECAP = re.compile(r"^(\S+) +: ok=(\d+) +changed=(\d+) +unreachable=(\d+) +failed=(\d+)", re.M)


def write_playbook(folder: Path, lab: Lab) -> Path:
    """Write inventory, configuration, files and playbook from what lies on the hosts now.

    Parameters
    ----------
    folder : Path
        Where they are written.
    lab : Lab
        With a fleet that is up.
    """
    for part in (folder, folder / "files", folder / "sockets"):
        part.mkdir(exist_ok=True)
    hosts = {host.name: _host(folder / "files", host) for host in lab.hosts}
    (folder / "hosts.json").write_text(json.dumps({"all": {"hosts": hosts}}), encoding="utf-8")
    text = _CONFIGURATION.format(config=lab.home.config, sockets=folder / "sockets")
    (folder / "ansible.cfg").write_text(text, encoding="utf-8")
    (folder / "site.yml").write_text(json.dumps(_PLAYS), encoding="utf-8")
    return folder


def _host(files: Path, host: Host) -> dict[str, Any]:
    """Fetch the files of a host's unit; return its variables."""
    paths = host.run(f"ls {_DEPLOYED}/units/*.json {_SERVICES}/dask-fleet.bench.*").stdout.split()
    if len(paths) != 2:
        raise MeasurementError(f"{host.name} has not one unit: {paths}")
    for path in map(Path, paths):
        content = host.run(["cat", str(path)]).stdout
        (files / f"{host.name}{path.suffix}").write_text(content, encoding="utf-8")
    named = {Path(path).suffix: Path(path) for path in paths}
    return {
        "ansible_host": host.address,
        "unit": named[".json"].stem,
        "service": named[".service"].name,
    }


def check_recap(out: str, hosts: int) -> None:
    """Raise an error unless the playbook found every host as it should be."""
    recap = _RECAP.findall(out)
    tasks = str(len(_PLAYS[0]["tasks"]))
    wrong = [one for one in recap if one[1:] != (tasks, "0", "0", "0")]
    if wrong or len(recap) != hosts:
        raise MeasurementError(f"the playbook did not find the fleet as it is:\n{out[-2000:]}")
