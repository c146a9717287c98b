"""What systemd and its journal say of a fleet's units, as values; see ``systemctl show``."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, cast

from dask_fleet.observed import LogLine, RuntimeObserved, UnitObserved, UnitState
from dask_fleet.runtimes.systemd_scripts import PROPERTIES

__all__ = ["read_entry", "read_runtime"]

_FILE = re.compile(r"([0-9a-f]{64}) [ *](/.*)")
"""A line of sha256sum."""


def read_runtime(text: str, prefix: str) -> RuntimeObserved:
    """Return what systemd says as values.

    Parameters
    ----------
    text : str
        What the runtime's part of a look has printed.
    prefix : str
        What the names of the fleet's units begin with.
    """
    facts: dict[str, str] = {}
    files: dict[str, str] = {}
    block: dict[str, str] = {}
    units: dict[str, UnitObserved] = {}
    for line in (*text.split("\n"), "Id="):
        key, equals, value = line.partition("=")
        if equals and key in PROPERTIES:
            # `systemctl show` prints the properties of one unit after those of another.
            if key in block:
                _keep(units, block, prefix)
                block = {}
            block[key] = value
        elif found := _FILE.fullmatch(line):
            files[found[2]] = found[1]
        else:
            word, _, rest = line.partition(" ")
            facts[word] = rest
    _keep(units, block, prefix)
    return RuntimeObserved(
        alive="systemd" in facts,
        units=units,
        files=files,
        prepared="prepared" in facts,
        privileged=facts.get("login") == "0",
    )


def _keep(units: dict[str, UnitObserved], block: Mapping[str, str], prefix: str) -> None:
    name = block.get("Id", "")
    if not name.startswith(prefix) or not name.endswith(".service"):
        return
    name = name.removeprefix(prefix).removesuffix(".service")
    if block.get("LoadState") == "not-found" and block.get("ActiveState") == "inactive":
        return  # a name that somebody asked for; nothing of it is there
    units[name] = UnitObserved(
        name=name,
        state=_state(block),
        pid=int(pid) if (pid := block.get("MainPID", "")).isdecimal() else 0,
        detail=_detail(block),
        fault=_fault(block),
    )


def read_entry(line: str, prefix: str) -> LogLine:
    """Return what an entry of the journal says; systemd's own words on a unit are its too."""
    try:
        entry: Any = json.loads(line)
    except ValueError:
        return LogLine("", line)  # journalctl itself says something
    if not isinstance(entry, dict):
        return LogLine("", line)
    fields = cast("dict[str, Any]", entry)
    unit = str(fields.get("UNIT") or fields.get("_SYSTEMD_UNIT") or "")
    own = unit.startswith(prefix) and unit.endswith(".service")
    name = unit.removeprefix(prefix).removesuffix(".service") if own else ""
    return LogLine(name, _text(fields.get("MESSAGE", "")), str(fields.get("__CURSOR", "")))


def _text(message: object) -> str:
    """Return a field of the journal: it may be a list of bytes (no UTF-8) or of values."""
    if not isinstance(message, list):
        return str(message)
    parts = cast("list[Any]", message)
    if all(isinstance(part, int) for part in parts):
        return bytes(parts).decode(errors="replace")
    return "\n".join(map(str, parts))


def _state(block: Mapping[str, str]) -> UnitState:
    active, sub = block.get("ActiveState"), block.get("SubState")
    if active == "active":
        return "running"
    if active == "activating":
        return "crashing" if sub == "auto-restart" else "starting"
    if active == "deactivating":
        return "stopping"
    return "stopped"


def _detail(block: Mapping[str, str]) -> str:
    result, status = block.get("Result", ""), block.get("ExecMainStatus", "0")
    last = f", last exit status {status}" if status not in ("", "0") else ""
    return f"{block.get('ActiveState')} ({block.get('SubState')}), {result}{last}"


def _fault(block: Mapping[str, str]) -> str:
    """Return what is not as it should be although the unit may run."""
    if block.get("LoadState") != "loaded":
        # Its file was gone while systemd read all of them; nothing would start it again.
        return f"systemd has no definition of it in mind ({block.get('LoadState')})"
    if block.get("NeedDaemonReload") == "yes":
        return "systemd has another definition of it in mind"
    if block.get("UnitFileState") != "enabled":
        return f"it would not start at boot (it is {block.get('UnitFileState') or 'not enabled'})"
    return ""
