"""The peers of the fleet of VMs: made where there is a network, ``python -m benchmarks.peers``.

Inside the lab's network nothing can be fetched.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from benchmarks.__main__ import make_environment
from benchmarks.machine import REPOSITORY, Bench
from benchmarks.processes import MeasurementError

__all__ = ["ANSIBLE", "ASYNCSSH", "ansible_playbook", "asyncssh_folder", "make"]

ANSIBLE = "ansible-core==2.19.14"
ASYNCSSH = "asyncssh==2.24.1"
_FOLDER = REPOSITORY / ".cache" / "bench"
_SECONDS = 300


def ansible_playbook() -> Path:
    """Return the command of ansible-core, which has an environment of its own."""
    return _there(_FOLDER / ANSIBLE.replace("==", "-") / "bin" / "ansible-playbook")


def asyncssh_folder() -> Path:
    """Return a folder with asyncssh for the fleet's environment, which does without it."""
    return _there(_FOLDER / ASYNCSSH.replace("==", "-"))


def _there(path: Path) -> Path:
    if not path.exists():
        raise MeasurementError(f"{path.name} is not there: python -m benchmarks.peers")
    return path


def make(interpreter: str) -> None:
    """Install what is not there yet.

    Parameters
    ----------
    interpreter : str
        The fleet environment's, for which asyncssh is installed.
    """
    uv = str(Path(sys.executable).with_name("uv"))
    _FOLDER.mkdir(parents=True, exist_ok=True)
    ansible = _FOLDER / ANSIBLE.replace("==", "-")
    if not (ansible / "bin" / "ansible-playbook").exists():
        # A virtual environment cannot be moved, so a half one is thrown away and made again.
        shutil.rmtree(ansible, ignore_errors=True)
        _call(uv, "venv", "--quiet", "--python", sys.executable, str(ansible))
        _call(uv, "pip", "install", "--quiet", "--python", str(ansible / "bin/python"), ANSIBLE)
    asyncssh = _FOLDER / ASYNCSSH.replace("==", "-")
    if not asyncssh.exists():
        half = asyncssh.with_name(f"{asyncssh.name}.half")
        shutil.rmtree(half, ignore_errors=True)
        words = ("pip", "install", "--quiet", "--python", interpreter, "--target", str(half))
        _call(uv, *words, ASYNCSSH)
        half.rename(asyncssh)


def _call(*argv: str) -> None:
    try:
        subprocess.run(argv, check=True, timeout=_SECONDS)
    except subprocess.SubprocessError as error:
        raise MeasurementError(f"a peer cannot be installed: {error}") from error


def main() -> int:
    """Make the peers for the fleet's environment on this machine; return the exit status."""
    bench = Bench(REPOSITORY / ".cache" / "tests" / "data")
    try:
        bench.find_interpreter()
        if not bench.has_environment:
            make_environment(bench)
        make(bench.python)
    except MeasurementError as error:
        print(f"did not run: {error}", file=sys.stderr)
        return 1
    finally:
        bench.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
