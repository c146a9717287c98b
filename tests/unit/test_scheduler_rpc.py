"""What the scheduler says of itself, as values."""

from __future__ import annotations

from typing import Any

import pytest

from dask_fleet.scheduler_rpc import read_identity


def identity(scheme: str, host: str) -> dict[str, Any]:
    return {
        "address": f"{scheme}://{host}:8786",
        "services": {"dashboard": 8787},
        "workers": {
            f"{scheme}://{host}:9010": {
                "name": "dask-worker-0001",
                "nanny": f"{scheme}://{host}:9011",
                "services": {"dashboard": 9012},
                "nthreads": 2,
                "status": "running",
            }
        },
    }


@pytest.mark.parametrize("scheme", ["tcp", "tls"])
@pytest.mark.parametrize("host", ["192.168.1.11", "[fd00::11]"])
def test_addresses_of_each_scheme(scheme: str, host: str):
    seen = read_identity(identity(scheme, host))
    assert seen.address == f"{scheme}://{host}:8786"
    assert seen.dashboard_port == 8787
    worker = seen.workers["dask-worker-0001"]
    assert worker.address == f"{scheme}://{host}:9010"
    assert worker.nanny == f"{scheme}://{host}:9011"
    assert worker.dashboard_port == 9012
