"""`scad account`: who may log in."""

from __future__ import annotations

import sys
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    account = typer.Typer(no_args_is_help=True, help="People who may log in to the feed.")
    app.add_typer(account, name="account")

    @account.command()
    def add(
        login: Annotated[str, typer.Argument(help="User name: small letters, digits and ._@-")],
        role: Annotated[str, typer.Option(help="nurse, physician, administrator, engineer or auditor")],
        care_team: Annotated[
            str | None, typer.Option(help="Whose patients the person sees; nurses and physicians need one.")
        ] = None,
        name: Annotated[str | None, typer.Option(help="The name that others see.")] = None,
        language: Annotated[str, typer.Option(help="fr or en")] = "fr",
        password_file: Annotated[
            typer.FileText | None, typer.Option(help="Read the password from here; - for standard input.")
        ] = None,
    ) -> None:
        """Add a person, or give an existing one another password, role and team."""
        import psycopg

        from alerts.audit import record, shell_user
        from alerts.audit.entry import entry
        from alerts.feed.accounts import AccountError, create_account
        from alerts.feed.viewer import ROLES
        from devices.times import to_datetime
        from scad.clock import wall_ms
        from scad.settings import SettingsError, load_settings

        if password_file is None:
            password = typer.prompt("Password", hide_input=True, confirmation_prompt=True)
        else:
            password = password_file.read().rstrip("\r\n")
        known = {known: known for known in ROLES}
        try:
            settings = load_settings()
            if role not in known:
                raise AccountError(f"role {role!r} is not one of {', '.join(ROLES)}")
            with psycopg.connect(settings.database) as conn:
                create_account(
                    conn,
                    login,
                    password,
                    known[role],
                    care_team,
                    at=to_datetime(wall_ms()),
                    display_name=name,
                    language=language,
                )
                record(conn, entry(wall_ms(), shell_user(), f"account-set {role}", about=login))
        except (AccountError, SettingsError, psycopg.Error) as error:
            print(str(error).strip(), file=sys.stderr)
            raise typer.Exit(1) from None
        print(f"{login} may log in as {role}" + (f" of {care_team}" if care_team else ""))

    factor = typer.Typer(no_args_is_help=True, help="The second factor of a person.")
    account.add_typer(factor, name="second-factor")

    @factor.command()
    def reset(login: Annotated[str, typer.Argument(help="User name")]) -> None:
        """Forget a person's authenticator and recovery codes, after the telephone was lost.

        The person's sessions end. A role that must have a second factor sets a new one up at the next log-in.
        Make sure of who asks.
        """
        import psycopg

        from alerts.audit import record, shell_user
        from alerts.audit.entry import entry
        from devices.times import to_datetime
        from scad.clock import wall_ms
        from scad.database import opened_database

        with opened_database(psycopg.Error) as (_, conn), conn.transaction():
            if conn.execute("select from scad.account where login = %s", (login,)).fetchone() is None:
                print(f"there is no account {login!r}", file=sys.stderr)
                raise typer.Exit(1)
            conn.execute("delete from scad.recovery_code where login = %s", (login,))
            gone = conn.execute("delete from scad.second_factor where login = %s", (login,)).rowcount
            conn.execute("delete from scad.session where login = %s", (login,))
            conn.execute(
                "insert into scad.access_event (at, actor, event, subject)"
                " values (%s, 'scad account', 'account-reset-factor', %s)",
                (to_datetime(wall_ms()), login),
            )
            record(conn, entry(wall_ms(), shell_user(), "account-reset-factor", about=login))
        print(f"{login} has no second factor any more" if gone else f"{login} had no second factor")
