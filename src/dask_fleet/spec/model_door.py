"""The part of fleet.yaml about the door; as `dask_fleet.spec.model`, of which it is a part."""

from __future__ import annotations

from typing import Annotated, TypeAlias

from pydantic import Field

from dask_fleet.spec import fields as f
from dask_fleet.spec import fields_door as d
from dask_fleet.spec.model_base import Model, field

__all__ = [
    "AcmeSpec",
    "DoorLoginSpec",
    "DoorSection",
    "DoorSpec",
    "DoorTlsSpec",
    "LoginSection",
    "TlsSection",
]


class AcmeSpec(Model):
    """A certificate from an ACME server, such as Let's Encrypt, fetched by certbot."""

    email: d.Email = field(
        "reload", "Address that the server writes to when a certificate is about to expire."
    )
    server: d.Url | None = field(
        "reload",
        "Directory of the ACME server, for one of your own; certbot's own choice when left out.",
        None,
    )


class DoorTlsSpec(Model):
    """The door's certificate: of one of three kinds."""

    fleet: f.Flag = field(
        "reload", "Whether the fleet's own authority makes it; `tls: fleet` says the same.", False
    )
    certificate: f.Text | None = field(
        "reload",
        "File with the certificate and those that vouch for it, in PEM, beside fleet.yaml.",
        None,
    )
    key: f.Text | None = field(
        "reload", "File with its private key, in PEM, beside fleet.yaml.", None
    )
    acme: AcmeSpec | None = field(
        "reload",
        "certbot on the door's host fetches it from an ACME server, through port 80.",
        None,
    )


class DoorLoginSpec(Model):
    """Who is let in; `login: none` and `login: users` are short for it."""

    users: f.Flag = field(
        "reload",
        "Whether people log in with a name and a password, programs with a token; "
        "`dask fleet door` adds and removes both.",
        False,
    )
    forward_auth: d.Url | None = field(
        "reload",
        "Who may come is asked at this URL for each request, as oauth2-proxy and JupyterHub "
        "answer it: with 2xx, 401 or 403.",
        None,
    )
    sign_in: d.Url | None = field(
        "reload", "Page that a browser is sent to when the answer is 401.", None
    )


TlsSection: TypeAlias = Annotated[
    DoorTlsSpec | None, d.Shorthand(((False, None), ("fleet", {"fleet": True})))
]
LoginSection: TypeAlias = Annotated[
    DoorLoginSpec | None, d.Shorthand((("none", {}), ("users", {"users": True})))
]
_Networks: TypeAlias = Annotated[tuple[d.Network, ...], Field(strict=False)]
_Urls: TypeAlias = Annotated[tuple[d.Url, ...], Field(strict=False)]


class DoorSpec(Model):
    """The door: one address behind which all dashboards are, through nginx."""

    host: f.Text | None = field(
        "reload", "Host that it is on, with its nginx; the scheduler's when left out.", None
    )
    listen: d.Listen | None = field(
        "reload",
        "Port, or `ADDRESS:PORT`, that it binds. Left out: 443 with TLS and 80 without, and 8788 "
        "under supervisor. A port alone is bound on all addresses, on loopback where the host "
        "listens on loopback.",
        None,
    )
    server_name: f.Address | None = field(
        "reload",
        "Name or address by which people reach it; the host's external address when left out.",
        None,
    )
    tls: TlsSection = field(
        "reload",
        "Certificate for https: `fleet`, files of yours, or one by ACME; `false` is plain http.",
        None,
    )
    login: LoginSection = field(
        "reload",
        "Who is let in: `none` is everybody, `users` are those with a name and a password. Left "
        "out: `none` where it is bound on loopback, else `users`.",
        None,
    )
    allow: _Networks = field(
        "reload",
        "Networks or addresses that may come at all, such as `10.0.0.0/8`; all when left out.",
        (),
    )
    frames: _Urls = field(
        "reload",
        "Sites whose pages may show dashboards in a frame, such as `https://hub.example.org` with "
        "its JupyterLab. On loopback, those of this machine may.",
        (),
    )


DoorSection: TypeAlias = Annotated[DoorSpec | None, d.Shorthand(((True, {}), (False, None)))]
