"""Keep one host on: start nspawn or QEMU, and start it again when the host reboots.

This file is run by itself, ``python keeper.py PLAN.json``, in the lab's network namespace, so that
hosts outlive the command that booted them. It imports nothing of the lab.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

__all__ = ["keep"]

_REBOOT = 133  # nspawn's exit status when the host asked for a reboot and --keep-unit is given
_BOOTS = 1000


def _write(path: Path, pid: int) -> None:
    stat = Path(f"/proc/{pid}/stat").read_text()
    ticks = int(stat.rpartition(")")[2].split()[19])
    temporary = path.with_suffix(".new")
    temporary.write_text(json.dumps({"pid": pid, "ticks": ticks}))
    temporary.replace(path)


def keep(plan_file: Path) -> int:
    """Boot the host of a plan until it powers off; return the last exit status of its machine.

    Parameters
    ----------
    plan_file
        JSON with `argv`, `environment`, `cgroups`, and the files `keeper`, `machine`, `console`.
    """
    plan = json.loads(plan_file.read_text())
    _write(Path(plan["keeper"]), os.getpid())

    def enter_cgroups() -> None:
        # A host with the groups of another one comes up degraded. "0" is the writer itself.
        for folder in plan["cgroups"]:
            Path(folder, "cgroup.procs").write_text("0")

    status = 0
    with Path(plan["console"]).open("a") as console:
        for _ in range(_BOOTS):
            machine = subprocess.Popen(
                plan["argv"],
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
                env={**os.environ, **plan["environment"]},
                preexec_fn=enter_cgroups,  # one thread only
            )
            _write(Path(plan["machine"]), machine.pid)
            status = machine.wait()
            console.write(f"lab: it ended with {status}\n")
            console.flush()
            if status != _REBOOT:
                break
    return status


if __name__ == "__main__":
    sys.exit(keep(Path(sys.argv[1])))
