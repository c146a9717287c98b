"""What goes wrong with a connection, in plain sentences with remedies."""

from __future__ import annotations

import asyncio
import errno
import socket
from typing import TYPE_CHECKING

from dask_fleet.errors import UnreachableHostError
from dask_fleet.transports.ssh_library import asyncssh

if TYPE_CHECKING:
    from dask_fleet.transports.ssh_settings import Settings

__all__ = ["is_transient", "unreachable"]


def is_transient(error: BaseException) -> bool:
    """Say whether the same attempt may well succeed a moment later."""
    if isinstance(error, socket.gaierror):
        return error.errno == socket.EAI_AGAIN
    return isinstance(
        error, ConnectionRefusedError | ConnectionResetError | asyncssh.ConnectionLost
    )


def unreachable(settings: Settings, error: BaseException, seconds: float) -> UnreachableHostError:
    """Return the error that says why there is no connection to a host."""
    message, remedy = _words(settings, error, seconds)
    through = f" through {settings.jump}" if settings.jump else ""
    return UnreachableHostError(settings.name, message.format(through=through), remedy)


def _words(settings: Settings, error: BaseException, seconds: float) -> tuple[str, str]:
    where = f"{settings.address} port {settings.port}"
    trial = f"try `ssh {settings.target}`"
    if isinstance(error, socket.gaierror):
        return (
            f"the name {settings.address} does not resolve",
            "correct `address` in fleet.yaml, or give the name an address in DNS, /etc/hosts or "
            "`HostName` in ~/.ssh/config",
        )
    if isinstance(error, asyncio.TimeoutError | TimeoutError):
        return (
            f"{where} did not answer{{through}} within {seconds:g} s",
            "see whether the machine is on and whether a firewall or a security group lets this "
            f"machine reach port {settings.port}",
        )
    if isinstance(error, ConnectionRefusedError):
        return (
            f"{where} refused the connection",
            f"see whether sshd runs there and listens on port {settings.port}",
        )
    if isinstance(error, OSError) and error.errno == errno.EHOSTUNREACH:
        # A neighbour that is off: whether the kernel knows that already is chance.
        return (
            f"{where} did not answer: no machine has that address now, or no way leads there",
            "see whether the machine is on and the network or VPN is up, or reach it through "
            "another host with `ssh.jump`",
        )
    if isinstance(error, OSError) and error.errno == errno.ENETUNREACH:
        return (
            f"this machine has no route to {where}",
            "see whether its network or VPN is up, or reach the host through another one with "
            "`ssh.jump`",
        )
    if isinstance(error, asyncssh.ChannelOpenError):
        return (
            f"{settings.jump} cannot connect to {where}: {error.reason or 'no reason given'}",
            f"see whether sshd runs on {settings.address} and whether {settings.jump} may reach "
            "and forward to it (AllowTcpForwarding)",
        )
    if isinstance(error, asyncssh.PermissionDenied):
        return _denied(settings)
    if isinstance(error, asyncssh.ConnectionLost | ConnectionResetError):
        return (
            f"{where} broke the connection{{through}} before anything was started",
            "see whether an SSH server listens there, and its log (MaxStartups, fail2ban)",
        )
    return f"no SSH connection to {where}{{through}}: {error}", trial


def _denied(settings: Settings) -> tuple[str, str]:
    tried = ", ".join(settings.keys) or "no key file"
    agent = "the agent's keys" if settings.agent else "no agent (SSH_AUTH_SOCK is not set)"
    message = f"{settings.address} let {settings.user} not in; tried {tried} and {agent}"
    remedy = (
        f"add a public key of yours to ~{settings.user}/.ssh/authorized_keys there, or name "
        "the right `ssh.user` and `ssh.identity_file`"
    )
    if locked := [key for key in settings.keys if _locked(key)]:
        message += f"; {', '.join(locked)} has a passphrase that only the agent can use"
        remedy = f"give it to the agent: ssh-add {locked[0]}"
    return message, remedy


def _locked(key: str) -> bool:
    try:
        asyncssh.read_private_key(key)
    except asyncssh.KeyImportError as error:
        return "assphrase" in str(error)  # asyncssh has no type for it
    except OSError:
        return False
    return False
