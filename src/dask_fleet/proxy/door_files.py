"""Files that the door consists of on its host, and those that it reads there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dask_fleet.door import Door
    from dask_fleet.places import Places

__all__ = [
    "CERTIFICATE",
    "CERTIFIED",
    "KEY",
    "MAIN",
    "SHOW_SITE",
    "SITE",
    "START",
    "DoorFiles",
    "certbot",
    "door_directory",
    "kept_by_the_host",
    "site_name",
    "site_path",
]

SITE = "site.conf"
CERTIFICATE = "certificate.pem"
KEY = "key.pem"
MAIN = "nginx.conf"
START = "start.sh"
"""What a door consists of; the last two where its nginx is the fleet's own."""

SHOW_SITE = """\
printf '%s\\n' "$1"
if [ -f "$1" ]; then cat "$1"; fi
"""
"""Prints the path of a site file and, below, what is in it."""

CERTIFIED = "certified"
"""The command that certbot runs when it has fetched a certificate."""


def door_directory(places: Places) -> str:
    """Return where certificate and key lie, and all of the door where its nginx is our own."""
    return f"{places.state}/door"


def site_path(fleet: str) -> str:
    """Return where Debian's nginx has the site file; others have it in ``conf.d``."""
    return f"/etc/nginx/sites-available/{site_name(fleet)}"


def kept_by_the_host(fleet: str) -> str:
    """Return where the nginx of a host keeps answers: in memory, so that a full disk harms none."""
    return f"/run/dask-fleet.{fleet}.kept"


def site_name(fleet: str) -> str:
    """Return the name of the site file in the directories of the host's nginx."""
    return f"dask-fleet.{fleet}.conf"


@dataclass(frozen=True, slots=True)
class DoorFiles:
    """Files that the door reads; absolute paths on its host.

    Attributes
    ----------
    accounts : str
        Directory of users and tokens; `dask_fleet.proxy.accounts` says what is in it.
    certificate, key : str
        In PEM.
    challenges : str
        Directory where certbot puts what an ACME server asks for.
    kept : str
        Directory where nginx keeps answers for others who ask for the same.
    seen : str
        Holds when the scheduler on this host was alive last, in words; empty if it is elsewhere.
    """

    accounts: str
    certificate: str
    key: str
    challenges: str
    kept: str
    seen: str = ""

    @classmethod
    def on(cls, fleet: str, places: Places, door: Door) -> DoorFiles:
        """Return the files of a fleet's door on a host with these directories."""
        # What certbot has fetched stays when the fleet goes down; links lead to it.
        directory = places.door if door.tls == "acme" else door_directory(places)
        return cls(
            accounts=places.door,
            certificate=f"{directory}/{CERTIFICATE}",
            key=f"{directory}/{KEY}",
            challenges=f"{places.door}/challenges",
            kept=f"{door_directory(places)}/kept" if door.own else kept_by_the_host(fleet),
            seen=f"{places.seen}/{door.scheduler.name}" if door.with_scheduler else "",
        )


def certbot(places: Places, door: Door) -> tuple[str, ...]:
    """Return the command that fetches a certificate, to be run once on the door's host."""
    server = ("--server", door.acme_server) if door.acme_server else ()
    return (
        *("certbot", "certonly", "--webroot", "--webroot-path", f"{places.door}/challenges"),
        # The name of the directory below /etc/letsencrypt/live where an `up` looks for it.
        *("--cert-name", door.server_name, "--domain", door.server_name, *server),
        *("--email", door.email or "", "--agree-tos", "--non-interactive"),
        *("--deploy-hook", f"{places.door}/{CERTIFIED}"),
    )
