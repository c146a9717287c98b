"""The firewall contract and the rules that are made of it."""

from pathlib import Path

import pytest

from dask_fleet.firewall import contract, numbers, ranges, rows, value
from dask_fleet.firewall_rules import hosts_alike, nftables, ufw
from dask_fleet.layout import Layout, lay_out
from dask_fleet.spec import default_spec, parse
from dask_fleet.spec.expand import expand_hosts
from dask_fleet.spec.ranges import fold

GOLDEN = Path(__file__).parent / "data" / "firewall"

SEED = """\
name: sst
hosts:
  dask-scheduler: {address: 192.168.1.166, external: 80.158.2.66}
  dask-worker-[0001-0004]: {address: "192.168.1.[11-14]", ssh: {jump: dask-scheduler}}
  vm-six: {address: "fd00::7", ssh: {port: 2222}}
workers:
  default: {hosts: ["dask-worker-[0001-0004]", vm-six], per_host: 2}
"""

NAMED = """\
name: named
hosts:
  dask-scheduler: {address: scheduler.example}
  dask-worker-[1-2]: {address: "worker-[1-2].example", ssh: {jump: "me@bastion.example:2022"}}
"""


def of(text: str):
    spec = parse(text, {})
    layout = lay_out(spec)
    ssh = {name: host.spec.ssh for name, host in expand_hosts(spec).items()}
    return layout, contract(layout, ssh)


def text_of(layout: Layout, rules: object) -> str:
    return "".join("\t".join(row) + "\n" for row in rows(rules))  # pyright: ignore[reportArgumentType]


def test_the_contract_of_one_machine():
    layout = lay_out(default_spec())
    assert [(row[0], row[1], row[3]) for row in rows(contract(layout))] == [
        ("clients", "localhost", "8786"),
        ("clients", "localhost", "8787"),
        ("localhost", "localhost", "8786"),
        ("localhost", "localhost", "9010, 9020, 9030, 9040"),
        ("localhost", "localhost", "9010, 9020, 9030, 9040"),
        ("localhost", "localhost", "9011, 9021, 9031, 9041"),
        ("the same host", "localhost", "9011, 9021, 9031, 9041"),
        ("localhost", "localhost", "9012, 9022, 9032, 9042"),
        ("clients", "localhost", "9012, 9022, 9032, 9042"),
    ]


GOLDEN_CASES = [
    ("seed.txt", SEED, text_of),
    ("seed-scheduler.nft", SEED, lambda layout, rules: nftables(layout, rules, "dask-scheduler")),
    ("seed-worker.nft", SEED, lambda layout, rules: nftables(layout, rules, "dask-worker-0002")),
    ("seed-six.nft", SEED, lambda layout, rules: nftables(layout, rules, "vm-six")),
    ("seed-scheduler.ufw", SEED, lambda layout, rules: ufw(layout, rules, "dask-scheduler")),
    ("seed-worker.ufw", SEED, lambda layout, rules: ufw(layout, rules, "dask-worker-0002")),
    ("named.txt", NAMED, text_of),
    ("named-worker.nft", NAMED, lambda layout, rules: nftables(layout, rules, "dask-worker-1")),
    ("named-worker.ufw", NAMED, lambda layout, rules: ufw(layout, rules, "dask-worker-1")),
]


@pytest.mark.parametrize(("name", "spec", "render"), GOLDEN_CASES, ids=[c[0] for c in GOLDEN_CASES])
def test_golden(name, spec, render):
    # After a change that is meant: empty the file, run once, read what has changed.
    path = GOLDEN / name
    text = render(*of(spec))
    if not path.exists() or not path.stat().st_size:
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        pytest.fail(f"{path} was written; read it")
    assert text == path.read_text()


def test_every_worker_port_is_in_the_contract_and_json_leaves_nothing_out():
    layout, rules = of(SEED)
    said = value(layout, rules)["rules"]
    assert isinstance(said, list)
    for worker in layout.workers:
        for use, port in worker.ports.items():
            assert any(
                rule["use"] == use
                and any(low <= port <= high for low, high in rule["ports"])
                and {"host": worker.host, "address": worker.contact} in rule["targets"]
                for rule in said
            )


def test_five_thousand_workers_are_a_table_that_can_be_read():
    many = """\
name: many
hosts:
  dask-scheduler: {address: 10.0.0.1}
  dask-worker-[0001-0250]: {address: "10.0.1.[1-250]", ssh: {jump: dask-scheduler}}
workers:
  default: {per_host: 20}
"""
    table = rows(of(many)[1])
    assert len(table) == 11
    assert ("dask-worker-[0001-0250]", "10.0.1.[1-250]") in [(row[1], row[2]) for row in table]
    assert max(len(cell) for row in table for cell in row) < 70


def test_hosts_with_ports_of_their_own_are_folded():
    layout, rules = of(
        SEED.replace("[0001-0004]", "[0001-0040]")
        .replace("[11-14]", "[11-50]")
        .replace("per_host: 2", "ports: {per: group}")
    )
    table = rows(rules)
    assert len(table) < 14
    assert any(row[3].endswith("(41 in all) (by host)") for row in table)
    assert len(rules) > 41
    texts = {name: nftables(layout, rules, name, "HOSTS") for name in layout.hosts}
    assert len(hosts_alike(texts)) == len(layout.hosts)


def test_hosts_that_are_alike_have_the_same_rules():
    layout, rules = of(SEED)
    texts = {name: nftables(layout, rules, name, "HOSTS") for name in layout.hosts}
    assert [len(names) for names in hosts_alike(texts).values()] == [1, 4, 1]


def test_a_host_reaches_itself_only_for_its_own_nannies():
    _, rules = of(SEED)
    own = next(rule for rule in rules if rule.own)
    assert {(source, target) for source, target, _ in own.pairs()} == {
        (name, name) for name in own.targets
    }


def test_ufw_has_no_more_than_fifteen_ports_to_a_rule():
    layout, rules = of(SEED.replace("per_host: 2", "per_host: 20"))
    for line in ufw(layout, rules, "vm-six").splitlines():
        if " port " in line and not line.startswith("#"):
            ports = line.split(" port ")[1].split()[0]
            assert len(ports.replace(":", ",").split(",")) <= 15


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["a"], ["a"]),
        (["vm-1", "vm-2", "vm-3"], ["vm-[1-3]"]),
        (["vm-09", "vm-10"], ["vm-[09-10]"]),
        (["vm-9", "vm-10"], ["vm-[9-10]"]),
        (["vm-1", "vm-3", "other"], ["vm-1", "vm-3", "other"]),
        (["10.0.0.1", "10.0.0.2", "10.0.1.1"], ["10.0.0.[1-2]", "10.0.1.1"]),
        (["w-1.example", "w-2.example"], ["w-[1-2].example"]),
        (["fd00::1", "fd00::2"], ["fd00::1", "fd00::2"]),
        (["vm-1", "vm-1"], ["vm-1"]),
    ],
)
def test_fold(names, expected):
    assert fold(names) == expected


def test_ranges():
    assert ranges([]) == ()
    assert ranges([3, 1, 2, 2, 7]) == ((1, 3), (7, 7))
    assert numbers(((1, 3), (7, 7))) == ["1-3", "7"]
