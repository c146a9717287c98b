"""A set-up by hand, as the source documents have it, is read, shown, and taken over."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from lab import Host, Lab, LabError

from tests.containers.conftest import CONTAINED
from tests.vms.layers import IMAGE
from tests.vms.operator import COMPUTE, RIGHT, WORKERS, Operator, eventually

pytestmark = pytest.mark.timeout(900)
"""Several hosts are changed one after the other, and the machine may be busy."""

ADDRESS = "ADDRESS=tcp://10.77.0.11:8786"
SCHEDULER_FILES = {
    "docker-compose.yml": """\
version: "3.0"

services:
  dask-scheduler:
    build: .
    ports:
      - "${SCHEDULER_PORT}:${SCHEDULER_PORT}"
      - "80:${BOKEH_PORT}"
    restart: always
    ulimits: {nofile: 16384}
    command: >
      "python -m distributed.cli.dask_scheduler --port ${SCHEDULER_PORT}
      --dashboard-address 0.0.0.0:${BOKEH_PORT}"
    healthcheck:
      test: ["CMD", "curl", "localhost:${BOKEH_PORT}"]
      interval: 30s
""",
    ".env": "SCHEDULER_PORT=8786\nBOKEH_PORT=8787\n",
    "Dockerfile": f'FROM {IMAGE}\nENTRYPOINT ["/bin/bash", "-c"]\n',
}
WORKER_FILES = {
    "docker-compose.yml": """\
version: "3.0"

services:
  dask-worker:
    build: .
    hostname: ${WORKER_NAME}
    ports:
      - "${WORKER_PORT}:${WORKER_PORT}"
      - "${NANNY_PORT}:${NANNY_PORT}"
      - "${BOKEH_PORT}:${BOKEH_PORT}"
    restart: always
    ulimits: {nofile: 16384}
    command: >
      "python -m distributed.cli.dask_worker --listen-address tcp://0.0.0.0:${WORKER_PORT}
      --contact-address tcp://${LOCAL_IP}:${WORKER_PORT} --nanny-port ${NANNY_PORT}
      --dashboard-address 0.0.0.0:${BOKEH_PORT} --name ${WORKER_NAME} --nthreads 1
      --memory-limit 1GiB ${SCHEDULER_ADDRESS}:${SCHEDULER_PORT}"
""",
    "Dockerfile": SCHEDULER_FILES["Dockerfile"],
}
LOOK = "{{.Id}} {{.State.Status}} {{.HostConfig.RestartPolicy.Name}}"


def worker_env(host: Host, number: int) -> str:
    ports = f"WORKER_PORT=90{number}0\nNANNY_PORT=90{number}1\nBOKEH_PORT=90{number}2\n"
    here = f"LOCAL_IP={host.address}\nWORKER_NAME={host.name}\n"
    return f"{ports}SCHEDULER_PORT=8786\nSCHEDULER_ADDRESS=10.77.0.11\n{here}"


@dataclass(frozen=True)
class ByHand:
    """The cluster of the old procedure, and who is to take over from it."""

    lab: Lab
    operator: Operator

    @staticmethod
    def folder(host: Host) -> str:
        return f"docker-{'scheduler' if host.name == 'dask-scheduler' else 'worker'}"

    def container(self, host: Host) -> str:
        folder = self.folder(host)
        return f"{folder}_{folder.replace('docker', 'dask')}_1"

    def write(self) -> list[Path]:
        """Write the folders, to the hosts and to the operator; return the operator's."""
        copies = []
        for number, host in enumerate(self.lab.hosts):
            files = SCHEDULER_FILES
            if host is not self.lab.scheduler:
                files = {**WORKER_FILES, ".env": worker_env(host, number)}
            copy = self.operator.folder / "vms" / host.name
            copies.append(copy)
            for name, text in files.items():
                (copy / self.folder(host)).mkdir(parents=True, exist_ok=True)
                (copy / self.folder(host) / name).write_text(text, encoding="utf-8")
                there = f"/root/{self.folder(host)}"
                host.run(f"mkdir -p {there} && cat >{there}/{name}", text=text)
        return copies

    def up(self, *more: str) -> None:
        """Do what the source documents tell."""
        words = " ".join(("up -d", *more))

        def act(host: Host) -> None:
            here = f"cd /root/{self.folder(host)} && export DOCKER_BUILDKIT=0"
            host.run(f"{here} && docker-compose build -q && docker-compose {words}", timeout=180)

        self.lab.each(act)

    def look(self, host: Host) -> list[str]:
        """Return id, state and restart policy of the old container of a host."""
        said = host.run(["docker", "inspect", "-f", LOOK, self.container(host)]).stdout
        return said.split()

    def looks(self) -> list[list[str]]:
        return [self.look(host) for host in self.lab.hosts]

    def compute(self) -> str:
        inside = ["docker", "exec", self.container(self.lab.scheduler), "env", ADDRESS]
        argv = [*inside, "python", "-c", COMPUTE]
        return self.lab.scheduler.run(argv, timeout=60).stdout.strip()

    def until_it_computes(self) -> None:
        last = ""

        def computes() -> bool:
            nonlocal last
            try:
                last = self.compute()
            except LabError as error:  # containers that are not up yet
                last = str(error)
            return last == RIGHT

        try:
            eventually("the cluster by hand computes", computes, 180)
        except AssertionError:
            logs = [
                host.run(f"docker logs --tail 9 {self.container(host)} 2>&1", check=False)
                for host in self.lab.hosts[:2]
            ]
            raise AssertionError(last + "".join(one.stdout for one in logs)) from None


