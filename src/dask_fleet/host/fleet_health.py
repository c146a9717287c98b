"""Say whether the processes of a unit answer: the health check of a container.

``python fleet_health.py UNIT.json``: exit status 0 if each process answers on its dashboard's port
and, if it is a worker, is registered with the scheduler; else 1, with the reason in a line.
"""

from __future__ import annotations

import http.client
import json
import sys
from typing import Any

__all__ = ["check"]

TIMEOUT = 3.0


def check(unit: dict[str, Any]) -> list[str]:
    """Return what is wrong with the processes of a unit."""
    scheduler = unit["role"] == "scheduler"
    path = "/health" if scheduler else "/fleet/registered"
    processes = [unit] if scheduler else unit["workers"]
    return [fault for process in processes if (fault := _fault(process, path))]


def _fault(process: dict[str, Any], path: str) -> str:
    try:
        status, text = _ask(process["listen"], process["dashboard_port"], path)
    except (OSError, http.client.HTTPException) as error:
        return f"{process['name']} does not answer: {error}"
    return "" if status == 200 else f"{process['name']}: {text.strip() or f'status {status}'}"


def _ask(listen: str, port: int, path: str) -> tuple[int, str]:
    everywhere = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104
    connection = http.client.HTTPConnection(everywhere.get(listen, listen), port, timeout=TIMEOUT)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read(1000).decode(errors="replace")
    finally:
        connection.close()


def main(path: str) -> int:
    """Check the unit of a unit file and print what is wrong."""
    with open(path, encoding="utf-8") as file:  # noqa: PTH123  # pathlib costs it 10 ms
        faults = check(json.load(file))
    for fault in faults:
        print(fault)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
