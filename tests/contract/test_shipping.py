"""An environment gets to a host that has no network: real wheels, real uv, real disks."""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
import io
import os
import re
import signal
import struct
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from dask_fleet.command import Command
from dask_fleet.environment import Environment, built_in_lock, environment_digest
from dask_fleet.errors import EnvironmentBuildError
from dask_fleet.events import Event, Note
from dask_fleet.look import COMPLETE
from dask_fleet.places import Places
from dask_fleet.transports.local import LocalTransport
from dask_fleet.wheels.gathering import Wheelhouse, gather_wheels
from dask_fleet.wheels.interpreters import LOOK, choose, read_software
from dask_fleet.wheels.platforms import HostPlatform
from dask_fleet.wheels.shipping import ship
from tests.namespace import outside

pytestmark = pytest.mark.online

# What distributed needs, out of our own lock: five of them have binary wheels.
NEEDED = """click cloudpickle dask distributed fsspec importlib-metadata jinja2 lazy-importer
locket markupsafe msgpack packaging partd psutil pyyaml sortedcontainers tblib toolz tornado
urllib3 zict zipp"""

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="a disk of its own needs root to mount it")


class Offline(LocalTransport):
    """Runs commands where there is no network at all."""

    async def _start(self, command: Command, errors: int) -> asyncio.subprocess.Process:
        cut = ("unshare", "--net") if os.geteuid() == 0 else ("unshare", "--net", "--map-root-user")
        return await super()._start(
            dataclasses.replace(command, argv=(*cut, *command.argv)), errors
        )


def made(lock: str, python: str) -> Environment:
    return Environment("small", python, environment_digest(python, lock), lock)


def excerpt(*names: str) -> str:
    """Return the entries of some packages of our own lock."""
    lines = built_in_lock("xcube").read_text(encoding="utf-8").splitlines(keepends=True)
    kept, take = [], False
    for line in lines:
        if line[0] not in " #":
            take = re.split("[=@ ]", line)[0] in names
        if take:
            kept.append(line)
    return "".join(kept)


@pytest.fixture(scope="module")
def host() -> tuple[HostPlatform, str]:
    """This machine as a look sees it: its platform and a Python that our lock is for."""
    done = subprocess.run(["sh"], input=LOOK, capture_output=True, text=True, check=True)
    software = read_software(done.stdout.splitlines())
    assert software.glibc is not None
    for wanted in ("3.11", "3.12", "3.13"):
        if path := choose(software.interpreters, wanted):
            version = next(one.version for one in software.interpreters if one.path == path)
            return HostPlatform(software.machine, software.glibc, version), path
    raise AssertionError(f"no Python 3.11, 3.12 or 3.13 here: {software}")


@pytest.fixture(scope="module")
def small(host: tuple[HostPlatform, str]) -> Environment:
    return made(excerpt(*NEEDED.split()), host[0].minor)


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with pytest.MonkeyPatch.context() as patch:
        place = tmp_path_factory.mktemp("cache")
        patch.setenv("XDG_CACHE_HOME", str(place))
        patch.delenv("PYTHONPATH", raising=False)
        yield place / "dask-fleet" / "wheels"


@pytest.fixture(scope="module")
def wheelhouse(small: Environment, host: tuple[HostPlatform, str], cache: Path) -> Wheelhouse:
    return gather(small, host[0])[0]


def gather(environment: Environment, platform: HostPlatform) -> tuple[Wheelhouse, list[str]]:
    said: list[Event] = []
    with outside():
        found = asyncio.run(gather_wheels(environment, platform, said.append))
    return found, texts(said)


def texts(said: list[Event]) -> list[str]:
    return [event.text for event in said if isinstance(event, Note)]


