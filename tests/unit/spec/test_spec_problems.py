"""What a user reads for each fault of a fleet.yaml: place, key, fault and remedy."""

# ruff: noqa: E501 - cases are data, one to a line

import pytest

from dask_fleet.errors import SpecError
from dask_fleet.spec import parse

HOSTS = """\
name: x
hosts:
  sch: {address: 10.0.0.1}
  vm-[1-4]: {address: "10.0.0.[11-14]", memory: 8 GiB}
scheduler: {host: sch}
"""

LOCAL = "name: x\n"


def problems(text, environ=None, **more):
    with pytest.raises(SpecError) as caught:
        parse(text, environ or {}, **more)
    return [str(problem) for problem in caught.value.problems]


# Title, text, every problem in the order of the file.
CASES = [
    (
        "empty file",
        "",
        ["fleet.yaml: the file is empty; `dask fleet init` writes one to begin with"],
    ),
    (
        "only comments",
        "# x\n",
        ["fleet.yaml: the file is empty; `dask fleet init` writes one to begin with"],
    ),
    ("a list", "- a\n", ['fleet.yaml:1: expected a mapping, got a list; begin with "name: ..."']),
    ("a word", "abc\n", ['fleet.yaml:1: expected a mapping, got "abc"; begin with "name: ..."']),
    # YAML
    (
        "unclosed quote",
        "name: x\nvariables: {A: 'b}\n",
        ["fleet.yaml:3: not valid YAML, column 1: found unexpected end of stream"],
    ),
    (
        "tab",
        "name: x\nscheduler:\n\thost: a\n",
        ["fleet.yaml:3: not valid YAML, column 1: a tab in the indentation; indent with spaces"],
    ),
    (
        "two documents",
        "name: x\n---\nname: y\n",
        [
            "fleet.yaml:2: not valid YAML, column 1: more than one YAML document; keep one fleet in a file"
        ],
    ),
    (
        "bare variable in braces",
        "name: x\nscheduler: {port: ${PORT}}\n",
        [
            "fleet.yaml:2: not valid YAML, column 20: did not find expected ',' or '}'; "
            "within { } and [ ] write ranges and variables in quotes"
        ],
    ),
    (
        "bare range in braces",
        "name: x\nhosts:\n  vm-[1-2]: {address: 10.0.0.[1-2]}\n",
        [
            "fleet.yaml:3: not valid YAML, column 30: did not find expected ',' or '}'; "
            "within { } and [ ] write ranges and variables in quotes"
        ],
    ),
    (
        "control character",
        "name: x\nruntime: a\x01\n",
        ["fleet.yaml:2: not valid YAML, column 11: control characters are not allowed"],
    ),
    (
        "undefined alias",
        "name: *a\n",
        ["fleet.yaml:1: not valid YAML, column 7: found undefined alias"],
    ),
    (
        "unknown tag",
        "name: !secret x\n",
        ['fleet.yaml:1 name: unknown tag "!secret"; leave the tag out'],
    ),
    (
        "anchor in itself",
        "name: x\nconfig: &a {b: *a}\n",
        ["fleet.yaml:2 config.b: an anchor that contains itself; write it out"],
    ),
    (
        "duplicate keys at any depth",
        "name: x\nscheduler:\n  port: 1000\n  dashboard: 1001\n  port: 1002\nname: y\n",
        [
            'fleet.yaml:5 scheduler.port: duplicate key "port", first on line 3; remove one of them',
            'fleet.yaml:6 name: duplicate key "name", first on line 1; remove one of them',
        ],
    ),
    (
        "a key that is a list",
        "name: x\nvariables:\n  [a]: b\n",
        ['fleet.yaml:3 variables: a key that is not text; write it in quotes: "..."'],
    ),
    (
        "merge of a scalar",
        "name: x\nscheduler:\n  <<: 5\n",
        ['fleet.yaml:3 scheduler["<<"]: << merges mappings only; give it an anchor\'s alias'],
    ),
    # Shape
    ("no name", "runtime: supervisor\n", ['fleet.yaml:1 name: "name" is missing; add "name: ..."']),
    (
        "unknown key, near",
        "name: x\nworker: {}\n",
        ['fleet.yaml:2 worker: unknown key "worker"; did you mean "workers"?'],
    ),
    (
        "unknown key, far",
        "name: x\nscheduler:\n  port: 8786\n  zzz: 1\n",
        ['fleet.yaml:4 scheduler.zzz: unknown key "zzz"; known keys are host, port, dashboard'],
    ),
    (
        "values that may be secret",
        "name: x\nvariables: {S3_SECRET_KEY: 4711, API_TOKEN: [4711], PORT: 4711}\n",
        [
            "fleet.yaml:2 variables.S3_SECRET_KEY: expected text, got what is not shown; write it in quotes",
            "fleet.yaml:2 variables.API_TOKEN: expected text, got a list; write it in quotes",
            "fleet.yaml:2 variables.PORT: expected text, got 4711; write it in quotes",
        ],
    ),
    (
        "wrong types",
        'name: x\nscheduler: {port: "abc", dashboard: 1.5}\nvariables: {A: 1, B: yes}\nenvironment: {python: 3.10}\n'
        "hosts: {a: {address: 127.0.0.1, cpus: true}}\nworkers: [a]\nconfig: 1\n",
        [
            'fleet.yaml:2 scheduler.port: expected a whole number, got "abc"',
            "fleet.yaml:2 scheduler.dashboard: expected a whole number, got 1.5",
            "fleet.yaml:3 variables.A: expected text, got 1; write it in quotes",
            "fleet.yaml:3 variables.B: expected text, got yes; write it in quotes",
            "fleet.yaml:4 environment.python: expected text, got 3.10; write it in quotes",
            "fleet.yaml:5 hosts.a.cpus: expected a whole number, got true",
            'fleet.yaml:6 workers: expected a mapping, got a list; write "key: value" lines under it, or leave it out',
            'fleet.yaml:7 config: expected a mapping, got 1; write "key: value" lines under it, or leave it out',
        ],
    ),
    (
        "empty section",
        "name: x\nworkers:\nscheduler:\n",
        [
            'fleet.yaml:2 workers: expected a mapping, got nothing; write "key: value" lines under it, or leave it out',
            'fleet.yaml:3 scheduler: expected a mapping, got nothing; write "key: value" lines under it, or leave it out',
        ],
    ),
    (
        "out of bounds",
        "name: x\nscheduler: {port: 0, dashboard: 65536}\nworkers: {a: {per_host: 0, nthreads: 0, first: -1}}\n",
        [
            "fleet.yaml:2 scheduler.port: expected 1 or more, got 0",
            "fleet.yaml:2 scheduler.dashboard: expected 65535 or less, got 65536",
            "fleet.yaml:3 workers.a.per_host: expected 1 or more, got 0",
            'fleet.yaml:3 workers.a.nthreads: threads are 1 to 1024: 0; write a whole number or "auto"',
            "fleet.yaml:3 workers.a.first: expected 0 or more, got -1",
        ],
    ),
    (
        "one of several words",
        "name: x\nruntime: docker\nworkers: {a: {ports: {per: hosts}}}\n",
        [
            'fleet.yaml:2 runtime: expected "supervisor", "systemd" or "compose", got "docker"',
            'fleet.yaml:3 workers.a.ports.per: expected "host" or "group", got "hosts"',
        ],
    ),
    (
        "names",
        f"name: Fleet_1\nworkers:\n  {'a' * 41}: {{prefix: 1a}}\nvariables: {{1A: b}}\n",
        [
            'fleet.yaml:1 name: the name of the fleet has characters that it may not have: "Fleet_1"; '
            "use small letters, digits and hyphens, beginning with a letter",
            f'fleet.yaml:3 workers.{"a" * 41}: the name of the group is longer than 40 characters: "{"a" * 41}"; shorten it',
            f'fleet.yaml:3 workers.{"a" * 41}.prefix: the prefix has characters that it may not have: "1a"; '
            "use small letters, digits and hyphens, beginning with a letter",
            'fleet.yaml:4 variables.1A: not a name for an environment variable: "1A"; use letters, digits and _',
        ],
    ),
    (
        "sizes",
        HOSTS
        + "workers:\n  a: {hosts: [vm-1], prefix: a, memory_limit: 4}\n  b: {hosts: [vm-2], prefix: b, memory_limit: 4 XB}\n"
        "  c: {hosts: [vm-3], prefix: c, memory_limit: [1]}\n  d: {hosts: [vm-4], prefix: d, memory_limit: lots}\n",
        [
            "fleet.yaml:7 workers.a.memory_limit: a size below 1 MiB: 4; write a number with its unit, such as 4 GiB",
            'fleet.yaml:8 workers.b.memory_limit: "XB" is not a unit of memory; write a number and a unit, such as 4 GiB or 500 MB',
            "fleet.yaml:9 workers.c.memory_limit: a list is not what is expected here; write a size with its unit, such as 4 GiB",
            'fleet.yaml:10 workers.d.memory_limit: not a size: "lots"; write a number and a unit, such as 4 GiB or 500 MB',
        ],
    ),
    (
        "negative resources",
        "name: x\nworkers: {a: {resources: {GPU: -1, X: many, Y: .inf}}}\n",
        [
            "fleet.yaml:2 workers.a.resources.GPU: an amount below 0: -1; write 0 or more",
            'fleet.yaml:2 workers.a.resources.X: "many" is not what is expected here; write a number',
            "fleet.yaml:2 workers.a.resources.Y: an amount that is not finite: .inf; write a number",
        ],
    ),
    (
        "port range",
        "name: x\nport_range: 9100-9000\n",
        [
            'fleet.yaml:2 port_range: the range of ports runs backwards: "9100-9000"; write first and last port, such as 9000-9100'
        ],
    ),
    (
        "directories",
        "name: x\ndirectories: {work: data, logs: $HOME/logs}\n",
        [
            'fleet.yaml:2 directories.work: a directory that is not absolute: "data"; begin it with / or ~/: it is on every host',
            'fleet.yaml:2 directories.logs: a directory that is not absolute: "$HOME/logs"; begin it with / or ~/: it is on every host',
        ],
    ),
    (
        "line break in a variable",
        'name: x\nvariables: {A: "b\\nc"}\n',
        [
            'fleet.yaml:2 variables.A: text with a line break or control character: "b\\nc"; write it on one line'
        ],
    ),
    # Environment
    (
        "two kinds of environment",
        "name: x\nenvironment:\n  lock: a.lock\n  packages: [dask]\n",
        [
            'fleet.yaml:4 environment.packages: an environment has either "lock" or "packages"; keep one of them'
        ],
    ),
    (
        "unknown environment",
        "name: x\nenvironment: {name: xcub}\n",
        [
            'fleet.yaml:2 environment.name: unknown environment: "xcub"; "xcube" comes with dask-fleet; '
            'for others write "lock" or "packages"'
        ],
    ),
    (
        "no packages",
        "name: x\nenvironment: {packages: []}\n",
        [
            "fleet.yaml:2 environment.packages: the list is empty; name at least one, or leave it out"
        ],
    ),
    # Hosts
    (
        "no hosts",
        "name: x\nhosts: {}\n",
        ["fleet.yaml:2 hosts: there is no host; name one, or leave the section out"],
    ),
    (
        "no address",
        "name: x\nhosts:\n  a:\n    memory: 8 GiB\n",
        ['fleet.yaml:3 hosts.a.address: "address" is missing; add "address: ..."'],
    ),
    (
        "bad addresses",
        "name: x\nhosts:\n  a: {address: 10.0.0.256}\n  b: {address: tcp://b}\n  c: {address: '[::1]'}\n"
        "  d: {address: 'fe80::zz'}\n  e: {address: e, listen: '10.0.0.[1-2]'}\n  f: {address: 10.0.1}\nscheduler: {host: a}\n",
        [
            'fleet.yaml:3 hosts.a.address: neither an IP address nor a host name: "10.0.0.256"; write one such as 192.168.1.11',
            'fleet.yaml:4 hosts.b.address: a URL where an address is expected: "tcp://b"; write the IP address or host name alone',
            'fleet.yaml:5 hosts.c.address: an IPv6 address in brackets: "[::1]"; write ::1',
            'fleet.yaml:6 hosts.d.address: neither an IP address nor a host name: "fe80::zz"; write one such as 192.168.1.11',
            'fleet.yaml:7 hosts.e.listen: a range where one address is expected: "10.0.0.[1-2]"; write one address',
            'fleet.yaml:8 hosts.f.address: neither an IP address nor a host name: "10.0.1"; write one such as 192.168.1.11',
        ],
    ),
    (
        "bad ranges",
        "name: x\nhosts:\n  a-[4-1]: {address: 10.0.0.1}\n  b-[01-100]: {address: 10.0.0.1}\n  c-[1-200000]: {address: 10.0.0.1}\n"
        "  d-[x]: {address: 10.0.0.1}\n  e-[1: {address: 10.0.0.1}\n  f-[1-2,2]: {address: 10.0.0.1}\nscheduler: {host: a-1}\nworkers: {a: {hosts: [b-3, g-1]}}\n",
        [
            'fleet.yaml:3 hosts["a-[4-1]"]: the range "4-1" runs backwards: "a-[4-1]"; write 1-4',
            'fleet.yaml:4 hosts["b-[01-100]"]: the ends of the range "01-100" differ in width: "b-[01-100]"; write 001-100',
            'fleet.yaml:5 hosts["c-[1-200000]"]: the range stands for more than 100,000 names: "c-[1-200000]"; write a smaller range',
            'fleet.yaml:6 hosts["d-[x]"]: "[x]" is not a range; write numbers and spans of numbers, as in [1-4,7]',
            'fleet.yaml:7 hosts["e-[1"]: "e-[1" has an unmatched bracket; write a range as [1-4]',
            'fleet.yaml:8 hosts["f-[1-2,2]"]: the range "[1-2,2]" has a number twice: "f-[1-2,2]"; write each number once',
            'fleet.yaml:10 workers.a.hosts[1]: unknown host "g-1"; add it under "hosts"',
        ],
    ),
    (
        "ranges of different length",
        'name: x\nhosts:\n  s: {address: 10.0.0.1}\n  a-[1-4]: {address: "10.0.0.[1-3]"}\n  b-[1-2]: {address: 10.0.1.1}\n'
        '  c-[1-2]: {address: "10.0.2.[1-2]", external: "10.0.3.[1-3]"}\nscheduler: {host: s}\n',
        [
            'fleet.yaml:4 hosts["a-[1-4]"].address: the name stands for 4 hosts, the address for 3: "10.0.0.[1-3]"; make the ranges equally long',
            'fleet.yaml:5 hosts["b-[1-2]"].address: the name stands for 2 hosts, the address for one: "10.0.1.1"; write a range, such as 10.0.0.[11-14]',
            'fleet.yaml:6 hosts["c-[1-2]"].external: the name stands for 2 hosts, the address for 3: "10.0.3.[1-3]"; make the ranges equally long',
        ],
    ),
    (
        "one host twice, one address twice",
        'name: x\nhosts:\n  vm-[1-2]: {address: "10.0.0.[1-2]"}\n  vm-2: {address: 10.0.0.3}\n  other: {address: 10.0.0.1}\n'
        "  loop: {address: 127.0.0.1, transport: ssh}\n  here: {address: 127.0.0.1}\nscheduler: {host: vm-1}\n",
        [
            'fleet.yaml:4 hosts.vm-2: host "vm-2" is declared twice, first by "vm-[1-2]"; remove one of them',
            'fleet.yaml:5 hosts.other.address: the address is that of host "vm-1" already: "10.0.0.1"; each host has an address of its own',
            'fleet.yaml:7 hosts.here.address: the address is that of host "loop" already: "127.0.0.1"; each host has an address of its own',
        ],
    ),
    (
        "SSH settings on a local host",
        "name: x\nhosts: {a: {address: 10.0.0.1, transport: local, ssh: {user: u}}}\n",
        [
            "fleet.yaml:2 hosts.a.ssh: SSH settings on a local host; remove them, or say transport: ssh"
        ],
    ),
    (
        "runtime that does not fit",
        "name: x\nhosts:\n  a: {address: 10.0.0.1}\n  b: {address: 10.0.0.2, runtime: supervisor}\nscheduler: {host: a}\nruntime: supervisor\n",
        [
            'fleet.yaml:4 hosts.b.runtime: supervisor is for this machine only, and host "b" is behind SSH; write systemd or compose',
            'fleet.yaml:6 runtime: supervisor is for this machine only, and host "a" is behind SSH; write systemd or compose',
        ],
    ),
    (
        "an interface that cannot be",
        "name: x\nhosts:\n  a: {address: 10.0.0.1, interface: ens3, listen: 0.0.0.0}\n  b: {address: 127.0.0.1, interface: lo}\nscheduler: {host: a}\n",
        [
            "fleet.yaml:3 hosts.a.interface: both `interface` and `listen` say what processes bind; remove one of them",
            "fleet.yaml:4 hosts.b.interface: an interface is looked up on hosts behind SSH only, and this one is local; say `listen: ADDRESS`",
        ],
    ),
    (
        "jumps in a circle",
        "name: x\nhosts:\n  a: {address: 10.0.0.1, ssh: {jump: b}}\n  b: {address: 10.0.0.2, ssh: {jump: a}}\n  c: {address: 10.0.0.3, ssh: {jump: a}}\n"
        "  d: {address: 10.0.0.4, ssh: {jump: d}}\n  e: {address: 10.0.0.5, ssh: {jump: me@gate}}\nscheduler: {host: a}\n",
        [
            'fleet.yaml:3 hosts.a.ssh.jump: host "a" is reached through itself: a -> b -> a; let one of them be reached without a jump',
            'fleet.yaml:6 hosts.d.ssh.jump: host "d" is reached through itself: d -> d; let one of them be reached without a jump',
        ],
    ),
    # Scheduler
    (
        "unknown scheduler host",
        HOSTS.replace("{host: sch}", "{host: shc}"),
        ['fleet.yaml:5 scheduler.host: unknown host "shc"; did you mean "sch"?'],
    ),
    (
        "which host runs the scheduler",
        HOSTS.replace("scheduler: {host: sch}\n", ""),
        [
            'fleet.yaml:1 scheduler.host: it is not said which host runs the scheduler; write "host: sch" or another one'
        ],
    ),
    (
        "scheduler's ports",
        "name: x\nscheduler:\n  port: 8787\n",
        [
            "fleet.yaml:2 scheduler.dashboard: port 8787 is the scheduler's own; give the dashboard another port"
        ],
    ),
    # Workers
    (
        "unknown hosts",
        HOSTS + "workers:\n  a:\n    hosts: [vm-1, vm-02, zzz, 'vm-[3-6]', 'q-[1-2]']\n",
        [
            'fleet.yaml:8 workers.a.hosts[1]: unknown host "vm-02"; did you mean "vm-2"?',
            'fleet.yaml:8 workers.a.hosts[2]: unknown host "zzz"; hosts are "sch", "vm-1", "vm-2", "vm-3", "vm-4"',
            'fleet.yaml:8 workers.a.hosts[3]: unknown host "vm-5" and 1 more of the range; shorten the range or add the hosts',
            'fleet.yaml:8 workers.a.hosts[4]: the range "q-[1-2]" matches no host; hosts are "sch", "vm-1", "vm-2", "vm-3", "vm-4"',
        ],
    ),
    (
        "host twice in a group",
        HOSTS + "workers:\n  a: {hosts: [vm-1, 'vm-[1-2]']}\n",
        [
            'fleet.yaml:7 workers.a.hosts[1]: a host is named twice in the group: "vm-1"; '
            "remove one of them; more workers on a host are for per_host to say"
        ],
    ),
    (
        "hosts that are not a list",
        HOSTS + "workers:\n  a: {hosts: vm-1}\n",
        ['fleet.yaml:7 workers.a.hosts: expected a list, got "vm-1"; write it in brackets: [...]'],
    ),
    (
        "the same worker names",
        HOSTS
        + "workers:\n  a: {hosts: [vm-1, vm-2]}\n  b: {hosts: [vm-3], first: 2}\n  c: {hosts: [vm-4], prefix: c}\n",
        [
            'fleet.yaml:8 workers.b: two workers would have the same name "dask-worker-0002": one of group "a", one of "b"; '
            'give the group a "prefix" of its own, or "first: 3"'
        ],
    ),
    (
        "two groups want one port",
        HOSTS
        + "workers:\n  a: {hosts: [vm-1], per_host: 2}\n  b: {hosts: [vm-1], prefix: b, ports: {worker: 9021, nanny: 9031, dashboard: 9041}}\n",
        [
            'fleet.yaml:8 workers.b.ports.worker: port 9021 is wanted twice on host "vm-1": by the nanny of worker 2 of group "a" '
            'and by worker 1 of group "b"; use other ports, or a larger step'
        ],
    ),
    (
        "ports within a group",
        HOSTS + "workers:\n  a: {hosts: ['vm-[1-4]'], per_host: 2, ports: {step: 1}}\n",
        [
            'fleet.yaml:7 workers.a.ports.nanny: port 9011 is wanted twice on host "vm-1": by worker 2 of group "a" '
            'and by the nanny of worker 1 of group "a"; use other ports, or a larger step'
        ],
    ),
    (
        "a port of the scheduler",
        LOCAL + "workers: {a: {per_host: 2, ports: {worker: 8777}}}\n",
        [
            'fleet.yaml:2 workers.a.ports.worker: port 8787 is wanted twice on host "localhost": by the scheduler\'s dashboard '
            'and by worker 2 of group "a"; use other ports'
        ],
    ),
    (
        "local hosts share this machine's ports",
        "name: x\nhosts:\n  a: {address: 127.0.0.1}\n  b: {address: localhost, listen: 0.0.0.0}\nscheduler: {host: a}\n"
        "workers:\n  a: {hosts: [a]}\n  b: {hosts: [b], prefix: b}\n",
        [
            'fleet.yaml:8 workers.b.ports.worker: port 9010 is wanted twice on host "b": by worker 1 of group "a" '
            'and by worker 1 of group "b"; use other ports, or a larger step'
        ],
    ),
    (
        "ports above the last",
        HOSTS
        + "workers:\n  a:\n    hosts: ['vm-[1-4]']\n    per_host: 1\n    ports: {worker: 65500, step: 20, per: group}\n",
        [
            "fleet.yaml:10 workers.a.ports.worker: ports run to 65560, and the last port there is is 65535; "
            "begin lower, or take a smaller step, or count `per: host`"
        ],
    ),
    (
        "ports out of the range",
        LOCAL + "port_range: 9011-9040\n",
        [
            "fleet.yaml:1 workers.default.ports.worker: port 9010 leaves port_range 9011-9040; begin elsewhere, take a smaller step, or widen port_range",
            "fleet.yaml:1 workers.default.ports.nanny: port 9041 leaves port_range 9011-9040; begin elsewhere, take a smaller step, or widen port_range",
            "fleet.yaml:1 workers.default.ports.dashboard: port 9042 leaves port_range 9011-9040; begin elsewhere, take a smaller step, or widen port_range",
        ],
    ),
    (
        "a limit above the host's memory",
        HOSTS + "workers:\n  a: {hosts: ['vm-[1-4]'], memory_limit: 9 GiB}\n",
        [
            'fleet.yaml:7 workers.a.memory_limit: 9 GiB is more than host "vm-1" has: 8 GiB; lower it, or write `auto`'
        ],
    ),
    (
        "limits together above it",
        HOSTS + "workers:\n  a: {hosts: [vm-1], memory_limit: 3 GiB, per_host: 3}\n",
        [
            'fleet.yaml:7 workers.a.memory_limit: the workers on host "vm-1" may take 9 GiB together, and it has 8 GiB; '
            "lower per_host or the limits; 2.66 GiB each would fit"
        ],
    ),
    (
        "nothing left to share",
        HOSTS
        + "workers:\n  a: {hosts: [vm-1], memory_limit: 8 GiB}\n  b: {hosts: [vm-1], prefix: b, ports: {worker: 9013, nanny: 9014, dashboard: 9015}}\n",
        [
            'fleet.yaml:8 workers.b.memory_limit: the other workers leave no memory of host "vm-1" to share out; lower their limits'
        ],
    ),
    (
        "too many workers",
        HOSTS
        + "workers:\n  a: {hosts: ['vm-[1-4]'], per_host: 21845}\n  b: {hosts: ['vm-[1-4]'], prefix: b, per_host: 21845}\n",
        [
            *(
                f"fleet.yaml:7 workers.a.ports.{use}: ports run to {last}, and the last port there is is 65535; "
                "begin lower, or take a smaller step, or count `per: host`"
                for use, last in (("worker", 227450), ("nanny", 227451), ("dashboard", 227452))
            ),
            "fleet.yaml:8 workers.b: there are more than 100,000 workers; make it several fleets",
        ],
    ),
    # Dask configuration
    (
        "configuration that contradicts itself",
        "name: x\nconfig:\n  a.b: 1\n  a: {b: 2}\n  c: 1\n  c.d: 2\n  e-f: 1\n  e_f: 2\n  g..h: 1\n",
        [
            'fleet.yaml:4 config.a.b: "a.b" is set twice; keep one of the two',
            'fleet.yaml:6 config["c.d"]: "c" is set twice; keep one of the two',
            'fleet.yaml:8 config.e_f: "e-f" is set twice; keep one of the two',
            'fleet.yaml:9 config["g..h"]: a key with an empty part; write it as a.b.c',
        ],
    ),
    # Variables
    (
        "unknown variables",
        "name: ${NAME}\nscheduler: {port: '${PORT}'}\nvariables: {A: '${A}${B}', C: '${C'}\n",
        [
            'fleet.yaml:1 name: unknown environment variable "NAME"; set it, or give a default: ${NAME:-...}',
            'fleet.yaml:2 scheduler.port: unknown environment variable "PORT"; set it, or give a default: ${PORT:-...}',
            'fleet.yaml:3 variables.A: unknown environment variables "A", "B"; set it, or give a default: ${A:-...}',
            "fleet.yaml:3 variables.C: a reference to a variable that cannot be read; "
            "write ${NAME} or ${NAME:-default}; write $${ for a dollar and a brace",
        ],
    ),
]


