"""A fleet of hosts that exist only as SSH servers on loopback addresses of this machine.

They are up as declared and answer one command, the look, as booted hosts do:
``tests/vms/fleet/test_simulation.py`` holds their answer to that of a host of the lab.
"""
