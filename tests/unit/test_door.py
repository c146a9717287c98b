"""The door: where it is, what nginx is told, and that the seed's proxy is what a plain one is.

Golden files lie in ``data/door``; WRITE_GOLDEN=1 writes them anew. Real nginx reads each of them in
``tests/integration/test_door_nginx.py``.
"""

# ruff: noqa: E501 - cases are data, one to a line

import os
import re
from pathlib import Path

import pytest

from dask_fleet.door import Door
from dask_fleet.layout import lay_out
from dask_fleet.places import Places
from dask_fleet.proxy import pages
from dask_fleet.proxy.door_files import DoorFiles
from dask_fleet.proxy.nginx import site
from dask_fleet.spec import parse

GOLDEN = Path(__file__).parent / "data" / "door"

HOSTS = """\
name: sst
hosts:
  dask-scheduler: {address: 192.168.1.166, external: 80.158.2.66}
  dask-worker-[0001-0004]: {address: "192.168.1.[11-14]"}
"""
SEED = HOSTS + "workers: {sprint: {ports: {per: group}}}\n"
NAMES = """\
name: by-name
hosts:
  gate: {address: gate.internal.example, external: dask.example.org}
  dask-scheduler: {address: scheduler.example, listen: 0.0.0.0}
  vm-six: {address: "fd00::7"}
  vm-long: {address: worker-with-a-very-long-name.rack-four.somewhere.example}
"""

CASES = {
    "plain": HOSTS + "workers: {}\ndoor: {login: none}\n",
    "local": "name: local\ndoor: true\n",
    "users": SEED + "door: true\n",
    "files": SEED + "door: {tls: {certificate: a.pem, key: a.key}, allow: [10.0.0.0/8, 'fd00::/8'], server_name: dask.example.org, frames: [https://hub.example.org]}\n",
    "own-host": NAMES + "door: {host: gate, tls: fleet, login: none, listen: 8443}\n",
    "acme": NAMES + "door: {host: gate, tls: {acme: {email: ops@example.org}}}\n",
    "forward": SEED + "door: {listen: '192.168.1.166:8080', login: {forward_auth: 'http://127.0.0.1:4180/oauth2/auth', sign_in: 'https://login.example.org/oauth2/start'}}\n",
}  # fmt: skip


def door_of(text: str) -> Door:
    door = lay_out(parse(text, {})).door
    assert door is not None
    return door


def site_of(text: str) -> str:
    layout = lay_out(parse(text, {}))
    assert layout.door is not None
    root = "/var/lib/dask-fleet"
    places = Places.below(root, root, layout.name)
    files = DoorFiles.on(layout.name, places, layout.door)
    return site(layout.name, layout.door, files)


@pytest.mark.parametrize("name", CASES)
def test_golden_files(name: str):
    golden, text = GOLDEN / f"{name}.conf", site_of(CASES[name])
    if os.environ.get("WRITE_GOLDEN"):
        golden.write_text(text, encoding="utf-8")
    assert text == golden.read_text(encoding="utf-8"), f"compare with {golden}"


def test_no_golden_file_is_left_over():
    assert {path.stem for path in GOLDEN.glob("*.conf")} == set(CASES)


def test_without_login_and_workers_it_is_the_proxy_that_people_write_by_hand():
    text = " ".join(site_of(CASES["plain"]).split())
    by_hand = """
        listen 80;
        server_name 80.158.2.66;

        location / {
              proxy_pass http://192.168.1.166:8787;
              proxy_set_header Host $http_host;
              proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
              proxy_set_header X-Real-IP $remote_addr;
              proxy_http_version 1.1;
              proxy_redirect off;
              proxy_buffering off;
              proxy_set_header Upgrade $http_upgrade;
              proxy_set_header Connection "upgrade";
              proxy_read_timeout 86400;
          }
    """
    assert " ".join(by_hand.split()) in text


