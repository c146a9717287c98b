"""The lab: real Debian hosts on one machine, for tests and measurements.

Hosts are booted by systemd-nspawn and live on a bridge in a network namespace of the lab's own;
their addresses exist nowhere else. ``python -m lab --help`` is the developers' command.
"""

from lab.base import ensure_base
from lab.fleet import Lab
from lab.host import Disk, Host, HostSpec, default_hosts
from lab.machine import LabError

__all__ = ["Disk", "Host", "HostSpec", "Lab", "LabError", "default_hosts", "ensure_base"]
