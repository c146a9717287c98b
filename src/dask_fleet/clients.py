"""What clients of a fleet are given."""

from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING

from dask_fleet import this_machine
from dask_fleet.errors import FleetError

if TYPE_CHECKING:
    from dask_fleet.layout import Layout

__all__ = ["write_client"]


def write_client(layout: Layout, folder: Path, name: str) -> list[Path]:
    """Write a bundle with which a client reaches a fleet that speaks TLS, and return its files.

    Raises
    ------
    FleetError
        The fleet does without TLS, its authority is not on this machine, or the folder holds
        something else.
    """
    if not layout.tls:
        raise FleetError(
            f"fleet {layout.name} does not speak TLS; clients need nothing but its address,"
            f" {layout.client_address}",
            "set `tls: true` in fleet.yaml if it is to",
        )
    from dask_fleet.tls.authority import Authority, authority_directory
    from dask_fleet.tls.client_bundle import client_bundle

    directory = authority_directory(Path(this_machine.data_root()), layout.name)
    authority = Authority(directory, layout.name)
    if not authority.is_there:
        raise FleetError(
            f"fleet {layout.name} has no authority on this machine that could sign a client's"
            f" certificate: there is no {directory}",
            "if the fleet is up, copy that folder, with mode 700, from the machine of the operator"
            " who brought it up, or have them run this; if it never was, `dask fleet up` makes the"
            " authority",
        )
    credentials = authority.client(name, now=datetime.now(timezone.utc))
    return client_bundle(folder, layout.client_address, credentials)
