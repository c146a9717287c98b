"""nft itself reads our rules; in a network namespace of its own, so that nothing is changed."""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest

from tests.unit.test_firewall import GOLDEN

RULESETS = sorted(GOLDEN.glob("*.nft"))
EXAMPLE = "# --- example: "


def nft(text: str) -> None:
    """Check the rules, and load them twice, as somebody who has changed them would."""
    path = f"{os.environ['PATH']}:/usr/sbin"
    assert shutil.which("nft", path=path), "the Debian package nftables is needed"
    apart = ["unshare", "--net"] if os.getuid() == 0 else ["unshare", "--net", "--map-root-user"]
    twice = 'rules=$(cat); for option in -c -a -a; do echo "$rules" | nft $option -f -; done'
    done = subprocess.run(
        [*apart, "sh", "-ec", twice],
        input=text,
        capture_output=True,
        text=True,
        env=os.environ | {"PATH": path},
        timeout=60,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("path", RULESETS, ids=[path.name for path in RULESETS])
def test_rules_and_their_example_are_what_nft_reads(path):
    whole = path.read_text()
    rules, _, example = whole.partition(EXAMPLE)
    lines = [line.removeprefix("# ") for line in example.splitlines()[1:]]
    assert "policy drop" in example
    nft(rules)
    nft("\n".join(lines) + "\n")
    nft(whole)
