"""Whatever has a browser, nginx, TLS or secrets."""