# Text, URL, what it binds, who is let in.
PLACES = [
    ("name: x\ndoor: true\n", "http://127.0.0.1:8788", ("127.0.0.1", 8788), "none"),
    ("name: x\ndoor: {tls: fleet}\n", "https://127.0.0.1:8788", ("127.0.0.1", 8788), "none"),
    ("name: x\ndoor: {login: users}\n", "http://127.0.0.1:8788", ("127.0.0.1", 8788), "users"),
    ("name: x\ndoor: {listen: '0.0.0.0:80', server_name: me.example}\n", "http://me.example", ("0.0.0.0", 80), "users"),
    (SEED + "door: {}\n", "http://80.158.2.66", ("", 80), "users"),
    (SEED + "door: {login: none}\n", "http://80.158.2.66", ("", 80), "none"),
    (SEED + "door: {tls: fleet}\n", "https://80.158.2.66", ("", 443), "users"),
    (SEED + "door: {tls: fleet, listen: 80}\n", "https://80.158.2.66:80", ("", 80), "users"),
    (SEED + "door: {listen: '[::1]:81'}\n", "http://80.158.2.66:81", ("::1", 81), "none"),
    (NAMES + "door: {host: vm-six, listen: 81}\n", "http://[fd00::7]:81", ("", 81), "users"),
    (NAMES + "door: {login: {forward_auth: 'http://a/b'}}\n", "http://scheduler.example", ("", 80), "forward"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "url", "listens", "login"), PLACES)
def test_where_it_is_and_who_is_let_in(text: str, url: str, listens: tuple[str, int], login: str):
    door = door_of(text)
    assert (door.url, (door.listen, door.port), door.login) == (url, listens, login)


def test_every_process_has_a_dashboard_behind_it():
    door = door_of(SEED + "door: true\n")
    assert door.dashboard("dask-scheduler") == "http://80.158.2.66/status"
    assert door.dashboard("dask-worker-0003") == "http://80.158.2.66/w/dask-worker-0003/status"
    assert [one.authority for one in door.workers] == [
        f"192.168.1.{10 + n}:90{n}2" for n in (1, 2, 3, 4)
    ]


def test_a_fleet_without_one_has_none():
    assert lay_out(parse("name: x\ndoor: false\n", {})).door is None


def test_its_host_gets_no_workers_by_itself():
    layout = lay_out(parse(NAMES + "door: {host: gate}\n", {}))
    assert {one.host for one in layout.workers} == {"vm-six", "vm-long"}


def test_two_fleets_share_no_name_in_one_nginx():
    def names(fleet: str) -> set[str]:
        text = site_of(SEED.replace("sst", fleet) + "door: true\n")
        own = r"(?:^upstream |zone=|^map (?:\"[^\"]*\"|\S+) \$|\(\?<)([\w.-]+)"
        return set(re.findall(own, text, re.M))

    assert len(names("a-b")) > 20
    assert names("a-b") & names("ab") == set()
    assert names("a-b") & names("a") == set()


@pytest.mark.parametrize("name", [name for name in CASES if name != "plain"])
def test_no_regular_expression_of_a_location_says_who_is_reached(name: str):
    assert set(re.findall(r"location ~\S* (\S+)", site_of(CASES[name]))) == {"/ws$", "/metrics$"}


def test_pages_are_short_enough_for_nginx_and_need_nothing():
    longest = "a" * 40
    for page in (
        pages.worker_away(longest, f"{longest}-00001"),
        pages.scheduler_down(longest, '<!--# include virtual="/_door/seen" -->'),
    ):
        assert len(page.encode()) <= pages.LONGEST
        assert '<noscript><meta http-equiv="refresh" content="5"></noscript>' in page
        assert "location.reload()" in page
        assert "light dark" in page
        assert "'" not in page  # they stand between such quotes
        assert not re.search(r"(?:src|href)=.(?:https?:)?//|@import|url\(", page)
