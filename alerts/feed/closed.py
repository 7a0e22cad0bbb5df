"""What a page says while a care team is closed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from alerts.feed.database import Connection
from alerts.service_times import OutsideHours, load_teams_async, outside_hours


@dataclass(frozen=True, slots=True)
class Closed:
    """A team that does not work now: its message, and when it opens, in its own time zone."""

    message: OutsideHours
    time_zone: str

    def words(self, language: str) -> str:
        return self.message.fr if language == "fr" else self.message.en


async def closed_teams(conn: Connection, teams: Iterable[str], now: datetime) -> list[Closed]:
    """Those of `teams` that are closed at `now`."""
    found = []
    for name in teams:
        team = (await load_teams_async(conn, name)).get(name)
        message = outside_hours(team, now) if team is not None else None
        if team is not None and message is not None:
            found.append(Closed(message, team.time_zone))
    return found
