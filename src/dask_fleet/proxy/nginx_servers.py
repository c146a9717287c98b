"""The servers and locations of the door."""

from __future__ import annotations

from collections.abc import Iterator
from textwrap import indent

from dask_fleet.door import bracketed
from dask_fleet.proxy.login import request_headers, response_headers, server_block
from dask_fleet.proxy.nginx_paths import quoted
from dask_fleet.proxy.nginx_text import Site, listens
from dask_fleet.proxy.pages import scheduler_down, worker_away

__all__ = ["servers"]

_CONNECTIONS_OF_AN_ADDRESS = 200


def servers(site: Site) -> Iterator[str]:
    """Yield the servers of a site: that of the door, and one for an ACME server's challenge."""
    door = site.door
    names = " ".join(bracketed(name) for name in door.names)
    if door.tls == "acme":
        yield f"""
server {{
    listen 80;
    server_name {names};
    location / {{ return 301 https://{door.url.removeprefix("https://")}$request_uri; }}
    location ^~ /.well-known/acme-challenge/ {{ root {quoted(site.files.challenges)}; }}
}}"""
    secure = door.tls != "none"
    ssl = " ssl" if secure else ""
    binds = "\n".join(f"    listen {one}{ssl};" for one in listens(door))
    yield f"""
server {{
{binds}
    server_name {names};"""
    if secure:
        yield f"""\
    ssl_certificate {quoted(site.files.certificate)};
    ssl_certificate_key {quoted(site.files.key)};
    ssl_protocols TLSv1.2 TLSv1.3;
    ssl_session_cache shared:{site.own}_tls:1m;
    ssl_session_timeout 1d;
    error_page 497 =301 https://$http_host$request_uri;"""
    yield _limits(site)
    yield _headers(site)
    yield _gate(site)
    yield from _locations(site)
    yield "}"


def _limits(site: Site) -> str:
    return f"""\
    server_tokens off;
    absolute_redirect off;
    client_max_body_size 16k;
    client_header_timeout 10s;
    client_body_timeout 10s;
    send_timeout 30s;
    large_client_header_buffers 4 8k;
    limit_conn {site.own}_address {_CONNECTIONS_OF_AN_ADDRESS};
    limit_conn_status 429;"""


def _headers(site: Site) -> str:
    door = site.door
    local = ("http://localhost:*", "http://127.0.0.1:*") if door.on_loopback else ()
    frames = " ".join(("'self'", *dict.fromkeys((*local, *door.frames))))
    more = ""
    if door.tls in ("files", "acme"):
        # Not with the fleet's own authority: it holds for all ports of a name, and dashboards
        # that are reached without the door speak plain http.
        more += '\n    add_header Strict-Transport-Security "max-age=31536000" always;'
    more += "".join(f"\n    {line}" for line in response_headers(site.login))
    secrets = "\n    ".join(request_headers())
    return f"""
    add_header X-Content-Type-Options nosniff always;
    add_header Referrer-Policy same-origin always;
    add_header Content-Security-Policy "frame-ancestors {frames}" always;{more}

    proxy_http_version 1.1;
    proxy_set_header Host $http_host;
    # Dask does not ask who came here, and to read these lines would cost it time with each answer.
    proxy_set_header X-Real-IP "";
    proxy_set_header X-Forwarded-For "";
    proxy_set_header X-Forwarded-Proto "";
    proxy_set_header Upgrade ${site.own}_upgrade;
    proxy_set_header Connection ${site.own}_connection;
    {secrets}
    proxy_redirect off;
    proxy_buffer_size 16k;
    proxy_buffers 8 16k;
    proxy_max_temp_file_size 0;
    proxy_connect_timeout 3s;
    proxy_read_timeout 10s;"""


def _gate(site: Site) -> str:
    own, door = site.own, site.door
    gate = f"""
    if (${own}_stranger) {{ return 421; }}
    if (${own}_method) {{ return 405; }}
    if (${own}_odd) {{ return 404; }}"""
    if door.allow:
        gate += "".join(f"\n    allow {network};" for network in door.allow)
        gate += "\n    deny all;"
    gate += "\n\n" + indent(server_block(site.login).rstrip(), "    ")
    return gate


def _locations(site: Site) -> Iterator[str]:
    door, own = site.door, site.own
    # A `return` comes before anybody is asked who they are. Where that is asked, what is there and
    # what is not must look alike to who does not say it, so both go to places behind it.
    front, unknown, nothing = (
        (f"return 302 ${own}_front;", "return 404;", "return 404;")
        if site.login.open
        else (
            "rewrite ^ /.door/front last;",
            "rewrite ^ /.door/nothing last;",
            "try_files /.door/nothing =404;",
        )
    )
    first = f"if (${own}_front) {{ {front} }}"
    known = f'if (${own}_worker = "") {{ {unknown} }}'
    worker = f"http://dask.{site.fleet}.${own}_worker${own}_path"
    asked = f"${own}_worker${own}_path"
    yield _location(site, "/", f"http://{site.upstream(door.scheduler)}", "$request_uri")
    yield _location(site, "^~ /w/", worker, asked, first, known)
    yield _location(site, "^~ /proxy", worker, asked, known)
    yield f"\n    location ^~ /api/v1 {{ {nothing} }}"
    if not site.login.open:
        yield f"""\
    location = /.door/nothing {{
        internal;
        {nothing}
    }}
    location = /.door/front {{
        internal;
        try_files /.door/nothing @door_front;
    }}
    location @door_front {{ return 302 ${own}_front; }}"""
    seen = ""
    if site.files.seen:
        seen = (
            '<!--# block name="unknown" --><!--# endblock -->'
            '<!--# include virtual="/.door/seen" stub="unknown" -->'
        )
        yield f"""
    location = /.door/seen {{
        internal;
        log_not_found off;
        alias {quoted(site.files.seen)};
    }}"""
    yield f"""
    error_page 502 504 = @door_away;
    location @door_away {{{_unguarded(site)}
        # A page whatever was asked for; what is included is put into text/html alone.
        types {{ }}
        default_type text/html;
        charset utf-8;
        ssi on;
        add_header Retry-After 5 always;
        add_header Cache-Control no-store always;
        if (${own}_worker) {{
            return 503 '{worker_away(site.fleet, f"${own}_worker")}';
        }}
        return 503 '{scheduler_down(site.fleet, seen)}';
    }}"""


def _unguarded(site: Site) -> str:
    """Return what lets everybody see a page that the door shows by itself."""
    kinds = {"none": "", "users": "auth_basic off;", "forward": "auth_request off;"}
    directive = kinds[site.door.login]
    return f"\n        {directive}" if directive else ""


def _location(site: Site, place: str, target: str, asked: str, *conditions: str) -> str:
    """Return where requests for a dashboard go.

    ``asked`` is what its process is asked for, spelt as it is passed on, so that what nginx keeps
    of one request is given to those alone that would be answered with the same.
    """
    outer = "".join(f"\n        {one}" for one in conditions)
    inner = "".join(f"\n            {one}" for one in conditions)
    return f"""
    location {place} {{{outer}
        proxy_pass {target};
        # A websocket may be silent until the page's next sign of life, half a minute later.
        location ~ /ws$ {{{inner}
            proxy_pass {target};
            proxy_read_timeout 1h;
        }}
        # Writing them down keeps a process from its work; who asks within the second shares them.
        location ~ /metrics$ {{{inner}
            proxy_pass {target};
            proxy_cache {site.own}_kept;
            proxy_cache_key {asked};
            proxy_cache_valid 200 1s;
        }}
    }}"""