class Receiver:
    """A folder that takes the place of a host."""

    def __init__(self, root: Path, environment: Environment, python: str) -> None:
        self.environment, self.python = environment, python
        self.places = Places.below(f"{root}/state", f"{root}/data with space", "sst")
        self.all = Path(self.places.environments)
        self.own = Path(self.places.environment(environment.digest))

    async def takes(self, wheelhouse: Wheelhouse, said: list[Event]) -> None:
        await ship(
            Offline("vm-1"), self.places, self.environment, wheelhouse, self.python, said.append
        )

    def take(self, wheelhouse: Wheelhouse) -> list[str]:
        said: list[Event] = []
        asyncio.run(asyncio.wait_for(self.takes(wheelhouse, said), 200))
        return texts(said)

    def refuse(self, wheelhouse: Wheelhouse) -> EnvironmentBuildError:
        with pytest.raises(EnvironmentBuildError) as caught:
            self.take(wheelhouse)
        assert "vm-1: environment small" in caught.value.message
        assert caught.value.remedy
        return caught.value

    def works(self) -> bool:
        assert [path.name for path in self.all.iterdir()] == [self.environment.digest]
        assert (self.own / COMPLETE).read_text() == "small\n"
        code = "import distributed, msgpack, psutil; print(distributed.__version__)"
        done = subprocess.run(
            [self.own / "bin" / "python", "-I", "-c", code],
            capture_output=True,
            text=True,
            check=True,
        )
        return f"distributed=={done.stdout.strip()}" in str(self.environment.lock_text)


@pytest.fixture
def receiver(tmp_path: Path, small: Environment, host: tuple[HostPlatform, str]) -> Receiver:
    return Receiver(tmp_path, small, host[1])


def test_it_gets_there_without_a_network(receiver: Receiver, wheelhouse: Wheelhouse):
    said = receiver.take(wheelhouse)
    assert receiver.works()
    assert (
        said[0] == f"sending {wheelhouse.wheels} wheels and uv, {wheelhouse.size / 2**20:.0f} MiB"
    )
    assert any(line.startswith("Installed ") for line in said)
    assert not any("==" in line for line in said), "a list of all packages tells nobody anything"
    paths = [path for path in receiver.own.rglob("*") if not path.is_symlink()]
    for path in (receiver.own, *paths):
        mode = path.stat().st_mode & 0o777
        assert mode in ({0o755} if path.is_dir() else {0o644, 0o755}), path
        assert path.is_dir() or path.stat().st_nlink == 1, "a second name keeps its space"
    assert list(receiver.own.rglob("distributed/__pycache__/worker.*.pyc"))
    assert (receiver.own / "requirements.lock").read_text() == receiver.environment.lock_text
    before = (receiver.own / COMPLETE).stat()
    assert receiver.take(wheelhouse) == said[:1]
    assert (receiver.own / COMPLETE).stat() == before


def test_two_at_once(receiver: Receiver, wheelhouse: Wheelhouse):
    said: tuple[list[Event], list[Event]] = ([], [])

    async def both() -> None:
        await asyncio.gather(*(receiver.takes(wheelhouse, one) for one in said))

    asyncio.run(asyncio.wait_for(both(), 200))
    assert receiver.works()
    first, second = sorted(map(texts, said), key=len, reverse=True)
    assert any(line.startswith("Installed ") for line in first)
    assert second[1:] == ["waiting for another installation on this host"]


def test_killed_and_again(receiver: Receiver, wheelhouse: Wheelhouse):
    async def killed() -> None:
        """Kill everything when uv has begun."""
        begun = asyncio.Event()

        def sink(event: Event) -> None:
            if isinstance(event, Note) and event.text.startswith("uv "):
                begun.set()

        transport = Offline("vm-1")
        work = asyncio.ensure_future(
            ship(
                transport,
                receiver.places,
                receiver.environment,
                wheelhouse,
                receiver.python,
                sink,
            )
        )
        await begun.wait()
        work.cancel()
        await asyncio.wait({work})
        assert work.cancelled()

    asyncio.run(asyncio.wait_for(killed(), 200))
    assert not (receiver.own / COMPLETE).exists()
    assert list(receiver.all.glob(".incoming-*")), "it was killed, so nothing tidied up"
    receiver.take(wheelhouse)
    assert receiver.works()


