"""What nginx is told about who may come in, as text: the part of the door's site that guards it.

With users, nginx checks a password (bcrypt, some 20 ms) once a browser: it answers with a cookie,
and whoever brings that cookie, or the token of a program, is asked for nothing. With a service
(`forward_auth`) nginx asks it about each request; who brings a token comes in without.

``add_header`` and ``proxy_set_header`` in a block replace all those of the block around it, so
whoever writes such lines there repeats these.
"""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

from dask_fleet.proxy.accounts import COOKIES, LENGTH, PASSWORDS, SESSIONS, TOKENS
from dask_fleet.proxy.nginx_paths import if_there, quoted

__all__ = ["Login", "outer_block", "request_headers", "response_headers", "server_block"]


@dataclass(frozen=True, slots=True)
class Login:
    """Who is let in at the door of a fleet.

    Attributes
    ----------
    fleet : str
        Its name.
    folder : str
        Where the files of `dask_fleet.proxy.accounts` are on the door's host.
    users : bool
        Whether people log in with name and password.
    forward_auth : str or None
        URL of the service that is asked about each request. Without it and without users, everybody
        is let in.
    sign_in : str or None
        Page that a browser is sent to when that service does not know it, with the address that
        was asked for: behind the last ``=`` if it ends with one (``.../login?next=``), else as
        ``rd``, the name that oauth2-proxy and Authelia have for it.
    url : str
        The door as people type it, such as ``https://dask.example.org``.
    """

    fleet: str
    folder: str
    users: bool
    forward_auth: str | None
    sign_in: str | None
    url: str

    @property
    def open(self) -> bool:
        """Whether nobody is asked who they are."""
        return not self.users and self.forward_auth is None

    @property
    def variable(self) -> str:
        """Beginning of the names of variables: all sites of an nginx share them."""
        return f"$door_{self.fleet.replace('-', '_')}"

    @property
    def cookie(self) -> str:
        """Name of the cookie: a browser shares cookies between all ports of a host."""
        return f"dask_fleet_{self.fleet.replace('-', '_')}"

    def file(self, name: str) -> str:
        """Return the path of one of those files."""
        return f"{self.folder}/{name}"

    @property
    def sign_in_here(self) -> str | None:
        """The path below which the service's own pages are, if they are behind the door too."""
        if not self.sign_in or not self.forward_auth:
            return None
        page, door = urlsplit(self.sign_in), urlsplit(self.url)
        if (page.scheme, page.netloc) != (door.scheme, door.netloc):
            return None
        first = page.path.strip("/").split("/")[0]
        return f"/{first}/" if first else None


def outer_block(login: Login) -> str:
    """Return what stands outside ``server``: maps from what a request brings to what it may."""
    v = login.variable
    text = f"""\
# A websocket from a page of another origin: browsers send cookies along with it.
map "$http_upgrade $scheme $http_host $http_origin" {v}_foreign {{
    "~^ "                                  "";
    "~ $"                                  "";
    "~^\\S+ http (\\S+) https?://\\1$"         "";
    "~^\\S+ https (\\S+) https://\\1$"         "";
    default                                1;
}}
"""
    if login.open:
        return text
    text += f"""
# Programs bring a token. Files that are not there are empty: the [p] makes a pattern of the name.
map $http_authorization {v}_bearer {{
    "~*^Bearer +(?<{v[1:]}_sent>[a-z2-7]{{{LENGTH}}})$" {v}_sent;
    default "";
}}
map {v}_bearer {v}_program {{
    include {if_there(login.file(TOKENS))};
    default "";
}}
"""
    if not login.users:
        return text + _browsers(v)
    return (
        text
        + f"""\
# Browsers bring the cookie that they were given after a good password.
map $cookie_{login.cookie} {v}_session {{
    include {if_there(login.file(SESSIONS))};
    default "";
}}
map "{v}_session{v}_program" {v}_realm {{
    ""      "dask-fleet {login.fleet}";
    default off;
}}
# The cookie is given with an answer of Dask's, for that comes only after the password was found
# good. Whoever was let in by cookie or token may have written any name beside it.
map "{v}_realm $upstream_status" {v}_user {{
    "~^off "  "";
    "~ $"     "";
    default   "user:$remote_user";
}}
map {v}_user {v}_secret {{
    include {if_there(login.file(COOKIES))};
    default "";
}}
map {v}_secret {v}_cookie {{
    ""      "";
    default "{login.cookie}={v}_secret; Path=/; HttpOnly; SameSite=Lax{_secure(login)}";
}}
# Guesses are counted: by the address that they come from, and all together, for each costs nginx
# some 20 ms. Who is known is not counted, so a flood keeps nobody out who is in.
map "{v}_realm $http_authorization" {v}_guess {{
    "~^off "  "";
    "~ $"     "";
    default   $binary_remote_addr;
}}
map {v}_guess {v}_guesses {{
    ""      "";
    default all;
}}
limit_req_zone {v}_guess   zone={login.cookie}_guess:1m   rate=1r/s;
limit_req_zone {v}_guesses zone={login.cookie}_guesses:1m rate=20r/s;
"""
    )


