"""Upkeep's monitoring: metrics, checks and their page; dashboards, rules and provisioning as data."""
