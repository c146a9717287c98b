"""How a door does: its row in the inventory, and until when its certificate holds."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import TYPE_CHECKING

from dask_fleet.door import DOOR_NAME
from dask_fleet.errors import FleetError
from dask_fleet.inventory import Row
from dask_fleet.ports import overlap
from dask_fleet.tls.certificates import authority_title, read_certificate, validity

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dask_fleet.door import Door
    from dask_fleet.inventory import RowState
    from dask_fleet.layout import Layout
    from dask_fleet.observed import HostObserved
    from dask_fleet.tls.certificates import CertificateSeen

__all__ = ["certificate_ends", "door_in_words", "door_rows", "stands_in"]

_SYSTEMD: Mapping[str, RowState] = {
    "active": "running",
    "activating": "starting",
    "reloading": "running",
    "failed": "crashing",
}


def door_rows(
    layout: Layout,
    observed: Mapping[str, HostObserved],
    failures: Mapping[str, FleetError],
) -> tuple[Row, ...]:
    """Return the row of the door; nothing if there is none, or nobody asked for its host.

    Parameters
    ----------
    layout : Layout
        What is declared.
    observed : Mapping
        What was seen on each host.
    failures : Mapping
        Why hosts could not be looked at.
    """
    door = layout.door
    if door is None or (door.host not in observed and door.host not in failures):
        return ()
    seen = observed.get(door.host)
    state, fault = _state(door, seen)
    if seen is None:
        fault = failures[door.host].message.splitlines()[0]
    unit = seen.runtime.units.get(DOOR_NAME) if seen and door.own else None
    row = Row(
        name=DOOR_NAME,
        role="door",
        unit=DOOR_NAME if door.own else "nginx",
        host=door.host,
        address=door.listen or layout.hosts[door.host].address,
        ports={"door": door.port},
        state=state,
        unit_state=unit.state if unit else seen.door.active if seen else "",
        pid=unit.pid or None if unit else None,
        started=None,
        uptime=None,
        restarts=0,
        registered=state == "running",
        nthreads=0,
        versions={"nginx": seen.door.nginx} if seen and seen.door.nginx else {},
        memory=0,
        memory_limit=0,
        cpu=0.0,
        executing=0,
        ready=0,
        fault=fault,
    )
    return (row,)


def _state(door: Door, seen: HostObserved | None) -> tuple[RowState, str]:
    if seen is None:
        return "unreachable", ""
    if not seen.door.files:
        return "down", ""
    if door.own:
        unit = seen.runtime.units.get(DOOR_NAME)
        if unit is None or unit.state != "running":
            state = unit.state if unit else "absent"
            return ("down" if state in ("absent", "stopping") else state), ""
    elif (state := _SYSTEMD.get(seen.door.active, "stopped")) != "running":
        return state, ""
    wanted = door.listen or "::"
    if not any(one.port == door.port and overlap(wanted, one.address) for one in seen.listeners):
        return "wrong", f"nginx does not listen on port {door.port}"
    if seen.door.files != seen.door.loaded:
        return "wrong", "nginx has not taken over what its files say now"
    return "running", ""


def door_in_words(layout: Layout, observed: Mapping[str, HostObserved]) -> str:
    """Return where the door is and until when its certificate holds, in one line.

    Such as ``door: https://dask.example.org on gate; its certificate holds until 2027-11-24 (364
    days)``; empty without a door.
    """
    door = layout.door
    if door is None:
        return ""
    text = f"door: {door.url} on {door.host}"
    seen = observed.get(door.host)
    if seen is None or not seen.door.certificate:
        return text
    try:
        certificate = read_certificate(seen.door.certificate.encode())
    except FleetError:
        return f"{text}; its certificate cannot be read, and `dask fleet up` replaces it"
    if stands_in(layout, certificate):
        return (
            f"{text}; its certificate is the fleet's own until certbot has fetched one there:"
            " `dask fleet door` prints the command"
        )
    now = datetime.fromtimestamp(float(seen.facts.get("clock", 0)), timezone.utc)
    return f"{text}; its certificate {validity(certificate, now)}"


def stands_in(layout: Layout, certificate: CertificateSeen) -> bool:
    """Return whether a certificate of the fleet's authority is there until certbot brings one."""
    door = layout.door
    acme = door is not None and door.tls == "acme"
    return acme and certificate.issuer == authority_title(layout.name)


def certificate_ends(pem: str) -> str | None:
    """Return when a certificate ends, as ISO 8601; None if there is none that can be read."""
    if not pem:
        return None
    try:
        return read_certificate(pem.encode()).not_after.isoformat()
    except FleetError:
        return None
