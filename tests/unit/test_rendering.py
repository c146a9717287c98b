"""A fleet as folders: what is in them is what `up` would put on hosts."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner

from dask_fleet.assembly import open_fleet
from dask_fleet.cli import fleet as command
from dask_fleet.errors import FleetError
from dask_fleet.rendering import render

HOSTS = """\
name: sst
hosts:
  head: {address: 192.168.1.166, ssh: {sudo: true}}
  node-[1-2]: {address: "192.168.1.[11-12]", ssh: {sudo: true}}
scheduler: {host: head}
workers:
  default: {hosts: ["node-[1-2]"], nthreads: 1, memory_limit: 1 GiB}
variables: {ODD: "it's $HOME"}
"""
CONTAINED = HOSTS + "runtime: compose\nenvironment: {image: a/b:1}\n"
OWN = CONTAINED.replace(", ssh: {sudo: true}", "") + "containers: {rootless: /home/ann/fleet}\n"
CASES = {"compose": CONTAINED, "systemd": HOSTS, "rootless": OWN}


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "fleet.yaml"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("runtime", CASES)
def test_files_are_those_of_an_up(tmp_path: Path, runtime: str):
    path = written(tmp_path, CASES[runtime])
    folders = render(path, {}, tmp_path / "out")
    assert [folder.name for folder in folders] == ["head", "node-1", "node-2"]
    fleet = open_fleet(path, {})
    places = {name: access.places for name, access in fleet.hosts.items()}
    runtimes = {name: access.runtime for name, access in fleet.hosts.items()}
    for target in fleet.blueprint.targets(fleet.layout, places, runtimes, {}):
        root = tmp_path / "out" / target.host / "root"
        found = {
            f"/{one.relative_to(root)}": (one.read_bytes(), one.stat().st_mode & 0o777)
            for one in root.rglob("*")
            if one.is_file()
        }
        assert found == {file.path: (file.content, file.mode) for file in target.files}
        script = root.parent / "install.sh"
        assert script.stat().st_mode & 0o777 == 0o755
        subprocess.run(["sh", "-n", str(script)], check=True)
        assert all(file.path in script.read_text(encoding="utf-8") for file in target.files)
        said = (root.parent / "README.md").read_text(encoding="utf-8")
        assert f"# {target.host}, of the fleet sst" in said
        assert ("systemctl" if runtime == "systemd" else "docker compose up -d") in said
        assert ("`sudo ./install.sh`" in said) == (runtime != "rootless")
        assert (" -o 0 " in script.read_text(encoding="utf-8")) == (runtime != "rootless")


def test_again_replaces_what_was_rendered_and_nothing_else(tmp_path: Path):
    path, out = written(tmp_path, CONTAINED), tmp_path / "out"
    render(path, {}, out)
    (out / "head" / "left over").touch()
    path.write_text(CONTAINED.replace("a/b:1", "a/b:2"), encoding="utf-8")
    render(path, {}, out)
    assert not (out / "head" / "left over").exists()
    (env,) = (out / "head").rglob(".env")
    assert "FLEET_IMAGE=a/b:2" in env.read_text(encoding="utf-8")
    assert sorted(one.name for one in tmp_path.iterdir()) == ["fleet.yaml", "out"]
    other = tmp_path / "other"
    other.mkdir()
    (other / "mine").touch()
    with pytest.raises(FleetError, match="no `render` has made it"):
        render(path, {}, other)
    assert [one.name for one in other.iterdir()] == ["mine"]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (CONTAINED + "tls: true\n", "each host has a key"),
        (HOSTS + "door: {login: none}\n", "the door is put into place by an `up`"),
        ("name: x\n", "localhost is this machine"),
        (
            HOSTS.replace("nthreads: 1", "nthreads: auto"),
            "workers.default.nthreads: auto, and what node-1 has is not declared",
        ),
        (
            HOSTS.replace("memory_limit: 1 GiB", "memory_limit: auto"),
            "workers.default.memory_limit: auto, and what node-2 has is not declared",
        ),
        (
            HOSTS.replace("head: {", "head: {interface: ens3, "),
            "hosts.head.interface: its address is looked up on the host",
        ),
    ],
)
def test_what_only_an_up_can_know_is_refused(tmp_path: Path, text: str, fault: str):
    with pytest.raises(FleetError) as caught:
        render(written(tmp_path, text), {}, tmp_path / "out")
    assert fault in caught.value.message
    assert caught.value.remedy
    assert not (tmp_path / "out").exists()


def test_the_command_says_what_it_wrote(tmp_path: Path):
    path = written(tmp_path, CONTAINED)
    done = CliRunner().invoke(command, ["render", "--file", str(path), str(tmp_path / "out")])
    assert done.exit_code == 0, done.output
    assert f"wrote {tmp_path}/out/node-2" in done.output
    assert "install.sh" in done.output
