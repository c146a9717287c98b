"""Containers that are not the fleet's and stand in its place: seen, planned, refused, stopped."""

from __future__ import annotations

import subprocess
from dataclasses import replace

import pytest

from dask_fleet.actions import TakeOver, UpdateUnits
from dask_fleet.batches import steps
from dask_fleet.cli.render import plan_value, show_taking_over
from dask_fleet.observed import ForeignContainer, HostObserved, RuntimeObserved
from dask_fleet.planner import plan_up
from dask_fleet.ports import Holder, PortInTheWay, container_of, held_error, sentence
from dask_fleet.predecessors import predecessors, without_asking
from dask_fleet.runtimes.compose import ComposeRuntime
from dask_fleet.runtimes.compose_foreign import FOREIGN, make_way, read_foreign
from tests.unit.test_compose_runtime import PLAIN, RECORDED, target

OLD = ForeignContainer(
    id="0123456789ab",
    name="docker-worker_dask-worker_1",
    image="docker-worker_dask-worker",
    state="running",
    policy="always",
    pid=400,
    project="docker-worker",
    service="dask-worker",
    folder="/root/docker-worker",
    addresses=("172.18.0.9",),
    ports=(("0.0.0.0", 9010), ("0.0.0.0", 9011)),
    command=("/bin/bash", "-c", "dask-worker tcp://10.0.0.9:8786"),
)
# As a template of Docker prints it, with tabs.
LINES = [
    "foreign\t0123456789ab\t/docker-worker_dask-worker_1\tdocker-worker_dask-worker\trunning\talways"
    "\t400\tdocker-worker\tdask-worker\t/root/docker-worker\tdocker-worker_default\t172.18.0.9,"
    '\t{"9010/tcp":[{"HostIp":"0.0.0.0","HostPort":"9010"}],"9011/tcp":[{"HostIp":"","HostPort":"9011"}]}'
    '\t"/bin/bash"\t["-c","dask-worker tcp://10.0.0.9:8786"]',
    "foreign\tfedcba987654\t/by hand\tx:1\texited\tno\t0\t<no value>\t<no value>\t\thost\t,\t"
    '{"80/tcp":[{"HostIp":"[::1]","HostPort":"80"},{"HostIp":"","HostPort":""}],"81/tcp":null}'
    '\t"dask"\tnull',
    "foreign\tabcdef012345\t/of podman\tx:1\texited\tno\t0\t\t\t\tbridge\t,\tnull\tnull\tnull",
]


HERE = target("node-1", listen="192.168.1.11")


def seen(*containers: ForeignContainer, **more: object) -> HostObserved:
    runtime = RuntimeObserved(alive=True, foreign=containers, images=frozenset((PLAIN.image,)))
    return HostObserved("node-1", {}, False, {}, {}, frozenset(), {}, replace(runtime, **more), ())


def found(*containers: ForeignContainer):
    return predecessors(HERE, seen(*containers))


def test_what_docker_says_of_containers_that_are_of_no_fleet():
    first, second, third = read_foreign([*LINES, "foreign\tshort", "container a b"])
    assert first == OLD
    assert (second.name, second.project, second.on_host, second.pid) == ("by hand", "", True, 0)
    assert (second.ports, second.addresses) == ((("::1", 80),), ())
    assert second.command == ("dask",)
    assert (third.name, third.ports, third.command) == ("of podman", (), ())
    assert len(FOREIGN.split('{{"\\t"}}')) == len(LINES[0].split("\t"))


def test_a_look_has_them_beside_those_of_the_fleet():
    read = ComposeRuntime("sst", PLAIN).read(RECORDED + "\n".join(LINES))
    assert [one.name for one in read.foreign] == [
        "docker-worker_dask-worker_1",
        "by hand",
        "of podman",
    ]
    assert len(read.units) == 5


def test_they_are_named_with_all_that_leads_to_them():
    assert str(OLD) == (
        "container docker-worker_dask-worker_1 (service dask-worker of project docker-worker, in"
        " /root/docker-worker, image docker-worker_dask-worker)"
    )
    alone = replace(OLD, project="", folder="")
    assert str(alone) == "container docker-worker_dask-worker_1 (image docker-worker_dask-worker)"


IN_THE_WAY = {
    "it runs": (OLD, ("dask-workers-default",), "has port 9010, 9011"),
    "on the declared address": (
        replace(OLD, ports=(("192.168.1.11", 9010),)),
        ("dask-workers-default",),
        "has port 9010",
    ),
    "it would start at boot": (
        replace(OLD, state="exited"),
        ("dask-workers-default",),
        "takes 9010, 9011 at boot",
    ),
    "in the host's network": (
        replace(OLD, ports=(), on_host=True, command=("dask-worker", "--worker-port", "9020")),
        ("dask-workers-default",),
        "has port 9020",
    ),
    "it dials the fleet's scheduler": (
        replace(OLD, ports=(), command=("sh", "-c", "dask-worker tcp://192.168.1.166:8786")),
        (),
        "dials the fleet's scheduler, 192.168.1.166:8786",
    ),
}


@pytest.mark.parametrize("name", IN_THE_WAY)
def test_what_has_to_make_way(name: str):
    container, units, reason = IN_THE_WAY[name]
    (one,) = found(container)
    assert (one.units, one.reason) == (units, reason)