@pytest.mark.parametrize("share", [0.0, 0.001, 0.4, 0.999], ids=["all", "most", "half", "the end"])
def test_what_breaks_off_leaves_nothing(
    receiver: Receiver, wheelhouse: Wheelhouse, tmp_path: Path, share: float
):
    part = tmp_path / "part.tar"
    whole = Path(wheelhouse.bundle).read_bytes()
    part.write_bytes(whole[: int(len(whole) * share)])
    error = receiver.refuse(dataclasses.replace(wheelhouse, bundle=str(part)))
    assert "what was sent broke off before its end" in error.message
    assert list(receiver.all.iterdir()) == []


def test_it_may_break_off_between_two_files(
    receiver: Receiver, wheelhouse: Wheelhouse, tmp_path: Path
):
    part = tmp_path / "part.tar"
    repacked(wheelhouse, part, lambda name, content: None if name == "end" else content)
    error = receiver.refuse(dataclasses.replace(wheelhouse, bundle=str(part)))
    assert "broke off" in error.message
    assert list(receiver.all.iterdir()) == []


def repacked(wheelhouse: Wheelhouse, target: Path, change) -> None:
    with tarfile.open(wheelhouse.bundle) as old, tarfile.open(target, "w") as new:
        for entry in old:
            file = old.extractfile(entry)
            assert file is not None
            content = change(entry.name, file.read())
            if content is not None:
                entry.size = len(content)
                new.addfile(entry, io.BytesIO(content))


def test_a_damaged_wheel_is_refused(receiver: Receiver, wheelhouse: Wheelhouse, tmp_path: Path):
    part = tmp_path / "part.tar"

    def change(name: str, content: bytes) -> bytes:
        return content + b"\0" if name.startswith("wheels/zict") else content

    repacked(wheelhouse, part, change)
    error = receiver.refuse(dataclasses.replace(wheelhouse, bundle=str(part)))
    assert "its packages cannot be installed" in error.message
    assert "Hash mismatch" in error.message
    assert "zict" in error.message
    assert list(receiver.all.iterdir()) == []


def test_an_environment_without_distributed(
    tmp_path: Path, host: tuple[HostPlatform, str], wheelhouse: Wheelhouse
):
    environment = made(excerpt("zict"), host[0].minor)
    receiver = Receiver(tmp_path, environment, host[1])
    error = receiver.refuse(gather(environment, host[0])[0])
    assert "it has no working `distributed`" in error.message
    assert list(receiver.all.iterdir()) == []


def test_a_python_that_is_not_there(receiver: Receiver, wheelhouse: Wheelhouse):
    receiver.python = "/opt/nowhere/bin/python3.11"
    error = receiver.refuse(wheelhouse)
    assert "its interpreter makes no environment" in error.message
    assert "/opt/nowhere/bin/python3.11" in error.message
    assert list(receiver.all.iterdir()) == []


@pytest.fixture
def disk(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Path]:
    place = tmp_path / "disk"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={request.param}m", "x", place], check=True)
    yield place
    subprocess.run(["umount", place], check=True)


@root_only
@pytest.mark.parametrize("disk", [80], indirect=True)
def test_no_room_is_seen_first(disk: Path, receiver: Receiver, wheelhouse: Wheelhouse):
    on_disk = Receiver(disk, receiver.environment, receiver.python)
    error = on_disk.refuse(wheelhouse)
    assert "there is no room for it" in error.message
    assert re.search(r"\d+ MiB are free of about \d+ needed", error.message)
    assert list(on_disk.all.iterdir()) == []


@root_only
@pytest.mark.parametrize("disk", [20], indirect=True)
def test_a_disk_that_is_full_before_all_was_sent(
    disk: Path, receiver: Receiver, wheelhouse: Wheelhouse
):
    """As when somebody else writes there too: there seemed to be enough."""
    on_disk = Receiver(disk, receiver.environment, receiver.python)
    error = on_disk.refuse(dataclasses.replace(wheelhouse, size=-50_000 * 1024, installed=0))
    assert "there is no room for it" in error.message
    assert list(on_disk.all.iterdir()) == []
    subprocess.run(["mount", "-o", "remount,size=400m", disk], check=True)
    on_disk.take(wheelhouse)
    assert on_disk.works()


