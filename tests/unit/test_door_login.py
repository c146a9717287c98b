"""What nginx is told about who may come in.

Golden files lie in ``data/door_login``; that nginx does what they say is shown in
``tests/integration/test_door_login.py``.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from dask_fleet.proxy.login import (
    Login,
    outer_block,
    request_headers,
    response_headers,
    server_block,
)

DATA = Path(__file__).parent / "data" / "door_login"

NONE = Login("sst-2", "/var/lib/dask-fleet/fleets/sst-2.door", False, None, None, "http://10.0.0.1")
USERS = replace(NONE, users=True, url="https://dask.example.org")
SERVICE = replace(
    USERS,
    users=False,
    forward_auth="http://127.0.0.1:4180/oauth2/auth",
    sign_in="https://dask.example.org/oauth2/sign_in",
)
ELSEWHERE = replace(
    SERVICE,
    forward_auth="https://login.example.org/api/verify",
    sign_in="https://login.example.org/?theme=dark&next=",
)
CASES = {"none": NONE, "users": USERS, "service": SERVICE, "elsewhere": ELSEWHERE}


@pytest.mark.parametrize("name", CASES)
def test_golden(name: str) -> None:
    login = CASES[name]
    text = "\n".join(
        (
            outer_block(login),
            "server {",
            server_block(login),
            *response_headers(login),
            *request_headers(),
            "}\n",
        )
    )
    assert text == (DATA / f"login-{name}.conf").read_text(encoding="utf-8")


def test_names_are_those_of_the_fleet() -> None:
    # All sites of an nginx share variables, and a browser shares cookies between ports.
    assert USERS.variable == "$door_sst_2"
    assert USERS.cookie == "dask_fleet_sst_2"
    other = replace(USERS, fleet="sst-3")
    assert not set(outer_block(USERS).split()) & {other.variable, other.cookie}


@pytest.mark.parametrize(
    ("url", "secure"), [("https://a", True), ("http://a", False), ("http://https:", False)]
)
def test_the_cookie_is_secure_with_tls(url: str, secure: bool) -> None:
    text = outer_block(replace(USERS, url=url))
    assert ("; Secure" in text) is secure
    assert "HttpOnly" in text
    assert "SameSite=Lax" in text


@pytest.mark.parametrize(
    ("sign_in", "below"),
    [
        ("https://dask.example.org/oauth2/sign_in", "/oauth2/"),
        ("https://dask.example.org/hub/login?next=", "/hub/"),
        ("https://dask.example.org/", None),
        ("https://dask.example.org:8443/oauth2/sign_in", None),
        ("http://dask.example.org/oauth2/sign_in", None),
        ("https://login.example.org/oauth2/sign_in", None),
        (None, None),
    ],
)
def test_pages_of_the_service_behind_the_door(sign_in: str | None, below: str | None) -> None:
    assert replace(SERVICE, sign_in=sign_in).sign_in_here == below


def test_without_a_page_to_log_in_everybody_is_told_401() -> None:
    text = server_block(replace(SERVICE, sign_in=None))
    assert "302" not in text
    assert "return 401;" in text
