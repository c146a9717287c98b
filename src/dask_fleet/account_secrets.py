"""Makes what proves who somebody is at the door: secrets at random, and bcrypt of passwords."""

from __future__ import annotations

import secrets

from dask_fleet.proxy.accounts import ALPHABET, LENGTH, check_password
from dask_fleet.secret import Secret

__all__ = ["COST", "hashed", "new_secret"]

COST = 8
"""Rounds of bcrypt as a power of two: 15 to 25 ms, which nginx pays once a browser.

nginx does nothing else meanwhile: Caddy's 14 makes it one second. Guesses over the network are
limited by the door; this is for whoever gets hold of the file.
"""


def new_secret() -> Secret:
    """Return a secret that nobody can guess: 230 bits."""
    return Secret("".join(secrets.choice(ALPHABET) for _ in range(LENGTH)))


def hashed(password: Secret) -> Secret:
    """Return the bcrypt of a password.

    Raises
    ------
    FleetError
        It is too short, or cannot be a password.
    """
    check_password(password)
    import bcrypt

    return Secret(bcrypt.hashpw(password.reveal(), bcrypt.gensalt(COST)))
