"""The configuration of an nginx that is the fleet's own, where no nginx of the host serves it."""

from __future__ import annotations

from dask_fleet.proxy.nginx_paths import if_there, quoted

__all__ = ["main_configuration"]

_CONNECTIONS = 8192
"""Each websocket takes two: one to the browser and one to the dashboard."""


def main_configuration(fleet: str, prefix: str, site: str) -> str:
    """Return the text of ``nginx.conf`` for a process in the foreground, run by any user.

    Parameters
    ----------
    fleet : str
        Name of the fleet.
    prefix : str
        Absolute directory for its pid and for what it buffers.
    site : str
        Absolute path of the site file.

    Raises
    ------
    FleetError
        nginx cannot be told of such a path.
    """
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    buffers = "\n".join(
        f"    {kind}_temp_path {quoted(f'{prefix}/buffers-{kind}')};" for kind in kinds
    )
    return f"""\
# nginx of the door of the fleet {fleet}, and of nothing else.
# Written by dask-fleet; `dask fleet up` replaces what is edited here.
daemon off;
worker_processes 2;
worker_rlimit_nofile {2 * _CONNECTIONS};
# Where root brings the fleet up, it is root who reads who may come in.
include {if_there(f"{prefix}/run-as.conf")};
pid {quoted(f"{prefix}/nginx.pid")};
error_log stderr warn;

events {{
    worker_connections {_CONNECTIONS};
}}

http {{
{buffers}
    access_log off;
    default_type application/octet-stream;
    map_hash_max_size 65536;
    map_hash_bucket_size 128;
    include {quoted(site)};
}}
"""
