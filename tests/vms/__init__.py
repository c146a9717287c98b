"""Tests on booted hosts; run inside `python -m lab run`."""
