"""`scad feed`: the clinicians' HTTP service."""

from __future__ import annotations

import sys
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    @app.command()
    def feed(
        host: Annotated[str | None, typer.Option(help="Address to listen on; SCAD_FEED_HOST.")] = None,
        port: Annotated[int | None, typer.Option(help="Port to listen on; SCAD_FEED_PORT.")] = None,
        demonstration: Annotated[
            bool, typer.Option(help="Say on every page that the patients are made up.")
        ] = False,
        trusted_proxies: Annotated[
            str, typer.Option(help="Addresses of proxies whose X-Forwarded headers are believed.")
        ] = "127.0.0.1,::1",
    ) -> None:
        """Serve the live queue, the patients' pages and the API until Ctrl-C or SIGTERM."""
        from alerts.feed.access import access_of
        from alerts.feed.app import create_app
        from alerts.feed.server import make_server
        from alerts.identity.keys import KeyFileError
        from alerts.identity.vault import vault_of
        from scad.log import configure_logs
        from scad.settings import SettingsError, load_settings

        try:
            settings = load_settings()
            access = access_of(settings)
            vault = vault_of(settings.identity_keys)
        except (SettingsError, KeyFileError) as error:
            print(error, file=sys.stderr)
            raise typer.Exit(2) from None
        configure_logs(settings.log_level, "feed")
        application = create_app(
            settings.database,
            settings.make_clock(),
            demonstration=demonstration,
            access=access,
            grafana_url=settings.grafana_url,
            vault=vault,
        )
        make_server(
            application, host or settings.feed_host, port or settings.feed_port, trusted_proxies
        ).run()
