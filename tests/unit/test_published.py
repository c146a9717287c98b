"""What the console is told: the fleet as declared, and nothing that hangs on who was seen."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest

from dask_fleet.environment import Environment, built_in_lock
from dask_fleet.layout import HostFacts, lay_out
from dask_fleet.published import declared_versions, published
from dask_fleet.spec import parse
from dask_fleet.tls.authority import Authority
from tests.unit.simulator import PLACES

SPEC = """\
name: sst
hosts:
  head: {address: 10.77.0.11, external: 80.1.2.3}
  node-[1-2]: {address: "10.77.0.[12-13]", interface: ens3}
scheduler: {host: head}
workers:
  default: {hosts: ["node-[1-2]"], per_host: 1}
"""
ENVIRONMENT = Environment("xcube", "3.11", "0" * 16, "dask==2024.1.0 \\\n    --hash=sha256:1\n")


def told(spec: str = SPEC, *, facts: dict[str, HostFacts] | None = None, **other: Any) -> Any:
    parsed = parse(spec, {})
    environment = other.pop("environment", ENVIRONMENT)
    credentials = other.pop("credentials", {})
    return json.loads(published(parsed, lay_out(parsed, facts), environment, PLACES, credentials))


def test_every_process_with_its_ports():
    assert told()["processes"] == [
        {
            "name": "dask-scheduler",
            "role": "scheduler",
            "group": "",
            "unit": "dask-scheduler",
            "host": "head",
            "address": "10.77.0.11",
            "ports": {"scheduler": 8786, "dashboard": 8787},
        },
        *(
            {
                "name": f"dask-worker-000{number}",
                "role": "worker",
                "group": "default",
                "unit": "dask-workers-default",
                "host": f"node-{number}",
                "address": f"10.77.0.1{number + 1}",
                "ports": {"worker": 9010, "nanny": 9011, "dashboard": 9012},
            }
            for number in (1, 2)
        ),
    ]


def test_hosts_addresses_and_files():
    one = told()
    assert one["fleet"] == "sst"
    assert [host["external"] for host in one["hosts"]] == ["80.1.2.3", "10.77.0.12", "10.77.0.13"]
    assert (one["client"], one["scheduler"]) == ("tcp://80.1.2.3:8786", "tcp://10.77.0.11:8786")
    assert one["history"] == "/var/state/fleets/sst.history.jsonl"
    assert one["findings"] == "/var/state/fleets/sst/doctor.json"


def test_the_order_of_hosts_and_groups_changes_nothing():
    one = SPEC.replace("node-[1-2]: ", "node-[1-12]: ").replace("[12-13]", "[12-23]")
    one = one.replace('hosts: ["node-[1-2]"]', 'hosts: ["node-[1-12]"]')
    groups = """  default: {hosts: ["node-[1-2]"], per_host: 1}
  large: {hosts: ["node-[3-12]"], per_host: 2, prefix: large}
"""
    lines = one.splitlines(keepends=True)[:-1]
    hosts, rest = lines[2:4], lines[4:]
    text = "".join([*lines[:2], *hosts, *rest]) + groups
    moved = "".join([*lines[:2], *reversed(hosts), *rest])
    moved += "".join(reversed(groups.splitlines(keepends=True)))
    assert text != moved
    assert told(text) == told(moved)
    names = [host["name"] for host in told(moved)["hosts"]]
    assert names == ["head", *(f"node-{number}" for number in range(1, 13))]


def test_the_contract_for_programs_and_for_people():
    contract = told()["contract"]
    uses = {rule["use"] for rule in contract["rules"]}
    assert uses == {"scheduler", "worker", "nanny", "dashboard", "ssh"}
    assert {
        "from": "clients",
        "to": "head",
        "address": "80.1.2.3",
        "ports": "8786",
        "why": "clients send work",
    } in contract["rows"]


@pytest.mark.parametrize("door", ["", "door: {}\n", "door: {host: node-1}\n"])
def test_every_purpose_of_the_contract_is_an_arrow_of_the_drawing(door: str):
    contract = told(SPEC + door)["contract"]
    purposes = {rule["purpose"] for rule in contract["rules"]}
    lanes = {lane["why"]: (lane["from"], lane["to"]) for lane in contract["lanes"]}
    assert set(lanes) == purposes
    assert (("clients", "door") in lanes.values()) == bool(door)


def test_an_arrow_shows_few_ports():
    spec = SPEC.replace("per_host: 1", "per_host: 5")
    lanes = {lane["why"]: lane["ports"] for lane in told(spec)["contract"]["lanes"]}
    assert lanes["workers fetch data from each other"] == "9010 9020 … 9050"
    assert lanes["clients send work"] == "8786"


def test_the_port_of_ssh_is_the_declared_one():
    spec = SPEC.replace("80.1.2.3}", "80.1.2.3, ssh: {port: 2222}}")
    ports = [rule["ports"] for rule in told(spec)["contract"]["rules"] if rule["use"] == "ssh"]
    assert ports == [[[2222, 2222]], [[22, 22]]]


def test_nothing_hangs_on_what_was_seen_of_hosts():
    facts = HostFacts(cpus=8, memory=2**34, addresses={"ens3": ("10.0.0.5",)})
    assert told(facts={"node-1": facts}) == told()


def test_no_variable_and_no_configuration_is_told():
    secret = "correct-horse-battery"
    spec = SPEC + f"variables: {{TOKEN: {secret}}}\nconfig: {{a.password: {secret}}}\n"
    assert secret not in json.dumps(told(spec))
    assert told(spec) == told()


@pytest.mark.parametrize(
    ("lock", "versions"),
    [
        ("", {}),
        ("dask==2024.1.0\n", {"dask": "2024.1.0"}),
        ("dask[array]==2024.1.0 ; python_version > '3'\n", {"dask": "2024.1.0"}),
        ("xcube_core==1.2 \\\n    --hash=sha256:0\n", {"xcube-core": "1.2"}),
        # Which of them is there depends on the platform of a host.
        ("numpy==1.0 ; a\nnumpy==2.0 ; b\ntoolz==1\n", {"toolz": "1"}),
        ("# dask==1\ndask @ file:///x\nxarray==2025.1\n", {}),
    ],
)
def test_versions_that_a_lock_pins(lock: str, versions: dict[str, str]):
    assert declared_versions(lock) == versions


def test_the_lock_of_xcube_pins_all_that_is_compared():
    found = declared_versions(built_in_lock("xcube").read_text(encoding="utf-8"))
    assert {"dask", "distributed", "pandas", "xcube-core"} <= set(found)


def test_packages_that_are_not_resolved_yet_leave_versions_open():
    environment = replace(ENVIRONMENT, lock_text=None, packages=("dask",))
    assert told(environment=environment)["environment"]["packages"] == {}


def test_ends_of_certificates(tmp_path: Path):
    now = datetime(2026, 11, 24, tzinfo=timezone.utc)
    made = Authority(tmp_path / "a", "sst").ensure({"head": ("head",)}, now=now)["head"]
    credentials = {"head": {"host.pem": made.certificate}, "node-1": {}}
    (one,) = told(credentials=credentials)["certificates"]
    assert one["host"] == "head"
    assert datetime.fromisoformat(one["not_after"]) > now
