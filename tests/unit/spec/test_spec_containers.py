"""Images and containers: what may be said of them, and what does not fit together."""

# ruff: noqa: E501 - cases are data, one to a line

from __future__ import annotations

import pytest

from dask_fleet.assembly import places_on
from dask_fleet.errors import SpecError
from dask_fleet.layout import lay_out
from dask_fleet.spec import parse

HOSTS = """\
name: x
hosts:
  sch: {address: 10.0.0.1}
  vm-[1-2]: {address: "10.0.0.[2-3]"}
scheduler: {host: sch}
"""
GOOD = [
    "python",
    "quay.io/bcdev/xcube:1.13.3",
    "localhost:5000/a/b",
    "10.77.0.11:5000/xcube:1",
    "xcube@sha256:" + "0" * 64,
    "reg.example.org/a/b-c__d.e:v1@sha256:" + "f" * 64,
]
BAD = ["Xcube", "a b", "a:", "a:b c", "a@sha256:1", "-a", "a//b", "", "https://quay.io/a", "a$b"]


def problems(text: str) -> list[str]:
    with pytest.raises(SpecError) as caught:
        parse(text, {})
    return [str(problem).partition(" ")[2] for problem in caught.value.problems]


@pytest.mark.parametrize("image", GOOD)
def test_names_of_images(image: str):
    spec = parse(f'{HOSTS}runtime: compose\nenvironment: {{image: "{image}"}}\n', {})
    assert spec.environment.image == image


@pytest.mark.parametrize("image", BAD)
def test_what_is_no_name_of_an_image(image: str):
    (found,) = problems(f'{HOSTS}runtime: compose\nenvironment: {{image: "{image}"}}\n')
    assert found.startswith("environment.image: not the name of an image")
    assert "docker pull" in found


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        (
            "environment: {image: a}\n",
            [
                'environment.image: an image is for containers, and host "sch" runs under systemd; say `runtime: compose` for the whole fleet, or name a locked environment instead'
            ],
        ),
        (
            "runtime: compose\n",
            [
                'environment: containers are made of an image, and host "sch" has compose; write `environment: {image: NAME}`, `{build: FOLDER}` with a Dockerfile in it, or `{base: IMAGE}` for a locked environment to be put on it'
            ],
        ),
        (
            "runtime: compose\nenvironment: {image: a, lock: b}\n",
            ['environment.image: an environment has either "lock" or "image"; keep one of them'],
        ),
        (
            "environment: {interpreter: /opt/conda/bin/python}\n",
            [
                "environment.interpreter: an interpreter is named for an image, and there is none; remove it, or write `image` or `build`"
            ],
        ),
        (
            "environment: {build: a}\n",
            [
                'environment.build: an image is for containers, and host "sch" runs under systemd; say `runtime: compose` for the whole fleet, or name a locked environment instead'
            ],
        ),
        (
            "runtime: compose\nenvironment: {image: a, build: b}\n",
            ['environment.build: an environment has either "image" or "build"; keep one of them'],
        ),
        (
            "runtime: compose\nenvironment: {image: a, build_on: sch}\n",
            [
                "environment.build_on: a host is named that builds, and there is nothing to build; remove it, or write `build` or `base`"
            ],
        ),
        (
            "runtime: compose\nenvironment: {image: a, base: b}\n",
            [
                'environment.base: a base is for a locked environment, and "image" is an image of its own; keep one of them'
            ],
        ),
        (
            "environment: {base: b}\n",
            [
                'environment.base: an image is for containers, and host "sch" runs under systemd; say `runtime: compose` for the whole fleet, or name a locked environment instead'
            ],
        ),
        (
            "runtime: compose\nenvironment: {build: a, build_on: nobody}\n",
            [
                'environment.build_on: unknown host "nobody"; name one of the hosts, with a Docker engine; it need not run anything of the fleet'
            ],
        ),
        (
            'runtime: compose\nenvironment: {image: a}\ncontainers: {user: "0:0", volumes: ["data:rel", "/a:/b:rw", "c:/d:ro"]}\n',
            [
                'containers.user: not a user and a group by their numbers: "0:0"; write "UID:GID" in quotes, such as "1000:1000"; root is refused',
                'containers.volumes[0]: not a volume: "data:rel"; write HOST_PATH:PATH or NAME:PATH, both paths absolute, with `:ro` to only read it',
            ],
        ),
    ],
)
def test_what_does_not_fit_together(more: str, expected: list[str]):
    assert sorted(problems(HOSTS + more)) == sorted(expected)


MOUNTS = """\
runtime: compose
environment: {image: a}
containers:
  volumes: ["cubes:/cubes", "/data:/data"]
  mounts:
"""


