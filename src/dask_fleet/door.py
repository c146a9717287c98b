"""The door as a value: where it is, who is let in, and what is behind it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from dask_fleet.errors import FleetError
from dask_fleet.spec.expand import door_listens, is_loopback

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from dask_fleet.layout import Layout, Scheduler, Worker
    from dask_fleet.spec.expand import ExpandedHost
    from dask_fleet.spec.model import Spec
    from dask_fleet.spec.model_door import DoorSpec

__all__ = ["DOOR_NAME", "Door", "Route", "bracketed", "declared_door", "place_door"]

DOOR_NAME = "dask-door"
"""Name of the door among processes, and of its unit where its nginx is the fleet's own."""

Login = Literal["none", "users", "forward"]
Tls = Literal["none", "fleet", "files", "acme"]


@dataclass(frozen=True, slots=True)
class Route:
    """A process whose dashboard is behind the door: its name and host, and where it is dialled."""

    name: str
    host: str
    address: str
    port: int

    @property
    def authority(self) -> str:
        """Address and port, as in a URL."""
        return f"{bracketed(self.address)}:{self.port}"


@dataclass(frozen=True, slots=True)
class Door:
    """The reverse proxy of a fleet.

    Attributes
    ----------
    host : str
        Name of the host that it is on.
    own : bool
        Whether its nginx is the fleet's own, under supervisor, and not that of the host.
    listen : str
        Address that it binds; empty for all of them.
    port : int
        Port that it binds.
    names : tuple of str
        Names and addresses by which it is reached, the one in its URL first; all others that a
        request may name are refused.
    tls : {"none", "fleet", "files", "acme"}
        Where its certificate comes from.
    certificate, key : str or None
        Files on the operator's machine, as they stand in the spec.
    email : str or None
        For the ACME server.
    acme_server : str or None
        URL of its directory; certbot's own choice when there is none.
    login : {"none", "users", "forward"}
        Who is let in: everybody, users with a password, or whom ``forward_auth`` lets in.
    forward_auth, sign_in : str or None
        Who is asked for each request, and where a browser is sent to sign in.
    allow : tuple of str
        Networks that may come at all; all if it is empty.
    frames : tuple of str
        Origins whose pages may show dashboards in a frame.
    scheduler : Route
        The scheduler's dashboard.
    workers : tuple of Route
        The workers' dashboards.
    """

    host: str
    own: bool
    listen: str
    port: int
    names: tuple[str, ...]
    tls: Tls
    login: Login
    scheduler: Route
    workers: tuple[Route, ...] = ()
    certificate: str | None = None
    key: str | None = None
    email: str | None = None
    acme_server: str | None = None
    forward_auth: str | None = None
    sign_in: str | None = None
    allow: tuple[str, ...] = ()
    frames: tuple[str, ...] = ()

    @property
    def server_name(self) -> str:
        """The name or address that stands in its URL."""
        return self.names[0]

    @property
    def with_scheduler(self) -> bool:
        """Whether the scheduler is on its host."""
        return self.host == self.scheduler.host

    @property
    def signed(self) -> bool:
        """Whether the fleet's authority signs its certificate, or one until certbot's is there."""
        return self.tls in ("fleet", "acme")

    @property
    def on_loopback(self) -> bool:
        """Whether it can be reached from its own host only."""
        return is_loopback(self.listen)

    @property
    def url(self) -> str:
        """What people type, without a slash at its end."""
        scheme, usual = ("http", 80) if self.tls == "none" else ("https", 443)
        port = "" if self.port == usual else f":{self.port}"
        return f"{scheme}://{bracketed(self.server_name)}{port}"

    def path_of(self, name: str) -> str:
        """Return the path below which the dashboard of a process is, with a slash at its end."""
        return "/" if name == self.scheduler.name else f"/w/{name}/"

    def dashboard(self, name: str) -> str:
        """Return the URL of the dashboard of a process."""
        return f"{self.url}{self.path_of(name)}status"


def declared_door(layout: Layout) -> Door:
    """Return the door of a fleet.

    Raises
    ------
    FleetError
        It has none.
    """
    if layout.door is None:
        raise FleetError(f"fleet {layout.name} has no door", "add `door: true` to fleet.yaml")
    return layout.door


def place_door(
    spec: Spec,
    hosts: Mapping[str, ExpandedHost],
    scheduler: Scheduler,
    workers: Iterable[Worker],
) -> Door | None:
    """Return the door that a checked spec asks for, ``None`` if it asks for none."""
    asked = spec.door
    if asked is None:
        return None
    host = hosts[asked.host or scheduler.host]
    address, port = door_listens(asked, host)
    local = is_loopback(address)
    loopback = ("localhost", "127.0.0.1") if local else ()
    given = (asked.server_name or host.external, host.external, host.address, address, host.name)
    names = dict.fromkeys((*given, *loopback))
    login = asked.login
    return Door(
        host=host.name,
        own=host.runtime == "supervisor",
        listen=address,
        port=port,
        names=tuple(name for name in names if name and name not in ("0.0.0.0", "::")),  # noqa: S104
        tls=_tls(asked),
        login=_login(asked, local=local),
        scheduler=Route(
            scheduler.name, scheduler.host, scheduler.contact, scheduler.dashboard_port
        ),
        workers=tuple(
            Route(one.name, one.host, one.contact, one.dashboard_port) for one in workers
        ),
        certificate=asked.tls.certificate if asked.tls else None,
        key=asked.tls.key if asked.tls else None,
        email=asked.tls.acme.email if asked.tls and asked.tls.acme else None,
        acme_server=asked.tls.acme.server if asked.tls and asked.tls.acme else None,
        forward_auth=login.forward_auth if login else None,
        sign_in=login.sign_in if login else None,
        allow=asked.allow,
        frames=asked.frames,
    )


def _tls(asked: DoorSpec) -> Tls:
    if asked.tls is None:
        return "none"
    if asked.tls.fleet:
        return "fleet"
    return "acme" if asked.tls.acme else "files"


def _login(asked: DoorSpec, *, local: bool) -> Login:
    login = asked.login
    if login is None:
        return "none" if local else "users"
    if login.forward_auth:
        return "forward"
    return "users" if login.users else "none"


def bracketed(address: str) -> str:
    """Return an address as it stands in a URL: IPv6 in brackets."""
    return f"[{address}]" if ":" in address else address