@pytest.fixture(scope="module")
def by_hand(lab: Lab, operator: Operator) -> Iterator[ByHand]:
    """The cluster of the old procedure, at work, and its folders read into fleet.yaml."""
    operator.write(CONTAINED)
    operator.call("down", "--yes", status=None)
    one = ByHand(lab, operator)
    copies = one.write()
    one.up()
    one.until_it_computes()
    output = str(operator.folder / "fleet.yaml")
    words = [str(copy) for copy in copies]
    said = operator.call("import", *words, "--name", "sst", "--output", output, "--force").stdout
    assert "found a scheduler and 4 workers on 5 hosts" in said
    # What a human has to decide.
    text = Path(output).read_text(encoding="utf-8")
    operator.write(text.replace("ssh: {}", "ssh: {sudo: true}"))
    yield one
    operator.call("down", "--yes", status=None)
    operator.write(CONTAINED)
    away = "cd /root/{0} && docker-compose down; rm -rf /root/{0}"
    lab.each(lambda host: host.run(away.format(one.folder(host)), timeout=120))


def test_a_plan_shows_what_would_be_taken_over_and_stops_nothing(by_hand: ByHand):
    before = by_hand.looks()
    assert "well declared: 5 hosts, 4 workers" in by_hand.operator.call("check").stdout
    said = by_hand.operator.call("plan", status=2).stdout
    assert "~ replace dask-workers-default on dask-worker-[0001-0004]: now container" in said
    assert "service dask-worker of project docker-worker, in /root/docker-worker" in said
    assert "`up` does it with --take-over" in said
    value = by_hand.operator.plan()
    assert [(one["host"], one["name"], one["units"]) for one in value["taken_over"]] == [
        ("dask-scheduler", "docker-scheduler_dask-scheduler_1", ["dask-scheduler"]),
        *((name, "docker-worker_dask-worker_1", ["dask-workers-default"]) for name in WORKERS),
    ]
    assert by_hand.looks() == before
    assert by_hand.compute() == RIGHT


def test_up_refuses_to_stop_what_is_not_its_own(by_hand: ByHand):
    before = by_hand.looks()
    said = by_hand.operator.call("up", "--yes", status=None)
    assert said.stderr.count("remedy:") == 1
    assert said.returncode not in (0, 2)
    assert "container docker-scheduler_dask-scheduler_1" in said.stderr
    assert "dask fleet up --take-over" in said.stderr
    assert by_hand.looks() == before
    assert by_hand.compute() == RIGHT


def test_status_names_who_is_there(by_hand: ByHand):
    said = by_hand.operator.call("status", status=None).stdout
    assert said.count("container docker-worker_dask-worker_1") == 4
    assert "has port 9010, 9011, 9012, which dask-workers-default needs" in said


def test_it_is_taken_over_boots_and_the_old_procedure_is_the_way_back(by_hand: ByHand):
    """Take over, be killed and go on, boot, find one in the way, and go back: in this order."""
    lab, operator = by_hand.lab, by_hand.operator
    process = operator.begin("up", "--yes", "--take-over")
    eventually(
        "an old container is stopped",
        lambda: any(state == "exited" for _, state, _ in by_hand.looks()),
        60,
    )
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=30)
    said = operator.call("up", "--yes", "--take-over", "--break-lease")
    assert "4 workers registered" in said.stdout
    assert operator.compute() == RIGHT
    assert {(state, policy) for _, state, policy in by_hand.looks()} == {("exited", "no")}
    dashboard = "import urllib.request as u; u.urlopen('http://10.77.0.11/status', timeout=5)"
    lab.scheduler.run(["python3", "-c", dashboard])
    assert "nothing to do" in operator.call("up", "--yes").stdout
    assert operator.plan()["empty"]
    after_a_boot_the_fleet_is_back_and_the_old_containers_are_not(by_hand)
    one_that_would_come_back_at_boot_is_in_the_way_too(by_hand)
    the_old_procedure_is_the_way_back(by_hand)


def after_a_boot_the_fleet_is_back_and_the_old_containers_are_not(by_hand: ByHand) -> None:
    before = by_hand.looks()
    by_hand.lab.each(lambda host: host.reboot())
    by_hand.operator.until_all_run(180)
    assert by_hand.operator.compute() == RIGHT
    assert by_hand.looks() == before
    assert by_hand.operator.plan()["empty"]


def one_that_would_come_back_at_boot_is_in_the_way_too(by_hand: ByHand) -> None:
    host = by_hand.lab.workers[0]
    host.run(["docker", "update", "--restart=always", by_hand.container(host)])
    said = by_hand.operator.call("up", "--yes", status=None)
    assert said.returncode not in (0, 2)
    assert "takes 9010, 9011, 9012 at boot" in said.stderr
    assert "3 workers registered of 4 declared" in said.stdout
    by_hand.operator.call("up", "--yes", "--take-over")
    assert by_hand.look(host)[1:] == ["exited", "no"]
    assert by_hand.operator.compute() == RIGHT


def the_old_procedure_is_the_way_back(by_hand: ByHand) -> None:
    by_hand.operator.call("down", "--yes")
    by_hand.up("--force-recreate")
    by_hand.until_it_computes()
    assert {(state, policy) for _, state, policy in by_hand.looks()} == {("running", "always")}
    assert json.loads(by_hand.operator.call("plan", "--json", status=2).stdout)["taken_over"]
