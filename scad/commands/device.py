"""`scad device revoke`: a device's access to the MQTT broker ends at once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    group = typer.Typer(help="Devices' access to the MQTT broker.", no_args_is_help=True)
    group.command("revoke")(revoke)
    app.add_typer(group, name="device")


def revoke(
    device: Annotated[str, typer.Argument(help="Its serial.")],
    passwords: Annotated[
        Path | None,
        typer.Option(help="mosquitto's password file: the account is taken out of it. Needs --pid-file."),
    ] = None,
    pid_file: Annotated[
        Path | None, typer.Option(help="mosquitto's pid_file: it is told to read its files again.")
    ] = None,
    watch: Annotated[
        float, typer.Option(min=0.0, max=600.0, help="Seconds to see whether the device comes back.")
    ] = 3.0,
) -> None:
    """Cut a device off: no new connection, and the one that stands is dropped with its session.

    Connects as SCAD_MQTT_USER (the account `operator`) to SCAD_MQTT, the listener of the platform's own
    processes. Without --passwords the account must be gone already (deploy/make-secrets.sh remove).

    Exit status: 0 when the device is off, 1 when it may still have access, 2 for wrong usage.
    """
    from scad.process import settings_or_exit
    from scad.revocation import Broker, RevocationError, cut, remove_account
    from scad.tls import mqtt_context

    if (passwords is None) != (pid_file is None):
        typer.echo("--passwords and --pid-file belong together", err=True)
        raise typer.Exit(2)
    settings = settings_or_exit("device")
    host, _, port = settings.mqtt.rpartition(":")
    broker = Broker(host, int(port), settings.mqtt_user, settings.mqtt_password, mqtt_context(settings))
    try:
        if passwords is not None and pid_file is not None:
            had = remove_account(passwords, device, pid_file, broker)
            typer.echo(f"{device}: account taken away" if had else f"{device} had no account")
        cut(device, broker, watch)
    except RevocationError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from None
    typer.echo(f"{device} is cut off")
