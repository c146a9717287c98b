"""Reading a fleet.yaml: from the disk, with variables, anchors and comments."""

# ruff: noqa: E501 - cases are data, one to a line

import os
import stat

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dask_fleet import spec as package
from dask_fleet.errors import SpecError
from dask_fleet.spec import DEFAULT_NAME, Spec, default_spec, find, load, parse, template


def the_problem(path, environ=None):
    with pytest.raises(SpecError) as caught:
        load(path, environ or {})
    (problem,) = caught.value.problems
    return str(problem).replace(str(path), "FILE")


def test_without_a_file_it_is_the_fleet_on_this_machine():
    assert load(None, {}) == default_spec()
    assert default_spec().name == DEFAULT_NAME


def test_a_file_is_found_in_its_directory(tmp_path):
    assert find(tmp_path) is None
    (tmp_path / "fleet.yaml").write_text("name: x\n")
    assert find(tmp_path) == tmp_path / "fleet.yaml"
    assert load(find(tmp_path), {}).name == "x"


def test_a_byte_order_mark_and_windows_line_ends_do_not_matter(tmp_path):
    path = tmp_path / "fleet.yaml"
    path.write_bytes(b"\xef\xbb\xbfname: x\r\nscheduler:\r\n  port: 1000\r\n")
    assert load(path, {}).scheduler.port == 1000


def test_what_cannot_be_read_is_said(tmp_path):
    path = tmp_path / "fleet.yaml"
    assert the_problem(path) == "FILE: there is no such file; `dask fleet init` writes one"
    path.write_bytes(b"name: x\n# caf\xe9\n")
    assert the_problem(path) == "FILE:2: this is not UTF-8 text; save it as UTF-8"
    path.write_text("name: x\n", encoding="utf-16")
    assert the_problem(path) == "FILE:1: this is not UTF-8 text; save it as UTF-8"
    path.unlink()
    path.mkdir()
    assert the_problem(path) == "FILE: this is a directory; name a file, such as fleet.yaml"
    assert the_problem(tmp_path / "fleet.yaml" / "x" / "y").startswith("FILE: there is no such")


def test_a_file_that_may_not_be_read_is_said(tmp_path, monkeypatch):
    path = tmp_path / "fleet.yaml"
    path.write_text("name: x\n")

    def refuse(_):
        raise PermissionError(13, os.strerror(13))

    monkeypatch.setattr(type(path), "read_bytes", refuse)
    assert path.stat().st_mode & stat.S_IRUSR
    assert the_problem(path) == "FILE: it cannot be read: Permission denied; mend its permissions"


def test_the_template_is_the_default_fleet_under_another_name():
    assert parse(template("mine"), {}) == default_spec("mine")


def test_what_the_template_offers_in_comments_is_true():
    lines = template("mine").splitlines()
    begin = next(i for i, line in enumerate(lines) if "# dask-scheduler:" in line)
    end = next(i for i, line in enumerate(lines) if "(quote it" in line)
    hosts = "\n".join(line.replace("# ", "", 1) for line in lines[begin : end + 1])
    text = f"name: x\nhosts:\n{hosts}\n"
    found = parse(text, {}).hosts
    assert list(found) == ["dask-scheduler", "dask-worker-[0001-0004]"]
    assert found["dask-scheduler"].ssh.jump == "gate"
    for line in lines:
        if line.startswith("# ") and line.endswith(("9000-9100", "runtime: supervisor")):
            parse(f"name: x\n{line[2:]}\n", {})


def test_variables_become_what_their_field_is():
    text = """\
name: ${NAME}
scheduler: {port: "${PORT}", dashboard: '${NONE:-1001}'}
hosts: {a: {address: "127.0.0.${LAST}", ssh: {sudo: "${YES}"}, cpus: "${N}", memory: "${MEM}", transport: "${T}"}}
workers:
  w: {nthreads: "${N}", memory_limit: "${AUTO}", resources: {GPU: "${N}"}, hosts: ["${HOST}"], ports: {per: "${PER}"}}
variables: {OMP_NUM_THREADS: "${N}", ZERO: "${ZERO}"}
config: {a: ["${N}", "${ZERO}", "${T}"], b.c: "$${N}"}
runtime: ${RUNTIME}
"""
    environ = {
        "NAME": "sst", "PORT": "1000", "LAST": "1", "YES": "yes", "N": "2", "MEM": "4 GiB", "T": "ssh",
        "AUTO": "auto", "HOST": "a", "PER": "group", "ZERO": "007", "RUNTIME": "systemd",
    }  # fmt: skip
    spec = parse(text, environ)
    assert (spec.name, spec.runtime) == ("sst", "systemd")
    assert (spec.scheduler.port, spec.scheduler.dashboard) == (1000, 1001)
    host = spec.hosts["a"]
    assert (host.address, host.cpus, host.memory, host.transport) == (
        "127.0.0.1",
        2,
        4 << 30,
        "ssh",
    )
    assert host.ssh.sudo is True
    group = spec.workers["w"]
    assert (group.nthreads, group.memory_limit, group.resources) == (2, "auto", {"GPU": 2.0})
    assert (group.hosts, group.ports.per) == (("a",), "group")
    assert spec.variables == {"OMP_NUM_THREADS": "2", "ZERO": "007"}
    assert spec.config == {"a": [2, 7, "ssh"], "b.c": "${N}"}
    for value in (spec.name, *spec.variables.values(), *group.hosts, host.address, spec.runtime):
        assert type(value) is str


