"""The software environment as a value."""

# ruff: noqa: E501 - cases are data, one to a line

from pathlib import Path

import pytest

from dask_fleet.environment import built_in_lock, environment_digest, resolve_environment
from dask_fleet.errors import EnvironmentBuildError, SpecError
from dask_fleet.spec import EnvironmentSpec

LOCK = "# made by uv\ndask==2025.1.0 \\\n    --hash=sha256:abc\nxcube-core[a,b]==1.13.3 ; sys_platform == 'linux'\nx @ https://example.org/x.whl\n"


def reader(files):
    def read(path: Path) -> str:
        try:
            return files[str(path)]
        except KeyError:
            raise FileNotFoundError(str(path)) from None

    return read


def test_a_lock_beside_the_file():
    found = resolve_environment(
        EnvironmentSpec(lock="a.lock", python="3.12"), reader({"a.lock": LOCK})
    )
    assert (found.name, found.python, found.lock_text, found.packages) == (
        "a.lock",
        "3.12",
        LOCK,
        (),
    )
    assert len(found.digest) == 16
    assert int(found.digest, 16) >= 0


def test_the_digest_is_of_what_is_installed():
    digest = environment_digest("3.11", "a==1\nb==2\n")
    assert environment_digest("3.11", "# hello\r\na==1  # why\r\n\r\nb==2") == digest
    assert environment_digest("3.12", "a==1\nb==2\n") != digest
    assert environment_digest("3.11", "a==1\nb==3\n") != digest
    assert environment_digest("3.11", "b==2\na==1\n") != digest


def test_the_order_of_packages_does_not_matter():
    one = resolve_environment(EnvironmentSpec(packages=("b", "A==1", "b")), reader({}))
    two = resolve_environment(EnvironmentSpec(packages=("A==1", "b")), reader({}))
    assert one == two
    assert (one.packages, one.lock_text) == (("A==1", "b"), None)
    assert (
        one.digest
        != resolve_environment(EnvironmentSpec(packages=("A==2", "b")), reader({})).digest
    )


def test_the_default_is_xcube():
    path = built_in_lock("xcube")
    found = resolve_environment(EnvironmentSpec(), reader({str(path): LOCK}))
    assert found == resolve_environment(EnvironmentSpec(name="xcube"), reader({str(path): LOCK}))
    assert (found.name, found.python) == ("xcube", "3.11")
    with pytest.raises(EnvironmentBuildError, match="install dask-fleet again"):
        resolve_environment(EnvironmentSpec(), reader({}))


def test_the_lock_that_comes_along_pins_everything():
    text = built_in_lock("xcube").read_text()
    found = resolve_environment(EnvironmentSpec(lock="copy.lock"), reader({"copy.lock": text}))
    assert (
        found.digest == resolve_environment(EnvironmentSpec(), lambda path: path.read_text()).digest
    )


@pytest.mark.parametrize(
    ("text", "problems"),
    [
        ("a==1\nb>=2\n", ['l.lock:2 environment.lock: "b>=2" leaves the version open; lock with `uv pip compile`, or list it under `packages`']),
        ("a\nb==1.*\n", [
            'l.lock:1 environment.lock: "a" leaves the version open; lock with `uv pip compile`, or list it under `packages`',
            'l.lock:2 environment.lock: "b==1.*" leaves the version open; lock with `uv pip compile`, or list it under `packages`',
        ]),
        ("-r other.txt\n", ["l.lock:1 environment.lock: an option that a lock does not have: -r; lock with `uv pip compile`"]),
        ("# nothing\n", ["l.lock environment.lock: the lock names no package"]),
        (None, ['fleet.yaml environment.lock: there is no file "l.lock"; it stands beside fleet.yaml']),
    ],
)  # fmt: skip
def test_a_lock_that_is_none(text, problems):
    files = {} if text is None else {"l.lock": text}
    with pytest.raises(SpecError) as caught:
        resolve_environment(EnvironmentSpec(lock="l.lock"), reader(files))
    assert [str(problem) for problem in caught.value.problems] == problems
