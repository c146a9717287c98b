"""The firewall contract as rules for a host: an nftables ruleset, or ufw commands."""

from __future__ import annotations

import ipaddress
import shlex
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

from dask_fleet.firewall import CLIENTS, OPERATOR, PortRange, Rule, numbers, ranges
from dask_fleet.spec.ranges import fold

if TYPE_CHECKING:
    from dask_fleet.layout import Layout

__all__ = ["hosts_alike", "nftables", "ufw"]

_UFW_PORTS = 15
"""Ports that one rule of ufw may name (ufw(8)); a range counts as two."""

_IP = ipaddress.IPv4Address | ipaddress.IPv6Address


def hosts_alike(texts: Mapping[str, str]) -> dict[str, list[str]]:
    """Return hosts by the text that they have in common."""
    alike: dict[str, list[str]] = {}
    for host, text in texts.items():
        alike.setdefault(text, []).append(host)
    return alike


class _Incoming:
    """What must come in on one host, for one purpose.

    ``any`` means that nobody knows the sources' addresses: clients and operators. ``names`` are
    sources that are declared by a name, which a packet does not bear.
    """

    def __init__(self, layout: Layout, rule: Rule) -> None:
        self.rule = rule
        self.any = rule.sources[0] in (CLIENTS, OPERATOR)
        self.addresses: list[_IP] = []
        self.names: list[str] = []
        for source in () if self.any else rule.sources:
            host = layout.hosts.get(source)
            address = host.address if host else source
            parsed = _parsed(address)
            if parsed is None:
                self.names.append(address)
            else:
                self.addresses.append(parsed)
        if rule.use == "ssh" and self.names:
            self.any = True  # rather too wide than locked out

    def of(self, version: int) -> list[_IP]:
        return sorted({a for a in self.addresses if a.version == version}, key=int)


def _parsed(address: str) -> _IP | None:
    try:
        return ipaddress.ip_address(address)
    except ValueError:
        return None


def _incoming(layout: Layout, rules: Iterable[Rule], host: str) -> list[_Incoming]:
    """Return what must come in from other hosts; a host reaches itself over its loopback."""
    return [
        _Incoming(layout, rule)
        for rule in rules
        if host in rule.targets and not rule.own and rule.sources != (host,)
    ]


_HEAD = """\
# Rules of dask-fleet for {hosts}, fleet {fleet}.
# Load them with `nft -f FILE`, as often as you like: nothing but the table dask_fleet is replaced.
#
# The table lets in who must reach the fleet's ports and drops everybody else on these ports; it
# does not touch any other port. An accept in it is not the last word: a packet must be let in by
# every table of the host. If another table drops these ports (a chain with policy drop, ufw,
# firewalld), the accepts below have to stand in that table too. A host without any firewall can
# use the whole example at the end instead.
# Sources are the declared addresses; behind a NAT, put the translated ones.
"""

_EXAMPLE = """\
# --- example: a host that lets in nothing else; remove the first "# " of each line ---
# table inet host_input
# delete table inet host_input
# table inet host_input {{
#   chain input {{
#     type filter hook input priority filter; policy drop;
#     ct state established,related accept
#     ct state invalid drop
#     iif "lo" accept
#     meta l4proto {{ 1, 58 }} accept  # icmp, ipv6-icmp: not every host has /etc/protocols
#     tcp dport {ssh} accept
{accepts}
#   }}
# }}
"""


def nftables(layout: Layout, rules: Iterable[Rule], host: str, title: str | None = None) -> str:
    """Return the ruleset of a host, to be loaded beside what is there.

    Parameters
    ----------
    layout : Layout
        The fleet as declared.
    rules : iterable of Rule
        Its contract.
    host : str
        Name of the host.
    title : str, optional
        What the first line calls it, such as a range of hosts that all have these rules.
    """
    incoming = _incoming(layout, rules, host)
    accepts = [line for one in incoming for line in _accepts(one)]
    fleet = ranges(
        port
        for one in incoming
        if one.rule.use != "ssh"
        for low, high in one.rule.ports
        for port in range(low, high + 1)
    )
    body = [
        "table inet dask_fleet",
        "delete table inet dask_fleet",
        "table inet dask_fleet {",
        "  chain input {",
        "    type filter hook input priority filter; policy accept;",
        "    ct state established,related accept",
        '    iif "lo" accept',
        *(f"    {line}" for line in accepts),
    ]
    if any(one.names for one in incoming):
        body.append("    # Not dropped for others, as long as a source above has no address.")
    elif fleet:
        body.append(f"    tcp dport {_nft_ports(fleet)} drop")
    body.extend(["  }", "}"])
    ssh = [one.rule.ports for one in incoming if one.rule.use == "ssh"]
    example = _EXAMPLE.format(
        ssh=_nft_ports(ssh[0]) if ssh else "22",
        accepts="\n".join(
            f"#     {line}" for one in incoming if one.rule.use != "ssh" for line in _accepts(one)
        ),
    )
    head = _HEAD.format(hosts=title or host, fleet=layout.name)
    return f"{head}\n" + "\n".join(body) + f"\n\n{example}"


