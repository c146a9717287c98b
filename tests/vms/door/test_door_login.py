"""Who comes in at a door on booted hosts: accounts over SSH with sudo, https, nginx of Debian."""

from __future__ import annotations

import re
import ssl

import pytest
from lab.host import Host

from dask_fleet.proxy.accounts import COOKIES, LENGTH, PASSWORDS, SESSIONS, TOKENS
from dask_fleet.proxy.door_files import kept_by_the_host
from tests.integration.door import ANN, Knocker, basic, command_lines
from tests.vms.gate import ACCOUNTS, Gate
from tests.vms.operator import WORKERS, eventually

PATHS = ("/status", "/fleet/", "/metrics", *(f"/w/{name}/health" for name in WORKERS))
KEPT = kept_by_the_host("sst")
SITE = "/etc/nginx/sites-available/dask-fleet.sst.conf"


def began(gate: Gate) -> dict[str, tuple[int, float]]:
    """Return pid and start of each process: who was restarted has others."""
    return {name: (row["pid"], row["started"]) for name, row in gate.operator.rows().items()}


def reads(host: Host, user: str, path: str) -> bool:
    """Return whether a user of a host can read a file there."""
    return host.run(["runuser", "-u", user, "--", "cat", path], check=False).returncode == 0


def test_a_password_opens_it_and_a_cookie_keeps_it_open(gate: Gate):
    assert {path: gate.ask(path).status for path in PATHS} == dict.fromkeys(PATHS, 401)
    assert gate.ask(Authorization=basic("ann", "not what ann has")).status == 401
    assert gate.ask(Authorization=basic("nobody", ANN)).status == 401
    answer = gate.ask(Authorization=basic("ann", ANN))
    assert answer.status == 200
    assert answer.one("Set-Cookie").endswith("; Path=/; HttpOnly; SameSite=Lax; Secure")
    # Dask's pages come when somebody asks for the first; until then it says 307.
    eventually("a page", lambda: gate.ask("/status", Cookie=answer.cookie).status == 200, 30)
    with_cookie = {path: gate.ask(path, Cookie=answer.cookie).status for path in PATHS}
    assert with_cookie == dict.fromkeys(PATHS, 200)
    assert gate.door.websocket(Cookie=answer.cookie, Origin=gate.url) == 101
    assert gate.door.websocket(Origin=gate.url) == 401


def test_its_certificate_is_of_the_fleets_authority(gate: Gate):
    with pytest.raises(ssl.SSLCertVerificationError):
        Knocker(gate.url, ssl.create_default_context(), gate.door.source).ask()
    assert gate.door.ask().status == 401
    plain = Knocker("http://10.77.0.11:443", None, gate.door.source).ask("/status")
    assert (plain.status, plain.one("Location")) == (301, f"{gate.url}:443/status")


def test_a_program_comes_in_with_its_token_until_it_is_taken_away(gate: Gate):
    before = began(gate)
    token = gate.call("token", "add", "prometheus").strip()
    assert re.fullmatch(rf"[a-z2-7]{{{LENGTH}}}", token)
    for path in ("/metrics", "/w/dask-worker-0003/metrics"):
        answer = gate.ask(path, Authorization=f"Bearer {token}")
        assert (answer.status, "dask_" in answer.body) == (200, True)
    assert gate.lab.scheduler.run(f"stat -c '%U %a' {KEPT}").stdout == "www-data 700\n"
    assert gate.ask("/metrics", Authorization=f"Bearer {token[1:]}a").status == 401
    gate.call("token", "rm", "prometheus")
    assert gate.ask("/metrics", Authorization=f"Bearer {token}").status == 401
    assert began(gate) == before


def test_a_user_who_is_removed_is_out_at_once(gate: Gate):
    before = began(gate)
    gate.call("user", "add", "bob", "--password-stdin", given="staple of the bobs")
    cookie = gate.log_in("bob", "staple of the bobs")
    assert gate.ask("/w/dask-worker-0001/health", Cookie=cookie).status == 200
    gate.call("user", "rm", "bob")
    assert gate.ask("/w/dask-worker-0001/health", Cookie=cookie).status == 401
    assert gate.ask(Authorization=basic("bob", "staple of the bobs")).status == 401
    assert gate.ask(Cookie=gate.log_in()).status == 200
    assert began(gate) == before


