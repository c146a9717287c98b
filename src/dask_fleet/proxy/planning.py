"""What is to be done about a door: declared and seen to lines of a plan."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dask_fleet.actions import Change, RemoveDoor, UpdateDoor
from dask_fleet.ports import overlap
from dask_fleet.proxy.door_files import CERTIFICATE, KEY

if TYPE_CHECKING:
    from dask_fleet.observed import DoorObserved, HostObserved
    from dask_fleet.target import DoorTarget

__all__ = ["DOOR", "door_changes"]

DOOR = "door"
"""What the door is called in a plan."""


def door_changes(
    host: str, door: DoorTarget | None, seen: HostObserved
) -> tuple[Change, UpdateDoor | RemoveDoor] | None:
    """Return what becomes of the door of a host, and the action that does it; None if nothing.

    Parameters
    ----------
    host : str
        Name of the host.
    door : DoorTarget or None
        What should be there.
    seen : HostObserved
        What is.
    """
    if door is None:
        if not seen.door.files:
            return None
        return Change(host, "remove", DOOR, "it is no longer declared"), RemoveDoor(host)
    update = UpdateDoor(host, door)
    there = seen.door
    if not there.files:
        return Change(host, "create", DOOR, "it is not there", door.url), update
    if there.dangling:
        return Change(host, "change", DOOR, "the certificate that certbot kept is gone"), update
    if why := _outdated(door, there):
        return Change(host, "change", DOOR, why, door.url), update
    if door.own:
        return None  # its nginx is a unit, and planned as one
    if there.active != "active":
        return Change(host, "start", DOOR, f"nginx is {there.active or 'not there'}"), update
    if not there.at_boot:
        return Change(host, "change", DOOR, "nginx would not start at boot"), update
    if not there.linked:
        return Change(host, "change", DOOR, "the link by which nginx reads it is gone"), update
    if not any(
        one.port == door.port and overlap(door.listen or "::", one.address)
        for one in seen.listeners
    ):
        return Change(host, "change", DOOR, f"nginx does not listen on port {door.port}"), update
    return None


def _outdated(door: DoorTarget, there: DoorObserved) -> str:
    """Return why the files of a door differ from what they should be; nothing if they do not."""
    wanted = door.digests
    if there.files == wanted:
        return "" if there.loaded == wanted else "nginx has not taken it over yet"
    if there.files != there.loaded and there.loaded == wanted:
        return "its files were edited by hand"
    names = {name for name in {*wanted, *there.files} if wanted.get(name) != there.files.get(name)}
    if names <= {CERTIFICATE, KEY}:
        return "its certificate changed"
    return "its routes or its settings changed"
