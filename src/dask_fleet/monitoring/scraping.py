"""How a Prometheus finds the processes of a fleet."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dask_fleet.layout import Layout

__all__ = ["Access", "access_to", "prometheus"]

_CONSOLE = "/fleet/"
_DISCOVERY = f"{_CONSOLE}api/prometheus-sd"
_TOKEN, _AUTHORITY = "prometheus.token", "ca.pem"


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

    @property
    def console(self) -> str:
        """The page about the fleet."""
        return f"{self.url}{_CONSOLE}"


def access_to(layout: Layout) -> Access:
    """Return the way through the door; to the processes themselves if there is none."""
    door = layout.door
    if door is None:
        return Access(layout.dashboard_url.removesuffix("/status"))
    return Access(
        door.url,
        None if door.login == "none" else _TOKEN,
        _AUTHORITY if door.tls == "fleet" else None,
    )


def prometheus(fleet: str, access: Access, *, interval: int, rules_file: str) -> dict[str, Any]:
    """Return a whole configuration; its ``scrape_configs`` can be copied into another.

    Every process is scraped as service discovery says: address, path, scheme and the labels
    ``fleet``, ``role``, ``host``, ``worker`` and ``instance``.
    """
    every = f"{interval}s"
    return {
        "global": {"scrape_interval": every, "evaluation_interval": every},
        "rule_files": [rules_file],
        "scrape_configs": [
            {
                "job_name": f"dask-fleet-{fleet}",
                # One that is late would be marked as lost; Dask's page takes milliseconds.
                "scrape_timeout": f"{min(interval, 10)}s",
                **_client(access),
                "http_sd_configs": [
                    {
                        "url": f"{access.url}{_DISCOVERY}",
                        "refresh_interval": every,
                        **_client(access),
                    }
                ],
            }
        ],
    }


def _client(access: Access) -> dict[str, Any]:
    """Return what a request brings and trusts; anew, for YAML would show one twice as an alias."""
    client: dict[str, Any] = {}
    if access.token_file is not None:
        # `Bearer` is the default, and yet service discovery of Prometheus 2.42 sends the token
        # alone when it is not said.
        client["authorization"] = {"type": "Bearer", "credentials_file": access.token_file}
    if access.authority_file is not None:
        client["tls_config"] = {"ca_file": access.authority_file}
    return client
