"""The ways to hosts: keys, users, ports, jump hosts, agents, and servers that are silent."""

from __future__ import annotations

import re
import subprocess
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from lab import Host, Lab
from lab.home import make_key
from lab.machine import wait_for

from tests.vms.operator import FLEET, RIGHT, WORKERS, Operator, all_run, eventually
from tests.vms.person import Person, person

if TYPE_CHECKING:
    from collections.abc import Iterator

UNIT = "dask-fleet.sst.dask-workers-default.service"
SUDO = "ssh: {sudo: true}"
PORT = 2222
SILENCE = 2
"""Seconds after which the operator of these tests gives up a host; see ConnectTimeout."""


@pytest.fixture
def me(fleet: Operator, tmp_path: Path) -> Person:
    """Somebody who knows the hosts of a fleet that is up, with a home of his own."""
    one = person(fleet.lab, tmp_path)
    one.home.know(fleet.lab.hosts)
    return one


@pytest.fixture
def other_port(lab: Lab) -> Iterator[Host]:
    """A host with a second SSH server, on another port."""
    host = lab.workers[1]
    host.run(["systemd-run", "--unit=lab-sshd", "/usr/sbin/sshd", "-D", "-p", str(PORT)])
    try:
        listening = ["ss", "-Hltn", f"sport = :{PORT}"]
        wait_for("the second sshd", lambda: host.run(listening).stdout, 10)
        yield host
    finally:
        host.run(["systemctl", "stop", "lab-sshd"], check=False)  # a test may have done so


@pytest.fixture
def guest(lab: Lab) -> Iterator[Host]:
    """A host with a user `guest` who may log in and no more."""
    host = lab.workers[1]
    home = "/home/guest"
    host.run(
        f"useradd --create-home --shell /bin/sh guest; install -d -m 700 -o guest {home}/.ssh;"
        f" install -m 600 -o guest /root/.ssh/authorized_keys {home}/.ssh/authorized_keys"
    )
    try:
        yield host
    finally:
        host.run("rm -f /etc/sudoers.d/guest; pkill -KILL -u guest || true; userdel -r -f guest")


@contextmanager
def hidden(hosts: list[Host]) -> Iterator[None]:
    """Let the operator not reach these hosts."""
    for host in hosts:
        host.hide_from_operator()
    try:
        yield
    finally:
        for host in hosts:
            host.show_to_operator()


def fingerprint(lab: Lab, host: Host) -> str:
    key = host.upper / "etc/ssh/ssh_host_ed25519_key.pub"
    return lab.call(["ssh-keygen", "-lf", str(key)]).stdout.split()[1]


