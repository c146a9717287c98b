"""nft and ufw themselves read our rules; nothing is changed.

nft loads them in a network namespace of its own; ufw is asked for a dry run.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess

import pytest

from tests.unit.test_firewall import GOLDEN

RULESETS = sorted(GOLDEN.glob("*.nft"))
COMMANDS = sorted(GOLDEN.glob("*.ufw"))
EXAMPLE = "# --- example: "


def nft(text: str) -> None:
    """Check the rules, and load them twice, as somebody who has changed them would."""
    twice = 'rules=$(cat); for option in -c -a -a; do echo "$rules" | nft $option -f -; done'
    done = apart("nft", twice, text)
    assert done.returncode == 0, done.stderr


def ufw(text: str) -> subprocess.CompletedProcess[str]:
    """Type commands, each as a dry run; the first that ufw refuses ends it."""
    return apart("ufw", 'ufw() { command ufw --dry-run "$@"; }; eval "$(cat)"', text)


def apart(program: str, script: str, text: str) -> subprocess.CompletedProcess[str]:
    path = f"{os.environ['PATH']}:/usr/sbin"
    package = {"nft": "nftables"}.get(program, program)
    assert shutil.which(program, path=path), f"the Debian package {package} is needed"
    space = ["unshare", "--net"] if os.getuid() == 0 else ["unshare", "--net", "--map-root-user"]
    return subprocess.run(
        [*space, "sh", "-ec", script],
        input=text,
        capture_output=True,
        text=True,
        env=os.environ | {"PATH": path},
        timeout=120,
    )


@pytest.mark.parametrize("path", RULESETS, ids=[path.name for path in RULESETS])
def test_rules_and_their_example_are_what_nft_reads(path):
    whole = path.read_text()
    rules, _, example = whole.partition(EXAMPLE)
    lines = [line.removeprefix("# ") for line in example.splitlines()[1:]]
    assert "policy drop" in example
    nft(rules)
    nft("\n".join(lines) + "\n")
    nft(whole)


@pytest.mark.parametrize("path", COMMANDS, ids=[path.name for path in COMMANDS])
def test_commands_are_what_ufw_takes_the_optional_ones_too(path):
    lines = [line.removeprefix("# ") for line in path.read_text().splitlines()]
    commands = [line for line in lines if line.startswith("ufw allow ")]
    done = ufw("\n".join(commands) + "\n")
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr
    assert done.stdout.count("Rules updated") >= len(commands)
    for command in commands:
        words = shlex.split(command)
        source, ports = words[words.index("from") + 1], words[words.index("port") + 1]
        rule = f"### tuple ### allow tcp {ports} "
        origin = source if source != "any" else "0.0.0.0/0"
        found = [line for line in done.stdout.splitlines() if line.startswith(rule)]
        assert any(f" {origin} in" in line for line in found), (command, found)


def test_ufw_refuses_what_is_no_rule_and_more_ports_than_we_give_it():
    allow = "ufw allow proto tcp from any to any port"
    fifteen = ",".join(str(9000 + 2 * number) for number in range(15))
    assert ufw(f"{allow} {fifteen} comment x").returncode == 0
    for wrong in (f"{allow} {fifteen},9100", f"{allow} 9010-9012", "ufw allow from nowhere"):
        assert ufw(f"{wrong}\n").returncode != 0
