"""Set-ups by hand as they are read: golden fleets with their remarks, and what must always hold."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

import click
import pytest
import yaml
from click.testing import CliRunner, Result
from distributed.cli import dask_scheduler, dask_worker
from hypothesis import given, settings
from hypothesis import strategies as st

from dask_fleet.cli import fleet
from dask_fleet.errors import FleetError, SpecError
from dask_fleet.importing import Imported, import_folders
from dask_fleet.layout import lay_out
from dask_fleet.legacy.compose_keys import READ, SAME, SERVICE_KEYS
from dask_fleet.legacy.dask_options import OPTIONS, read_arguments
from dask_fleet.legacy.dockerfile import read_dockerfile
from dask_fleet.legacy.shells import find_command
from dask_fleet.legacy.variables import Assignment, interpolate, read_env
from dask_fleet.spec import parse
from tests.conftest import REPOSITORY

SET_UPS = Path(__file__).parent / "data" / "set_ups"
NAMES = sorted(path.name for path in SET_UPS.iterdir())
REWRITE = os.environ.get("DASK_FLEET_GOLDEN") == "write"
SECRET = "not-to-be-seen"


def folders(*paths: Path | str, **addresses: str) -> Imported:
    given = [("", Path(path)) for path in paths]
    return import_folders(given, name="cubes", addresses=addresses)


def one(tmp_path: Path, compose: str, files: Mapping[str, str] | None = None) -> Imported:
    """Return what is read of one folder with these files."""
    folder = tmp_path / "vm"
    for name, text in {"docker-compose.yml": compose, **(files or {})}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    return folders(folder)


def remarked(done: Imported) -> list[tuple[str, int, str]]:
    return [(one.kind, one.place.line, one.what) for one in done.remarks]


def call(*words: str) -> Result:
    return CliRunner().invoke(fleet, ["import", *words])


@pytest.mark.parametrize("name", NAMES)
def test_golden_set_ups(name: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(SET_UPS / name)
    done = folders(*sorted(path.name for path in Path().iterdir() if path.is_dir()))
    remarks = "".join(
        f"{one.kind} {one.place} {one.what}\n    {one.why}\n    -> {one.becomes}\n"
        for one in done.remarks
    )
    for golden, text in (("fleet.yaml", done.text), ("remarks.txt", remarks)):
        if REWRITE:
            Path(golden).write_text(text, encoding="utf-8")
        assert text == Path(golden).read_text(encoding="utf-8"), f"compare with {golden}"
    assert done.problems == ()
    assert SECRET not in done.text + remarks
    assert parse(done.text, {}).name == "cubes"


def test_the_seed_gives_the_fleet_that_its_readme_lists(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(SET_UPS / "seed")
    vms = ["ecs-dask-scheduler", *(f"ecs-dask-worker-000{n}" for n in range(1, 5))]
    done = folders(*vms, **{"ecs-dask-worker-0004": "192.168.1.14"})
    layout = lay_out(parse(done.text, {}))
    assert layout.scheduler_address == "tcp://192.168.1.166:8786"
    assert layout.scheduler.dashboard_port == 80
    assert [(w.host, w.contact, *w.ports.values()) for w in layout.workers] == [
        (f"ecs-dask-worker-000{n}", f"192.168.1.1{n}", 9000 + 10 * n, 9001 + 10 * n, 9002 + 10 * n)
        for n in range(1, 5)
    ]


_PORTS = st.integers(1024, 65000)
_HOSTS = st.lists(
    st.tuples(
        st.lists(_PORTS, min_size=3, max_size=6, unique=True),
        st.integers(1, 16),
        st.sampled_from(("1 GB", "512 MiB", "3 GiB", "1000000001")),
    ),
    min_size=1,
    max_size=5,
)


@given(_HOSTS)
def test_every_worker_keeps_its_host_its_ports_its_threads_and_its_memory(hosts):
    expected = []
    with tempfile.TemporaryDirectory() as root:
        services = {"command": "dask-scheduler", "image": "a:1", "ports": ["8786:8786"]}
        every: list[tuple[str, dict]] = [("sched", {"scheduler": services})]
        for index, (ports, nthreads, memory) in enumerate(hosts):
            here = {}
            for start in range(0, len(ports) // 3 * 3, 3):
                worker, nanny, dashboard = ports[start : start + 3]
                here[f"w{start}"] = {
                    "image": "a:1",
                    "network_mode": "host",
                    "command": f"dask-worker 10.0.0.9:8786 --host 10.0.0.{index + 10}"
                    f" --worker-port {worker} --nanny-port {nanny} --nthreads {nthreads}"
                    f" --dashboard-address :{dashboard} --memory-limit '{memory}'",
                }
                size = lay_out_size(memory)
                expected.append((f"10.0.0.{index + 10}", worker, nanny, dashboard, nthreads, size))
            every.append((f"vm-{index}", here))
        paths = []
        for name, value in every:
            path = Path(root, name)
            path.mkdir()
            text = yaml.safe_dump({"services": value})
            (path / "docker-compose.yml").write_text(text, encoding="utf-8")
            paths.append(path)
        done = folders(*paths)
    assert done.problems == ()
    layout = lay_out(parse(done.text, {}))
    found = [(w.contact, *w.ports.values(), w.nthreads, w.memory_limit) for w in layout.workers]
    assert sorted(found) == sorted(expected)
    assert len({worker.name for worker in layout.workers}) == len(expected)


def lay_out_size(text: str) -> int:
    return {"1 GB": 10**9, "512 MiB": 2**29, "3 GiB": 3 * 2**30}.get(text) or int(text)


@given(st.sets(st.from_regex(r"[a-z_]{3,12}", fullmatch=True)))
def test_no_key_of_a_service_is_dropped_in_silence(keys: set[str]):
    service = {key: "1" for key in sorted(keys | SERVICE_KEYS.keys()) if key not in READ}
    service |= {"command": "dask-scheduler", "image": "a:1"}
    with tempfile.TemporaryDirectory() as root:
        path = Path(root, "docker-compose.yml")
        path.write_text(yaml.safe_dump({"services": {"s": service}}), encoding="utf-8")
        done = folders(root)
    named = {one.what.rstrip(":") for one in done.remarks}
    assert service.keys() - READ - SAME <= named


_WORDS = st.sampled_from(("1", "8786:8786", "a:/b", "${X:-}", "sh -c 'x", "9e99", "inf", "."))
_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-1, 10**12) | st.floats() | _WORDS | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_WORDS, inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=50)
@given(st.dictionaries(st.sampled_from(sorted(READ)), _VALUES), st.booleans())
def test_no_value_of_a_service_is_too_odd(values: dict[str, object], worker: bool):
    command = "dask-worker s:8786" if worker else "dask-scheduler"
    service = {"image": "a:1", "command": command} | values
    with tempfile.TemporaryDirectory() as root:
        path = Path(root, "docker-compose.yml")
        path.write_text(yaml.safe_dump({"services": {"s": service}}), encoding="utf-8")
        said = call(root, "--json")
    # Whatever it is, it ends in a fleet, in problems of one, or in an error that names the file.
    assert said.exception is None or isinstance(said.exception, SystemExit)
    assert said.exit_code in (0, FleetError.exit_code, SpecError.exit_code)
    assert str(path) in said.stdout + said.stderr


def test_what_is_no_service_is_said(tmp_path: Path):
    done = one(tmp_path, "services: {s: {image: 'a:1', command: dask-scheduler}, t: , u: [1]}")
    lost = {what for kind, _, what in remarked(done) if kind == "lost"}
    assert lost == {"service t", "service u"}


def test_values_of_another_kind_are_to_be_decided(tmp_path: Path):
    odd = "ports: 8786, volumes: {a: b}, deploy: [1], ulimits: 5, environment: x, scale: .inf"
    compose = f"services: {{s: {{image: 'a:1', command: dask-scheduler, {odd}}}}}"
    found = remarked(one(tmp_path, compose))
    for key in ("ports", "volumes", "deploy", "ulimits", "environment"):
        assert ("decide", 1, f"{key}:") in found


def test_every_option_of_the_installed_dask_is_known():
    for role, command in (("scheduler", dask_scheduler.main), ("worker", dask_worker.main)):
        known = {name for one in OPTIONS[role] for names in one.names for name in names.split("/")}
        real = {
            name
            for parameter in command.params
            if isinstance(parameter, click.Option)
            for name in (*parameter.opts, *parameter.secondary_opts)
        }
        assert real <= known
        flags = {
            name
            for one in OPTIONS[role]
            if one.flag
            for names in one.names
            for name in names.split("/")
        }
        takes_none = {
            name
            for parameter in command.params
            if isinstance(parameter, click.Option) and parameter.is_flag
            for name in (*parameter.opts, *parameter.secondary_opts)
        }
        assert takes_none == flags & real


def test_every_option_that_is_not_taken_over_says_why_and_what_becomes_of_it():
    for one in (option for options in OPTIONS.values() for option in options):
        assert bool(one.use) != bool(one.why and one.becomes), one.names


@given(st.text())
def test_no_text_is_too_odd_for_variables_env_files_dockerfiles_and_shells(text: str):
    assert interpolate(text.replace("$", ""), {}.get) == text.replace("$", "")
    assert all(isinstance(entry, (Assignment, int)) for entry in read_env(text))
    assert read_dockerfile(f"FROM a:1\n{text}", {}).entrypoint != ()
    assert find_command(["sh", "-c", text], {}.get).role in ("", "scheduler", "worker")


@given(st.lists(st.text(min_size=1)))
def test_no_command_line_is_too_odd(words: list[str]):
    given = read_arguments("worker", words)
    assert given.fault or all(isinstance(word, str) for word in given.unknown)


INTERPOLATED = {
    "$A ${A} $$A": "1 1 $A",
    "${B:-x}${B-x}": "x",
    "${C:-x}${C-y}": "xy",
    "${C:-${A}2}": "12",
    "${A:+set}${C:+set}${B+set}": "setset",
    "${C:?say it}": "${C:?say it}",
    "${C} $C": "${C} $C",
    "50$ and ${1}": "50$ and ${1}",
}


@pytest.mark.parametrize("text", INTERPOLATED)
def test_references_are_followed_as_compose_does(text: str):
    missing: dict[str, None] = {}
    assert interpolate(text, {"A": "1", "B": ""}.get, missing) == INTERPOLATED[text]
    assert set(missing) <= {"C"}


def test_env_files_are_read_as_compose_reads_them():
    text = "\ufeff# said\nA=1 # one\nexport B='x # $A'\nC=\"$A\\n\"\nD\n=2\nE=${A}b\n F = g \nH=\n"
    found = list(read_env(text))
    values = {entry.name: entry.value for entry in found if isinstance(entry, Assignment)}
    plain = {"A": "1", "B": "x # $A", "C": "1\n", "D": None, "E": "1b", "F": "g", "H": ""}
    assert values == plain
    assert [entry for entry in found if isinstance(entry, int)] == [6]


COMMANDS = {
    ("dask-worker", "a:1"): ("worker", ["a:1"], ""),
    ("dask", "scheduler", "--port", "1"): ("scheduler", ["--port", "1"], ""),
    ("/opt/conda/bin/python3", "-m", "distributed.cli.dask_worker", "a"): ("worker", ["a"], ""),
    ("python", "-m", "dask", "worker", "a"): ("worker", ["a"], ""),
    ("bash", "-lc", "source activate xcube && dask-worker a"): ("worker", ["a"], "xcube"),
    ("conda", "run", "--no-capture-output", "-n", "x", "dask-worker", "a"): ("worker", ["a"], "x"),
    ("tini", "-g", "--", "sh", "-c", "exec dask-scheduler >/l 2>&1"): ("scheduler", [], ""),
    ("sh", "-c", "N=3\ndask-worker a --nthreads $N"): ("worker", ["a", "--nthreads", "3"], ""),
    ("sh", "-c", "dask-worker a $$MORE"): ("worker", ["a", "$MORE"], ""),
    ("env", "A=1", "dask-worker", "$HOST:1"): ("worker", ["$HOST:1"], ""),
    ("/start.sh", "dask-worker", "a"): ("worker", ["a"], ""),
    ("jupyter", "lab"): ("", [], ""),
    ("sh", "-c", 'echo "'): ("", [], ""),
}


@pytest.mark.parametrize("argv", COMMANDS)
def test_dask_is_found_in_shells_and_wrappers(argv: tuple[str, ...]):
    found = find_command(argv, {}.get)
    assert (found.role, found.arguments, found.environment) == COMMANDS[argv]


def test_what_else_a_shell_runs_is_said():
    found = find_command(["sh", "-c", "pip install x; cd /tmp && dask-worker a || sleep 1"], {}.get)
    assert found.role == "worker"
    assert found.others == ["pip install x", "cd /tmp", "sleep 1"]


def test_stages_arguments_and_lines_of_a_dockerfile():
    text = (
        "ARG V=1\nFROM a:${V} AS one\nRUN x \\\n  # why\n  y\nENV A=1 B='2 3'\n"
        'FROM one\nENV C 4 5\nCOPY <<EOF /f\nFROM z\nEOF\nCMD ["dask", "scheduler"]\n'
    )
    found = read_dockerfile(text, {"V": "2"})
    assert (found.base, found.base_line) == ("a:2", 2)
    assert [(each.word, each.line) for each in found.adds] == [("RUN", 3), ("COPY", 9)]
    assert found.variables == {"A": "1", "B": "2 3", "C": "4 5"}
    assert found.command == ("dask", "scheduler")


def test_a_dockerfile_that_adds_nothing_stands_for_its_base(tmp_path: Path):
    files = {"Dockerfile": "FROM quay.io/bcdev/xcube:1\nCMD dask-scheduler --port 8790\n"}
    done = one(tmp_path, "services: {s: {build: .}}", files)
    assert 'image: "quay.io/bcdev/xcube:1"' in done.text
    assert "port: 8790" in done.text


def test_an_image_that_a_dockerfile_adds_to_is_built_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    files = {"Dockerfile": "FROM quay.io/bcdev/xcube:1\nRUN pip install a\nRUN b\n"}
    done = one(tmp_path, "services: {s: {build: ., command: dask-scheduler}}", files)
    assert ("changed", 2, "RUN pip install a and 1 more") in remarked(done)
    assert 'environment:\n  build: "vm"\n' in done.text
    assert done.problems == ()


def test_arguments_of_a_build_are_to_be_decided(tmp_path: Path):
    files = {"Dockerfile": "ARG V\nFROM quay.io/bcdev/xcube:${V}\nRUN b\n"}
    compose = "services: {s: {build: {context: ., args: [V=2]}, command: dask-scheduler}}"
    done = one(tmp_path, compose, files)
    assert ("decide", 3, "RUN b") in remarked(done)
    assert 'image: "quay.io/bcdev/xcube:2"' in done.text


def test_two_folders_with_the_same_dockerfile_are_one_image_and_with_others_are_not(
    tmp_path: Path,
):
    for number, more in enumerate(("", "", "RUN c\n")):
        folder = tmp_path / f"vm-{number}"
        folder.mkdir()
        text = "services: {w: {build: ., command: dask-worker s:8786}}"
        (folder / "docker-compose.yml").write_text(text, encoding="utf-8")
        (folder / "Dockerfile").write_text(f"FROM a:1\nRUN b\n{more}", encoding="utf-8")
    same = folders(tmp_path / "vm-0", tmp_path / "vm-1")
    other = folders(tmp_path / "vm-0", tmp_path / "vm-2")
    assert not any(what.startswith("image:") for _, _, what in remarked(same))
    assert ("decide", 1, f"image: one built in {tmp_path}/vm-2") in remarked(other)


def test_a_variable_that_nobody_sets_is_to_be_decided(tmp_path: Path):
    compose = """\