@pytest.mark.parametrize(
    ("mounts", "expected"),
    [
        (
            "    cube: {type: nfs, device: ':/x'}\n",
            'containers.mounts.cube: no container has the volume "cube"; add it to `volumes`, such as `cube:/data`, or remove it',
        ),
        (
            "    cubes: {type: nfs}\n",
            'containers.mounts.cubes.device: "device" is missing; add "device: ..."',
        ),
    ],
)
def test_what_a_mount_needs(mounts: str, expected: str):
    assert problems(HOSTS + MOUNTS + mounts) == [expected]


def test_a_mount():
    given = "    cubes: {type: nfs, device: ':/x', options: 'addr=10.0.0.9,rw'}\n"
    mount = parse(HOSTS + MOUNTS + given, {}).containers.mounts["cubes"]
    assert (mount.type, mount.device, mount.options) == ("nfs", ":/x", "addr=10.0.0.9,rw")


def test_a_host_without_processes_may_be_of_another_kind():
    text = HOSTS.replace("scheduler:", "  gate: {address: 10.0.0.9, runtime: systemd}\nscheduler:")
    more = "runtime: compose\nenvironment: {image: a}\ndoor: {host: gate, login: none}\n"
    assert parse(text + more, {}).door is not None


def test_not_on_this_machine():
    (found,) = problems("name: x\nruntime: compose\nenvironment: {image: a}\n")
    assert found.startswith("hosts.localhost.runtime: compose is for hosts behind SSH")


OWN = HOSTS + "runtime: compose\nenvironment: {image: a}\ncontainers: {rootless: /home/ann/fleet"


NO_DOOR = "the door is a site in its host's nginx, and with `containers.rootless` nobody is root on a host of containers; give it a host of its own, `door: {host: NAME}`, where a login has sudo; or remove it"


def test_a_host_that_has_the_door_alone_is_roots_as_ever():
    gate = OWN.replace("hosts:\n", "hosts:\n  gate: {address: 10.0.0.9, ssh: {sudo: true}}\n")
    layout = lay_out(parse(gate + "}\ndoor: {host: gate}\n", {}))
    assert {host.name for host in layout.hosts.values() if host.rootless} == {"sch", "vm-1", "vm-2"}
    assert places_on("x", layout.hosts["gate"]).state == "/var/lib/dask-fleet/fleets/x"


def test_an_engine_of_the_login_is_declared_by_the_folder_of_its_fleet():
    layout = lay_out(parse(OWN + "}\n", {}))
    assert {host.rootless for host in layout.hosts.values()} == {"/home/ann/fleet"}
    places = places_on("x", layout.hosts["sch"])
    assert places.state == "/home/ann/fleet/fleets/x"
    assert places.images == "/home/ann/fleet/images"
    other = lay_out(parse(HOSTS + "runtime: compose\nenvironment: {image: a}\n", {})).hosts["sch"]
    assert (other.rootless, places_on("x", other).images) == (None, "/var/lib/dask-fleet/images")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            OWN.replace("/home/ann/fleet", "~/fleet") + "}\n",
            'containers.rootless: not a folder by its absolute path: "~/fleet"; write it as hosts have it, with no `~`, such as /home/dask/fleet',
        ),
        (
            OWN.replace("10.0.0.1}", "10.0.0.1, ssh: {sudo: true}}") + "}\n",
            "hosts.sch.ssh.sudo: with `containers.rootless` nothing on a host is done as root; log in as the user whose engine it is, without sudo; or remove `rootless`",
        ),
        (
            OWN.replace("10.0.0.1}", "10.0.0.1, ssh: {user: root}}") + "}\n",
            "hosts.sch.ssh.user: with `containers.rootless` nothing on a host is done as root; log in as the user whose engine it is, without sudo; or remove `rootless`",
        ),
        (
            OWN + ', user: "1000:1000"}\n',
            "containers.user: with `rootless` processes are the login's, whatever numbers stand here; remove it",
        ),
        (
            OWN + ", volumes: [c:/c], mounts: {c: {type: nfs, device: a}}}\n",
            "containers.mounts: an engine without root mounts nothing; have the host mount it, and give containers its folder: `volumes: [/cubes:/cubes]`",
        ),
        (
            OWN + "}\ndoor: {login: none}\n",
            f"door: {NO_DOOR}",
        ),
        (
            OWN + "}\ndoor: {login: none, host: sch}\n",
            f"door.host: {NO_DOOR}",
        ),
        (
            HOSTS + "containers: {rootless: /home/ann/fleet}\n",
            "containers.rootless: no host of the fleet runs containers; remove it, or say `runtime: compose`",
        ),
    ],
)
def test_what_an_engine_without_root_cannot(text: str, expected: str):
    assert problems(text) == [expected]
