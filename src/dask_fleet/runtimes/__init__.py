"""Runtimes: a process to files and commands, and a runtime's status text back to values."""