@pytest.mark.parametrize(
    ("text", "expected"), [case[1:] for case in CASES], ids=[c[0] for c in CASES]
)
def test_every_fault_is_reported_with_place_key_and_remedy(text, expected):
    assert problems(text) == expected


def test_all_faults_of_all_kinds_are_reported_at_once():
    text = """\
nam: x
hosts:
  sch: {address: 10.0.0.1, memory: lots}
  vm-[1-2]: {address: "10.0.0.[11-12]", memory: 8 GiB}
scheduler: {host: sch}
workers:
  bad: {per_host: abc, hosts: [vm-9]}
  good: {hosts: [vm-7], memory_limit: 1 GiB}
  large: {hosts: [vm-2], memory_limit: 9 GiB, prefix: large}
runtime: ${RUNTIME}
"""
    assert problems(text) == [
        'fleet.yaml:1 nam: unknown key "nam"; did you mean "name"?',
        'fleet.yaml:3 hosts.sch.memory: not a size: "lots"; '
        "write a number and a unit, such as 4 GiB or 500 MB",
        'fleet.yaml:7 workers.bad.per_host: expected a whole number, got "abc"',
        'fleet.yaml:7 workers.bad.hosts[0]: unknown host "vm-9"; did you mean "vm-2"?',
        'fleet.yaml:8 workers.good.hosts[0]: unknown host "vm-7"; did you mean "vm-2"?',
        "fleet.yaml:9 workers.large.memory_limit: 9 GiB is more than host "
        '"vm-2" has: 8 GiB; lower it, or write `auto`',
        'fleet.yaml:10 runtime: unknown environment variable "RUNTIME"; '
        "set it, or give a default: ${RUNTIME:-...}",
    ]


