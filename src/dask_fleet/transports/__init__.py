"""Transports: what carries commands to a host."""
