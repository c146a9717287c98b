"""What clients of a fleet are given."""

from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING

from dask_fleet import this_machine
from dask_fleet.errors import FleetError

if TYPE_CHECKING:
    from dask_fleet.fleet import Fleet
    from dask_fleet.layout import Layout
    from dask_fleet.tls.authority import Authority

__all__ = ["ask_fleet", "write_client"]


async def ask_fleet(fleet: Fleet) -> FleetError | None:
    """Ask the scheduler's host whether a client of this machine's authority would be let in.

    Returns
    -------
    FleetError or None
        Why it could not be asked.

    Raises
    ------
    FleetError
        It would not, for the fleet has another authority; or as `write_client`.
    """
    from dask_fleet.tls.issuing import Issuer

    return await Issuer(_authority(fleet.layout)).check_for_clients(fleet.scheduler_access)


def write_client(layout: Layout, folder: Path, name: str) -> list[Path]:
    """Write a bundle with which a client reaches a fleet that speaks TLS, and return its files.

    Raises
    ------
    FleetError
        The fleet does without TLS, its authority is not on this machine, or the folder holds
        something else.
    """
    from dask_fleet.tls.client_bundle import client_bundle

    credentials = _authority(layout).client(name, now=datetime.now(timezone.utc))
    return client_bundle(folder, layout.client_address, credentials)


def _authority(layout: Layout) -> Authority:
    if not layout.tls:
        raise FleetError(
            f"fleet {layout.name} does not speak TLS; clients need nothing but its address,"
            f" {layout.client_address}",
            "set `tls: true` in fleet.yaml if it is to",
        )
    from dask_fleet.tls.authority import Authority, authority_directory

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
    return authority
