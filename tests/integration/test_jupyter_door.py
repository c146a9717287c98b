"""JupyterLab shows a fleet through its door: with TLS, and past a login by the proxy of Jupyter."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from dask_fleet.tls.authority import authority_directory
from tests.integration.browser import browsing
from tests.integration.conftest import (
    Desk,
    eventually,
    fleet_text,
    free_ports,
    make_desk,
)
from tests.integration.door import Knocker
from tests.integration.jupyter import (
    PATIENCE,
    Jupyter,
    jupyter,
    open_pane,
    printed,
    tasks_are_drawn,
)

#: What docs/monitoring.md says for a door with a login.
SETTINGS = """\
c.ServerProxy.servers = {{
    "fleet": {{
        "port": {port},
        "request_headers_override": {{
            "Authorization": "Bearer {token}",
            "Host": "127.0.0.1:{port}",
            "Origin": "http://127.0.0.1:{port}",
        }},
    }},
}}
"""


@dataclass(frozen=True)
class Room:
    """A fleet with a door, and a JupyterLab beside it."""

    desk: Desk
    lab: Jupyter
    base: int

    def up(self, door: str) -> None:
        self.desk.declare(fleet_text("room", self.base, more=f"door: {{{door}}}\n"))
        self.desk.call("up", "--yes")

    def secure(self, frames: str) -> str:
        """Give the fleet a door on all addresses, as that of VMs; return its URL as printed."""
        where = f"listen: '0.0.0.0:{self.base + 5}', server_name: 127.0.0.1, allow: [127.0.0.0/8]"
        self.up(f"{where}, tls: fleet, login: none, frames: [{frames!r}]")
        return printed(self.desk, "dask-scheduler")


@pytest.fixture(scope="module")
def room() -> Iterator[Room]:
    base = free_ports(40)
    with make_desk() as desk:
        desk.declare(fleet_text("room", base, more="door: {login: users}\n"))
        token = desk.call("door", "token", "add", "jupyter").out.strip()
        place = desk.directory / "notebooks"
        place.mkdir()
        settings = SETTINGS.format(port=base + 5, token=token)
        # The file is there from the first `up` with `tls: fleet` on.
        authority = authority_directory(desk.data, "room") / "ca.pem"
        door = f"listen: {base + 5}, tls: fleet"
        desk.declare(fleet_text("room", base, more=f"door: {{{door}}}\n"))
        desk.call("up", "--yes")
        with jupyter(place, settings=settings, SSL_CERT_FILE=str(authority)) as lab:
            yield Room(desk, lab, base)


def test_a_pane_shows_the_fleet_at_work_by_the_address_of_the_door(room: Room) -> None:
    url = room.secure(room.lab.url)
    assert url == f"https://127.0.0.1:{room.base + 5}/status"
    found = room.lab.check(url)
    assert found["isActive"] is True
    assert len(found["plots"]) > 25
    # The browser was told to trust the certificate; the server does by SSL_CERT_FILE.
    with browsing(ignore_https_errors=True) as new_tab:
        tab = new_tab()
        pane = open_pane(tab, room.lab, url, "Task Stream")
        tasks_are_drawn(pane, room.desk)
        tab.look("jupyterlab-door.png")
        assert tab.faults == []


def test_a_site_that_is_not_among_frames_shows_no_pane(room: Room) -> None:
    url = room.secure("https://hub.example.org")
    with browsing(ignore_https_errors=True) as new_tab:
        tab = new_tab()
        frame = open_pane(tab, room.lab, url, "Task Stream", refused=True)
        eventually(
            # Asked for its title, the page tells what has happened meanwhile.
            lambda: tab.page.title() and any("frame-ancestors" in fault for fault in tab.faults),
            within=PATIENCE,
            what="the browser refuses to show it",
        )
        assert frame.ask("() => window.Bokeh === undefined")


def test_behind_a_login_the_address_of_the_door_is_none_for_jupyter(room: Room) -> None:
    room.up(f"listen: {room.base + 5}, login: users")
    url = printed(room.desk, "dask-scheduler")
    assert Knocker(url.removesuffix("/status")).ask("/health").status == 401
    assert room.lab.check(url)["isActive"] is False


def test_the_proxy_of_jupyter_brings_a_token_to_a_door_with_a_login(room: Room) -> None:
    room.up(f"listen: {room.base + 5}, login: users")
    with browsing() as new_tab:
        tab = new_tab()
        pane = open_pane(tab, room.lab, f"{room.lab.url}/fleet", "Task Stream")
        assert pane.place.url == f"{room.lab.url}/fleet/individual-task-stream"
        tasks_are_drawn(pane, room.desk)
        tab.look("jupyterlab-door-login.png")
        assert tab.faults == []
