"""From the door as declared to the files that it consists of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from dask_fleet.proxy.door_files import (
    CERTIFICATE,
    KEY,
    MAIN,
    SITE,
    START,
    DoorFiles,
    door_directory,
    site_path,
)
from dask_fleet.proxy.nginx import site
from dask_fleet.proxy.nginx_main import main_configuration
from dask_fleet.proxy.own_nginx import START_TEXT
from dask_fleet.target import DoorTarget, ManagedFile
from dask_fleet.tls.certificates import CERTIFICATE_FILE, KEY_FILE

if TYPE_CHECKING:
    from dask_fleet.door import Door
    from dask_fleet.places import Places

__all__ = ["door_subject", "door_target"]


def door_subject(door: Door) -> str:
    """Return the name under which the fleet's authority keeps the door's certificate.

    No host has such a name.
    """
    return f"door@{door.host}"


def door_target(
    fleet: str, door: Door, places: Places, credentials: Mapping[str, bytes]
) -> DoorTarget:
    """Return the door as it should be on its host.

    Parameters
    ----------
    fleet : str
        Name of the fleet.
    door : Door
        What is declared.
    places : Places
        Directories on its host.
    credentials : Mapping of str to bytes
        Its certificate and key, by the names of a host's TLS files; empty for plain http.
    """
    directory = door_directory(places)
    text = site(fleet, door, DoorFiles.on(fleet, places, door))
    where = f"{directory}/{SITE}" if door.own else site_path(fleet)
    files = [(SITE, ManagedFile(where, text.encode(), 0o600 if door.own else 0o644))]
    if door.own:
        main = main_configuration(fleet, directory, f"{directory}/{SITE}")
        files.append((MAIN, ManagedFile(f"{directory}/{MAIN}", main.encode())))
        files.append((START, ManagedFile(f"{directory}/{START}", START_TEXT.encode())))
    for name, given in ((CERTIFICATE, CERTIFICATE_FILE), (KEY, KEY_FILE)):
        if given in credentials:
            content = credentials[given]
            secret = name == KEY
            files.append((name, ManagedFile(f"{directory}/{name}", content, secret=secret)))
    return DoorTarget(
        url=door.url,
        files=tuple(files),
        listen=door.listen,
        port=door.port,
        own=door.own,
        with_scheduler=door.with_scheduler,
        certified_name=door.server_name if door.tls == "acme" else "",
        given=credentials.get(CERTIFICATE_FILE, b"") if door.tls == "files" else b"",
    )
