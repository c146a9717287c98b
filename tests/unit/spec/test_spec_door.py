"""The door in fleet.yaml: its short forms, and what a user reads for each fault of it."""

# ruff: noqa: E501 - cases are data, one to a line

import pytest

from dask_fleet.errors import SpecError
from dask_fleet.spec import parse
from dask_fleet.spec.model_door import DoorSpec

HOSTS = """\
name: x
hosts:
  sch: {address: 10.0.0.1, external: dask.example.org}
  gate: {address: 10.0.0.2}
  box: {address: 10.0.0.3, runtime: compose}
scheduler: {host: sch}
workers: {a: {hosts: [gate], ports: {worker: 8000, nanny: 8001, dashboard: 8002}}}
"""
LOCAL = "name: x\n"

SHORT = [
    ("true", {}),
    ("${YES}", {}),
    ("{tls: false}", {}),
    ("{tls: fleet}", {"tls": {"fleet": True}}),
    ("{tls: '${FLEET}'}", {"tls": {"fleet": True}}),
    ("{login: users}", {"login": {"users": True}}),
    ("{login: none}", {"login": {}}),
    ("{listen: 0443}", {"listen": 443}),
    ("{listen: '[::1]:443'}", {"listen": "[::1]:443"}),
    ("{allow: [10.1.2.3/8]}", {"allow": ["10.0.0.0/8"]}),
]


@pytest.mark.parametrize(("short", "long"), SHORT)
def test_short_forms(short, long):
    door = parse(f"name: x\ndoor: {short}\n", {"YES": "true", "FLEET": "fleet"}).door
    assert door == DoorSpec.model_validate(long)


@pytest.mark.parametrize("none", ["false", "null", "${NO}"])
def test_none_is_none(none):
    assert parse(f"name: x\ndoor: {none}\n", {"NO": "false"}).door is None


