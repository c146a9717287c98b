"""A folder with which a plain ``distributed.Client()`` reaches a fleet that speaks TLS."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from dask_fleet.errors import FleetError
from dask_fleet.tls.certificates import MIN_TLS_VERSION
from dask_fleet.tls.private_files import install, locked

if TYPE_CHECKING:
    from dask_fleet.tls.drafts import Credentials

__all__ = ["client_bundle"]

_MARK = "# Client bundle of dask-fleet."


def client_bundle(directory: Path, scheduler_address: str, credentials: Credentials) -> list[Path]:
    """Write a folder with certificates, a key and Dask configuration for clients.

    Parameters
    ----------
    directory : Path
        The folder; made if it is not there, for its owner alone.
    scheduler_address : str
        What clients dial, such as ``tls://192.168.1.166:8786``.
    credentials : Credentials
        Those of a client: ``Authority.client``.

    Returns
    -------
    list of Path
        The files, whose paths are absolute.

    Raises
    ------
    FleetError
        The folder holds something else, or cannot be written.
    """
    if not scheduler_address.startswith("tls://"):
        raise ValueError(f"clients of this fleet dial tls://, not {scheduler_address}")
    folder = Path(os.path.abspath(directory))  # noqa: PTH100 - resolve() would follow links
    configuration, ca = folder / "dask.yaml", folder / "ca.pem"
    certificate, key = folder / "client.pem", folder / "client-key.pem"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise FleetError(
            f"{folder}: cannot be made: {error.strerror}", "name another folder"
        ) from error
    text = _configuration(scheduler_address, folder, ca, certificate, key)
    with locked(folder):
        _check_ours(folder, configuration)
        # The configuration bears the mark, so it comes first: what is left of a run that was
        # killed is known as ours.
        install(configuration, text.encode(), 0o644)
        install(ca, credentials.ca, 0o644)
        install(key, credentials.key.reveal(), 0o600)
        install(certificate, credentials.certificate, 0o644)
    return [configuration, ca, certificate, key]


def _check_ours(folder: Path, configuration: Path) -> None:
    # What begins with a dot and ends with .new is ours, of a run that was killed.
    there = [path for path in folder.iterdir() if not path.match(".*.new")]
    if not there:
        return
    try:
        ours = configuration.read_text(encoding="utf-8").startswith(_MARK)
    except (OSError, UnicodeDecodeError):
        ours = False
    if not ours:
        raise FleetError(
            f"{folder}: there is something else in this folder ({sorted(there)[0].name})",
            "name another folder, or one that is empty",
        )


def _configuration(address: str, folder: Path, ca: Path, certificate: Path, key: Path) -> str:
    settings = {
        "scheduler-address": address,
        "distributed": {
            "comm": {
                "require-encryption": True,
                "tls": {
                    "ca-file": str(ca),
                    "min-version": MIN_TLS_VERSION,
                    "client": {"cert": str(certificate), "key": str(key)},
                },
            }
        },
    }
    # !r: a path may hold quotes, and it must not end the comment.
    return f"""\
{_MARK} Its key lets whoever has it run code on the fleet.
#
# With the variable DASK_CONFIG={str(folder)!r}
# a plain `distributed.Client()` connects. Without it, in Python:
#
#   from distributed import Client, Security
#   tls = Security(require_encryption=True, tls_ca_file={str(ca)!r}, \
tls_client_cert={str(certificate)!r}, tls_client_key={str(key)!r})
#   client = Client({address!r}, security=tls)
#
# The paths are absolute: after moving this folder, have it written anew.
{yaml.safe_dump(settings, sort_keys=False, width=4096, allow_unicode=True)}"""