@root_only
@pytest.mark.parametrize("disk", [150], indirect=True)
def test_a_disk_that_is_full_before_all_is_installed(
    disk: Path, receiver: Receiver, wheelhouse: Wheelhouse, tmp_path: Path
):
    """The interpreter that uv asks first fills the disk, all but 8 MiB."""
    python = tmp_path / "python3"
    python.write_text(
        f"""#!/bin/sh
if [ ! -e '{disk}/filler' ]; then
  free=$(df -Pk '{disk}' | awk 'NR == 2 {{ print $4 }}')
  head -c "$((free - 8192))k" /dev/zero >'{disk}/filler'
fi
exec {receiver.python} "$@"
"""
    )
    python.chmod(0o755)
    on_disk = Receiver(disk, receiver.environment, str(python))
    error = on_disk.refuse(wheelhouse)
    assert "there is no room for it" in error.message
    assert "No space left" in error.message
    assert list(on_disk.all.iterdir()) == []
    (disk / "filler").write_bytes(b"")
    on_disk.take(wheelhouse)
    assert on_disk.works()


def test_gathering_twice_downloads_nothing(
    small: Environment, host: tuple[HostPlatform, str], wheelhouse: Wheelhouse
):
    before = Path(wheelhouse.bundle).stat()
    again, said = gather(small, host[0])
    assert (again, said) == (wheelhouse, [])
    assert Path(again.bundle).stat().st_mtime_ns == before.st_mtime_ns


def test_a_bundle_that_was_removed_is_packed_again(host: tuple[HostPlatform, str], cache: Path):
    environment = made(excerpt("zict", "locket"), host[0].minor)
    first, _ = gather(environment, host[0])
    content = Path(first.bundle).read_bytes()
    Path(first.bundle).unlink()
    again, said = gather(environment, host[0])
    assert again == first
    assert said[0].startswith("gathering 0 of 2 packages")
    assert Path(again.bundle).read_bytes() == content


def test_two_gather_at_once(host: tuple[HostPlatform, str], cache: Path):
    environment = made(excerpt("zict", "toolz", "locket"), host[0].minor)
    said: list[Event] = []

    async def all_of_them() -> list[Wheelhouse]:
        work = (gather_wheels(environment, host[0], said.append) for _ in range(40))
        return await asyncio.gather(*work)

    found = asyncio.run(asyncio.wait_for(all_of_them(), 200))
    assert len(set(found)) == 1
    assert sum("gathering" in text for text in texts(said)) == 1


GATHER = """\
import asyncio, sys
from dask_fleet.wheels import downloads
from dask_fleet.environment import Environment
from dask_fleet.wheels.platforms import HostPlatform
from dask_fleet.wheels.gathering import gather_wheels

downloads._BATCH = 2
environment = Environment("small", sys.argv[1], sys.argv[2], sys.stdin.read())
platform = HostPlatform(sys.argv[3], (int(sys.argv[4]), int(sys.argv[5])), sys.argv[6])
asyncio.run(gather_wheels(environment, platform, lambda note: print(note.text, flush=True)))
"""


def test_a_killed_download_goes_on(host: tuple[HostPlatform, str], cache: Path):
    platform = host[0]
    lock = excerpt("zict", "toolz", "locket", "tblib", "partd", "click")
    environment = made(lock, platform.minor)
    command = [
        *(sys.executable, "-c", GATHER, environment.python, environment.digest),
        *(platform.machine, *map(str, platform.glibc), platform.python),
    ]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(lock)
        process.stdin.close()
        assert "gathering 6 of 6 packages" in process.stdout.readline()
        assert process.stdout.readline() == "gathered click, locket\n"
        process.send_signal(signal.SIGKILL)
    found, said = gather(environment, platform)
    assert found.wheels == 6
    assert re.match("gathering [1-4] of 6 packages", said[0])
    with tarfile.open(found.bundle) as tar:
        assert sum(entry.name.endswith(".whl") for entry in tar) == 6


