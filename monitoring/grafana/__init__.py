"""Grafana dashboards and alert rules, written in Python and committed as JSON."""
