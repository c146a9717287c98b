"""A door on booted hosts, with https and login, and who comes to it: programs and a browser."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from urllib.parse import urljoin, urlsplit

from lab import Host, Lab
from lab.network import GATEWAY
from playwright.sync_api import Page

from dask_fleet.proxy.accounts import PASSWORDS
from tests.integration.browser import Tab, browsing, trusting
from tests.integration.computing import COMPUTATION, Computation, computed
from tests.integration.door import ANN, Answer, Knocker, basic
from tests.integration.looking import state
from tests.vms.operator import FLEET, WORKERS, Operator, eventually
from tests.vms.reset import bring_up
from tests.vms.secure import authority_folder, python

GATED = FLEET + "door: {tls: fleet, login: users}\n"
GATED_ELSEWHERE = (
    FLEET.replace('["dask-worker-[0001-0004]"]', '["dask-worker-[0001-0003]"]')
    + "door: {host: dask-worker-0004, tls: fleet, login: users}\n"
)
"""On the scheduler's host, and on one of its own, whose worker is another's then."""

ACCOUNTS = "/var/lib/dask-fleet/fleets/sst.door"
PROCESSES = ("dask-scheduler", *WORKERS)
SCHEDULER_UNIT = "dask-fleet.sst.dask-scheduler.service"


@dataclass(frozen=True)
class Gate:
    """The door of a fleet that is up, with ann among its users."""

    operator: Operator
    url: str = "https://10.77.0.11"

    @property
    def lab(self) -> Lab:
        return self.operator.lab

    @property
    def host(self) -> Host:
        """The host that has the door."""
        address = urlsplit(self.url).hostname
        (host,) = [host for host in self.lab.hosts if host.address == address]
        return host

    @property
    def ca(self) -> Path:
        return authority_folder(self.operator) / "ca.pem"

    @property
    def door(self) -> Knocker:
        """Somebody who asks, and trusts the fleet's authority."""
        return Knocker(self.url, ssl.create_default_context(cafile=self.ca), GATEWAY)

    def ask(self, path: str = "/health", **headers: str) -> Answer:
        return self.door.ask(path, **headers)

    def call(self, *words: str, given: str = "", status: int = 0) -> str:
        """Run a command of the door; return what it printed."""
        return self.operator.call("door", *words, given=given, status=status).stdout

    def add_ann(self) -> None:
        self.call("user", "add", "ann", "--password-stdin", given=ANN)

    @cached_property
    def cookie(self) -> str:
        """What ann's browser has after she has logged in once: too many logins are refused."""
        return self.log_in()

    def show(self, path: str) -> Answer:
        """Return the answer that ann gets."""
        return self.ask(path, Cookie=self.cookie)

    def status_of(self, url: str) -> int:
        """Return the status of the answer that ann gets for a URL of the door."""
        assert url.startswith(f"{self.url}/"), url
        answer = self.show(url.removeprefix(self.url))
        if answer.status == 307:  # who asks for the first of Dask's pages is to ask again
            again = urljoin(url, answer.one("Location"))
            answer = self.show(again.removeprefix(self.url))
        return answer.status

    def log_in(self, name: str = "ann", password: str = ANN) -> str:
        """Return the cookie that a good password brings."""
        answer = self.ask(Authorization=basic(name, password))
        assert answer.status == 200
        return answer.cookie

    @contextmanager
    def browsing(self) -> Iterator[Callable[[], Tab]]:
        """Start a browser for ann, which takes the door's own certificate and no other."""
        place = urlsplit(self.url)
        # Checked against the authority here; the browser then takes this very one.
        certificate = ssl.get_server_certificate(
            (place.hostname or "", 443), ca_certs=str(self.ca), timeout=20
        )
        ann = {"username": "ann", "password": ANN}
        with browsing(
            trusting(certificate), hosts=(place.hostname or "",), http_credentials=ann
        ) as new_tab:
            yield new_tab

    @contextmanager
    def computing(self) -> Iterator[Computation]:
        """Start a computation on the scheduler's host, in the fleet's environment."""
        host = self.lab.scheduler
        address = "DASK_SCHEDULER_ADDRESS=tcp://10.77.0.11:8786"
        argv = host.command(["env", address, python(host), "-c", COMPUTATION])
        with computed(argv, self.operator.folder / "computation.log", longest=1200) as one:
            yield one


def until_all_run(page: Page, names: Collection[str] = PROCESSES) -> None:
    """Wait until a console that nobody loads says so."""
    page.locator('#live[data-live="live"]').wait_for(timeout=120_000)
    eventually(
        "the page says that all run", lambda: {state(page, one) for one in names} == {"running"}, 90
    )


def open_gate(gate: Gate, declared: str = GATED) -> None:
    """Let the fleet be up with its door, and let the door know ann."""
    bring_up(gate.operator, declared)
    known = ["grep", "-qs", "^ann:", f"{ACCOUNTS}/{PASSWORDS}"]
    if gate.host.run(known, check=False).returncode:
        gate.__dict__.pop("cookie", None)
        gate.add_ann()
