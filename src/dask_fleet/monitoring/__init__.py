"""What a Prometheus and a Grafana need to watch a fleet: pure, from its layout.

``dashboard.yaml`` and ``rules.yaml`` beside this file say what is shown and what is alarming; the
modules make of them what Grafana and Prometheus read.
"""