FREE = {
    "other ports": replace(OLD, ports=(("0.0.0.0", 9999),)),
    "another address": replace(OLD, ports=(("10.9.9.9", 9010),)),
    "stopped for good": replace(OLD, state="exited", policy="no"),
    "stopped by hand": replace(OLD, state="exited", policy="unless-stopped"),
    "never started": replace(OLD, state="created"),
    "something else in the host's network": replace(
        OLD, ports=(), on_host=True, command=("nginx", "9010")
    ),
}


@pytest.mark.parametrize("name", FREE)
def test_what_is_in_nobody_s_way_is_left_alone(name: str):
    assert found(FREE[name]) == ()


def plan(*containers: ForeignContainer, **more: object):
    runtime = ComposeRuntime("sst", PLAIN)
    return plan_up([HERE], {"node-1": seen(*containers, **more)}, {"node-1": runtime})


def test_a_plan_says_whose_place_a_unit_takes_and_stops_it_before_anything_starts():
    (change,) = [one for one in plan(OLD).changes if one.subject == "dask-workers-default"]
    assert (change.verb, change.reason) == ("replace", f"now {OLD}")
    phases = plan(OLD).phases
    kinds = [type(action) for phase in phases for action in phase]
    assert kinds.index(TakeOver) < kinds.index(UpdateUnits)
    assert not any({TakeOver, UpdateUnits} <= {type(one) for one in phase} for phase in phases)
    assert str(plan(OLD).taken_over[0]) == "stop and keep container docker-worker_dask-worker_1"


def test_who_only_dials_or_waits_for_a_boot_has_a_line_of_its_own():
    dials, unit = IN_THE_WAY["it dials the fleet's scheduler"][0], "dask-workers-default"
    verbs = {one.subject: one.verb for one in plan(dials).changes}
    assert verbs[unit] == "create"
    assert verbs[str(dials)] == "stop"


def test_without_such_containers_a_plan_is_as_ever():
    assert plan(*FREE.values()) == plan()


def test_every_host_has_what_comes_after_before_anything_is_stopped():
    made = plan(OLD, images=frozenset())
    prepare, rest = steps(made, 1)
    assert (prepare.vital, rest.vital) == (True, False)
    assert prepare.plan.taken_over == ()
    assert rest.plan.taken_over == made.taken_over
    assert steps(made, None) == steps(made, 1)


@pytest.mark.parametrize(("asked", "hint"), [(True, False), (False, True)])
def test_people_are_told_what_it_costs_and_how_to_ask_for_it(
    asked: bool, hint: bool, capsys: pytest.CaptureFixture[str]
):
    show_taking_over(plan(OLD), asked=asked)
    said = capsys.readouterr().out
    assert "are stopped, with what is computed in them, and kept" in said
    assert ("--take-over" in said) is hint
    show_taking_over(plan(), asked=asked)
    assert capsys.readouterr().out == ""


def test_json_tells_all_but_the_command():
    (told,) = plan_value("sst", plan(OLD))["taken_over"]
    assert told == {
        "host": "node-1",
        "units": ("dask-workers-default",),
        "reason": "has port 9010, 9011",
        "id": OLD.id,
        "name": OLD.name,
        "image": OLD.image,
        "state": "running",
        "project": "docker-worker",
        "service": "dask-worker",
        "folder": "/root/docker-worker",
    }


def test_an_up_that_was_not_asked_to_names_them_and_what_to_say():
    error = without_asking("node-1", found(OLD))
    assert error.message == (
        f"node-1: a container that is not the fleet's is in its place\n{OLD} has port 9010, 9011"
    )
    assert "--take-over" in error.remedy
    two = without_asking("node-1", found(OLD, replace(OLD, name="b")))
    assert two.message.startswith("node-1: 2 containers that are not the fleet's are in its")


def test_a_holder_of_a_port_is_known_by_its_container():
    port = PortInTheWay("node-1", "dask-workers-default", 9010, 7)
    proxy = Holder(50, 50, "/", "docker-proxy -host-port 9010 -container-ip 172.18.0.9 -x")
    inside = Holder(401, 400, "/", "dask-worker")
    other = Holder(50, 50, "/", "docker-proxy -host-port 9010 -container-ip 172.18.0.90 -x")
    assert container_of(proxy, [OLD], 9010) == container_of(inside, [OLD], 9010) == OLD
    assert container_of(other, [OLD], 9010) is container_of(None, [OLD], 9010) is None
    assert str(OLD) in sentence(port, proxy, [OLD])
    assert "docker-proxy" in sentence(port, other, [OLD])
    assert str(OLD) in held_error("node-1", [port], {7: proxy}, [OLD]).message


DOCKER = """#!/bin/sh
echo "$*" >>"$LOG"
[ "$1 $2" != "inspect gone" ]
"""


def test_they_are_kept_from_coming_back_before_they_are_stopped(tmp_path):
    (tmp_path / "docker").write_text(DOCKER, encoding="utf-8")
    (tmp_path / "docker").chmod(0o755)
    log = tmp_path / "log"
    containers = [OLD, replace(OLD, id="gone"), replace(OLD, id="other")]
    for given, expected in (
        (containers, ["update --restart=no other", f"stop {OLD.id} other"]),
        (containers[1:2], ["inspect gone"]),
    ):
        log.write_text("", encoding="utf-8")
        command = make_way(given)
        subprocess.run(
            command.argv,
            input=command.stdin,
            env={"PATH": f"{tmp_path}:/usr/bin:/bin", "LOG": str(log)},
            check=True,
        )
        assert log.read_text(encoding="utf-8").splitlines()[-len(expected) :] == expected
