"""Tests on booted hosts that have Podman; run inside `python -m lab --podman run`."""