services:
  s:
    image: "a:${TAG}"
    command: dask-worker sched:8786 --nanny-port ${NANNY} --worker-port ${WORKER:-9100}
"""
    done = one(tmp_path, compose)
    assert ("decide", 3, "${TAG}") in remarked(done)
    assert ("decide", 4, "${NANNY}") in remarked(done)
    assert "ports: {worker: 9100, nanny: 9101, dashboard: 9102, step: 10, per: host}" in done.text
    assert done.problems == ()


def test_broken_yaml_is_an_error_with_its_line_and_nothing_is_written(tmp_path: Path):
    (tmp_path / "docker-compose.yml").write_text("services:\n  s: {image: a\n", encoding="utf-8")
    output = tmp_path / "fleet.yaml"
    done = call(str(tmp_path), "--output", str(output), "--json")
    assert done.exit_code == SpecError.exit_code
    assert not output.exists()
    (problem,) = json.loads(done.stderr)["error"]["problems"]
    assert problem["place"] == f"{tmp_path}/docker-compose.yml:3"


def test_two_workers_that_cannot_both_run_are_said(tmp_path: Path):
    worker = "{image: 'a:1', command: dask-worker s:8786 --worker-port 9010}"
    done = one(tmp_path, f"services: {{a: {worker}, b: {worker}}}")
    assert any(what == "port 9010" for _, _, what in remarked(done))


def test_a_folder_without_dask_is_an_error_that_says_what_it_has(tmp_path: Path):
    with pytest.raises(FleetError, match=r"no dask scheduler or worker[\s\S]*service mongo"):
        one(tmp_path, "services: {mongo: {image: 'mongo:4', command: mongod}}")


def test_values_of_secrets_are_neither_written_nor_shown(tmp_path: Path):
    compose = f"""\
