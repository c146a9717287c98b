"""A door with https and login on another host than the scheduler's: what it can tell of it."""

from __future__ import annotations

import pytest

from tests.integration.looking import console
from tests.vms.gate import (
    GATED_ELSEWHERE,
    PROCESSES,
    SCHEDULER_UNIT,
    Gate,
    open_gate,
    until_all_run,
)
from tests.vms.operator import Operator


def test_from_another_host_it_says_since_when_the_browser_has_seen_it(operator: Operator):
    elsewhere = Gate(operator, "https://10.77.0.15")
    open_gate(elsewhere, GATED_ELSEWHERE)
    with pytest.raises(OSError, match="refused"):
        Gate(operator).ask()
    host, names = operator.lab.scheduler, PROCESSES[:-1]
    with elsewhere.browsing() as new_tab:
        tab = new_tab()
        until_all_run(console(tab, elsewhere.url), names)
        assert "10.77.0.15" in (tab.page.locator("#drawing .wide").text_content() or "")
        tab.look("vms-console-elsewhere.png")
        host.run(["systemctl", "stop", SCHEDULER_UNIT])
        try:
            answer = tab.page.goto(f"{elsewhere.url}/fleet/")
            assert answer is not None
            assert answer.status == 503
            since = tab.page.locator("#since").inner_text()
            assert since.startswith("Seen here since ")
            tab.page.reload()
            assert tab.page.locator("#since").inner_text() == since
        finally:
            host.run(["systemctl", "start", SCHEDULER_UNIT])
        until_all_run(tab.page, names)
