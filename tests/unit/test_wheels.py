"""Which requirements a host needs and which wheels run on it; and the file that is sent."""

from __future__ import annotations

import io
import tarfile
import zipfile
from pathlib import Path

import pytest
from packaging.tags import parse_tag

from dask_fleet.environment import built_in_lock
from dask_fleet.errors import EnvironmentBuildError
from dask_fleet.wheels.bundle import contents, write_bundle
from dask_fleet.wheels.platforms import HostPlatform, fits, markers, platform_tags, read_lock

BOOKWORM = HostPlatform("x86_64", (2, 36), "3.11.2")
OLD_ARM = HostPlatform("aarch64", (2, 17), "3.12.4")


def test_the_name_of_a_platform():
    assert str(BOOKWORM) == "x86_64-glibc2.36-cp311"


def test_tags_go_from_the_hosts_c_library_down():
    tags = platform_tags(BOOKWORM)
    assert tags[0] == "manylinux_2_36_x86_64"
    assert tags[-1] == "linux_x86_64"
    assert tags.index("manylinux_2_28_x86_64") < tags.index("manylinux2014_x86_64")
    assert {"manylinux_2_5_x86_64", "manylinux1_x86_64", "manylinux2010_x86_64"} < set(tags)
    assert "manylinux_2_37_x86_64" not in tags
    assert len(set(tags)) == len(tags)


def test_a_machine_that_is_younger_has_no_older_tags():
    assert platform_tags(OLD_ARM) == (
        "manylinux_2_17_aarch64",
        "manylinux2014_aarch64",
        "linux_aarch64",
    )


@pytest.mark.parametrize(
    ("tag", "platform", "fit"),
    [
        ("py3-none-any", BOOKWORM, True),
        ("py2.py3-none-any", BOOKWORM, True),
        ("cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64", BOOKWORM, True),
        ("cp38-abi3-manylinux_2_28_x86_64", BOOKWORM, True),
        ("cp312-abi3-manylinux_2_28_x86_64", BOOKWORM, False),
        ("cp312-cp312-manylinux2014_x86_64", BOOKWORM, False),
        ("cp311-cp311-manylinux_2_39_x86_64", BOOKWORM, False),
        ("cp311-cp311-musllinux_1_2_x86_64", BOOKWORM, False),
        ("cp311-cp311-manylinux_2_17_aarch64", BOOKWORM, False),
        ("cp312-cp312-manylinux_2_17_aarch64", OLD_ARM, True),
        ("py3-none-manylinux_2_28_aarch64", OLD_ARM, False),
        ("cp311-cp311-win_amd64", BOOKWORM, False),
    ],
)
def test_which_wheels_run(tag: str, platform: HostPlatform, *, fit: bool):
    assert fits(parse_tag(tag), platform) is fit


@pytest.mark.parametrize(
    ("marker", "here"),
    [
        ("sys_platform == 'linux'", True),
        ("sys_platform == 'win32'", False),
        ("os_name == 'nt' or platform_system == 'Darwin'", False),
        ("platform_machine == 'x86_64'", True),
        ("platform_machine == 'aarch64' and sys_platform == 'linux'", False),
        ("python_version < '3.12'", True),
        ("python_version >= '3.9'", True),
        ("python_full_version < '3.11.3'", True),
        ("python_full_version >= '3.11.3'", False),
        ("implementation_name == 'cpython'", True),
        ("platform_python_implementation == 'PyPy'", False),
        ("extra == 'test'", False),
    ],
)
def test_markers_are_those_of_the_host(marker: str, *, here: bool):
    lock = read_lock(f"six==1.17.0 ; {marker}\n", BOOKWORM)
    assert [str(pin) for pin in lock.pins] == (["six==1.17.0"] if here else [])


def test_a_version_without_its_last_part_counts_as_its_first():
    assert markers(HostPlatform("x86_64", (2, 36), "3.11"))["python_full_version"] == "3.11.0"


