"""A team's settings on pages: service times, hours, what is said while the team is closed, who is told."""

from __future__ import annotations

from alerts.feed.team.routes import team_settings

__all__ = ["team_settings"]
