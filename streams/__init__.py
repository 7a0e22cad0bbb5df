"""Readings becoming alerts: bridge, intake, history, thresholds, protocols, agents, replay.

The engine in here is pure: readings and a clock in, alert signals out."""
