"""Which Python of a host an environment is made from."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from dask_fleet.wheels.interpreters import (
    LOOK,
    HostSoftware,
    Interpreter,
    choose,
    missing_python,
    read_software,
    unsuitable,
)

DEBIAN = """\
machine x86_64
libc glibc 2.36
interpreter /root/.pyenv/shims/python3.11 Python 3.11.7
interpreter /usr/bin/python3.11 Python 3.11.2
interpreter /usr/local/bin/python3.12 Python 3.12.4
interpreter /usr/local/bin/python3.15 Python 3.15.0a1
interpreter /opt/pypy/bin/python3 Python 3.11.9 (0123456789ab, Feb 06 2026, 12:00:00)
interpreter /opt/with a space/bin/python3 Python 3.13.1
interpreter /opt/broken/bin/python3 \n"""


def test_the_reading():
    software = read_software(DEBIAN.splitlines())
    assert software.machine == "x86_64"
    assert software.glibc == (2, 36)
    assert [str(one) for one in software.interpreters] == [
        "/root/.pyenv/shims/python3.11 (3.11.7)",
        "/usr/bin/python3.11 (3.11.2)",
        "/usr/local/bin/python3.12 (3.12.4)",
        "/opt/with a space/bin/python3 (3.13.1)",
    ]


@pytest.mark.parametrize("text", ["", "machine\nlibc\ninterpreter\n", "kernel Linux 6\n\n#### x"])
def test_no_text_makes_the_reading_fall_over(text: str):
    assert read_software(text.splitlines()).interpreters == ()


@pytest.mark.parametrize(
    ("wanted", "path"),
    [
        ("3.11", "/usr/bin/python3.11"),
        ("3.11.7", "/root/.pyenv/shims/python3.11"),
        ("3.11.2", "/usr/bin/python3.11"),
        ("3.12", "/usr/local/bin/python3.12"),
        ("3.13", "/opt/with a space/bin/python3"),
        ("3.1", None),
        ("3.10", None),
        ("3.11.20", None),
        ("3.15", None),
    ],
)
def test_the_choice(wanted: str, path: str | None):
    assert choose(read_software(DEBIAN.splitlines()).interpreters, wanted) == path


def test_the_newest_patch_then_the_first():
    found = [
        Interpreter("/a/python3.11", "3.11.9"),
        Interpreter("/b/python3.11", "3.11.10"),
        Interpreter("/c/python3.11", "3.11.10"),
    ]
    assert choose(found, "3.11") == "/b/python3.11"


def test_what_a_host_lacks_is_said_with_what_it_has():
    error = missing_python("vm-7", "3.13", [Interpreter("/usr/bin/python3", "3.11.2")])
    assert str(error) == (
        "vm-7: there is no Python 3.13; it has: /usr/bin/python3 (3.11.2)\n"
        "  remedy: install Python 3.13 there (`python3.13` of the distribution, or one in"
        ' /usr/local/bin or /opt/*/bin), or set `environment.python: "3.11"`, which it has'
    )


def test_a_host_without_any_python():
    error = missing_python("vm-7", "3.11.7", [])
    assert "vm-7: there is no Python 3.11.7; it has: none" in str(error)
    assert "`python3.11`" in error.remedy
    assert "environment.python" not in error.remedy


def test_the_newest_is_proposed():
    has = [Interpreter(f"/p/{v}", v) for v in ("3.9.2", "3.12.1", "3.10.4")]
    assert 'environment.python: "3.12"' in missing_python("vm-7", "3.11", has).remedy


@pytest.mark.parametrize(
    ("software", "fault"),
    [
        (HostSoftware("x86_64", "musl"), "its C library is musl"),
        (HostSoftware("x86_64", "unknown"), "is not known"),
        (HostSoftware("", "glibc 2.36"), "is not known"),
    ],
)
def test_a_host_that_wheels_do_not_run_on(software: HostSoftware, fault: str):
    error = unsuitable("vm-7", software)
    assert error is not None
    assert fault in error.message
    assert "Debian" in error.remedy


def test_a_host_that_wheels_run_on():
    assert unsuitable("vm-7", HostSoftware("aarch64", "glibc 2.41")) is None


def look(path: str) -> HostSoftware:
    done = subprocess.run(
        ["/bin/sh", "-eu"],
        input=LOOK,
        env={"PATH": path},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    return read_software(done.stdout.splitlines())


def test_the_shell_text_on_this_machine(tmp_path: Path):
    software = look("/usr/bin:/bin")
    assert software.machine
    assert software.glibc is not None
    assert choose(software.interpreters, ".".join(software.interpreters[0].version.split(".")[:2]))


def test_a_file_with_several_names_is_started_once(tmp_path: Path):
    place = tmp_path / "bin with space"
    place.mkdir()
    counted = place / "python3.12"
    counted.write_text(f"#!/bin/sh\necho x >>'{tmp_path}/started'\necho Python 3.12.9\n")
    counted.chmod(0o755)
    (place / "python3").symlink_to(counted)
    (place / "python3.13").write_text("not executable")
    (place / "python3.14").symlink_to("nowhere")
    software = look(f"{place}:relative::{place}:/usr/bin:/bin")
    assert software.interpreters[0] == Interpreter(f"{place}/python3.12", "3.12.9")
    assert sum(one.version == "3.12.9" for one in software.interpreters) == 1
    assert (tmp_path / "started").read_text() == "x\n"


def test_one_that_fails_or_waits_for_input_is_passed_over(tmp_path: Path):
    for name, text in {
        "python3.10": "exit 3",
        "python3.11": "cat; echo Python 3.11.1",
        "python3.12": "echo Python 3.12.1 >&2",
    }.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / name).chmod(0o755)
    own = [
        one for one in look(f"{tmp_path}:/usr/bin:/bin").interpreters if str(tmp_path) in one.path
    ]
    assert own == [Interpreter(f"{tmp_path}/python3.11", "3.11.1")]
