"""Images from a registry: one digest for all hosts, and logins that nobody gets to see."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import cast

import pytest

from dask_fleet.command import Command, Outcome
from dask_fleet.errors import EnvironmentBuildError
from dask_fleet.images.credentials import login_for, registry_of
from dask_fleet.images.pulling import Pulls, digest_in
from dask_fleet.observer import HostAccess
from dask_fleet.transports.base import Transport
from tests.unit.simulator import PLACES, RUNTIME

REGISTRY = "reg.example.org:5000"
IMAGE = "reg.example.org:5000/team/xcube:1"
PINNED = "reg.example.org:5000/team/xcube@sha256:" + "a" * 64
LOGIN = {"auth": "dXNlcjpoaWRkZW4="}


@pytest.mark.parametrize(
    ("image", "registry"),
    [
        ("python:3.11", "https://index.docker.io/v1/"),
        ("bcdev/xcube", "https://index.docker.io/v1/"),
        ("quay.io/bcdev/xcube:1", "quay.io"),
        ("localhost/a", "localhost"),
        ("host:5000/a@sha256:1", "host:5000"),
    ],
)
def test_the_registry_of_an_image(image: str, registry: str):
    assert registry_of(image) == registry


@pytest.fixture
def docker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    return tmp_path / "config.json"


def login(image: str = IMAGE) -> dict | None:
    found = asyncio.run(login_for(image))
    assert "hidden" not in repr(found)
    return json.loads(found.reveal()) if found else None


@pytest.mark.parametrize("name", [REGISTRY, f"https://{REGISTRY}", f"https://{REGISTRY}/v2/"])
def test_only_the_login_to_that_registry_is_taken(docker: Path, name: str):
    docker.write_text(json.dumps({"auths": {name: LOGIN | {"email": "x"}, "quay.io": LOGIN}}))
    assert login() == {"auths": {"reg.example.org:5000": LOGIN}}
    assert login("other.example.org/a") is None


def test_without_a_login_there_is_none(docker: Path):
    assert login() is None
    docker.write_text(json.dumps({"auths": {"reg.example.org:5000": {}}}))
    assert login() is None


def test_a_file_that_is_no_json_is_named_and_not_shown(docker: Path):
    docker.write_text("hidden {")
    with pytest.raises(EnvironmentBuildError) as caught:
        login()
    assert str(docker) in str(caught.value)
    assert "hidden" not in str(caught.value)


@pytest.mark.parametrize("key", ["credsStore", "credHelpers"])
def test_a_helper_is_asked(docker: Path, monkeypatch: pytest.MonkeyPatch, key: str):
    helper = docker.with_name("docker-credential-vault")
    helper.write_text(
        '#!/bin/sh\nread -r asked\n[ "$asked" = reg.example.org:5000 ] || exit 1\n'
        'echo \'{"Username": "user", "Secret": "hidden"}\'\n'
    )
    helper.chmod(0o755)
    monkeypatch.setenv("PATH", str(docker.parent), prepend=":")
    value = "vault" if key == "credsStore" else {"reg.example.org:5000": "vault"}
    docker.write_text(json.dumps({key: value}))
    assert login() == {"auths": {"reg.example.org:5000": LOGIN}}
    assert login("other.example.org/a") is None


@pytest.mark.parametrize(
    ("names", "found"),
    [
        ([PINNED], PINNED),
        (["quay.io/x@sha256:1", PINNED], PINNED),
        (["reg.example.org:5000/team/xcube2@sha256:1"], ""),
        ([], ""),
    ],
)
def test_the_digest_of_a_name(names: list[str], found: str):
    assert digest_in(names, IMAGE) == found


class Host:
    """A host whose engine has an image, or pulls it, or does not."""

    def __init__(self, host: str, *, has: str = "", gives: str | None = PINNED) -> None:
        self.host = host
        self.has, self.gives = has, gives
        self.pulled: list[str] = []
        self.given: list[bytes] = []

    async def run(self, command: Command, *, check: bool = True) -> Outcome:
        assert not check
        await asyncio.sleep(0)
        if command.argv[:3] == ("docker", "image", "inspect"):
            return Outcome(0, f"{self.has}\n", "") if self.has else Outcome(1, "", "No such image")
        assert "hidden" not in " ".join(command.argv)
        *_, wanted, name, _ = command.argv
        assert name == IMAGE
        self.pulled.append(wanted)
        self.given.append(command.stdin)
        if self.gives is None:
            return Outcome(1, "", "manifest unknown")
        return Outcome(0, f"{self.gives}\n", "")


def pulls(*hosts: Host, lacking: list[str]) -> dict[str, str]:
    """Let hosts pull; return what failed, and why."""
    accesses = {one.host: HostAccess(cast("Transport", one), RUNTIME, PLACES) for one in hosts}

    async def work() -> dict[str, str]:
        supply = Pulls(IMAGE, accesses)
        failed = {name: str(error) for name, error in (await supply.ready(lacking)).items()}
        for name in lacking:
            if name not in failed:
                try:
                    await supply.deliver(name)
                except EnvironmentBuildError as error:
                    failed[name] = str(error)
        return failed

    return asyncio.run(work())


@pytest.mark.usefixtures("docker")
def test_a_tag_is_asked_for_once():
    a, b, c = (Host(name) for name in "abc")
    assert pulls(a, b, c, lacking=["a", "b", "c"]) == {}
    assert [one.pulled for one in (a, b, c)] == [[IMAGE], [PINNED], [PINNED]]


@pytest.mark.usefixtures("docker")
def test_what_a_host_has_is_what_all_get():
    a, b = Host("a", has=PINNED), Host("b")
    assert pulls(a, b, lacking=["b"]) == {}
    assert (a.pulled, b.pulled) == ([], [PINNED])


@pytest.mark.usefixtures("docker")
def test_a_host_that_cannot_pull_does_not_hold_up_the_others():
    a, b = Host("a", gives=None), Host("b")
    failed = pulls(a, b, lacking=["a", "b"])
    assert list(failed) == ["a"]
    assert "manifest unknown" in failed["a"]
    assert "docker login" in failed["a"]
    assert b.pulled == [IMAGE]


def test_the_login_is_given_on_standard_input_alone(docker: Path):
    docker.write_text(json.dumps({"auths": {"reg.example.org:5000": LOGIN}}))
    a = Host("a")
    pulls(a, lacking=["a"])
    assert json.loads(a.given[0]) == {"auths": {"reg.example.org:5000": LOGIN}}