def type_in(one: Person, line: str) -> None:
    """Run a line in a shell, as somebody who copies it from a message."""
    done = subprocess.run(
        line,
        shell=True,
        cwd=one.folder,
        env=one.environment,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def logins(host: Host, since: str) -> list[str]:
    """Return who has logged in to a host by SSH since a cursor of its journal, with from where."""
    host.run(["journalctl", "--sync"])
    text = host.run(["journalctl", "-o", "cat", "-t", "sshd", "--after-cursor", since]).stdout
    return re.findall(r"Accepted publickey for (\S+ from \S+)", text)


def cursor(host: Host) -> str:
    host.run(["journalctl", "--sync"])
    text = host.run(["journalctl", "-n", "1", "--show-cursor", "-o", "cat"]).stdout
    return text.rpartition("-- cursor: ")[2].strip()


def at_rest(me: Person) -> bool:
    """Return whether a plan changes nothing."""
    return me.plan()["empty"]


def of_worker(number: int, ssh: str) -> str:
    """Return the fleet of the lab, with another way to one worker host."""
    rest = [n for n in range(1, 5) if n != number]
    names = ",".join(f"{n:04d}" for n in rest)
    ends = ",".join(str(11 + n) for n in rest)
    own = (
        f"  dask-worker-{number:04d}: {{address: 10.77.0.{11 + number}, memory: 4 GiB, ssh: {ssh}}}"
    )
    return (
        FLEET.replace('"dask-worker-[0001-0004]":', f'"dask-worker-[{names}]":', 1)
        .replace("10.77.0.[12-15]", f"10.77.0.[{ends}]")
        .replace("scheduler: {host", f"{own}\nscheduler: {{host")
    )


# -- host keys ---------------------------------------------------------------------------------


def test_an_unknown_host_key_is_refused_and_the_remedy_in_the_message_mends_it(
    lab: Lab, me: Person
):
    me.home.know_nobody()
    said = me.call("plan", status=4).stderr
    for host in lab.hosts:
        assert (
            f"{host.name}: the host key of {host.address} is not known: "
            f"ssh-ed25519 {fingerprint(lab, host)}" in said
        )
    commands = re.findall(r"or: (ssh-keyscan .*)", said)
    assert len(commands) == len(lab.hosts)
    for command in commands:
        type_in(me, command)
    assert at_rest(me)


def test_a_changed_host_key_is_refused_also_with_accept_new(lab: Lab, me: Person):
    host = lab.workers[1]
    me.home.know_wrongly([host])
    wrong = me.home.known_hosts.read_text()
    me.home.know([one for one in lab.hosts if one is not host])
    me.home.known_hosts.write_text(me.home.known_hosts.read_text() + wrong)
    for more in ((), ("--accept-new",)):
        said = me.call("plan", *more, status=4).stderr
        assert f"{host.name}: the host key of {host.address} is not the one in" in said
        assert f"it is now {fingerprint(lab, host)}" in said
        assert said.count("host key of") == 1
        assert wrong in me.home.known_hosts.read_text()
    found = re.search(r"only if it was made anew: (ssh-keygen .*)", said)
    assert found
    type_in(me, found[1])
    assert "is not known" in me.call("plan", status=4).stderr
    me.call("plan", "--accept-new")
    assert at_rest(me)


def test_accept_new_at_first_contact_is_remembered(lab: Lab, me: Person):
    me.home.know_nobody()
    me.call("up", "--accept-new", "--yes")
    known = me.home.known_hosts.read_text()
    assert all(f"{host.address} {host.host_key}" in known for host in lab.hosts)
    assert at_rest(me)
    assert me.call("ssh", "dask-worker-0003", "--", "hostname").stdout == "dask-worker-0003\n"


# -- jump hosts --------------------------------------------------------------------------------


def test_worker_hosts_behind_the_scheduler_host(lab: Lab, me: Person):
    me.write(
        FLEET.replace(
            f"    {SUDO}\n    memory", "    ssh: {sudo: true, jump: dask-scheduler}\n    memory"
        )
    )
    with hidden(lab.workers):
        me.call("down", "--yes")
        assert "4 workers registered" in me.call("up", "--yes").stdout
        assert at_rest(me)
        assert me.compute() == RIGHT
        lines = me.call("logs", "-n", "50").stdout.splitlines()
        assert {line.split(" | ")[0] for line in lines} >= {"dask-scheduler", *WORKERS}
        lines = me.call("exec", "--hosts", "dask-worker-*", "--", "hostname").stdout.splitlines()
        assert sorted(lines) == [f"{name} | {name}" for name in WORKERS]
        assert me.call("ssh", "dask-worker-0003", "--", "hostname").stdout == "dask-worker-0003\n"
        marks = {host.name: cursor(host) for host in lab.hosts}
        assert all_run(me.rows())
        assert logins(lab.scheduler, marks["dask-scheduler"]) == ["operator from 10.77.0.1"]
        for host in lab.workers:
            assert logins(host, marks[host.name]) == ["operator from 10.77.0.11"]


def test_an_unknown_key_behind_a_jump_host_has_a_remedy_that_works_from_there(lab: Lab, me: Person):
    me.write(of_worker(2, "{sudo: true, jump: dask-scheduler}"))
    host = lab.workers[1]
    me.home.know([one for one in lab.hosts if one is not host])
    with hidden([host]):
        said = me.call("plan", status=4).stderr
        assert f"the host key of {host.address} is not known" in said
        assert fingerprint(lab, host) in said
        # It is not to be had from here.
        assert "ssh-keyscan" not in said
        assert "dask fleet up --accept-new" in said
        me.call("up", "--accept-new", "--yes")
        assert at_rest(me)


def test_a_jump_host_that_is_down_is_named(lab: Lab, me: Person):
    me.write(of_worker(2, "{sudo: true, jump: 10.77.0.15}"))
    lab.workers[3].stop_sshd()
    try:
        said = me.call("exec", "--hosts", "dask-worker-0002", "--", "true", status=4).stderr
        assert "dask-worker-0002: not reached through 10.77.0.15" in said
        assert "see whether sshd runs there" in said
    finally:
        lab.workers[3].start_sshd()


# -- who logs in, where and with what ----------------------------------------------------------


def test_the_configuration_of_ssh_is_honoured(lab: Lab, me: Person, other_port: Host):
    key = me.home.path / "another-key"
    make_key(key, "another")
    keys = "/root/.ssh/authorized_keys"
    before = other_port.run(["cat", keys]).stdout
    me.write(of_worker(2, "{}"))
    me.add_to_config(
        f"Host {other_port.name}",
        f"  HostName {other_port.address}",
        f"  Port {PORT}",
        "  User root",
        f"  IdentityFile {key}",
        "  ProxyJump dask-scheduler",
    )
    with hidden([other_port]):
        try:
            other_port.run(f"cat > {keys}", text=key.with_suffix(".pub").read_text())
            mark = cursor(other_port)
            done = me.call("exec", "--hosts", other_port.name, "--", "id", "-un")
            assert done.stdout == f"{other_port.name} | root\n"
            assert logins(other_port, mark) == ["root from 10.77.0.11"]
            assert at_rest(me)
            assert me.call("ssh", other_port.name, "--", "id", "-un").stdout == "root\n"
        finally:
            other_port.run(f"cat > {keys}", text=before)


def test_sshd_on_another_port_only(lab: Lab, me: Person, other_port: Host):
    me.write(of_worker(2, f"{{sudo: true, port: {PORT}}}"))
    other_port.stop_sshd()
    try:
        # It goes with the first server, and the second one needs it too.
        other_port.run("mkdir -p /run/sshd")
        other_port.run(["systemctl", "stop", UNIT])
        me.call("up", "--yes")
        assert at_rest(me)
        assert all_run(me.rows())
        assert me.call("ssh", other_port.name, "--", "hostname").stdout == f"{other_port.name}\n"
        other_port.run(["systemctl", "stop", "lab-sshd"])
        said = me.call("plan", status=4).stderr
        assert f"{other_port.name}: {other_port.address} port {PORT} refused" in said
    finally:
        other_port.start_sshd()


def test_root_needs_no_sudo(lab: Lab, me: Person):
    me.write(FLEET.replace(SUDO, "ssh: {user: root}"))
    lab.each(lambda host: host.run("mv /usr/bin/sudo /usr/bin/sudo.away"))
    try:
        lab.workers[0].run(["systemctl", "stop", UNIT])
        me.call("up", "--yes")
        assert at_rest(me)
        lines = me.call("exec", "--", "id", "-un").stdout.splitlines()
        assert {line.split("|")[1].strip() for line in lines} == {"root"}
        # Asking for sudo where it is not needed does no harm, even where there is none.
        me.write(FLEET.replace(SUDO, "ssh: {user: root, sudo: true}"))
        assert at_rest(me)
    finally:
        lab.each(lambda host: host.run("mv /usr/bin/sudo.away /usr/bin/sudo"))


def test_a_user_without_the_right_to_sudo(lab: Lab, me: Person, guest: Host):
    guest.run(["systemctl", "stop", UNIT])
    me.write(of_worker(2, "{user: guest, sudo: true}"))
    said = me.call("up", "--yes", status=4).stderr
    assert f"{guest.name}: sudo ran nothing for guest: sudo: a password is required" in said
    found = re.search(r"`visudo` on dask-worker-0002: `(.*?)`", said)
    assert found
    assert guest.run(["systemctl", "is-active", UNIT], check=False).stdout == "inactive\n"
    rights = "/etc/sudoers.d/guest"
    guest.run(f"cat > {rights}; chmod 440 {rights}; visudo -cq", text=f"{found[1]}\n")
    me.call("up", "--yes")
    assert at_rest(me)


def test_a_user_who_does_not_even_ask_for_root(lab: Lab, me: Person, guest: Host):
    guest.run(["systemctl", "stop", UNIT])
    me.write(of_worker(2, "{user: guest}"))
    said = me.call("up", "--yes", status=None)
    assert said.returncode not in (0, 2)
    assert f"{guest.name}: units under systemd need root" in said.stderr
    assert "`ssh: {sudo: true}`" in said.stderr
    assert guest.run(["systemctl", "is-active", UNIT], check=False).stdout == "inactive\n"


def test_an_agent_holds_the_key(lab: Lab, me: Person):
    socket = me.home.path / "agent"
    me.variables = {**me.variables, "SSH_AUTH_SOCK": str(socket)}
    agent = subprocess.Popen(["ssh-agent", "-D", "-a", str(socket)], stdout=subprocess.DEVNULL)
    try:
        wait_for("the agent", socket.exists, 10)
        me.home.key.unlink()
        me.home.key.with_suffix(".pub").unlink(missing_ok=True)
        me.configure("Host *", "  User operator")
        said = me.call("exec", "--", "hostname", status=4).stderr
        assert "10.77.0.12 let operator not in; tried no key file and the agent's keys" in said
        type_in(me, f"ssh-add -q {lab.home.key}")
        lines = me.call("exec", "--", "hostname").stdout.splitlines()
        assert sorted(line.split(" | ")[1] for line in lines) == [host.name for host in lab.hosts]
        assert me.call("ssh", "dask-worker-0003", "--", "hostname").stdout == "dask-worker-0003\n"
    finally:
        agent.terminate()
        agent.wait(timeout=10)


# -- silence -----------------------------------------------------------------------------------


@contextmanager
def silent(host: Host) -> Iterator[None]:
    """Make a host's SSH server silent: the kernel goes on accepting for it."""
    host.run(["systemctl", "kill", "--kill-whom=main", "--signal=STOP", "ssh.service"])
    try:
        yield
    finally:
        host.run(["systemctl", "kill", "--kill-whom=main", "--signal=CONT", "ssh.service"])
        wait_for(f"SSH to {host.name}", lambda: host.answers, 10)


def test_a_silent_host_is_given_up_and_does_not_hold_up_the_others(lab: Lab, me: Person):
    host = lab.workers[2]
    others = [name for name in WORKERS if name != host.name]
    me.add_to_config("Host *", f"  ConnectTimeout {SILENCE}")
    for other in lab.workers:
        if other is not host:
            other.run(["systemctl", "stop", UNIT])
    with silent(host):
        said = me.call("up", "--yes", status=4).stderr
        assert f"{host.name}: {host.address} port 22 did not answer within {SILENCE} s" in said
        assert said.count("did not answer") == 1
        states = me.states()
        assert states.pop(host.name) == "unreachable"
        assert {states[name] for name in others} == {"running"}
    assert at_rest(me)


def test_a_connection_that_dies_during_a_command_ends_it(lab: Lab, me: Person):
    host = lab.workers[2]
    nap = "86399"
    process = me.begin("exec", "--", "sleep", nap)
    napping = ["pgrep", "-f", f"^sleep {nap}"]
    try:
        eventually(
            "it runs everywhere",
            lambda: all(not one.run(napping, check=False).returncode for one in lab.hosts),
            30,
        )
        for one in lab.hosts:
            if one is not host:
                one.run(["pkill", "-f", f"^sleep {nap}"])
        host.cut()
        out, err = process.communicate(timeout=60)
        assert process.returncode == 4, out + err
        assert f"{host.name}: the connection was lost while `env PATH=" in err
        assert "see whether the machine is up" in err
    finally:
        process.kill()
        process.communicate()
        host.heal()
        lab.each(lambda one: one.run(["pkill", "-f", f"^sleep {nap}"], check=False))
    me.until_all_run(90)
    assert at_rest(me)
