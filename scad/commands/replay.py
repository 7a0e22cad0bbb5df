"""`scad replay`: the same engine over a file."""

from __future__ import annotations

from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    app.command("replay")(replay)


def replay(
    readings: Annotated[
        str, typer.Argument(help="File of readings, one JSON object a line; - for standard input.")
    ],
    protocol: Annotated[
        list[str], typer.Option("--protocol", help="A published protocol's name, or a TOML file. Repeatable.")
    ],
    care_plans: Annotated[
        str | None,
        typer.Option(
            "--care-plans",
            help="Care plans, and versions of protocols (JSON, JSON lines or an enrolment file).",
        ),
    ] = None,
    until: Annotated[
        str | None,
        typer.Option("--until", help="Last instant of the clock, RFC 3339; later lines are left out."),
    ] = None,
    standing: Annotated[
        bool,
        typer.Option("--standing", help="Print the episodes that stand at the end instead of the signals."),
    ] = False,
) -> None:
    """Run the engine over READINGS in the order of its lines and print alert signals as JSON lines.

    Exit status: 0 when all lines were read, 1 when some were refused, 2 for wrong usage.
    """
    import sys

    from devices.times import BadTimeError, parse_instant
    from streams.dated import published_with
    from streams.files import LineReader
    from streams.protocols import ProtocolError, load_file, load_published
    from streams.replay import CarePlanFileError, Replay, read_care_plans
    from streams.signal import encode_signal
    from streams.timeline import PlanError, check_plan

    library = load_published()
    names = []
    try:
        for name in protocol:
            if name not in library.protocols:
                loaded = load_file(name)
                library = library.with_protocol(loaded)
                name = loaded.name
            names.append(name)
        plans, versions = read_care_plans(care_plans) if care_plans is not None else ([], [])
        library = published_with(library, versions)
        for plan in plans:
            check_plan(library, plan)
        until_ms = parse_instant(until)[0] if until is not None else None
        lines = LineReader(readings)
    except FileNotFoundError as error:
        known = ", ".join(library.protocols)
        typer.echo(f"scad replay: no file {error.filename!r}; published protocols: {known}", err=True)
        raise typer.Exit(2) from None
    except (ProtocolError, CarePlanFileError, PlanError, BadTimeError, OSError) as error:
        typer.echo(f"scad replay: {error}", err=True)
        raise typer.Exit(2) from None
    run = Replay(library, list(dict.fromkeys(names)), plans, until_ms)
    out = sys.stdout.buffer
    with lines:
        for reading in lines:
            signals = run.take(reading)
            if not standing:
                for signal in signals:
                    out.write(encode_signal(signal) + b"\n")
        for signal in run.finish():
            if not standing:
                out.write(encode_signal(signal) + b"\n")
    if standing:
        for episode in run.standing():
            out.write(encode_signal(episode) + b"\n")
    out.flush()
    if run.too_late:
        typer.echo(f"{run.too_late} readings arrived beyond their horizon and were not evaluated", err=True)
    raise typer.Exit(lines.exit_status)
