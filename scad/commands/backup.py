"""`scad backup` and `scad restore`: the database's backups, with point in time."""

from __future__ import annotations

import signal
import sys
import threading
import time
from pathlib import Path
from typing import Annotated, NoReturn

import typer

Where = Annotated[Path, typer.Argument(help="The folder of backups.")]
Keep = Annotated[
    int, typer.Option(min=1, help="Base backups that are kept; older ones go, and the log before them.")
]

LOG_SECONDS = 15.0  # what follows the log may have been started a moment ago


def register(app: typer.Typer) -> None:
    group = typer.Typer(no_args_is_help=True, help="Backups of the database, with point in time.")
    app.add_typer(group, name="backup")
    group.command("take")(take)
    group.command("follow")(follow)
    group.command("list")(list_)
    app.command("restore")(restore)


def take(folder: Where, keep: Keep = 7) -> None:
    """Take a base backup of the server that SCAD_DATABASE names, and check every file of it.

    Exit status: 1 when it failed, or when no write-ahead log is kept that goes on from it.
    """
    from scad.backups import BackupError, Folder
    from scad.backups import take as take_backup
    from scad.backups.taking import gaps
    from scad.settings import SettingsError, load_settings

    try:
        settings = load_settings()
        clock = settings.make_clock()
        backup = take_backup(Folder(folder), settings.database, clock, keep)
        deadline = time.monotonic() + LOG_SECONDS
        while (problem := gaps(Folder(folder), backup)) and time.monotonic() < deadline:
            time.sleep(0.2)
    except (BackupError, SettingsError) as error:
        _end(str(error))
    print(f"{backup.name}: {backup.bytes >> 20} MB, verified")
    if problem:
        _end(problem)


def follow(
    folder: Where,
    keep: Keep = 7,
    every: Annotated[float, typer.Option(min=0, help="Hours between two base backups; 0: none.")] = 24.0,
) -> None:
    """Keep the write-ahead log as it is written, and take base backups, until Ctrl-C or SIGTERM. Run one of it.

    With SCAD_METRICS_PORT it tells Prometheus how old they are.
    """
    import structlog
    from prometheus_client import CollectorRegistry, start_http_server

    from scad.backups import BackupError, Folder
    from scad.backups import follow as follow_log
    from scad.backups.telling import BackupFigures
    from scad.process import settings_or_exit

    settings = settings_or_exit("backup")
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    if settings.metrics_port:
        registry = CollectorRegistry()
        registry.register(BackupFigures(Folder(folder)))
        try:
            start_http_server(settings.metrics_port, settings.metrics_host, registry)
        except OSError as error:
            # backups go on: they are worth more than their figures
            structlog.get_logger().warning(
                "backup.no_metrics", port=settings.metrics_port, error=error.strerror
            )
    try:
        follow_log(Folder(folder), settings.database, settings.make_clock(), every, keep, stop)
    except BackupError as error:
        _end(str(error))


def list_(
    folder: Where, as_json: Annotated[bool, typer.Option("--json", help="As one JSON object.")] = False
) -> None:
    """Which instants can be restored."""
    import msgspec

    from scad.backups import BackupError, Folder

    found = Folder(folder)
    try:
        backups, until = found.backups(), found.last_written_at()
    except BackupError as error:
        _end(str(error))
    if as_json:
        print(msgspec.json.encode({"backups": backups, "log_until": until}).decode())
        return
    for backup in backups:
        print(f"{backup.name}  {backup.bytes >> 20:>8} MB  from {backup.ended_at:%Y-%m-%dT%H:%M:%SZ}")
    print(f"log until {until:%Y-%m-%dT%H:%M:%SZ}" if until else "no log is kept: run `scad backup follow`")


def restore(
    folder: Where,
    data: Annotated[Path, typer.Argument(help="The server's data folder: empty, or not there.")],
    to: Annotated[
        str | None, typer.Option(help="RFC 3339, the last instant to come back; else all that was kept.")
    ] = None,
) -> None:
    """Fill a data folder with the database as it was. Stop the server first, and start it afterwards."""
    from devices.times import BadTimeError, parse_instant, to_datetime
    from scad.backups import BackupError, Folder
    from scad.backups import restore as fill

    try:
        instant = None if to is None else to_datetime(parse_instant(to)[0])
        done = fill(Folder(folder), data.absolute(), instant)
    except (BackupError, BadTimeError) as error:
        _end(str(error))
    except OSError as error:
        _end(
            f"{error.filename or data}: {error.strerror}; restore as root, which may read and write all of it"
        )
    end = done.to or done.last_commit or done.backup.ended_at
    print(
        f"{data}: base backup {done.backup.name} and {done.segments} segments of log, up to {end.isoformat()}"
    )
    print(
        "Start the server: it recovers and then takes writes again. Readings and alerts since come from Kafka."
    )


def _end(message: str) -> NoReturn:
    print(message, file=sys.stderr)
    raise typer.Exit(1)