LOCK = """\
# made by a tool
--index-url https://example.org/simple
Typing_Extensions==4.12.2 \\
    --hash=sha256:aa \\
    --hash=sha256:bb  # via x
    # via y
six == 1.17.0 ; python_version < '3.0' \\
    --hash=sha256:cc

dask[array,complete]==2026.1.0
own @ https://example.org/own-1-py3-none-any.whl#sha256=dd ; sys_platform == 'linux'
last===1.0+local"""


def test_a_lock_is_read_as_pip_reads_it():
    lock = read_lock(LOCK, BOOKWORM)
    assert lock.options == ("--index-url https://example.org/simple",)
    assert [(pin.name, str(pin).replace("own@", "own @")) for pin in lock.pins] == [
        ("typing-extensions", "Typing_Extensions==4.12.2 --hash=sha256:aa --hash=sha256:bb"),
        ("dask", "dask[array,complete]==2026.1.0"),
        ("own", "own @ https://example.org/own-1-py3-none-any.whl#sha256=dd"),
        ("last", "last===1.0+local"),
    ]


def test_a_line_that_is_no_requirement_is_shown():
    with pytest.raises(EnvironmentBuildError, match='not a requirement: "what is this"'):
        read_lock("six==1.17.0\nwhat is this\n", BOOKWORM)


@pytest.mark.parametrize("python", ["3.11.2", "3.12.4", "3.13.0"])
@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_our_own_lock_names_each_package_once(machine: str, python: str):
    text = built_in_lock("xcube").read_text(encoding="utf-8")
    names = [pin.name for pin in read_lock(text, HostPlatform(machine, (2, 36), python)).pins]
    assert len(set(names)) == len(names) > 90
    assert all(pin.hashes for pin in read_lock(text, BOOKWORM).pins)
    assert {"distributed", "xcube-core"} < set(names)
    assert ("lazy-importer" in names) == (python < "3.12")


def wheel(place: Path, name: str, content: bytes) -> None:
    with zipfile.ZipFile(place / f"{name}-1.0-py3-none-any.whl", "w") as file:
        file.writestr(f"{name}/__init__.py", content)


def test_a_bundle_is_the_same_whenever_it_is_written(tmp_path: Path):
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    wheel(wheels, "b", b"12345")
    wheel(wheels, "A_name", b"123")
    uv = tmp_path / "uv"
    uv.write_bytes(b"program")
    assert write_bundle(tmp_path / "one.tar", wheels, "the lock\n", uv) == 8
    uv.touch(mode=0o600)
    uv.chmod(0o700)
    write_bundle(tmp_path / "two.tar", wheels, "the lock\n", uv)
    one = (tmp_path / "one.tar").read_bytes()
    assert one == (tmp_path / "two.tar").read_bytes()
    with tarfile.open(fileobj=io.BytesIO(one)) as tar:
        assert [(entry.name, oct(entry.mode), entry.uid) for entry in tar] == [
            ("wheels/A_name-1.0-py3-none-any.whl", "0o644", 0),
            ("wheels/b-1.0-py3-none-any.whl", "0o644", 0),
            ("wheels.lock", "0o644", 0),
            ("requirements.lock", "0o644", 0),
            ("uv", "0o755", 0),
            ("end", "0o644", 0),
        ]
        pins = tar.extractfile("wheels.lock")
        assert pins is not None
        first, second = pins.read().decode().splitlines()
    assert first.startswith("a-name==1.0 --hash=sha256:")
    assert second.startswith("b==1.0 --hash=sha256:")
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "one.tar",
        "two.tar",
        "uv",
        "wheels",
    ]


def test_what_is_no_wheel_is_named(tmp_path: Path):
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    (wheels / "b-1.0-py3-none-any.whl").write_text("<html>")
    with pytest.raises(EnvironmentBuildError, match=r"b-1\.0-py3-none-any\.whl is not a wheel"):
        write_bundle(tmp_path / "one.tar", wheels, "", tmp_path / "uv")


def test_one_file_out_of_a_wheel(tmp_path: Path):
    wheel(tmp_path, "b", b"12345")
    assert contents(tmp_path / "b-1.0-py3-none-any.whl", "/__init__.py") == b"12345"
