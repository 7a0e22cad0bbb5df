"""`scad ecg`: beats, heart rate, quality and rhythm of each strip of ECG in a file of readings."""

from __future__ import annotations

from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    app.command("ecg")(ecg)


def ecg(
    readings: Annotated[
        str, typer.Argument(help="File of readings, one JSON object a line; - for standard input.")
    ],
) -> None:
    """Print one JSON line for each ECG strip of READINGS: beats (sample index), mean heart rate, quality, rhythm.

    Readings of other kinds are passed over. Exit status: 0 when all lines were read, 1 when some were refused,
    2 for wrong usage.
    """
    import sys

    from streams.files import EXIT_USAGE, LineReader
    from streams.strips import Strips

    try:
        lines = LineReader(readings)
    except OSError as error:
        typer.echo(f"scad ecg: cannot read {readings!r}: {error.strerror}", err=True)
        raise typer.Exit(EXIT_USAGE) from None
    out = sys.stdout.buffer
    strips = Strips()
    with lines:
        for reading in lines:
            line = strips.line(reading)
            if line is not None:
                out.write(line + b"\n")
                out.flush()
    raise typer.Exit(lines.exit_status)
