"""What should be on a host: the files, and the digests that say whether they changed."""

from __future__ import annotations

import json

import pytest
import yaml

from dask_fleet.environment import Environment
from dask_fleet.runtimes.base import Runtime
from dask_fleet.runtimes.systemd import SystemdRuntime
from dask_fleet.target import ManagedFile, digest_of
from tests.unit.simulator import LAUNCHER, PLACES, RUNTIME, SECOND_GROUP, SPEC, target_of

SCHEDULER, WORKERS = "dask-scheduler", "dask-workers-default"


def digests(spec: str = SPEC, **other: object) -> dict[str, str]:
    return {unit.name: unit.digest for unit in target_of(spec, **other).units}  # type: ignore[arg-type]


def test_the_files_of_a_host():
    assert [file.path.removeprefix(f"{PLACES.deployed}/") for file in target_of().files] == [
        "dask.yaml",
        "launcher/fleet_unit.py",
        "launcher/launch.py",
        f"units/{SCHEDULER}.json",
        f"units/{WORKERS}.json",
        "supervisord.conf",
        f"programs/{SCHEDULER}.conf",
        f"programs/{WORKERS}.conf",
    ]


def test_every_file_is_for_the_owner_alone():
    assert {file.mode for file in target_of().files} == {0o600}


@pytest.mark.parametrize("runtime", [RUNTIME, SystemdRuntime("sst")], ids=lambda one: one.name)
def test_passwords_stand_in_no_file_that_others_may_read_and_in_no_command(runtime: Runtime):
    secrets = "variables: {S3_SECRET_KEY: correct-horse}\nconfig: {s3.password: correct-horse}\n"
    target = target_of(SPEC + secrets, runtime=runtime)
    holding = {file.path: file.mode for file in target.files if b"correct-horse" in file.content}
    assert set(holding) == {f"{PLACES.deployed}/dask.yaml", *(unit.path for unit in target.units)}
    assert not any(mode & 0o027 for mode in holding.values())
    for unit in target.units:
        assert "correct-horse" not in " ".join((*unit.command, *map(str, unit.variables)))


def test_unit_files_are_one_line_of_json_each():
    target = target_of(SPEC + "variables: {GREETING: 'é \"\\\\ x'}\n")
    files = {file.path: file.content for file in target.files}
    for unit in target.units:
        text = files[unit.path].decode("ascii")
        assert text.count("\n") == 1
        assert json.loads(text) == json.loads(json.dumps(unit.declared))
        assert json.loads(text)["digest"] == unit.digest


def test_units_name_their_ports_and_processes():
    scheduler, workers = target_of().units
    assert scheduler.ports == (("127.0.0.1", 8786), ("127.0.0.1", 8787))
    assert workers.processes == ("dask-worker-0001", "dask-worker-0002")
    assert [port for _, port in workers.ports] == [9010, 9011, 9012, 9020, 9021, 9022]
    assert workers.command[0] == PLACES.interpreter("0" * 16)
    assert workers.command[-1] == workers.path


def test_the_dask_configuration_is_yaml():
    target = target_of(SPEC + "config: {distributed.comm.timeouts.connect: 60s}\n")
    content = target.files[0].content
    assert yaml.safe_load(content) == {"distributed": {"comm": {"timeouts": {"connect": "60s"}}}}


def test_the_same_spec_gives_the_same_target():
    assert target_of() == target_of()


@pytest.mark.parametrize(
    ("after", "changed"),
    [
        (digests(SPEC + "\n# a comment\n"), set()),
        (digests(SPEC.replace("nthreads: 1", "nthreads: 2")), {WORKERS}),
        (digests(SPEC.replace("8787", "8797")), {SCHEDULER}),
        (digests(SPEC.replace("8786", "8796")), {SCHEDULER, WORKERS}),
        (digests(SPEC + "variables: {A: b}\n"), {SCHEDULER, WORKERS}),
        (digests(SPEC + "config: {a: 1}\n"), {SCHEDULER, WORKERS}),
        (digests(launcher=LAUNCHER | {"launch.py": b"2"}), {SCHEDULER, WORKERS}),
        (digests(launcher=LAUNCHER | {"more.py": b""}), {SCHEDULER, WORKERS}),
        (digests(environment=Environment("xcube", "3.11", "1" * 16)), {SCHEDULER, WORKERS}),
        (digests(environment=Environment("renamed", "3.11", "0" * 16)), set()),
        (digests(SPEC + SECOND_GROUP), set()),
    ],
)
def test_a_digest_changes_with_just_what_a_unit_is_started_from(
    after: dict[str, str], changed: set[str]
):
    before = digests()
    assert {name for name in before if before[name] != after[name]} == changed


CONSOLE = {"fleet_console/__init__.py": b"routes = []\n", "fleet_console/page.html": b"<p>\n"}


@pytest.mark.parametrize(
    ("file", "changed"),
    [("fleet_console/__init__.py", {SCHEDULER}), ("fleet_console/page.html", set())],
)
def test_the_console_restarts_no_worker_and_its_pages_nothing(file: str, changed: set[str]):
    before = digests(launcher=LAUNCHER | CONSOLE)
    after = digests(launcher=LAUNCHER | CONSOLE | {file: b"another"})
    assert {name for name in before if before[name] != after[name]} == changed


def test_what_the_console_is_told_is_deployed_and_in_no_digest():
    plain, told = target_of(), target_of(inventory=b"{}\n")
    (file,) = set(told.files) - set(plain.files)
    assert (file.path, file.content) == (f"{PLACES.deployed}/inventory.json", b"{}\n")
    assert told.units == plain.units


def test_digests_tell_parts_apart():
    assert digest_of(b"ab", b"c") != digest_of(b"a", b"bc") != digest_of(b"abc")
    assert ManagedFile("/x", b"").digest.startswith("e3b0c44298fc1c14")