def server_block(login: Login) -> str:
    """Return what stands in ``server``: who is asked, and how."""
    v = login.variable
    text = f"if ({v}_foreign) {{ return 403; }}\n"
    if login.open:
        return text
    if login.users:
        return (
            text
            + f"""\
auth_basic {v}_realm;
auth_basic_user_file {quoted(login.file(PASSWORDS))};
limit_req zone={login.cookie}_guess burst=20 nodelay;
limit_req zone={login.cookie}_guesses burst=40 nodelay;
limit_req_status 429;
"""
        )
    return text + _asking(login)


def response_headers(login: Login) -> tuple[str, ...]:
    """Return the ``add_header`` lines that go with answers of Dask's."""
    if login.users:
        return (f"add_header Set-Cookie {login.variable}_cookie;",)
    if login.forward_auth:
        # Such a service renews its own cookie in passing.
        return (f"add_header Set-Cookie {login.variable}_renewed;",)
    return ()


def request_headers() -> tuple[str, ...]:
    """Return the ``proxy_set_header`` lines that keep secrets from Dask.

    Bokeh writes the headers and cookies of a request into the page that it answers with.
    """
    return ('proxy_set_header Authorization "";', 'proxy_set_header Cookie "";')


def _asking(login: Login) -> str:
    v = login.variable
    service = urlsplit(login.forward_auth or "")
    verified = (
        "    proxy_ssl_server_name on;\n"
        "    proxy_ssl_verify on;\n"
        "    proxy_ssl_trusted_certificate /etc/ssl/certs/ca-certificates.crt;\n"
        if service.scheme == "https"
        else ""
    )
    text = f"""\
auth_request /.door/ask;
auth_request_set {v}_renewed $upstream_http_set_cookie;
error_page 401 = @door_sign_in;
location = /.door/ask {{
    internal;
    if ({v}_program) {{ return 204; }}
    proxy_pass {login.forward_auth};
{verified}    proxy_pass_request_body off;
    proxy_connect_timeout 5s;
    proxy_read_timeout 10s;
    proxy_set_header Content-Length "";
    proxy_set_header Upgrade "";
    proxy_set_header X-Original-Method $request_method;
    proxy_set_header X-Original-URL $scheme://$http_host$request_uri;
    proxy_set_header X-Original-URI $request_uri;
    proxy_set_header X-Forwarded-Method $request_method;
    proxy_set_header X-Forwarded-Proto $scheme;
    proxy_set_header X-Forwarded-Host $http_host;
    proxy_set_header X-Forwarded-Uri $request_uri;
    proxy_set_header X-Forwarded-For $remote_addr;
    proxy_set_header X-Real-IP $remote_addr;
}}
location @door_sign_in {{
"""
    if login.sign_in:
        text += f"    if ({v}_browser) {{ return 302 {_destination(login)}; }}\n"
    text += "    return 401;\n}\n"
    if below := login.sign_in_here:
        text += f"""\
location ^~ {below} {{
    auth_request off;
    proxy_pass {service.scheme}://{service.netloc};
{verified}    proxy_set_header Host $http_host;
    proxy_set_header X-Forwarded-Proto $scheme;
    proxy_set_header X-Forwarded-Host $http_host;
    proxy_set_header X-Forwarded-For $remote_addr;
    proxy_set_header X-Real-IP $remote_addr;
}}
"""
    return text


def _destination(login: Login) -> str:
    """Return where a browser is sent to that is to log in."""
    page = login.sign_in or ""
    name = "" if page.endswith("=") else "&rd=" if "?" in page else "?rd="
    return f'"{page}{name}$scheme://$http_host$request_uri"'


def _browsers(v: str) -> str:
    return f"""\
# Who can show a page to log in on; programs and websockets are told 401.
map "$http_upgrade $request_method $http_accept" {v}_browser {{
    "~^ (GET|HEAD) .*text/html" 1;
    default "";
}}
"""


def _secure(login: Login) -> str:
    return "; Secure" if login.url.startswith("https:") else ""
