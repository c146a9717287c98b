"""The door as nginx reads it: one file that is included within ``http { }``.

What it relies on was measured and read in nginx 1.22; directives are described at
https://nginx.org/en/docs/. Three rules hold the file together:

- **Only the inventory is reachable.** A location without a regular expression takes ``/w/`` and
  ``/proxy``, and maps say which process is meant. A regular expression in a location is matched
  against the decoded path and was evaded with ``%0a``; a map over the path as it was sent either
  fits as a whole or not at all.
- **Paths travel as they were sent.** nginx would decode ``%2F`` in them, and Dask's info pages have
  addresses with slashes in their names.
- **Whoever is let in has been asked.** Directives of the rewrite phase, such as ``return``, come
  before the password. The cookie that spares it next time is set only if the request has reached
  what is behind the door.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dask_fleet.door import bracketed
from dask_fleet.proxy.nginx_maps import tables
from dask_fleet.proxy.nginx_servers import servers
from dask_fleet.proxy.nginx_text import Site, listens

if TYPE_CHECKING:
    from dask_fleet.door import Door
    from dask_fleet.proxy.door_files import DoorFiles

__all__ = ["site"]


def site(fleet: str, door: Door, files: DoorFiles) -> str:
    """Return the text of the site file.

    Without login, certificate, workers and networks it is the plain reverse proxy that people
    write by hand.

    Parameters
    ----------
    fleet : str
        Name of the fleet.
    door : Door
        What is declared.
    files : DoorFiles
        What it reads.
    """
    lines = [
        f"# The door of the fleet {fleet}: {door.url}",
        "# Written by dask-fleet; `dask fleet up` replaces what is edited here.",
    ]
    whole = Site(fleet, door, files)
    if door.login == "none" and door.tls == "none" and not (door.workers or door.allow):
        lines.append(_plain(whole))
    else:
        lines += [*tables(whole), *servers(whole)]
    return "\n".join(lines) + "\n"


def _plain(whole: Site) -> str:
    door = whole.door
    binds = "\n".join(f"    listen {one};" for one in listens(door))
    return f"""\
server {{
{binds}
    server_name {bracketed(door.server_name)};

    location / {{
        proxy_pass http://{door.scheduler.authority};
        proxy_set_header Host $http_host;
        proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
        proxy_set_header X-Real-IP $remote_addr;
        proxy_http_version 1.1;
        proxy_redirect off;
        proxy_buffering off;
        proxy_set_header Upgrade $http_upgrade;
        proxy_set_header Connection "upgrade";
        proxy_read_timeout 86400;
    }}

    location ^~ /proxy {{ return 404; }}
    location ^~ /api/v1 {{ return 404; }}
}}"""
