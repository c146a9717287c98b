"""The fleet.yaml that `dask fleet init` writes: the default fleet, with everything explained."""

from __future__ import annotations

from dask_fleet.spec.default import DEFAULT_NAME

__all__ = ["template"]

_TEMPLATE = """\
# fleet.yaml: one Dask cluster. `dask fleet check` checks it, `dask fleet plan` shows what would
# change, `dask fleet up` does it. What is left out has the value that is shown in a comment.
# A value may be ${{VAR}} or ${{VAR:-default}} from your environment; $$ is a dollar sign.

name: {name}

# The software environment of all processes. One of:
environment:
  name: xcube                    # xcube's own, locked; comes with dask-fleet
  # lock: requirements.lock      # exact versions, in a file beside this one
  # packages: [distributed, xarray, zarr, bokeh]    # by name; resolved and locked at first use
  python: "3.11"

# Where processes run. A host with a loopback address is this machine; others are reached by SSH.
hosts:
  localhost:
    address: 127.0.0.1
  # dask-scheduler:
  #   address: 192.168.1.166     # dialled by the other processes
  #   external: 80.158.2.66      # dialled by clients
  #   listen: 0.0.0.0            # bound by its processes; `address` when left out
  #   ssh: {{user: dask, port: 22, identity_file: ~/.ssh/id_ed25519, jump: gate, sudo: true}}
  #   memory: 16 GiB             # workers' limits are checked against it, and `auto` shares it out
  #   cpus: 4
  # dask-worker-[0001-0004]:     # four hosts
  #   address: 192.168.1.[11-14] # (quote it within braces)

scheduler:
  host: localhost
  port: 8786
  dashboard: 8787

# Groups of workers that are alike.
workers:
  default:
    hosts: [localhost]           # names, or ranges: ["dask-worker-[0001-0004]"]
    per_host: 4
    nthreads: auto               # an equal share of the host's CPUs
    memory_limit: auto           # an equal share of the host's memory; or 4 GiB
    # resources: {{GPU: 1}}
    prefix: dask-worker          # dask-worker-0001, dask-worker-0002, ...
    first: 1
    ports:                       # 9010/9011/9012, 9020/9021/9022, ...
      worker: 9010
      nanny: 9011
      dashboard: 9012
      step: 10
      per: host                  # or `group`: no two workers of the group have a port in common

# One address for all dashboards, through nginx: http://127.0.0.1:8788 on this machine. With hosts
# behind SSH, write more: `dask fleet schema` and the reference say what there is.
# door: true

# Ports that workers may have; anything that leaves it is an error. By default all.
# port_range: 9000-9100

# Dask configuration, nested or dotted; shipped to every host.
config: {{}}
#   distributed.comm.timeouts.connect: 60s

# Environment variables of all processes; values in quotes.
variables: {{}}
#   OMP_NUM_THREADS: "1"

# Where workers spill and where logs are kept, on every host. By default the runtime's own places.
# directories:
#   work: /data/dask-work
#   logs: /var/log/dask

# What keeps processes alive: supervisor (this machine only), systemd or compose. By default
# supervisor here and systemd behind SSH.
# runtime: supervisor
"""


def template(name: str = DEFAULT_NAME) -> str:
    """Return a commented fleet.yaml of the default fleet under a name of its own."""
    return _TEMPLATE.format(name=name)
