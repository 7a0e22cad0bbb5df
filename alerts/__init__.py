"""Alerts reaching people: life-cycle, database, feed, page, dashboards."""