def test_a_wrong_hash_is_refused(host: tuple[HostPlatform, str], cache: Path):
    lock = re.sub("[0-9a-f]{64}", "0" * 64, excerpt("zict"))
    environment = made(lock, host[0].minor)
    with pytest.raises(EnvironmentBuildError) as caught:
        gather(environment, host[0])
    assert "THESE PACKAGES DO NOT MATCH THE HASHES" in caught.value.message
    assert "zict" in caught.value.message
    (place,) = (path for path in cache.glob(f"{environment.digest}-*") if path.is_dir())
    assert list((place / "wheels").iterdir()) == []


def source(place: Path, name: str, more: str = "") -> str:
    """Write a source distribution and return the line of a lock for it."""
    files = {
        "setup.py": f"from setuptools import setup\nsetup(name={name!r}, version='1.0', "
        f"py_modules=['{name}']{more})\n",
        f"{name}.py": "answer = 42\n",
        "PKG-INFO": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n",
    }
    path = place / f"{name}-1.0.tar.gz"
    with tarfile.open(path, "w:gz") as tar:
        for file, text in files.items():
            entry = tarfile.TarInfo(f"{name}-1.0/{file}")
            entry.size = len(text)
            tar.addfile(entry, io.BytesIO(text.encode()))
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return f"--find-links {place}\n{name}==1.0 --hash=sha256:{digest}\n"


def test_a_pure_package_without_a_wheel_is_built(
    host: tuple[HostPlatform, str], cache: Path, tmp_path: Path
):
    found, said = gather(made(source(tmp_path, "purely"), host[0].minor), host[0])
    assert any(line.startswith("building purely-1.0.tar.gz") for line in said)
    with tarfile.open(found.bundle) as tar:
        assert "wheels/purely-1.0-py3-none-any.whl" in tar.getnames()


def test_one_that_is_not_pure_is_refused_by_name(
    host: tuple[HostPlatform, str], cache: Path, tmp_path: Path
):
    compiled = ", distclass=type('D', (__import__('setuptools').Distribution,), "
    lock = source(tmp_path, "compiled", f"{compiled}dict(has_ext_modules=lambda self: True))")
    with pytest.raises(EnvironmentBuildError) as caught:
        gather(made(lock, host[0].minor), host[0])
    assert "compiled-1.0.tar.gz has no wheel for it, and is not pure Python" in caught.value.message
    assert "pin a version that has one" in caught.value.remedy


def test_wheels_and_uv_are_those_of_the_host(cache: Path):
    environment = made(excerpt("msgpack", "pyyaml", "zict"), "3.12")
    found, _ = gather(environment, HostPlatform("aarch64", (2, 31), "3.12.4"))
    with tarfile.open(found.bundle) as tar:
        names = [name.rsplit("/", 1)[-1] for name in tar.getnames()]
        uv = tar.extractfile("uv")
        assert uv is not None
        head = uv.read(20)
    assert [bool(re.search("cp312-.*_aarch64.whl", name)) for name in names[:2]] == [True, True]
    assert names[2].endswith("-none-any.whl")
    assert struct.unpack("<H", head[18:20]) == (183,), "EM_AARCH64 of elf.h"


def test_names_are_resolved_once_for_all_platforms(host: tuple[HostPlatform, str], cache: Path):
    digest = environment_digest("3.12", "packages\nzict")
    environment = Environment("packages", "3.12", digest, None, ("zict",))
    _, first = gather(environment, HostPlatform("x86_64", (2, 36), "3.12.4"))
    assert first[0] == "resolving zict"
    lock = (cache / f"{digest}.lock").read_text()
    assert re.match(r"zict==\S+ \\\n +--hash=sha256:", lock)
    _, second = gather(environment, HostPlatform("x86_64", (2, 28), "3.12.4"))
    assert "resolving zict" not in second
    assert (cache / f"{digest}.lock").read_text() == lock


def test_names_that_do_not_exist(host: tuple[HostPlatform, str], cache: Path):
    names = ("zict==0.0.0.1",)
    environment = Environment("packages", "3.12", "0" * 16, None, names)
    with pytest.raises(EnvironmentBuildError, match=r"its packages cannot be\s+resolved") as caught:
        gather(environment, host[0])
    assert "zict==0.0.0.1" in caught.value.message
    assert "environment.packages" in caught.value.remedy
