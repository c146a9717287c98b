"""The certificate of the door where the operator has brought it, in files beside fleet.yaml."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from dask_fleet.errors import FleetError
from dask_fleet.tls.certificates import CERTIFICATE_FILE, KEY_FILE, read_certificate

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dask_fleet.door import Door

__all__ = ["given_credentials"]


def given_credentials(door: Door | None, base: Path) -> Mapping[str, bytes] | None:
    """Return certificate and key that the operator has given, ``None`` if there are none.

    Parameters
    ----------
    door : Door or None
        What is declared.
    base : Path
        Directory of fleet.yaml.

    Raises
    ------
    FleetError
        A file cannot be read, or is not what it should be. Whether the two belong together is for
        nginx to say.
    """
    if door is None or door.certificate is None or door.key is None:
        return None
    certificate = _read(base, door.certificate, "certificate")
    read_certificate(certificate)
    key = _read(base, door.key, "key")
    if b"PRIVATE KEY-----" not in key:
        raise FleetError(
            f"door.tls.key: {door.key} is not a private key in PEM", "name the file that holds it"
        )
    return {CERTIFICATE_FILE: certificate, KEY_FILE: key}


def _read(base: Path, name: str, key: str) -> bytes:
    path = base / Path(name).expanduser()
    try:
        return path.read_bytes()
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise FleetError(
            f"door.tls.{key}: {path} cannot be read: {reason}",
            "name a file of this machine, beside fleet.yaml or with its whole path",
        ) from None
