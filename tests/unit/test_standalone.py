"""What may import what, and how much; import-linter holds the floors."""

from __future__ import annotations

import ast
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "src" / "dask_fleet"
MODULES = sorted(SOURCE.rglob("*.py"))
FOREIGN = sorted([*(SOURCE / "host").rglob("*.py"), *(SOURCE / "demo").rglob("*.py")])


def name_of(path: Path) -> str:
    return str(path.relative_to(SOURCE))


def imported(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            found.add("." * node.level + (node.module or ""))
    return found


@pytest.mark.parametrize("path", FOREIGN, ids=name_of)
def test_what_runs_in_the_fleets_environment_needs_nothing_of_ours(path: Path):
    bad = {name for name in imported(path) if name.partition(".")[0] in ("dask_fleet", "")}
    assert bad == set()


@pytest.mark.parametrize(
    "module",
    ["dask_fleet.cli", "dask_fleet.assembly", "dask_fleet.cli.inspect", "dask_fleet.cli.status"],
)
def test_nothing_heavy_is_imported_on_the_way_to_a_no_op(module: str):
    heavy = ("distributed", "xcube", "rich", "xarray", "numpy", "pandas", "tornado")
    code = f"import sys, {module}; print([n for n in {heavy!r} if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_what_reads_the_answers_of_hosts_is_not_imported_before_they_are_asked():
    later = ("actions", "look", "observed", "planner", "target", "transports.ssh_library", "yaml")
    code = f"""\
import sys, dask_fleet.assembly, dask_fleet.cli.deploy, dask_fleet.runtimes.systemd
import dask_fleet.proxy.system_nginx
print([n for n in {later!r} if n in sys.modules or f"dask_fleet.{{n}}" in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_a_module_has_at_most_400_lines(path: Path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 400


def test_asyncssh_is_imported_from_one_place():
    importing = [name_of(path) for path in MODULES if "asyncssh" in imported(path)]
    assert importing == ["transports/ssh_library.py"]


def test_a_file_is_checked_without_a_search_for_plugins_of_pydantic(tmp_path: Path):
    file = tmp_path / "fleet.yaml"
    file.write_text("name: sst\nhosts: {localhost: {address: 127.0.0.1}}\n")
    code = f"""\
import sys
from pathlib import Path
from dask_fleet.spec import load
print(load(Path({str(file)!r}), {{}}).name)
print([n for n in ("importlib.metadata", "pydantic.plugin._loader") if n in sys.modules])
from pydantic import BaseModel
class Theirs(BaseModel):
    number: int
print("pydantic.plugin._loader" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "sst\n[]\nTrue\n"


def test_the_import_of_asyncssh_looks_only_for_what_is_there():
    assert find_spec("OpenSSL") is None, "asyncssh has a use for cryptography's X.509 then"
    code = """\
import ctypes.util, sys
find = ctypes.util.find_library
from dask_fleet.transports.ssh_library import asyncssh
names = ("cryptography.x509", "asyncssh.crypto.x509")
print([name for name in names if name in sys.modules], ctypes.util.find_library is find)
from asyncssh.crypto import pq
print(find("oqs") is not None or not pq.sntrup_available)
try:
    import asyncssh.crypto.x509
except ImportError as error:
    print(error.name)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[] True\nTrue\nOpenSSL\n"


def test_the_import_of_asyncssh_starts_no_compiler():
    code = """\
import os, sys
path, started = os.environ["PATH"], []
sys.addaudithook(lambda event, args: event == "subprocess.Popen" and started.append(args[0]))
import dask_fleet.transports.ssh_library
print({os.path.basename(os.fsdecode(one)) for one in started} - {"ldconfig"} - {"ld"})
print(os.environ["PATH"] == path)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\nTrue\n"
