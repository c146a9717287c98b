"""The service file of a unit, as systemd reads it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import cast

from dask_fleet.places import Places
from dask_fleet.runtimes.limits import memory_of
from dask_fleet.runtimes.systemd_scripts import STOP_SECONDS
from dask_fleet.target import UnitTarget

__all__ = ["service_file"]


_HARDENING = """\
NoNewPrivileges=yes
CapabilityBoundingSet=
AmbientCapabilities=
ProtectSystem=full
ProtectHome=read-only
PrivateTmp=yes
ProtectClock=yes
ProtectControlGroups=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectProc=invisible
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX AF_NETLINK
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallErrorNumber=EPERM
UMask=0027
"""
# Not among them: ProtectSystem=strict, since tasks write their results wherever the user may;
# MemoryDenyWriteExecute, since numba and llvmlite compile; PrivateNetwork, of course.


def service_file(places: Places, fleet: str, user: str, unit: UnitTarget) -> str:
    """Return the text of a service file.

    Parameters
    ----------
    places : Places
        Directories on the host.
    fleet : str
        Name of the fleet.
    user : str
        System user that the unit runs as.
    unit : UnitTarget
        What is to run.
    """
    variables = (("DASK_FLEET_DIGEST", unit.digest), *unit.variables)
    kinds = {"scheduler": "scheduler", "workers": "workers"}
    memory = memory_of(unit)
    limits = [f"MemoryMax={memory}", "OOMPolicy=continue"] if memory else []
    if not _uses_devices(unit):
        limits.append("PrivateDevices=yes")
    return f"""\
# Written by dask-fleet for the fleet {fleet}; `dask fleet up` replaces what is edited here.
[Unit]
Description=Dask {kinds[unit.role]} of fleet {fleet} ({unit.name})
Documentation=https://docs.dask.org/en/stable/deploying.html
Wants=network-online.target
After=network-online.target
StartLimitIntervalSec=0

[Service]
Type=exec
ExecStart={_command(unit.command)}
{_environment(variables)}
User={user}
WorkingDirectory={_escaped(places.state)}
Restart=always
RestartSec=1
KillMode=mixed
TimeoutStopSec={STOP_SECONDS}
LimitNOFILE=524288
TasksMax=infinity
LogRateLimitIntervalSec=0
{chr(10).join((*limits, ""))}{_HARDENING}
[Install]
WantedBy=multi-user.target
"""


def _uses_devices(unit: UnitTarget) -> bool:
    """Return whether workers declare something that they may need a device file for."""
    workers = cast("Iterable[Mapping[str, object]]", unit.declared.get("workers", ()))
    return any(worker["resources"] for worker in workers)


_PLAIN = re.compile(r"[A-Za-z0-9_./:=@+,-]+")


def _escaped(text: str) -> str:
    """Return text in which systemd sees no specifier."""
    return text.replace("%", "%%")


def _quoted(text: str) -> str:
    escaped = _escaped(text).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _command(words: Iterable[str]) -> str:
    """Return words for ``ExecStart``, where ``$`` begins a variable except in the program."""
    program, *arguments = map(_word, words)
    return " ".join((program, *(word.replace("$", "$$") for word in arguments)))


def _word(text: str) -> str:
    return text if _PLAIN.fullmatch(text) else _quoted(text)


def _environment(variables: Iterable[tuple[str, str]]) -> str:
    return "\n".join(f"Environment={_quoted(f'{name}={value}')}" for name, value in variables)
