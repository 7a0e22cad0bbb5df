"""`scad service-times`: until when a care team answers, and whom an unanswered alert goes to."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    group = typer.Typer(no_args_is_help=True, help="Hours, due times and the chain of a care team.")
    app.add_typer(group, name="service-times")

    @group.command("set")
    def set_(
        file: Annotated[Path, typer.Argument(help='TOML or JSON: {"care_teams": {"caen": {…}}}.')],
        by: Annotated[str, typer.Option(help="Who sets them, for the record.")] = "scad service-times",
    ) -> None:
        """Make the settings of a file what holds from now on; docs/escalation.md has them all."""
        from alerts.service_times import ServiceTimesError, read_service_times, record_service_times
        from devices.times import to_datetime
        from scad.database import opened_database

        with opened_database(ServiceTimesError, OSError) as (settings, conn):
            teams = read_service_times(file)
            now = to_datetime(settings.make_clock().now_ms())
            with conn.transaction():
                versions = {
                    team: record_service_times(conn, team, times, by, now) for team, times in teams.items()
                }
            for team, version in versions.items():
                typer.echo(f"{team}: version {version}")

    @group.command()
    def show(care_team: Annotated[str, typer.Argument(help="The team's name in the database.")]) -> None:
        """Print what holds for a team, defaults included, as JSON."""
        import msgspec

        from alerts.service_times import ServiceTimesError, load_teams
        from scad.database import opened_database

        with opened_database(ServiceTimesError) as (_, conn):
            team = load_teams(conn, care_team).get(care_team)
            if team is None:
                raise ServiceTimesError(f"{care_team}: no such care team")
            shown = msgspec.json.format(msgspec.json.encode(team.times), indent=2)
            typer.echo(shown.decode())