SECRET = "hunter2"
LEAKS = [
    "name: ${S}_\n",
    "name: x\nworkers: {a: {prefix: '${S}'}, b: {prefix: '${S}'}}\n",
    "name: x\nscheduler: {port: '${S}', host: '${S}'}\n",
    "name: x\nruntime: ${S}\n",
    "name: x\nport_range: ${S}\n",
    "name: x\nenvironment: {name: '${S}'}\n",
    "name: x\nenvironment: {python: '${S}'}\n",
    "name: x\ndirectories: {work: '${S}'}\n",
    "name: x\nscheduler: {host: '${S}'}\n",
    "name: x\nworkers: {a: {hosts: ['${S}', '${S}'], per_host: '${S}'}}\n",
    "name: x\nworkers: {a: {hosts: ['${S}', '${S}']}}\n",
    "name: x\nworkers: {a: {hosts: ['${S}-[1-2]', 'localhost${S}[1-2]']}}\n",
    "name: x\nworkers: {a: {memory_limit: '${S}', nthreads: '${S}', prefix: '-${S}'}}\n",
    "name: x\nworkers: {a: {memory_limit: '4 ${S}', resources: {A: '${S}'}}}\n",
    "name: x\nworkers: '${S}'\n",
    "name: x\nworkers: {a: {ports: {per: '${S}', worker: '${S}'}}}\n",
    "name: x\nhosts: {a: {address: 'tcp://${S}'}, b: {address: '[${S}::]'}, c: {address: '-${S}'}}\n",
    "name: x\nhosts: {a: {address: '${S}'}, b: {address: '${S}'}}\nscheduler: {host: a}\n",
    "name: x\nhosts: {a: {address: 'q[${S}]'}}\n",
    "name: x\nhosts: {a: {address: a, ssh: {port: '${S}', sudo: '${S}'}}}\n",
]


