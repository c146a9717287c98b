"""Where Prometheus finds the metrics of every process, as its HTTP service discovery wants it."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from fleet_console.declared import Inventory, Process

__all__ = ["targets"]

_PORTS = {"http": 80, "https": 443}


def targets(inventory: Inventory, via: str = "") -> list[dict[str, Any]]:
    """Return a target group for each declared process, missing ones too: they are down.

    Parameters
    ----------
    inventory
        What is declared.
    via
        ``door`` or ``direct``; the door if there is one when it is empty.

    Raises
    ------
    ValueError
        There is no such way.
    """
    door = inventory.door
    via = via or ("door" if door else "direct")
    if via not in ("door", "direct"):
        raise ValueError("via is door or direct")
    if via == "door" and door is None:
        raise ValueError("no door is declared")
    return [_group(inventory, one, via) for one in inventory.processes.values()]


def _group(inventory: Inventory, process: Process, via: str) -> dict[str, Any]:
    worker = process.role == "worker"
    if via == "door" and inventory.door is not None:
        url = urlsplit(inventory.door["url"])
        target = _at(url.hostname or "", url.port or _PORTS[url.scheme])
        scheme, path = url.scheme, f"/w/{process.name}/metrics" if worker else "/metrics"
    else:
        target = _at(process.address, process.ports["dashboard"])
        scheme, path = "http", "/metrics"
    labels = {
        "__metrics_path__": path,
        "__scheme__": scheme,
        # Through a door all processes have its address: a name tells them apart.
        "instance": process.name,
        "fleet": inventory.fleet,
        "role": process.role,
        "host": process.host,
    }
    if worker:
        labels |= {"worker": process.name, "group": process.group}
    return {"targets": [target], "labels": labels}


def _at(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
