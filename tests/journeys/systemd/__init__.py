"""The journey of a fleet under systemd."""