# The door, every problem.
CASES = [
    (LOCAL, "7", ['door: 7 is not what is expected here; write true or false, or "key: value" lines under it']),
    (LOCAL, "[a]", ['door: expected a mapping, got a list; write "key: value" lines under it, or leave it out']),
    (LOCAL, "{lissen: 443}", ['door.lissen: unknown key "lissen"; did you mean "listen"?']),
    (LOCAL, "{tls: {sertificate: a, key: b}}", ['door.tls.sertificate: unknown key "sertificate"; did you mean "certificate"?']),
    (LOCAL, "{tls: true}", ['door.tls: true is not what is expected here; write false or fleet, or "key: value" lines under it']),
    (LOCAL, "{tls: {}}", ["door.tls: it is not said where the certificate comes from; write `tls: fleet`, or certificate and key, or acme"]),
    (LOCAL, "{tls: {certificate: a}}", ['door.tls.certificate: "certificate" is there and "key" is missing; add "key: FILE"']),
    (LOCAL, "{tls: {key: a}}", ['door.tls.key: "key" is there and "certificate" is missing; add "certificate: FILE"']),
    (LOCAL, "{tls: {fleet: true, key: a, certificate: b}}", ["door.tls: a certificate comes from one place, and here are fleet and certificate; keep one of them"]),
    (LOCAL, "{login: nobody}", ['door.login: "nobody" is not what is expected here; write none or users, or "key: value" lines under it']),
    (LOCAL, "{login: {users: true, forward_auth: 'http://a/b'}}", ['door.login.forward_auth: people log in with names of the door or somewhere else, not both; keep one of "users" and "forward_auth"']),
    (LOCAL, "{login: {sign_in: 'http://a/b'}}", ['door.login.sign_in: a page to sign in at, and nobody who is asked whether it was done; add "forward_auth: URL", or remove it']),
    (LOCAL, "{login: {forward_auth: 'http://a/b;}'}}", ['door.login.forward_auth: not a URL: "http://a/b;}"; write one such as http://127.0.0.1:4180/oauth2/auth']),
    (LOCAL, "{login: {forward_auth: 'http://me:secret@a/b'}}", ['door.login.forward_auth: "user:password@" in a URL, where others can read it; write one such as http://127.0.0.1:4180/oauth2/auth']),
    (LOCAL, "{listen: 70000}", ["door.listen: not a port, nor an address and a port: 70000; write a port, such as 443, or ADDRESS:PORT"]),
    (LOCAL, "{listen: '::1:80'}", ['door.listen: not an address and a port: "::1:80"; write a port, such as 443, or ADDRESS:PORT']),
    (LOCAL, "{allow: [10.0.0.0/40]}", ['door.allow[0]: neither a network nor an address: "10.0.0.0/40"; write one such as 10.0.0.0/8 or 10.1.2.3']),
    (LOCAL, "{server_name: 'http://a'}", ['door.server_name: a URL where an address is expected: "http://a"; write the IP address or host name alone']),
    (LOCAL, "{listen: 8787}", ['door.listen: port 8787 is wanted twice on host "localhost": by the scheduler\'s dashboard and by the door; let the door listen on another one']),
    (LOCAL, "{tls: {acme: {email: me}}, server_name: a.b}", [
        'door.tls.acme: an ACME server knocks at port 80 of host "localhost", which nginx under supervisor does not have; write `tls: fleet`, or certificate and key',
        'door.tls.acme.email: not an e-mail address: "me"; write one such as ops@example.org',
    ]),
    (HOSTS, "{tls: {acme: {email: a@b.c, server: ca.lan}}, server_name: a.b}", ['door.tls.acme.server: not a URL: "ca.lan"; write one such as http://127.0.0.1:4180/oauth2/auth']),
    (HOSTS, "{tls: {acme: {}}}", ['door.tls.acme.email: "email" is missing; add "email: ..."']),
    (HOSTS, "{host: gate, tls: {acme: {email: a@b.c}}}", ['door.tls.acme: an ACME server certifies names, and the door has an address only; write "server_name: NAME", a name that leads to the door']),
    (HOSTS, "{tls: {acme: {email: a@b.c}}, server_name: 10.1.1.1}", ['door.server_name: an ACME server certifies names, and the door has an address only; write "server_name: NAME", a name that leads to the door']),
    (HOSTS, "{tls: {acme: {email: a@b.c}}, listen: 80}", ["door.listen: port 80 is where the ACME server knocks, without TLS; write another one, such as 443"]),
    (HOSTS, "{host: gat}", ['door.host: unknown host "gat"; did you mean "gate"?']),
    (HOSTS, "{host: gate, listen: 8002}", ['workers.a.ports.dashboard: port 8002 is wanted twice on host "gate": by the door and by the dashboard of worker 1 of group "a"; use other ports']),
    (HOSTS, "{host: gat, tls: {key: a}, login: {sign_in: x}, listen: a, zzz: 1}", [
        'door.host: unknown host "gat"; did you mean "gate"?',
        'door.tls.key: "key" is there and "certificate" is missing; add "certificate: FILE"',
        'door.login.sign_in: not a URL: "x"; write one such as http://127.0.0.1:4180/oauth2/auth',
        'door.listen: not a port, nor an address and a port: "a"; write a port, such as 443, or ADDRESS:PORT',
        'door.zzz: unknown key "zzz"; known keys are host, listen, server_name, tls, login, allow, frames',
    ]),
]  # fmt: skip


@pytest.mark.parametrize(("base", "door", "expected"), CASES)
def test_every_fault_is_said_at_once(base, door, expected):
    with pytest.raises(SpecError) as caught:
        parse(f"{base}door: {door}\n", {})
    found = [str(problem).partition(" ")[2] for problem in caught.value.problems]
    assert sorted(found) == sorted(expected)


def test_faults_have_their_lines():
    text = "name: x\ndoor:\n  tls:\n    key: a\n  login: nobody\n  listen: 0\n"
    with pytest.raises(SpecError) as caught:
        parse(text, {})
    assert [(p.place, p.key) for p in caught.value.problems] == [
        ("fleet.yaml:4", "door.tls.key"),
        ("fleet.yaml:5", "door.login"),
        ("fleet.yaml:6", "door.listen"),
    ]