def test_anchors_and_merge_keys():
    text = """\
name: x
hosts:
  sch: {address: 10.0.0.1}
  a: &vm
    address: 10.0.0.2
    memory: 8 GiB
    ssh: &ssh {user: u}
  b: {<<: *vm, address: 10.0.0.3}
  c:
    <<: [{cpus: 2}, *vm, {cpus: 3}]
    address: 10.0.0.4
    ssh: {<<: *ssh, port: 1}
scheduler: {host: sch}
"""
    hosts = parse(text, {}).hosts
    assert (hosts["b"].memory, hosts["b"].address, hosts["b"].ssh.user) == (
        8 << 30,
        "10.0.0.3",
        "u",
    )
    assert (hosts["c"].cpus, hosts["c"].memory) == (2, 8 << 30)
    assert (hosts["c"].ssh.user, hosts["c"].ssh.port) == ("u", 1)


def test_keys_are_text_even_where_yaml_sees_a_truth_value():
    text = "name: x\nhosts:\n  on: {address: 10.0.0.1}\n  007: {address: 10.0.0.2}\nscheduler: {host: 'on'}\nvariables: {NO: a}\n"
    spec = parse(text, {})
    assert list(spec.hosts) == ["on", "007"]
    assert spec.variables == {"NO": "a"}


def test_anchors_that_multiply_do_not_fill_the_memory():
    lines = ["name: x", "config:", "  a0: &a0 [0]"]
    lines += [f"  a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 10)]
    with pytest.raises(SpecError, match="expand without end"):
        parse("\n".join(lines), {})


@pytest.mark.parametrize(
    "text",
    [
        "config: {a: " + "[" * 200 + "]" * 200 + "}",
        "config: {a: " + "[" * 5000 + "]" * 5000 + "}",
        "config: " + "[" * 1_000_000,
        "config: " + "{a: " * 300_000,
        "config:\n  " + "- " * 300_000,
        "config:\n  " + "? " * 300_000,
    ],
    ids=["200", "5000", "brackets", "braces", "dashes", "keys"],
)
def test_depth_without_end_is_refused_and_crashes_nothing(text):
    with pytest.raises(SpecError, match="more than 100 levels deep"):
        parse(f"name: x\n{text}\n", {})


def test_brackets_in_comments_are_not_depth():
    assert parse("name: x\n" + "# [ {'\n" * 2000 + "# - " + "- " * 900, {}).name == "x"


def test_a_scheduler_alone_is_a_fleet():
    assert parse("name: x\nworkers: {}\n", {}).workers == {}


def test_a_spec_survives_json():
    spec = parse(template("mine").replace("config: {}", "config: {a.b: [1, {c: null}]}"), {})
    assert Spec.model_validate_json(spec.model_dump_json()) == spec


def test_a_spec_cannot_be_changed():
    with pytest.raises(ValueError, match="frozen"):
        default_spec().name = "other"


def test_the_package_offers_what_it_says():
    for name in package.__all__:
        assert getattr(package, name) is not None
    with pytest.raises(AttributeError):
        package.nothing  # noqa: B018


words = st.sampled_from(
    ["name", "hosts", "workers", "address", "10.0.0.1", "[1-3]", "a", "ports", "per_host", "${A}", "$", "scheduler", "host",
     "port", "5", "auto", "config", "<<", "&a", "*a", "!!str", "|", "4 GiB", "-1", "null", "memory", "ssh", "variables"]
)  # fmt: skip
joints = st.sampled_from(
    [": ", ":\n  ", "\n", "\n  ", "\n- ", ", ", " {", "}", " [", "]", ": {", "\t", " ", ": *a\n"]
)
texts = st.lists(st.tuples(words, joints), max_size=25).map(
    lambda parts: "".join(map("".join, parts))
)


@given(texts | st.text() | texts.map(lambda text: "name: x\n" + text))
def test_any_text_is_a_fleet_or_a_list_of_problems(text):
    try:
        parse(text, {"A": "b"})
    except SpecError as error:
        problems = error.problems
    else:
        return
    assert problems
    assert all(problem.fault and problem.place.startswith("fleet.yaml") for problem in problems)


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from(["a", "10.0.0.1", "w[1-2]", "auto", "4 GiB", "[", ""]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "b", "w[1-2]"]), inner, max_size=3),
    max_leaves=6,
)  # fmt: skip
fields = sorted({
    name
    for model in (package.Spec, package.HostSpec, package.WorkerGroup, package.PortsSpec, package.SchedulerSpec, package.SshSpec)
    for name in model.model_fields
})  # fmt: skip
sections = st.dictionaries(st.sampled_from(fields), values, max_size=4)
files = st.fixed_dictionaries(
    {"name": st.just("x")},
    optional={
        "hosts": st.dictionaries(st.sampled_from(["a", "w[1-2]", "-"]), sections | values, max_size=3),
        "workers": st.dictionaries(st.sampled_from(["a", "b", "C"]), sections | values, max_size=3),
        "scheduler": sections, "environment": sections | values, "config": values, "variables": values,
        "port_range": values, "runtime": values, "directories": values,
    },
)  # fmt: skip


@given(files)
def test_any_values_are_a_fleet_or_a_list_of_problems(value):
    import json

    try:
        parse(json.dumps(value), {})
    except SpecError as error:
        problems = error.problems
    else:
        return
    assert problems
