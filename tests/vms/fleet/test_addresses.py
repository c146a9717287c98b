"""Listen, contact and external addresses, IPv6, and the firewall rules that `ports` prints."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from lab import Host, Lab
from lab.machine import wait_for

from tests.vms.operator import FLEET, RIGHT, WORKERS, Operator, all_run
from tests.vms.person import Person, person
from tests.vms.reset import bring_down

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SIX = FLEET.replace("10.77.0.[12-15]", "fd77::[12-15]").replace("10.77.0.11", "fd77::11")
ANYWHERE = FLEET.replace("memory: 4 GiB", "memory: 4 GiB\n    listen: 0.0.0.0").replace(
    "{address: 10.77.0.11,", "{address: 10.77.0.11, listen: 0.0.0.0,"
)
OUTSIDE = FLEET.replace("memory: 4 GiB", "memory: 4 GiB\n    external: 10.77.0.[212-215]").replace(
    "{address: 10.77.0.11,", "{address: 10.77.0.11, external: 10.77.0.211,"
)
NAT = """\
table ip lab_nat {
  map outside {
    type ipv4_addr : ipv4_addr
    elements = {
      10.77.0.211 : 10.77.0.11, 10.77.0.212 : 10.77.0.12, 10.77.0.213 : 10.77.0.13,
      10.77.0.214 : 10.77.0.14, 10.77.0.215 : 10.77.0.15
    }
  }
  chain translate {
    type nat hook output priority -100; policy accept;
    dnat to ip daddr map @outside
  }
  chain inside_is_not_reached {
    type filter hook output priority filter; policy accept;
    ct original ip daddr 10.77.0.11-10.77.0.15 drop
  }
}
"""
CLIENT = """\
import json, sys
from distributed import Client
c = Client(sys.argv[1], timeout=20)
there = c.scheduler_info(n_workers=-1)["workers"]
total = sum(c.gather(c.map(lambda x: x * x, range(200))))
print(json.dumps([total, {worker["name"]: address for address, worker in there.items()}]))
"""
TOTAL = sum(x * x for x in range(200))
STRANGER = 9999


@pytest.fixture
def me(bare: Operator, tmp_path: Path) -> Iterator[Person]:
    """Somebody whose configuration names no host; nothing is up, nor is it afterwards."""
    lab = bare.lab
    one = person(lab, tmp_path)
    one.home.know(lab.hosts)
    one.configure("Host *", "  User operator", f"  IdentityFile {one.home.key}")
    try:
        yield one
    finally:
        one.home.know(lab.hosts)
        bring_down(one, ANYWHERE)


def compute(address: str) -> dict[str, str]:
    """Compute with a client at the operator's place; return contact addresses of workers."""
    done = subprocess.run(
        [sys.executable, "-c", CLIENT, address],
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    total, workers = json.loads(done.stdout)
    assert total == TOTAL
    return workers


def contract(one: Person) -> list[dict[str, Any]]:
    return json.loads(one.call("ports", "--json").stdout)["rules"]


def listening(host: Host) -> set[str]:
    """Return local addresses on which a host listens, as `ss` writes them."""
    return {line.split()[3] for line in host.run(["ss", "-Hltn"]).stdout.splitlines()}


def reaches(source: Host | None, address: str, port: int) -> bool:
    """Say whether a host, or the operator, can connect."""
    if source is None:
        try:
            socket.create_connection((address, port), 2).close()
        except OSError:
            return False
        return True
    code = f"import socket; socket.create_connection(({address!r}, {port}), 2)"
    return source.run(["python3", "-c", code], check=False).returncode == 0


# -- addresses ---------------------------------------------------------------------------------


def test_a_fleet_over_ipv6(lab: Lab, me: Person):
    me.write(SIX)
    for rule in contract(me):
        assert all(target["address"].startswith("fd77::1") for target in rule["targets"])
    assert not json.loads(me.call("doctor", "--json").stdout)["findings"]
    assert "4 workers registered" in me.call("up", "--yes").stdout
    assert me.plan()["empty"]
    assert all_run(me.rows())
    assert compute("tcp://[fd77::11]:8786") == {
        name: f"tcp://[fd77::{12 + n}]:{9010 + 10 * n}" for n, name in enumerate(WORKERS)
    }
    assert "[fd77::11]:8786" in listening(lab.scheduler)
    assert "[fd77::13]:9020" in listening(lab.workers[1])
    assert not reaches(lab.workers[0], lab.scheduler.address, 8786)
    assert me.call("ssh", "dask-worker-0003", "--", "hostname").stdout == "dask-worker-0003\n"
    lines = me.call("logs", "-n", "50").stdout.splitlines()
    assert {line.split(" | ")[0] for line in lines} >= {"dask-scheduler", *WORKERS}


def test_hosts_behind_a_jump_host_over_ipv6(lab: Lab, me: Person):
    me.write(
        SIX.replace(
            "    ssh: {sudo: true}\n    memory",
            '    ssh: {sudo: true, jump: "operator@[fd77::11]:22"}\n    memory',
        )
    )
    for host in lab.workers:
        host.hide_from_operator()
    try:
        me.call("up", "--yes")
        assert all_run(me.rows())
        assert me.call("ssh", "dask-worker-0002", "--", "hostname").stdout == "dask-worker-0002\n"
    finally:
        for host in lab.workers:
            host.show_to_operator()


def test_processes_listen_on_all_addresses_and_are_dialled_at_one(lab: Lab, me: Person):
    me.write(ANYWHERE)
    me.call("up", "--yes")
    assert me.plan()["empty"]
    assert "0.0.0.0:8786" in listening(lab.scheduler)
    assert {"0.0.0.0:9030", "0.0.0.0:9031", "0.0.0.0:9032"} <= listening(lab.workers[2])
    assert compute("tcp://10.77.0.11:8786") == {
        name: f"tcp://10.77.0.{12 + n}:{9010 + 10 * n}" for n, name in enumerate(WORKERS)
    }
    assert not json.loads(me.call("doctor", "--json").stdout)["findings"]


def test_processes_listen_on_the_declared_interface_and_on_no_other(lab: Lab, me: Person):
    me.write(FLEET.replace("    memory: 4 GiB\n", "    memory: 4 GiB\n    interface: host0\n"))
    me.call("up", "--yes")
    assert me.plan()["empty"]
    for number, host in enumerate(lab.workers):
        ports = {9010 + 10 * number, 9011 + 10 * number, 9012 + 10 * number}
        assert {f"10.77.0.{12 + number}:{port}" for port in ports} <= listening(host)
    assert me.compute() == RIGHT
    me.write(FLEET.replace("    memory: 4 GiB\n", "    memory: 4 GiB\n    interface: ens9\n"))
    done = me.call("up", "--yes", status=None)
    assert done.returncode not in (0, 2)
    assert "dask-worker-0002: interface ens9 has no address" in done.stderr
    assert "host0 (10.77.0.13" in done.stderr


@contextmanager
def behind_nat(lab: Lab) -> Iterator[None]:
    """Give hosts an outer address; the operator does not reach the inner ones."""
    lab.network.call(["nft", "-f", "-"], text=NAT)
    try:
        yield
    finally:
        lab.network.call(["nft", "delete", "table", "ip", "lab_nat"])


def test_hosts_behind_a_translation_of_addresses(lab: Lab, me: Person):
    me.write(OUTSIDE)
    me.home.known_hosts.write_text(
        "".join(f"10.77.0.2{host.spec.number} {host.host_key}\n" for host in lab.hosts)
    )
    with behind_nat(lab):
        assert not reaches(None, "10.77.0.11", 22)
        assert reaches(None, "10.77.0.211", 22)
        me.call("up", "--yes")
        assert me.plan()["empty"]
        assert all_run(me.rows())
        # Clients dial the outer address; workers and their peers go on with the inner ones.
        assert compute("tcp://10.77.0.211:8786") == {
            name: f"tcp://10.77.0.{12 + n}:{9010 + 10 * n}" for n, name in enumerate(WORKERS)
        }
        rules = contract(me)
        dialled = {
            rule["targets"][0]["address"] for rule in rules if rule["sources"] == ["clients"]
        }
        assert "10.77.0.211" in dialled
        assert all(address.startswith("10.77.0.21") for address in dialled)
        (register,) = (rule for rule in rules if "register" in rule["purpose"])
        assert register["targets"] == [{"host": "dask-scheduler", "address": "10.77.0.11"}]
        assert me.call("ssh", "dask-worker-0003", "--", "hostname").stdout == "dask-worker-0003\n"
        assert not json.loads(me.call("doctor", "--json").stdout)["findings"]


def test_an_address_that_no_host_has_is_named_in_the_words_of_the_log(lab: Lab, me: Person):
    me.write(FLEET.replace("memory: 4 GiB", "memory: 4 GiB\n    listen: 10.77.0.99"))
    said = me.call("up", "--yes", "--timeout", "60", status=7).stderr
    assert "dask-worker-0002: dask-workers-default: dask-worker-0002 not registered" in said
    # systemd kills whatever outlives the main process: its last words must be out before it ends.
    for port in (9010, 9020, 9030, 9040):
        assert f"cannot listen on 10.77.0.99:{port}: Cannot assign requested address" in said
    for host in lab.workers:
        journal = host.run(["journalctl", "-o", "cat", "-u", "dask-fleet.*"]).stdout
        ended, said = journal.count("Main process exited"), journal.count("cannot listen on")
        assert 2 < ended <= said <= ended + 1, journal


# -- the firewall contract ---------------------------------------------------------------------


@pytest.fixture
def stranger(lab: Lab) -> Iterator[tuple[Host, int]]:
    """A host on which something listens that is not the fleet's."""
    host = lab.workers[0]
    serve = f"python3 -m http.server --bind :: --directory /var/empty {STRANGER}"
    host.run("mkdir -p /var/empty")
    host.run(["systemd-run", "--unit=lab-stranger", *serve.split()])
    try:
        wait_for("it listens", lambda: reaches(None, host.address, STRANGER), 10)
        yield host, STRANGER
    finally:
        host.run(["systemctl", "stop", "lab-stranger"])


@contextmanager
def firewalls(lab: Lab, me: Person) -> Iterator[dict[str, str]]:
    """Load what `ports` prints on every host; gives the example of each host, uncommented."""
    examples: dict[str, str] = {}
    try:
        for host in lab.hosts:
            text = me.call("ports", "--nftables", "--host", host.name).stdout
            host.run(["nft", "-f", "-"], text=text)
            _, _, example = text.partition("# --- example")
            lines = example.splitlines()[1:]
            examples[host.name] = "".join(f"{line.removeprefix('# ')}\n" for line in lines)
        yield examples
    finally:
        lab.each(
            lambda host: host.run(
                "for t in dask_fleet host_input; do nft delete table inet $t || true; done"
            )
        )


@pytest.mark.parametrize("version", [4, 6])
def test_the_printed_rules_are_enough_and_no_more(
    lab: Lab, me: Person, stranger: tuple[Host, int], version: int
):
    me.write(FLEET if version == 4 else SIX)
    before = {host.name: listening(host) for host in lab.hosts}

    def at(host: Host) -> str:
        return host.address if version == 4 else host.address6

    one, two = lab.workers[:2]
    scheduler = at(lab.scheduler)
    clients = f"tcp://{scheduler if version == 4 else f'[{scheduler}]'}:8786"
    with firewalls(lab, me) as examples:
        # With nothing else let in at all, it comes up from nothing.
        for host in lab.hosts:
            host.run(["nft", "-f", "-"], text=examples[host.name])
        assert not reaches(None, at(stranger[0]), stranger[1])
        assert "4 workers registered" in me.call("up", "--yes").stdout
        assert set(compute(clients)) == set(WORKERS)
        assert not json.loads(me.call("doctor", "--json").stdout)["findings"]
        lab.each(lambda host: host.run(["nft", "delete", "table", "inet", "host_input"]))
        assert reaches(two, at(one), 9010)
        assert not reaches(None, at(one), 9010)
        assert not reaches(two, at(one), 9011)  # the nanny is the scheduler host's to dial
        assert reaches(lab.scheduler, at(one), 9011)
        assert reaches(None, at(stranger[0]), stranger[1])  # not the fleet's: not touched
    # Every port that is let in is listened on, and no other.
    promised: dict[str, set[str]] = {host.name: set() for host in lab.hosts}
    for rule in contract(me):
        for target in rule["targets"] if rule["use"] != "ssh" else ():
            address = target["address"] if version == 4 else f"[{target['address']}]"
            promised[target["host"]] |= {
                f"{address}:{port}" for low, high in rule["ports"] for port in range(low, high + 1)
            }
    for host in lab.hosts:
        assert listening(host) - before[host.name] == promised[host.name]