def test_passwords_are_for_root_and_the_workers_of_nginx_alone(gate: Gate):
    host = gate.lab.scheduler
    gate.call("token", "add", "reader")
    # Workers of nginx read passwords at each login; the maps are read by root, who starts them.
    for name, mode in ((PASSWORDS, 640), (SESSIONS, 600), (COOKIES, 600), (TOKENS, 600)):
        path = f"{ACCOUNTS}/{name}"
        assert host.run(["stat", "-c", "%U:%G %a", path]).stdout.strip() == f"root:www-data {mode}"
        assert reads(host, "www-data", path) == (mode == 640)
        assert not reads(host, "nobody", path)
        assert not reads(host, "dask-fleet", path)
    gate.call("token", "rm", "reader")
    said = host.run(f"find {ACCOUNTS} -perm /o+w").stdout
    assert said == ""


def test_no_secret_is_seen_on_any_host(gate: Gate):
    host, secret = gate.lab.scheduler, "the secret of gus"
    with command_lines() as lines:
        gate.call("user", "add", "gus", "--password-stdin", given=secret)
        token = gate.call("token", "add", "gus").strip()
        cookie = gate.log_in("gus", secret).partition("=")[2]
        assert gate.ask("/metrics", Authorization=f"Bearer {token}").status == 200
        assert gate.ask(Authorization=basic("gus", "the secret of g")).status == 401
        listed = gate.call("user", "list") + gate.call("token", "list")
    held = host.run(f"find {ACCOUNTS} -maxdepth 1 -type f -exec cat {{}} +").stdout
    (hashed,) = re.findall(r"^gus:(\S+?):", held, re.MULTILINE)
    assert token in held
    assert cookie in held
    logs = "/var/log/nginx/*.log"
    # nginx writes its line when the answer has gone.
    eventually(
        "the wrong password is logged",
        lambda: "password mismatch" in host.run(f"cat {logs}").stdout,
        20,
    )
    seen = {
        # All processes of all hosts are seen on the machine that they are booted on.
        "command lines": "\n".join(lines),
        "lists": listed,
        "logs of nginx": host.run(f"cat {logs}").stdout,
        "nginx's file": host.run(f"cat {SITE}").stdout,
        "what the console is told": host.run(
            "cat /var/lib/dask-fleet/fleets/sst/etc/inventory.json"
        ).stdout,
        "plan": gate.operator.call("plan", "--diff", status=None).stdout,
        "history": gate.operator.call("history", "--json").stdout,
    } | {
        f"journal of {one.name}": one.run("journalctl --no-pager --output export").stdout
        for one in gate.lab.hosts
    }
    assert "door user add gus" in seen["command lines"]
    assert "door user add gus" in seen["history"]
    assert "sudo" in seen["journal of dask-scheduler"]
    for what in (secret, "the secret of g", basic("gus", secret), token, cookie, hashed):
        assert [place for place, text in seen.items() if what in text] == []


def test_they_outlive_a_down_and_an_up(gate: Gate):
    token = gate.call("token", "add", "kept").strip()
    cookie = gate.log_in()
    gate.operator.call("down", "--yes")
    with pytest.raises(OSError, match="refused"):
        gate.ask()
    assert "ann" in gate.call("user", "list")
    assert gate.lab.scheduler.run(["test", "-e", KEPT], check=False).returncode == 1
    gate.call("user", "add", "zoe", "--password-stdin", given="something of zoe")
    gate.operator.call("up", "--yes")
    for headers in (
        {"Cookie": cookie},
        {"Authorization": f"Bearer {token}"},
        {"Authorization": basic("ann", ANN)},
        {"Authorization": basic("zoe", "something of zoe")},
    ):
        assert gate.ask("/w/dask-worker-0004/health", **headers).status == 200
    assert gate.ask().status == 401
    assert gate.operator.plan()["empty"]