def _accepts(one: _Incoming) -> Iterator[str]:
    ports = _nft_ports(one.rule.ports)
    yield f"# {_purpose(one.rule)}"
    off = "# " if one.rule.optional else ""
    if one.any:
        yield f"{off}tcp dport {ports} accept"
        return
    for version, family in ((4, "ip"), (6, "ip6")):
        if addresses := one.of(version):
            sources = ", ".join(_nft_addresses(addresses))
            yield f"{off}{family} saddr {{ {sources} }} tcp dport {ports} accept"
    for name in one.names:
        yield f"# ip saddr ADDRESS-OF-{name} tcp dport {ports} accept"


def _purpose(rule: Rule) -> str:
    who = ", ".join(fold(rule.sources))
    optional = " (optional: uncomment the rule)" if rule.optional else ""
    return f"{who}: {rule.purpose}{optional}"


def _nft_ports(ports: Iterable[PortRange]) -> str:
    parts = numbers(ports)
    return parts[0] if len(parts) == 1 else f"{{ {', '.join(parts)} }}"


def _nft_addresses(addresses: list[_IP]) -> Iterator[str]:
    """Yield addresses with neighbours as a range, as a set with intervals takes them."""
    first = last = addresses[0]
    for address in addresses[1:]:
        if int(address) != int(last) + 1:
            yield str(first) if first == last else f"{first}-{last}"
            first = address
        last = address
    yield str(first) if first == last else f"{first}-{last}"


def ufw(layout: Layout, rules: Iterable[Rule], host: str, title: str | None = None) -> str:
    """Return the commands that open a host's ports with ufw; see `nftables` for the parameters.

    ufw itself drops what is not allowed once it is enabled, so SSH comes first.
    """
    incoming = sorted(_incoming(layout, rules, host), key=lambda one: one.rule.use != "ssh")
    lines = [
        f"# Rules of dask-fleet for {title or host}, fleet {layout.name}; run them as root.",
        "# `ufw enable` then drops everything that no rule allows: SSH comes first.",
    ]
    if not any(one.rule.use == "ssh" for one in incoming):
        lines.append("# No SSH is declared; without this line a host that needs it locks you out.")
        lines.append("ufw allow proto tcp from any to any port 22 comment 'SSH'")
    for one in incoming:
        lines.append(f"# {_purpose(one.rule)}")
        off = "# " if one.rule.optional else ""
        comment = shlex.quote(f"dask-fleet: {one.rule.purpose}".replace("'", ""))
        sources = ["any"] if one.any else [*_networks(one)]
        lines.extend(
            f"{off}ufw allow proto tcp from {source} to any port {ports} comment {comment}"
            for source in sources
            for ports in _ufw_ports(one.rule.ports)
        )
        if not one.any:
            lines.extend(f"# {name} is declared by name: add its address" for name in one.names)
    return "\n".join(lines) + "\n"


def _networks(one: _Incoming) -> Iterator[str]:
    """Yield the networks that hold the sources and nothing else."""
    four = [ipaddress.IPv4Network(str(address)) for address in one.of(4)]
    six = [ipaddress.IPv6Network(str(address)) for address in one.of(6)]
    for network in (*ipaddress.collapse_addresses(four), *ipaddress.collapse_addresses(six)):
        single = network.prefixlen == network.max_prefixlen
        yield str(network.network_address) if single else str(network)


def _ufw_ports(ports: Iterable[PortRange]) -> Iterator[str]:
    kept: list[str] = []
    room = _UFW_PORTS
    for low, high in ports:
        needs = 1 if low == high else 2
        if needs > room:
            yield ",".join(kept)
            kept, room = [], _UFW_PORTS
        kept.append(str(low) if low == high else f"{low}:{high}")
        room -= needs
    if kept:
        yield ",".join(kept)