@pytest.mark.parametrize("text", LEAKS)
def test_the_value_of_a_variable_is_never_printed(text):
    for problem in problems(text, {"S": SECRET}):
        assert SECRET not in problem


def test_a_broken_section_gives_rise_to_no_faults_of_its_own_making():
    text = HOSTS.replace("{host: sch}", "{host: sch, port: abc}").replace(
        "sch: {", "sch: {cpus: x, "
    )
    text += "workers:\n  a: {hosts: [sch], ports: {worker: 8786}}\nport_range: abc\n"
    assert [line.split(":")[2].split(";")[0] for line in problems(text)] == [
        ' expected a whole number, got "x"',
        ' expected a whole number, got "abc"',
        " not a range of ports",
    ]


def test_problems_know_their_parts():
    with pytest.raises(SpecError) as caught:
        parse("name: x\nworker: {}\n", {}, source="a/fleet.yaml")
    (problem,) = caught.value.problems
    assert (problem.place, problem.key) == ("a/fleet.yaml:2", "worker")
    assert (problem.fault, problem.remedy) == ('unknown key "worker"', 'did you mean "workers"?')
    assert caught.value.exit_code == 3


def test_memory_of_this_machine_counts_for_local_hosts_only():
    text = "name: x\nhosts:\n  here: {address: 127.0.0.1}\n  vm: {address: 10.0.0.1}\nscheduler: {host: here}\n"
    text += "workers:\n  a: {hosts: [here, vm], memory_limit: 2 GiB}\n"
    assert problems(text, host_memory={"*": 1 << 30}) == [
        'fleet.yaml:7 workers.a.memory_limit: 2 GiB is more than host "here" has: 1 GiB; '
        "lower it, or write `auto`"
    ]
    assert problems(text, host_memory={"vm": 1 << 30})
    declared = text.replace("127.0.0.1", "127.0.0.1, memory: 4 GiB")
    assert parse(declared, {}, host_memory={"*": 1 << 30})


def test_many_faults_are_found_in_a_moment():
    hosts = "".join(f"  h{i}: {{address: 10.0.{i // 250}.{i % 250 + 1}}}\n" for i in range(3000))
    wrong = "".join(f"    - g{i}\n" for i in range(3000))
    text = f"name: x\nhosts:\n{hosts}scheduler: {{host: h0}}\nworkers:\n  a:\n    hosts:\n{wrong}"
    assert len(problems(text)) == 3000
