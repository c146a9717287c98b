"""How a Prometheus finds the processes of a fleet."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

__all__ = ["DISCOVERY", "Access", "prometheus"]

DISCOVERY = "/fleet/api/prometheus-sd"
"""Where the scheduler tells a Prometheus what there is to scrape."""


@dataclass(frozen=True, slots=True)
class Access:
    """How a Prometheus reaches a fleet.

    Attributes
    ----------
    url : str
        The door, or the scheduler's dashboard where there is none; without a slash at its end.
    token_file : str or None
        File with a bearer token, if the door asks for one; relative to the configuration.
    authority_file : str or None
        Certificate of the authority that has signed the door's, if it is not a public one.
    """

    url: str
    token_file: str | None = None
    authority_file: str | None = None


def prometheus(fleet: str, access: Access, *, interval: int, rules_file: str) -> dict[str, Any]:
    """Return a whole configuration; its ``scrape_configs`` can be copied into another.

    Every process is scraped as service discovery says: address, path, scheme and the labels
    ``fleet``, ``role``, ``host``, ``worker`` and ``instance``.
    """
    client: dict[str, Any] = {}
    if access.token_file is not None:
        client["authorization"] = {"credentials_file": access.token_file}
    if access.authority_file is not None:
        client["tls_config"] = {"ca_file": access.authority_file}
    every = f"{interval}s"
    return {
        "global": {"scrape_interval": every, "evaluation_interval": every},
        "rule_files": [rules_file],
        "scrape_configs": [
            {
                "job_name": f"dask-fleet-{fleet}",
                # One that is late would be marked as lost; Dask's page takes milliseconds.
                "scrape_timeout": f"{min(interval, 10)}s",
                **client,
                "http_sd_configs": [
                    {
                        "url": f"{access.url}{DISCOVERY}",
                        "refresh_interval": every,
                        **client,
                    }
                ],
            }
        ],
    }
