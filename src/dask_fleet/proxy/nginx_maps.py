"""Tables of nginx by which the door decides: who is meant, what is refused, who is known."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from dask_fleet.door import bracketed
from dask_fleet.proxy.login import outer_block
from dask_fleet.proxy.nginx_paths import quoted
from dask_fleet.proxy.nginx_text import Site, key_of

if TYPE_CHECKING:
    from dask_fleet.door import Route

__all__ = ["tables"]


def tables(site: Site) -> Iterator[str]:
    """Yield everything of a site that stands before its servers."""
    yield from _upstreams(site)
    yield from _routes(site)
    yield from _refusals(site)
    yield ""
    yield outer_block(site.login).rstrip()
    yield _zones(site)


def _upstreams(site: Site) -> Iterator[str]:
    yield "\n# The dashboards; connections to them are kept open."
    for route in (site.door.scheduler, *site.door.workers):
        yield (f"upstream {site.upstream(route)} {{ server {route.authority}; keepalive 16; }}")


def _routes(site: Site) -> Iterator[str]:
    own = site.own
    yield f"""
# Which worker is meant, and which path of it, taken from the path as it was sent:
# /w/NAME/... by its name, /proxy/PORT/ADDRESS/... as Dask's own links have it.
map $request_uri ${own}_asked {{
    default "";
    "~^/w/(?<{own}_name>[^/?]+)/" ${own}_name;
    "~^/proxy/(?<{own}_link>[0-9]+/[^/?]+)/" ${own}_link;
}}
map $request_uri ${own}_path {{
    default "";
    "~^/w/[^/?]+(?<{own}_below>/.*)$" ${own}_below;
    "~^/proxy/[0-9]+/[^/?]+(?<{own}_beyond>/.*)$" ${own}_beyond;
}}"""
    yield "# The inventory: whatever is not in it is not reached."
    yield f"map ${own}_asked ${own}_worker {{"
    yield '    default "";'
    for route in site.door.workers:
        for key in dict.fromkeys(_keys(route)):
            yield f"    {key_of(key)} {route.name};"
    yield "}"
    yield f"""\
# A worker without a page: its dashboard.
map $request_uri ${own}_front {{
    default "";
    "~^(?<{own}_root>/w/[^/?]+)/?$" ${own}_root/status;
}}"""


def _keys(route: Route) -> Iterator[str]:
    yield route.name
    yield f"{route.port}/{route.address}"
    if ":" in route.address:
        yield f"{route.port}/{bracketed(route.address)}"


def _refusals(site: Site) -> Iterator[str]:
    own = site.own
    names = "\n".join(f'    {key_of(bracketed(name))} "";' for name in site.door.names)
    below = site.login.sign_in_here
    method = '"$request_method $uri"' if below else "$request_method"
    methods = '    GET "";\n    HEAD "";'
    if below:  # forms of the service that people log in with
        methods = f'    "~^(GET|HEAD) " "";\n    "~^POST {re.escape(below)}" "";'
    yield f"""
# Names that a request may give; else a page elsewhere could reach the door under its own name.
map $host ${own}_stranger {{
    default 1;
{names}
}}
map {method} ${own}_method {{
    default 1;
{methods}
}}
# Paths that somebody may read in another way than nginx: // /./ /../ and encoded dots, backslashes
# and control characters.
map $request_uri ${own}_odd {{
    default "";
    "~^[^?]*(//|/\\.\\.?(/|\\?|$)|\\x5c)" 1;
    "~*^[^?]*%([01][0-9a-f]|2e|5c|7f)" 1;
    "~^[^/]" 1;
}}
map $http_upgrade ${own}_upgrade {{
    default "";
    "~*^websocket$" websocket;
}}
map ${own}_upgrade ${own}_connection {{
    default upgrade;
    "" "";
}}"""


def _zones(site: Site) -> str:
    return f"""
limit_conn_zone $binary_remote_addr zone={site.own}_address:1m;
# Metrics, for whoever asks for the same within the second.
proxy_cache_path {quoted(site.files.kept)} levels=1 keys_zone={site.own}_kept:1m
    max_size=64m inactive=10s use_temp_path=off;"""
