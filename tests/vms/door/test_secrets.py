"""No key and no password of a fleet is seen by anybody who need not see it."""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
from collections.abc import Iterator

from lab import Lab
from lab.host import Host

from dask_fleet.tls.certificates import KEY_FILE
from tests.vms.operator import Operator, all_run
from tests.vms.secure import (
    DEPLOYED,
    DIALS,
    TLS,
    age,
    authority_folder,
    client,
    command_lines,
)

CHANGED = re.sub(r"(planted-\w+)-0", r"\1-1", TLS)
"""Every password is another one."""

PLANTED = "planted-"

SAMPLE = """\
import glob, json, os, time
seen = {"cmdline": set(), "environ": set()}
while not os.path.exists("/run/seen-enough"):
    for kind, found in seen.items():
        for path in glob.glob("/proc/[0-9]*/" + kind):
            try:
                with open(path, "rb") as stream:
                    found.add(stream.read().replace(b"\\0", b" ").decode(errors="replace"))
            except OSError:
                pass
    time.sleep(0.02)
print(json.dumps({kind: "\\n".join(found) for kind, found in seen.items()}))
"""
"""Command lines and environments of all processes of a host, until a file says that it is over."""

ARRIVED = """\
from distributed import Client
def look():
    import os, dask
    return os.environ["S3_SECRET_KEY"], dask.config.get("storage.s3.secret-access-key")
print(*Client(timeout=20).submit(look).result())
"""

EVERYBODY = """\
find /etc /run /tmp /var -xdev -type f -perm -o+r -size -4M \
  ! -path '*/environments/*' ! -path '/var/lib/dpkg/*' -exec cat {} + | tr -d '\\0'
"""
"""Whatever everybody on a host may read."""


def keys(operator: Operator) -> set[str]:
    """Return one line of base64 of every private key: what is wrapped in JSON still has it."""
    marks = {path.read_text().splitlines()[1] for path in authority_folder(operator).rglob("*.key")}
    assert len(marks) >= 7
    assert all(len(mark) == 64 for mark in marks)
    return marks


@contextlib.contextmanager
def watched(hosts: list[Host], said: dict[str, str]) -> Iterator[None]:
    """Write down what all processes of hosts show of themselves while the block runs."""
    for host in hosts:
        host.run(["rm", "-f", "/run/seen-enough"])
    watching = {
        host.name: subprocess.Popen(
            host.command(["python3", "-c", SAMPLE]), stdout=subprocess.PIPE, text=True
        )
        for host in hosts
    }
    try:
        yield
    finally:
        for host in hosts:
            host.run(["touch", "/run/seen-enough"])
        for name, process in watching.items():
            for kind, text in json.loads(process.communicate(timeout=30)[0]).items():
                said[f"{kind} of {name}"] = text


def everything(lab: Lab, operator: Operator) -> dict[str, str]:
    """Change all certificates and passwords, and return what could be seen of it, by place."""
    said: dict[str, str] = {}
    operator.write(CHANGED)
    age(operator, 5)
    with watched(lab.hosts, said):
        for words in ("plan", "plan --diff", "plan --json", "plan --diff --json"):
            said[words] = operator.call(*words.split(), status=2).stdout
        process = operator.begin("up", "--yes", "--json")
        lines: set[str] = set()
        while process.poll() is None:
            lines |= command_lines()
        out, err = process.communicate(timeout=DIALS)
        assert process.returncode == 0, err
        said["up --json"] = out + err
        said["command lines of the operator's machine"] = "\n".join(lines)
    for words in (
        *("status --json", "history", "history --json", "logs -n 10000", "check --json", "env"),
        *("ports --json", "client-config another", "exec -- true"),
    ):
        said[words] = operator.call(*words.split()).stdout
    done = operator.call("doctor", "--json", status=None)
    said["doctor --json"] = done.stdout + done.stderr
    for host in lab.hosts:
        for what, script in {
            "journal": "journalctl --no-pager --output=verbose",
            "what dask-fleet wrote down": "cat /var/lib/dask-fleet/fleets/*.jsonl"
            " /var/lib/dask-fleet/fleets/sst/*.jsonl 2>/dev/null || :",
            "services": "cat /etc/systemd/system/dask-fleet.*",
            "what everybody may read": EVERYBODY,
        }.items():
            done = host.run(script, check=False)
            said[f"{what} of {host.name}"] = done.stdout
    return said


def test_no_key_and_no_password_is_seen_anywhere(lab: Lab, secure: Operator):
    before = keys(secure)
    said = everything(lab, secure)
    assert all_run(secure.rows())
    # Each of these was really looked at.
    assert "variable S3_SECRET_KEY changed" in said["plan"]
    assert "(not shown, another one)" in said["plan --diff"]
    assert "endpoint: eu" in said["plan --diff"]
    assert '"up"' in said["history --json"]
    assert "took over" in said["logs -n 10000"] or "dask-worker" in said["logs -n 10000"]
    for host in lab.hosts:
        assert "dask-fleet" in said[f"cmdline of {host.name}"]
        assert "DASK_FLEET_DIGEST" in said[f"services of {host.name}"]
        assert '"action"' in said[f"what dask-fleet wrote down of {host.name}"]
        assert "WantedBy=multi-user.target" in said[f"what everybody may read of {host.name}"]
        assert "_CMDLINE=" in said[f"journal of {host.name}"]
    for mark in before | keys(secure):
        assert [place for place, text in said.items() if mark in text] == []
    # A variable is in the environment of the process that it is for, which nobody else may read.
    seen = {place: text for place, text in said.items() if not place.startswith("environ of ")}
    assert [place for place, text in seen.items() if PLANTED in text] == []
    arrived = client(lab.scheduler, secure.folder / "bundle", ARRIVED)
    assert arrived == "planted-four-1 planted-one-1"


def test_what_holds_secrets_is_for_the_group_of_the_fleet_alone(lab: Lab, secure: Operator):
    for host in lab.hosts:
        holding = host.run(f"grep -rlE '{PLANTED}|PRIVATE KEY' {DEPLOYED} /etc/systemd").stdout
        paths = holding.split()
        assert {path.rpartition("/")[2] for path in paths} == {
            "dask.yaml",
            KEY_FILE,
            "dask-scheduler.json" if host is lab.scheduler else "dask-workers-default.json",
        }
        modes = host.run(["stat", "-c", "%a %U:%G", *paths]).stdout.splitlines()
        assert set(modes) == {"640 root:dask-fleet"}