services:
  s:
    image: a:1
    command: sh -c "curl -H token={SECRET} x; dask-scheduler --auth-token={SECRET}"
    environment: {{DB: "postgres://me:{SECRET}@db/x", S3_KEY: {SECRET}, "KEY FILE": {SECRET}}}
"""
    (tmp_path / "docker-compose.yml").write_text(compose, encoding="utf-8")
    done = call(str(tmp_path), "--json")
    assert "S3_KEY" in done.stdout
    assert SECRET not in done.stdout + done.stderr


def test_a_file_that_is_there_is_not_replaced_unasked(tmp_path: Path):
    output = tmp_path / "fleet.yaml"
    output.write_text("mine\n", encoding="utf-8")
    words = (str(SET_UPS / "seed" / "ecs-dask-scheduler"), "--output", str(output))
    assert call(*words).exit_code == 1
    assert output.read_text(encoding="utf-8") == "mine\n"
    assert call(*words, "--force").exit_code == 0
    assert parse(output.read_text(encoding="utf-8"), {}).scheduler.dashboard == 80


def test_the_file_is_printed_by_itself_and_remarks_beside_it():
    done = call("sched=" + str(SET_UPS / "seed" / "ecs-dask-scheduler"), "--name", "other")
    assert done.exit_code == 0
    assert parse(done.stdout, {}).name == "other"
    assert "hosts:\n  sched:\n" in done.stdout
    assert "found a scheduler and 0 workers on 1 host" in done.stderr
    assert "taken over in another form (3)" in done.stderr


def test_hosts_are_named_by_the_part_of_paths_in_which_they_differ(tmp_path: Path):
    for vm in ("vm-1", "vm-2"):
        folder = tmp_path / vm / "dask" / "docker-worker"
        folder.mkdir(parents=True)
        text = "services: {w: {image: 'a:1', command: dask-worker s:8786}}"
        (folder / "docker-compose.yml").write_text(text, encoding="utf-8")
    done = folders(*(tmp_path / vm / "dask" / "docker-worker" for vm in ("vm-1", "vm-2")))
    assert set(parse(done.text, {}).hosts) == {"vm-1", "vm-2"}


def test_the_page_about_containers_shows_what_is_said(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    monkeypatch.chdir(SET_UPS / "seed")
    vms = sorted(path.name for path in Path().iterdir() if path.is_dir())
    said = call(*vms, "--output", str(tmp_path / "fleet.yaml")).stdout.partition("\nwrote")[0]
    page = (REPOSITORY / "docs" / "containers.md").read_text(encoding="utf-8")
    assert said.startswith("found a scheduler and 4 workers")
    assert f"```text\n{said}```\n" in page


WRONG = {
    "not there": (("nowhere",), 1),
    "no compose file": ((".",), 1),
    "address of nobody": (("ecs-dask-scheduler", "--address", "vm=10.0.0.1"), 1),
    "no address": (("ecs-dask-scheduler", "--address", "vm"), 64),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_words_change_nothing_and_say_what_is_wrong(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    words, status = WRONG[name]
    monkeypatch.chdir(tmp_path if "." in words else SET_UPS / "seed")
    done = call(*words)
    assert done.exit_code == status
    assert done.stdout == ""
    assert words[-1].partition("=")[0] in done.stderr
