"""The page on fleets of VMs is typed as it stands, on booted hosts with its addresses."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

from lab import Lab

from tests.vms.operator import TOOL, Operator

HISTORY = "/var/lib/dask-fleet/fleets/sst.history.jsonl"

PAGE = (Path(__file__).parents[3] / "docs" / "vms.md").read_text(encoding="utf-8")


def blocks(kind: str) -> list[str]:
    """Return the fenced blocks of a kind, in their order."""
    return re.findall(rf"^```{kind}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def shell(operator: Operator, text: str) -> str:
    """Type a block and return what it printed."""
    path = os.pathsep.join([str(Path(TOOL).parent), operator.environment["PATH"]])
    done = subprocess.run(
        ["bash", "-ec", text],
        cwd=operator.folder,
        env={**operator.environment, "PATH": path},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, f"{text}\nended with {done.returncode}\n{done.stdout}"
    return done.stdout


def test_the_page_on_vms_from_beginning_to_end(lab: Lab, bare: Operator):
    operator = bare
    lab.scheduler.run(["rm", "-f", HISTORY])  # the page's own is to be read
    (declared,) = blocks("yaml")
    operator.write(declared)
    boot = lab.workers[1].boot_id
    said = {}
    lab.home.know_nobody()  # the hosts are as new to the reader as to the page
    try:
        for text in blocks("sh"):
            said[text] = shell(operator, text)
            if "reboot" in text:
                # The page goes on when the reader sees the host again.
                operator.until_all_run(60)
                assert lab.workers[1].boot_id != boot
        known = lab.home.known_hosts.read_text()
    finally:
        lab.home.know(lab.hosts)
    assert all(host.host_key in known for host in lab.hosts)

    def of(part: str) -> str:
        (found,) = [out for text, out in said.items() if part in text]
        return found

    assert "4 workers" in of("dask fleet check")
    assert "workers and nannies register" in of("dask fleet check")
    assert "nothing is wrong" in of("dask fleet doctor --accept-new")
    assert "4 workers registered" in of("dask fleet plan || test $? -eq 2\ndask fleet up --yes")
    assert "nothing to do; 4 workers registered" in of("dask fleet status")
    assert of("dask fleet status").count("running") >= 5
    assert of("xcube.__version__").count("1.14.1") == 4
    assert of("is-enabled").strip() == "enabled"
    (drift,) = [line for line in PAGE.splitlines() if line.startswith("  > start ")]
    assert drift in of("systemctl stop").splitlines()
    assert "restart" not in of("dask fleet history")
    assert of("dask fleet history").count("done") >= 2
    assert "is down; its history stays in dask-scheduler:/var/lib" in of("dask fleet down")
