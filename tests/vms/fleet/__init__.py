"""What commands do with a sound fleet: up, status, logs, ways to hosts, addresses, the demo."""
